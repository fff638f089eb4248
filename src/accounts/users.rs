//! One user's row: found by id as it is committed now, and bumped.

use jose::{Refusal, SessionVersion, UnixMicros};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::binding::current;
use super::lookup::Ways;
use crate::attach::{self, AttachedTable, IdType, UserId, successor};
use crate::error::Result;
use crate::pg::acting::ActingAs;
use crate::pg::catalog::Relation;
use crate::pg::plan::{Plan, Sees, TablePlan};
use crate::pg::probe::Probe;
use crate::pg::row::only;

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
    /// How rows are found.
    pub(super) ways: Ways,
    /// Is the version column a bigint? (Otherwise it is an integer.)
    pub(super) has_bigint_version: bool,
    /// The way to what is remembered of a user.
    pub(super) history: Option<Probe>,
    /// The kept plan of a bump, made when it is first needed.
    pub(super) bump: TablePlan,
    /// The same of [`Users::find_to_keep`].
    pub(super) keep: TablePlan,
}

/// What a session depends on.
pub struct Account {
    /// The user.
    pub id: UserId,
    /// The version that a token must carry.
    pub session_version: SessionVersion,
    /// May this user have sessions?
    pub active: bool,
}

impl AttachedTable for Users {
    fn relation(&self) -> pg_sys::Oid {
        self.relation
    }
}

impl Users {
    /// Is `relation` the users table, or a partition of it?
    pub fn covers(&self, relation: pg_sys::Oid) -> bool {
        attach::covers(self.relation, &self.table, relation)
    }

    /// Is it a partitioned table, whose rows an UPDATE can move?
    pub fn is_partitioned(&self) -> bool {
        self.table.kind == b'p'
    }

    /// As [`Users::find`]; and until the transaction ends nobody deletes the user or changes the id, as if a foreign key referred to
    /// the row. Whoever is doing that is waited for.
    pub fn find_to_keep(&self, user_id: &UserId) -> Option<Account> {
        let id = self.id_type.datum(user_id.as_str())?;
        let _acting = ActingAs::reader(self.table.owner);
        let types = [self.id_type.parameter()];
        let plan = (self.keep).on(&self.table, Sees::LatestToLock, &types, |table| {
            format!(
                "SELECT FROM {table} AS u WHERE u.{id} OPERATOR(pg_catalog.=) $1 FOR KEY SHARE",
                id = quote_identifier(&self.id_column),
                table = table.as_source(),
            )
        });
        if let Some(now) = successor(self, current) {
            return now.sound()?.find_to_keep(user_id);
        }
        let kept = plan.run(Sees::LatestToLock, &[Some(id)], 0, |_| ());
        self.find(user_id).filter(|_| !kept.is_empty())
    }

    /// Raises the user's version by one and answers it. The table's triggers do the rest.
    pub fn bump(&self, user_id: &UserId) -> Result<SessionVersion> {
        let id = (self.id_type.datum(user_id.as_str())).ok_or(Refusal::UnknownUser)?;
        let _acting = ActingAs::writer(self.table.owner, Some(&self.table.schema));
        let types = [self.id_type.parameter()];
        let plan = self.bump.on(&self.table, Sees::Transaction, &types, |table| {
            format!(
                "UPDATE {table} AS u SET {version} = coalesce(u.{version}, 0) OPERATOR(pg_catalog.+) 1
                 WHERE u.{id} OPERATOR(pg_catalog.=) $1
                 RETURNING u.{version}::pg_catalog.int8",
                id = quote_identifier(&self.id_column),
                version = quote_identifier(&self.version_column),
                table = table.as_source(),
            )
        });
        if let Some(now) = successor(self, current) {
            return now.users()?.bump(user_id);
        }
        plan.run(Sees::Transaction, &[Some(id)], 0, |row| {
            SessionVersion::new(row.get(1).unwrap_or(0))
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
    pub fn raise(&self, user_id: &UserId, floor: i64) {
        let Some(id) = self.id_type.datum(user_id.as_str()) else {
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
    pub fn versions(&self, table: &Relation, least: i64, limit: usize) -> Vec<(UserId, i64)> {
        let sql = format!(
            "SELECT u.{id}::pg_catalog.text, coalesce(u.{version}, 0)::pg_catalog.int8 FROM {table} AS u
             WHERE u.{id} IS NOT NULL AND coalesce(u.{version}, 0) OPERATOR(pg_catalog.>=) $1
             LIMIT {limit}",
            id = quote_identifier(&self.id_column),
            version = quote_identifier(&self.version_column),
            table = table.qualified_name,
            limit = i64::try_from(limit).unwrap_or(i64::MAX),
        );
        let _acting = ActingAs::reader(table.owner);
        Plan::prepare(&sql, &[pg_sys::INT8OID]).run(Sees::Latest, &[least.into_datum()], 0, |row| {
            (UserId::new(row.required::<String>(1)), row.required(2))
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
        let plan = Plan::prepare(&sql, &[pg_sys::INT8OID]);
        let highest = plan.run(Sees::Latest, &[end.into_datum()], 0, |row| row.get(1));
        only(highest).unwrap_or(0)
    }
}
