//! A users row as it is committed at this moment: by its id, or by another column that is unique.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jose::SessionVersion;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::binding::current;
use super::users::{Account, Users};
use crate::attach::{self, Attached, IdType, UserId};
use crate::error::{Error, Result};
use crate::pg::acting::ActingAs;
use crate::pg::catalog::{self, UniqueIndex};
use crate::pg::plan::{Sees, TablePlan};
use crate::pg::probe::{Looked, Probe, ProbedRow};

/// How rows of the users table are found.
pub(super) struct Ways {
    by_id: Way,
    by_column: Others,
    with_column: Others,
}

/// Ways that are made when they are first needed, for a column each.
type Others = RefCell<HashMap<String, Result<Rc<Way>>>>;

/// By which column rows are found, and what is read of them.
struct Way {
    key: String,
    key_type: IdType,
    /// Read besides id, version and activity.
    also: Option<(String, IdType)>,
    /// The way without a plan, where the table allows it.
    probe: Option<Probe>,
    plan: TablePlan,
}

struct UniqueColumn {
    id_type: IdType,
    index: Option<UniqueIndex>,
}

/// What is read of a row.
struct Found {
    account: Account,
    also: Option<String>,
}

impl Ways {
    /// By the id, of which `index` sees to it that no two rows share one.
    pub(super) fn by_id(
        relation: pg_sys::Oid,
        (id, id_type): (&str, IdType),
        index: Option<&UniqueIndex>,
        read: &[&str],
    ) -> Self {
        Self {
            by_id: Way {
                key: id.to_owned(),
                key_type: id_type,
                also: None,
                probe: index.and_then(|index| Probe::new(relation, index, &[id], read)),
                plan: TablePlan::default(),
            },
            by_column: RefCell::default(),
            with_column: RefCell::default(),
        }
    }
}

/// The table that is attached by now.
type Now = Rc<Attached<Users>>;

impl Users {
    /// The user's row as committed at this moment; None when nobody has the id. An id that two rows share
    /// (nothing enforces that it is unique) is nobody's either.
    pub fn find(&self, user_id: &UserId) -> Option<Account> {
        self.find_claimed(user_id.as_str())
    }

    /// The same of a user whom the user claim of a token names by the id.
    pub fn find_claimed(&self, claim: &str) -> Option<Account> {
        match self.ways.by_id.find(self, claim) {
            Ok(found) => found.map(|found| found.account),
            Err(now) => now.sound()?.find_claimed(claim),
        }
    }

    /// The row that has `value` in `column`; 55000 where no unique index is on that column alone.
    pub fn find_by(&self, column: &str, value: &str) -> Result<Option<Account>> {
        let way = kept(&self.ways.by_column, column, || {
            let own = self.unique_column(column)?;
            Ok(self.way((column, own.id_type), &own.index, None))
        })?;
        let found = match way.find(self, value) {
            Ok(found) => found.map(|found| found.account),
            Err(now) => return now.users()?.find_by(column, value),
        };
        Ok(found.filter(|account| self.has_unique_ids || self.find(&account.id).is_some()))
    }

    /// The user's row, with the value of a column by which [`Users::find_by`] would find it; None there for NULL.
    pub fn find_with(
        &self,
        user_id: &UserId,
        column: &str,
    ) -> Result<Option<(Account, Option<String>)>> {
        let way = kept(&self.ways.with_column, column, || {
            let also = self.unique_column(column)?;
            let id = self.id_column.as_str();
            let index = catalog::unique_index(self.relation, &[id]);
            let id = (id, self.id_type);
            Ok(self.way(id, &index, Some((column, also.id_type))))
        })?;
        match way.find(self, user_id.as_str()) {
            Ok(found) => Ok(found.map(|found| (found.account, found.also))),
            Err(now) => now.users()?.find_with(user_id, column),
        }
    }

    /// What changes of the table or its indexes makes another [`Users`], and so other ways.
    fn way(
        &self,
        (key, key_type): (&str, IdType),
        index: &Option<UniqueIndex>,
        also: Option<(&str, IdType)>,
    ) -> Way {
        let mut read = self.read_columns();
        read.extend(also.map(|(column, _)| column));
        Way {
            key: key.to_owned(),
            key_type,
            also: also.map(|(column, also_type)| (column.to_owned(), also_type)),
            probe: (index.as_ref())
                .and_then(|index| Probe::new(self.relation, index, &[key], &read)),
            plan: TablePlan::default(),
        }
    }

