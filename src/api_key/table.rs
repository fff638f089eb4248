//! The attached API-key table: its columns, and the statements on them.

use std::rc::Rc;

use jose::{Fingerprint, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::binding::current;
use super::hash;
use crate::attach::{AttachedTable, IdType, UserId, successor, with_foreign_keys_at_once};
use crate::error::Result;
use crate::pg::acting::ActingAs;
use crate::pg::catalog::Relation;
use crate::pg::clock;
use crate::pg::plan::{Plan, Sees, TablePlan};
use crate::pg::row::Row;
use crate::pg::transaction;

/// The attached API-key table. The ids of its rows and of their owners travel as text.
pub struct ApiKeys {
    /// The table.
    pub relation: pg_sys::Oid,
    /// Its schema, name and owner.
    pub table: Relation,
    /// The column of the key's id.
    pub id_column: String,
    /// Its type.
    pub id_type: IdType,
    /// The column of the owner's id.
    pub user_column: String,
    /// Its type.
    pub user_type: IdType,
    /// The column of the SHA-256 fingerprint.
    pub fingerprint_column: String,
    /// The column of the key's own version.
    pub version_column: String,
    /// The column of the bcrypt hash.
    pub hash_column: Option<String>,
    /// The column of the key's first characters.
    pub prefix_column: Option<String>,
    /// The boolean column that says whether the key holds.
    pub active_column: Option<String>,
    /// When it ends.
    pub expires: Option<TimeColumn>,
    /// When it was last used.
    pub last_used: Option<TimeColumn>,
    /// When the row was made, if the table has the customary column.
    pub created: Option<TimeColumn>,
    /// When the row was changed, if the table has the customary column.
    pub updated: Option<TimeColumn>,
    /// Has the table the customary column `name`?
    pub has_name: bool,
    /// Has the table a trigger that could be put off until COMMIT? Then verifying a key does not write to the table.
    pub can_defer_triggers: bool,
    /// Kept plans.
    pub plans: Plans,
}

/// A column of type `timestamptz`, or `timestamp` that is meant as UTC.
pub struct TimeColumn {
    /// Its name.
    pub name: String,
    /// Is it `timestamptz`?
    pub has_zone: bool,
}

/// The plans on the table, made when they are first needed.
#[derive(Default)]
pub struct Plans {
    by_fingerprint: TablePlan,
    by_id: TablePlan,
    by_prefix: TablePlan,
    note_use: TablePlan,
    fill: TablePlan,
}

/// A key's row.
pub struct KeyRow {
    /// As the id column prints it.
    pub id: String,
    /// Its owner; None for a key that is nobody's.
    pub user_id: Option<UserId>,
    /// The key's own version.
    pub session_version: i64,
    /// Does the row say that it holds?
    pub active: bool,
    /// When it ends.
    pub expires_at: Option<UnixMicros>,
    /// The bcrypt hash of a row without a fingerprint, where it was asked for.
    pub hash: Option<String>,
    /// What the row has of the SHA-256 fingerprint, where it was asked for.
    pub fingerprint: Option<String>,
}

/// More candidates with one prefix are not tried: each costs a bcrypt.
const MAX_CANDIDATES: i64 = 8;

/// The time of a use, as SQL has it.
const NOW: &str = "pg_catalog.clock_timestamp()";

impl TimeColumn {
    /// The SQL expression of the column as `timestamptz`.
    fn read(&self) -> String {
        let name = quote_identifier(&self.name);
        if self.has_zone {
            format!("k.{name}")
        } else {
            format!("(k.{name} AT TIME ZONE 'UTC')")
        }
    }

    /// The SQL expression that stores `time`, a `timestamptz`, in the column.
    pub fn store(&self, time: &str) -> String {
        if self.has_zone {
            time.to_owned()
        } else {
            format!("({time} AT TIME ZONE 'UTC')")
        }
    }
}

impl AttachedTable for ApiKeys {
    fn relation(&self) -> pg_sys::Oid {
        self.relation
    }
}

impl ApiKeys {
    /// The rows of that fingerprint; more than one is nobody's.
    pub fn find(&self, fingerprint: &Fingerprint) -> Option<KeyRow> {
        let types = [pg_sys::TEXTOID];
        let plan = self.plan(&self.plans.by_fingerprint, &types, |table| {
            let condition = format!(
                "k.{} OPERATOR(pg_catalog.=) $1",
                quote_identifier(&self.fingerprint_column)
            );
            self.select(table, ("NULL", "NULL"), &condition, 2)
        });
        if let Some(now) = successor(self, current) {
            return now.sound()?.find(fingerprint);
        }
        let mut rows = self.read(&plan, &[fingerprint.as_str().into_datum()]);
        rows.pop().filter(|_| rows.is_empty())
    }

    /// The row of that id, with its fingerprint, and with its hash where it has none.
    pub fn find_by_id(&self, key_id: &str) -> Option<KeyRow> {
        let id = self.id_type.datum(key_id)?;
        let types = [self.id_type.parameter()];
        let plan = self.plan(&self.plans.by_id, &types, |table| {
            let condition = format!(
                "k.{} OPERATOR(pg_catalog.=) $1",
                quote_identifier(&self.id_column)
            );
            // Of a row that is found by its fingerprint the hash is nothing to go by.
            let hash = match &self.hash_column {
                Some(hash) => format!(
                    "CASE WHEN k.{} IS NULL THEN k.{}::pg_catalog.text END",
                    quote_identifier(&self.fingerprint_column),
                    quote_identifier(hash)
                ),
                None => "NULL".to_owned(),
            };
            let fingerprint = format!(
                "k.{}::pg_catalog.text",
                quote_identifier(&self.fingerprint_column)
            );
            self.select(table, (&hash, &fingerprint), &condition, 1)
        });
        if let Some(now) = successor(self, current) {
            return now.sound()?.find_by_id(key_id);
        }
        self.read(&plan, &[Some(id)]).pop()
    }

    /// May there be rows that are found by their hash?
    pub fn has_hashes(&self) -> bool {
        self.hash_column.is_some() && self.prefix_column.is_some()
    }

    /// The rows of that prefix that have a hash and no fingerprint yet.
    pub fn candidates(&self, prefix: &str) -> Vec<KeyRow> {
        let (Some(hash_column), Some(prefix_column)) = (&self.hash_column, &self.prefix_column)
        else {
            return Vec::new();
        };
        let hash = format!("k.{}::pg_catalog.text", quote_identifier(hash_column));
        let types = [pg_sys::TEXTOID];
        let plan = self.plan(&self.plans.by_prefix, &types, |table| {
            // Those that hold come first, so that ended ones don't stand in their way.
            let condition = format!(
                "k.{} OPERATOR(pg_catalog.=) $1 AND k.{} IS NULL
                     AND {hash} OPERATOR(pg_catalog.~) '{}'
                 ORDER BY {} DESC, coalesce({} OPERATOR(pg_catalog.>) pg_catalog.clock_timestamp(), true) DESC",
                quote_identifier(prefix_column),
                quote_identifier(&self.fingerprint_column),
                hash::PATTERN,
                self.is_active(),
                self.expires_at(),
            );
            self.select(table, (&hash, "NULL"), &condition, MAX_CANDIDATES)
        });
        if let Some(now) = successor(self, current) {
            return (now.sound()).map_or_else(Vec::new, |keys| keys.candidates(prefix));
        }
        self.read(&plan, &[prefix.into_datum()])
    }

    /// Writes down that a key was used, at most once a minute, and not while another session has locked the row; and the key's
    /// fingerprint, if the row was found by its hash. A row that was given to another key meanwhile is left alone.
    pub fn touch(&self, row: &KeyRow, fingerprint: &Fingerprint) {
        match &row.hash {
            Some(hash) => self.fill(&row.id, fingerprint, &Fingerprint::of(hash)),
            None => self.note_use(&row.id, fingerprint),
        }
    }

    fn note_use(&self, id: &str, fingerprint: &Fingerprint) {
        let Some(used) = &self.last_used else { return };
        self.update_unlocked(&self.plans.note_use, id, &[fingerprint], || {
            let (name, now) = (quote_identifier(&used.name), used.store(NOW));
            let condition = format!(
                "k.{} OPERATOR(pg_catalog.=) $2 AND (k.{name} IS NULL OR k.{name} OPERATOR(pg_catalog.<)
                     ({now} OPERATOR(pg_catalog.-) '1 minute'::pg_catalog.interval))",
                quote_identifier(&self.fingerprint_column)
            );
            (format!("{name} = {now}"), condition)
        });
    }

    /// The hash is compared by its digest: a plan's parameters can be printed.
    fn fill(&self, id: &str, fingerprint: &Fingerprint, hash: &Fingerprint) {
        let Some(hash_column) = &self.hash_column else {
            return;
        };
        self.update_unlocked(&self.plans.fill, id, &[fingerprint, hash], || {
            let column = quote_identifier(&self.fingerprint_column);
            let mut sets = format!("{column} = $2");
            if let Some(used) = &self.last_used {
                let (name, now) = (quote_identifier(&used.name), used.store(NOW));
                sets.push_str(&format!(", {name} = {now}"));
            }
            let condition = format!(
                "k.{column} IS NULL AND pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
                     k.{}::pg_catalog.text, 'UTF8')), 'hex') OPERATOR(pg_catalog.=) $3",
                quote_identifier(hash_column)
            );
            (sets, condition)
        });
    }

    /// Makes an UPDATE of the row of that id, of what `sql` sets and on which condition; none while another session has locked
    /// the row. The further parameters are `texts`.
    fn update_unlocked(
        &self,
        kept: &TablePlan,
        id: &str,
        texts: &[&Fingerprint],
        sql: impl FnOnce() -> (String, String),
    ) {
        let Some(id) = self.id_type.datum(id) else {
            return;
        };
        let (mut types, mut arguments) = (vec![self.id_type.parameter()], vec![Some(id)]);
        for text in texts {
            types.push(pg_sys::TEXTOID);
            arguments.push(text.as_str().into_datum());
        }
        let _acting = ActingAs::writer(self.table.owner, Some(&self.table.schema));
        let plan = kept.on(&self.table, Sees::Transaction, &types, |table| {
            let (sets, condition) = sql();
            let (table, id) = (table.as_source(), quote_identifier(&self.id_column));
            // Twice, since each of the two takes the row as it is by then, and not as the statement's snapshot shows it.
            format!(
                "UPDATE {table} AS k SET {sets}
                 WHERE k.{id} OPERATOR(pg_catalog.=) (
                     SELECT k.{id} FROM {table} AS k
                     WHERE k.{id} OPERATOR(pg_catalog.=) $1 AND {condition}
                     FOR UPDATE SKIP LOCKED)
                   AND {condition}"
            )
        });
        // The next use is written down there.
        if successor(self, current).is_some() {
            return;
        }
        plan.run(Sees::Transaction, &arguments, 0, |_| ());
    }

    /// Ends a key; false when there is none or it has ended. 40001 where it was made after the transaction's snapshot.
    pub fn end(&self, key_id: &str) -> Result<bool> {
        let Some(id) = self.id_type.datum(key_id) else {
            return Ok(false);
        };
        let condition = format!(
            "k.{} OPERATOR(pg_catalog.=) $1",
            quote_identifier(&self.id_column)
        );
        let sql = |table: &Relation| {
            let table = table.as_source();
            match self.active_column.as_ref().map(quote_identifier) {
                Some(active) => format!(
                    "UPDATE {table} AS k SET {active} = false WHERE {condition} AND k.{active} RETURNING true"
                ),
                None => format!("DELETE FROM {table} AS k WHERE {condition} RETURNING true"),
            }
        };
        with_foreign_keys_at_once(self.relation, || {
            let _acting = ActingAs::writer(self.table.owner, Some(&self.table.schema));
            let types = [self.id_type.parameter()];
            let plan = TablePlan::default().on(&self.table, Sees::Transaction, &types, sql);
            if let Some(now) = successor(self, current) {
                return now.sound().map_or(Ok(false), |keys| keys.end(key_id));
            }
            let ended = plan.run(Sees::Transaction, &[Some(id)], 0, |_| ());
            transaction::refuse_if_missed(|| {
                ended.is_empty() && self.find_by_id(key_id).is_some_and(|row| row.active)
            })?;
            Ok(!ended.is_empty())
        })
    }

    /// The SQL expression that says whether a row is active.
    fn is_active(&self) -> String {
        match &self.active_column {
            Some(column) => format!("(k.{} IS TRUE)", quote_identifier(column)),
            None => "true::pg_catalog.bool".to_owned(),
        }
    }

    /// The SQL expression of a row's end, a `timestamptz`.
    fn expires_at(&self) -> String {
        self.expires
            .as_ref()
            .map_or("NULL::pg_catalog.timestamptz".to_owned(), TimeColumn::read)
    }

    fn plan(
        &self,
        kept: &TablePlan,
        types: &[pg_sys::Oid],
        sql: impl FnOnce(&Relation) -> String,
    ) -> Rc<Plan> {
        let _acting = ActingAs::reader(self.table.owner);
        kept.on(&self.table, Sees::Latest, types, sql)
    }

    fn select(
        &self,
        table: &Relation,
        (hash, fingerprint): (&str, &str),
        condition: &str,
        limit: i64,
    ) -> String {
        format!(
            "SELECT k.{id}::pg_catalog.text, k.{user}::pg_catalog.text,
                    coalesce(k.{version}, 0)::pg_catalog.int8, {active}, {expires}, {hash}, {fingerprint}
             FROM {table} AS k WHERE {condition} LIMIT {limit}",
            id = quote_identifier(&self.id_column),
            user = quote_identifier(&self.user_column),
            version = quote_identifier(&self.version_column),
            active = self.is_active(),
            expires = self.expires_at(),
            table = table.as_source(),
        )
    }

    fn read(&self, plan: &Plan, arguments: &[Option<pg_sys::Datum>]) -> Vec<KeyRow> {
        let _acting = ActingAs::reader(self.table.owner);
        plan.run(Sees::Latest, arguments, 0, |row: &Row<'_>| KeyRow {
            // The application's columns, which may be NULL.
            id: row.get(1).unwrap_or_default(),
            user_id: row.get::<String>(2).map(UserId::new),
            session_version: row.required(3),
            active: row.required(4),
            expires_at: row
                .get::<TimestampWithTimeZone>(5)
                .map(|time| clock::from_pg(time.into_inner())),
            hash: row.get(6),
            fingerprint: row.get(7),
        })
    }
}
