//! What a backend knows of the attached tables: read once, kept until they change.

use std::cell::RefCell;
use std::rc::Rc;

use jose::UnixMicros;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::attach::TRIGGER_PREFIX;
use super::id::IdType;
use super::users::Users;
use crate::api_key::{ApiKeys, TimeColumn};
use crate::error::{Error, Result};
use crate::pg::plan::Row;
use crate::pg::probe::Probe;
use crate::pg::{catalog, clock, scan, watch};

/// The attached tables.
pub struct Attached {
    users: State<Users>,
    api_keys: State<ApiKeys>,
}

/// How it stands with one of them.
enum State<T> {
    /// None is attached, or it was dropped.
    Missing,
    /// It is attached, and not as it was when it was: nothing can be trusted in it.
    Broken(Error),
    /// As it should be.
    Attached(T),
}

thread_local! {
    static CACHE: RefCell<Option<Rc<Attached>>> = const { RefCell::new(None) };
}

/// The attached tables as committed now (and as changed by this transaction).
pub fn current() -> Rc<Attached> {
    watch::ATTACHED.with(|watch| {
        // A change that arrives while we read makes the watch stale again: then read once more.
        loop {
            if watch.is_fresh()
                && let Some(attached) = CACHE.with_borrow(Clone::clone)
            {
                return attached;
            }
            // Should the reading be cancelled, nothing old must pass for fresh.
            CACHE.set(None);
            let configuration = [
                catalog::auth_relation(c"attached_tables"),
                catalog::auth_relation(c"user_floor"),
            ];
            watch.begin(configuration.to_vec());
            let floor = scan::rows(configuration[1], Floor::read).pop();
            let rows = scan::rows(configuration[0], |row| Binding::read(row, floor.as_ref()));
            watch.begin(
                rows.iter()
                    .map(|row| row.relation)
                    .chain(configuration)
                    .collect(),
            );
            CACHE.set(Some(Rc::new(Attached::resolve(rows))));
        }
    })
}

impl Attached {
    /// The users table; None when none is attached, 55000 when it is not as it was attached.
    pub fn users_if_any(&self) -> Result<Option<&Users>> {
        self.users.get()
    }

    /// The users table; 55000 also when none is attached.
    pub fn users(&self) -> Result<&Users> {
        self.users.get()?.ok_or(Error::NO_USERS)
    }

    /// The API-key table; 55000 also when none is attached.
    pub fn api_keys(&self) -> Result<&ApiKeys> {
        self.api_keys.get()?.ok_or(Error::NO_API_KEYS)
    }

    /// The API-key table; None when none is attached, 55000 when it is not as it was attached.
    pub fn api_keys_if_any(&self) -> Result<Option<&ApiKeys>> {
        self.api_keys.get()
    }

    fn resolve(rows: Vec<Binding>) -> Self {
        let mut attached = Self {
            users: State::Missing,
            api_keys: State::Missing,
        };
        for row in rows {
            let Some(relation) = catalog::relation(row.relation) else {
                continue;
            };
            if row.kind == "users" {
                attached.users = row.users(relation).into();
            } else {
                attached.api_keys = row.api_keys(relation).into();
            }
        }
        attached
    }
}

impl<T> State<T> {
    fn get(&self) -> Result<Option<&T>> {
        match self {
            Self::Missing => Ok(None),
            Self::Broken(error) => Err(error.clone()),
            Self::Attached(table) => Ok(Some(table)),
        }
    }
}

impl<T> From<Result<T>> for State<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(table) => Self::Attached(table),
            Err(error) => Self::Broken(error),
        }
    }
}

/// A row of `auth.attached_tables`, and what the catalogs say now.
struct Binding {
    kind: String,
    relation: pg_sys::Oid,
    id_column: String,
    version_column: String,
    active_column: Option<String>,
    version_floor: i64,
    bumped_floor: Option<UnixMicros>,
    /// Of API keys: owner, fingerprint, hash, prefix, expiry, last use.
    key_columns: [Option<String>; 6],
    trigger_count: i32,
}

/// The row of `auth.user_floor`.
struct Floor {
    bumped_at: UnixMicros,
    version: i64,
}

impl Floor {
    fn read(row: &Row) -> Self {
        let bumped_at = row.get::<TimestampWithTimeZone>(2);
        Self {
            // Never too early.
            bumped_at: bumped_at.map_or(UnixMicros(i64::MAX), |time| {
                clock::from_pg(time.into_inner())
            }),
            version: row.get(3).unwrap_or(i64::MAX),
        }
    }
}