    /// A column that tells the users apart.
    fn unique_column(&self, name: &str) -> Result<UniqueColumn> {
        let column = catalog::column(self.relation, name).filter(|column| column.deterministic);
        let id_type = column.and_then(|column| IdType::of(column.type_oid));
        let index = catalog::unique_index(self.relation, &[name]);
        match (id_type, index) {
            (Some(id_type), index @ Some(_)) => Ok(UniqueColumn { id_type, index }),
            _ => Err(Error::NO_USER_COLUMN),
        }
    }

    fn read_columns(&self) -> Vec<&str> {
        [
            Some(&self.id_column),
            Some(&self.version_column),
            self.active_column.as_ref(),
        ]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect()
    }
}

fn kept(kept: &Others, column: &str, make: impl FnOnce() -> Result<Way>) -> Result<Rc<Way>> {
    if let Some(way) = kept.borrow().get(column) {
        return way.clone();
    }
    let way = make().map(Rc::new);
    kept.borrow_mut().insert(column.to_owned(), way.clone());
    way
}

impl Way {
    /// What is found, or the table that is attached meanwhile.
    fn find(&self, users: &Users, value: &str) -> core::result::Result<Option<Found>, Now> {
        let Some(value) = self.key_type.datum(value) else {
            return Ok(None);
        };
        let looked = self
            .probe
            .as_ref()
            .map(|probe| probe.look(&[value], attach::still_holds, |row| self.read(users, row)));
        match looked {
            Some(Looked::Row(found)) => Ok(found),
            Some(Looked::Nothing) => Ok(None),
            Some(Looked::Changed) | None => self.find_by_plan(users, value),
        }
    }

    /// The columns of the probe: id, version, activity and one more, of which the last two may be missing.
    fn read(&self, users: &Users, row: &ProbedRow<'_>) -> Option<Found> {
        let version = if users.has_bigint_version {
            row.get::<i64>(1)
        } else {
            row.get::<i32>(1).map(i64::from)
        };
        let has_activity = users.active_column.is_some();
        let last = if has_activity { 3 } else { 2 };
        Some(Found {
            account: Account {
                id: UserId::new(users.id_type.print(row, 0)?),
                session_version: SessionVersion::new(version.unwrap_or(0)),
                active: !has_activity || row.get::<bool>(2).unwrap_or(false),
            },
            also: (self.also.as_ref()).and_then(|(_, also_type)| also_type.print(row, last)),
        })
    }

    fn find_by_plan(
        &self,
        users: &Users,
        value: pg_sys::Datum,
    ) -> core::result::Result<Option<Found>, Now> {
        let _acting = ActingAs::reader(users.table.owner);
        let types = [self.key_type.parameter()];
        let plan = self.plan.on(&users.table, Sees::Latest, &types, |table| {
            let active = match &users.active_column {
                Some(column) => format!("u.{} IS TRUE", quote_identifier(column)),
                None => "true".to_owned(),
            };
            let also = match &self.also {
                Some((column, _)) => format!("u.{}::pg_catalog.text", quote_identifier(column)),
                None => "NULL::pg_catalog.text".to_owned(),
            };
            format!(
                "SELECT u.{id}::pg_catalog.text, coalesce(u.{version}, 0)::pg_catalog.int8, {active}, {also}
                 FROM {table} AS u WHERE u.{key} OPERATOR(pg_catalog.=) $1 LIMIT 2",
                id = quote_identifier(&users.id_column),
                version = quote_identifier(&users.version_column),
                table = table.as_source(),
                key = quote_identifier(&self.key),
            )
        });
        if let Some(now) = attach::successor(users, current) {
            return Err(now);
        }
        let mut found = plan.run(Sees::Latest, &[Some(value)], 0, |row| {
            Some(Found {
                account: Account {
                    id: UserId::new(row.get::<String>(1)?),
                    session_version: SessionVersion::new(row.required(2)),
                    active: row.required(3),
                },
                also: row.get(4),
            })
        });
        Ok(found.pop().flatten().filter(|_| found.is_empty()))
    }
}
