//! One user's row: found by id as it is committed now, and bumped.

use std::cell::OnceCell;

use jose::{Refusal, UnixMicros};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use crate::attach::{self, IdType};
use crate::error::Result;
use crate::pg::acting::ActingAs;
use crate::pg::catalog::{self, Relation};
use crate::pg::plan::{Plan, Sees};
use crate::pg::probe::{Looked, Probe, ProbedRow};

/// The attached users table.
pub struct Users {
    /// The table.
    pub relation: pg_sys::Oid,
    /// Its schema, name and owner.
    pub table: Relation,
    /// The column of the id.
    pub id_column: String,
    /// Its type.
    pub id_type: IdType,
    /// The column of the session version.
    pub version_column: String,
    /// The boolean column that says whether the user may have sessions.
    pub active_column: Option<String>,
    /// Does an index see to it that no two rows share an id?
    pub has_unique_ids: bool,
    /// No new row starts lower.
    pub version_floor: i64,
    /// Any user may have been bumped at that time.
    pub bumped_floor: Option<UnixMicros>,
    /// The way to a row without a plan, where the table allows it.
    pub(super) probe: Option<Probe>,
    /// Is the version column a bigint? (Otherwise it is an integer.)
    pub(super) has_bigint_version: bool,
    /// Kept plans.
    pub(super) plans: Plans,
}

/// The plans on the users table, made when they are first needed.
#[derive(Default)]
pub(super) struct Plans {
    find: OnceCell<Plan>,
    bump: OnceCell<Plan>,
}

/// What a session depends on.
pub struct Account {
    /// As the id column prints it.
    pub id: String,
    /// The version that a token must carry.
    pub session_version: i64,
    /// May this user have sessions?
    pub active: bool,
}

impl Users {
    /// Is `relation` the users table, or a partition of it? A trigger of ours on any other has no say.
    pub fn covers(&self, relation: pg_sys::Oid) -> bool {
        relation == self.relation
            || (self.is_partitioned() && catalog::is_partition_of(relation, self.relation))
    }

    /// Is it a partitioned table, whose rows an UPDATE can move?
    pub fn is_partitioned(&self) -> bool {
        self.table.kind == b'p'
    }

    /// The user's row as committed at this moment; None when nobody has the id. An id that two rows share
    /// (nothing enforces that it is unique) is nobody's either.
    pub fn find(&self, user_id: &str) -> Option<Account> {
        let id = self.id_type.datum(user_id)?;
        let looked = self
            .probe
            .as_ref()
            .map(|probe| probe.look(&[id], attach::still_holds, |row| self.read(row)));
        match looked {
            Some(Looked::Row(account)) => account,
            Some(Looked::Nothing) => None,
            Some(Looked::Changed) | None => self.find_by_plan(id),
        }
    }

    /// The columns of the probe: id, version and, if there is one, activity.
    fn read(&self, row: &ProbedRow<'_>) -> Option<Account> {
        let version = if self.has_bigint_version {
            row.get::<i64>(1)
        } else {
            row.get::<i32>(1).map(i64::from)
        };
        Some(Account {
            id: self.id_type.print(row, 0)?,
            session_version: version.unwrap_or(0),
            active: self.active_column.is_none() || row.get::<bool>(2).unwrap_or(false),
        })
    }

    fn find_by_plan(&self, id: pg_sys::Datum) -> Option<Account> {
        let _acting = ActingAs::reader(self.table.owner);
        let plan = self.plans.find.get_or_init(|| {
            let active = match &self.active_column {
                Some(column) => format!("u.{} IS TRUE", quote_identifier(column)),
                None => "true".to_owned(),
            };
            let sql = format!(
                "SELECT u.{id}::pg_catalog.text, coalesce(u.{version}, 0)::pg_catalog.int8, {active}
                 FROM {table} AS u WHERE u.{id} OPERATOR(pg_catalog.=) $1 LIMIT 2",
                id = quote_identifier(&self.id_column),
                version = quote_identifier(&self.version_column),
                table = self.table.as_source(),
            );
            Plan::prepare(&sql, &[self.id_type.parameter()])
        });
        let mut accounts = plan.run(Sees::Latest, &[Some(id)], 0, |row| Account {
            id: row.required(1),
            session_version: row.required(2),
            active: row.required(3),
        });
        accounts.pop().filter(|_| accounts.is_empty())
    }