impl Binding {
    fn read(row: &Row, floor: Option<&Floor>) -> Self {
        Self {
            kind: row.get(1).unwrap_or_default(),
            relation: row.get(2).unwrap_or(pg_sys::InvalidOid),
            id_column: row.get(3).unwrap_or_default(),
            version_column: row.get(4).unwrap_or_default(),
            active_column: row.get(5),
            version_floor: floor.map_or(0, |floor| floor.version),
            bumped_floor: floor.map(|floor| floor.bumped_at),
            key_columns: [7, 8, 9, 10, 11, 12].map(|column| row.get(column)),
            trigger_count: row.get(13).unwrap_or(i32::MAX),
        }
    }

    /// What was there when the table was attached must still be.
    fn check(&self, columns: &[Option<&String>], broken: Error) -> Result<()> {
        let has = |name: &&String| catalog::column(self.relation, name).is_some();
        let triggers = catalog::triggers(self.relation, TRIGGER_PREFIX);
        if self.trigger_count <= triggers && columns.iter().flatten().all(has) {
            Ok(())
        } else {
            Err(broken)
        }
    }

    fn users(self, table: catalog::Relation) -> Result<Users> {
        let columns = [
            Some(&self.id_column),
            Some(&self.version_column),
            self.active_column.as_ref(),
        ];
        self.check(&columns, Error::BROKEN_USERS)?;
        let id_type = catalog::column(self.relation, &self.id_column)
            .and_then(|column| IdType::of(column.type_oid))
            .ok_or(Error::BROKEN_USERS)?;
        let has_bigint_version = catalog::column(self.relation, &self.version_column)
            .is_some_and(|column| column.type_oid == pg_sys::INT8OID);
        let read: Vec<&str> = columns.into_iter().flatten().map(String::as_str).collect();
        let keys = [self.id_column.as_str()];
        let index = catalog::unique_index(self.relation, &keys);
        let probe =
            (index.as_ref()).and_then(|index| Probe::new(self.relation, index, &keys, &read));
        Ok(Users {
            probe,
            has_bigint_version,
            relation: self.relation,
            table,
            id_column: self.id_column,
            id_type,
            version_column: self.version_column,
            active_column: self.active_column,
            has_unique_ids: index.is_some(),
            version_floor: self.version_floor,
            bumped_floor: self.bumped_floor,
            plans: Default::default(),
        })
    }

    fn api_keys(self, table: catalog::Relation) -> Result<ApiKeys> {
        let [user, fingerprint, hash, prefix, expires, last_used] = &self.key_columns;
        let columns = [
            Some(&self.id_column),
            Some(&self.version_column),
            self.active_column.as_ref(),
            user.as_ref(),
            fingerprint.as_ref(),
            hash.as_ref(),
            prefix.as_ref(),
            expires.as_ref(),
            last_used.as_ref(),
        ];
        self.check(&columns, Error::BROKEN_API_KEYS)?;
        let time = |name: Option<&String>| {
            let column = catalog::column(self.relation, name?)?;
            Some(TimeColumn {
                name: name?.clone(),
                has_zone: column.type_oid == pg_sys::TIMESTAMPTZOID,
            })
        };
        let customary = |name: &str| catalog::column(self.relation, name).is_some();
        let id_type = catalog::column(self.relation, &self.id_column)
            .and_then(|column| IdType::of(column.type_oid))
            .ok_or(Error::BROKEN_API_KEYS)?;
        let user_column = user.clone().unwrap_or_default();
        let user_type = catalog::column(self.relation, &user_column)
            .and_then(|column| IdType::of(column.type_oid))
            .ok_or(Error::BROKEN_API_KEYS)?;
        Ok(ApiKeys {
            table,
            id_type,
            user_type,
            user_column,
            fingerprint_column: fingerprint.clone().unwrap_or_default(),
            hash_column: hash.clone(),
            prefix_column: prefix.clone(),
            expires: time(expires.as_ref()),
            last_used: time(last_used.as_ref()),
            created: time(
                customary("created_at")
                    .then(|| "created_at".to_owned())
                    .as_ref(),
            ),
            updated: time(
                customary("updated_at")
                    .then(|| "updated_at".to_owned())
                    .as_ref(),
            ),
            has_name: customary("name"),
            id_column: self.id_column,
            version_column: self.version_column,
            active_column: self.active_column,
            plans: Default::default(),
        })
    }
}