    /// Raises the user's version by one and answers it. The table's triggers do the rest.
    pub fn bump(&self, user_id: &str) -> Result<i64> {
        let id = self.id_type.datum(user_id).ok_or(Refusal::UnknownUser)?;
        let _acting = ActingAs::writer(self.table.owner, Some(&self.table.schema));
        let plan = self.plans.bump.get_or_init(|| {
            let sql = format!(
                "UPDATE {table} AS u SET {version} = coalesce(u.{version}, 0) OPERATOR(pg_catalog.+) 1
                 WHERE u.{id} OPERATOR(pg_catalog.=) $1
                 RETURNING u.{version}::pg_catalog.int8",
                id = quote_identifier(&self.id_column),
                version = quote_identifier(&self.version_column),
                table = self.table.as_source(),
            );
            Plan::prepare(&sql, &[self.id_type.parameter()])
        });
        plan.run(Sees::Transaction, &[Some(id)], 0, |row| {
            row.get::<i64>(1).unwrap_or(0)
        })
        .pop()
        .ok_or_else(|| Refusal::UnknownUser.into())
    }

    /// The highest version that the column holds.
    pub fn last_version(&self) -> i64 {
        if self.has_bigint_version {
            i64::MAX
        } else {
            i32::MAX.into()
        }
    }

    /// Raises the user's version to `floor` where it is lower.
    pub fn raise(&self, user_id: &str, floor: i64) {
        let Some(id) = self.id_type.datum(user_id) else {
            return;
        };
        let sql = format!(
            "UPDATE {table} AS u SET {version} = $2
             WHERE u.{id} OPERATOR(pg_catalog.=) $1
               AND coalesce(u.{version}, 0) OPERATOR(pg_catalog.<) $2",
            id = quote_identifier(&self.id_column),
            version = quote_identifier(&self.version_column),
            table = self.table.as_source(),
        );
        let _acting = ActingAs::writer(self.table.owner, Some(&self.table.schema));
        Plan::prepare(&sql, &[self.id_type.parameter(), pg_sys::INT8OID]).run(
            Sees::Transaction,
            &[Some(id), floor.into_datum()],
            0,
            |_| (),
        );
    }

    /// Id and version of up to `limit` users in `table`, which is the users table or a partition of it: of those whose
    /// version is at least `least`.
    pub fn versions(&self, table: &Relation, least: i64, limit: usize) -> Vec<(String, i64)> {
        let sql = format!(
            "SELECT u.{id}::pg_catalog.text, coalesce(u.{version}, 0)::pg_catalog.int8 FROM {table} AS u
             WHERE coalesce(u.{version}, 0) OPERATOR(pg_catalog.>=) $1
             LIMIT {limit}",
            id = quote_identifier(&self.id_column),
            version = quote_identifier(&self.version_column),
            table = table.qualified_name,
            limit = i64::try_from(limit).unwrap_or(i64::MAX),
        );
        let _acting = ActingAs::reader(table.owner);
        Plan::prepare(&sql, &[pg_sys::INT8OID]).run(Sees::Latest, &[least.into_datum()], 0, |row| {
            (row.get(1).unwrap_or_default(), row.get(2).unwrap_or(0))
        })
    }

    /// The highest version below `end` of any user in `table`; 0 without such users.
    pub fn highest_version(&self, table: &Relation, end: i64) -> i64 {
        let sql = format!(
            "SELECT pg_catalog.max(u.{version})::pg_catalog.int8 FROM {table} AS u
             WHERE u.{version} OPERATOR(pg_catalog.<) $1",
            version = quote_identifier(&self.version_column),
            table = table.qualified_name,
        );
        let _acting = ActingAs::reader(table.owner);
        Plan::prepare(&sql, &[pg_sys::INT8OID])
            .run(Sees::Latest, &[end.into_datum()], 0, |row| row.get(1))
            .pop()
            .flatten()
            .unwrap_or(0)
    }
}
