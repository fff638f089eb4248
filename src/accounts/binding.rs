//! What a backend knows of the attached tables: read once, kept until they change.

use std::cell::RefCell;
use std::rc::Rc;

use jose::UnixMicros;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::id::IdType;
use super::users::Users;
use crate::error::{Error, Result};
use crate::pg::plan::{self, Row, Sees};
use crate::pg::{catalog, clock, watch};

/// The attached tables.
pub struct Attached {
    /// The users table.
    pub users: Option<Users>,
    /// The API-key table.
    pub api_keys: Option<ApiKeys>,
}

/// The attached API-key table. The ids of its rows and of their owners are kept as text.
pub struct ApiKeys {
    /// The column of the owner's id.
    pub user_column: String,
    /// The column of the SHA-256 fingerprint.
    pub fingerprint_column: String,
    /// The column of the key's own version.
    pub version_column: String,
    /// The boolean column that says whether the key holds.
    pub active_column: Option<String>,
    /// Its expiry.
    pub expires_column: Option<String>,
}

thread_local! {
    static CACHE: RefCell<Option<Rc<Attached>>> = const { RefCell::new(None) };
}

/// The attached tables as committed now (and as changed by this transaction).
pub fn current() -> Result<Rc<Attached>> {
    watch::ATTACHED.with(|watch| {
        // A change that arrives while we read makes the watch stale again: then read once more.
        loop {
            if watch.is_fresh()
                && let Some(attached) = CACHE.with_borrow(Clone::clone)
            {
                return Ok(attached);
            }
            let configuration = catalog::auth_relation(c"attached_tables");
            watch.begin(vec![configuration]);
            let rows = plan::query(Sees::Latest, ATTACHED, &[], Binding::read);
            watch.begin(
                rows.iter().map(|row| row.relation).chain([configuration]).collect(),
            );
            match Attached::resolve(rows) {
                Ok(attached) => CACHE.set(Some(Rc::new(attached))),
                Err(error) => {
                    watch.end();
                    return Err(error);
                }
            }
        }
    })
}

impl Attached {
    /// The users table; 55000 when none is attached.
    pub fn users(&self) -> Result<&Users> {
        self.users.as_ref().ok_or(Error::NO_USERS)
    }

    fn resolve(rows: Vec<Binding>) -> Result<Self> {
        let mut attached = Self { users: None, api_keys: None };
        for row in rows {
            // A dropped table leaves its row behind; it is as if none were attached.
            let Some(relation) = catalog::relation(row.relation) else { continue };
            if row.kind == "users" {
                attached.users = Some(row.users(relation)?);
            } else {
                attached.api_keys = Some(row.api_keys()?);
            }
        }
        Ok(attached)
    }
}

const ATTACHED: &str = "
    SELECT kind, relation::oid, id_column, version_column, active_column, version_floor, bumped_floor,
           user_column, fingerprint_column, expires_column
    FROM auth.attached_tables";

/// A row of `auth.attached_tables`.
struct Binding {
    kind: String,
    relation: pg_sys::Oid,
    id_column: String,
    version_column: String,
    active_column: Option<String>,
    version_floor: i64,
    bumped_floor: Option<UnixMicros>,
    user_column: String,
    fingerprint_column: String,
    expires_column: Option<String>,
}

impl Binding {
    fn read(row: &Row) -> Self {
        Self {
            kind: row.get(1).unwrap_or_default(),
            relation: row.get(2).unwrap_or(pg_sys::InvalidOid),
            id_column: row.get(3).unwrap_or_default(),
            version_column: row.get(4).unwrap_or_default(),
            active_column: row.get(5),
            version_floor: row.get(6).unwrap_or(0),
            bumped_floor: row
                .get::<TimestampWithTimeZone>(7)
                .map(|time| clock::from_pg(time.into_inner())),
            user_column: row.get(8).unwrap_or_default(),
            fingerprint_column: row.get(9).unwrap_or_default(),
            expires_column: row.get(10),
        }
    }

    /// A column that was there when the table was attached must still be.
    fn column(&self, name: &str) -> Result<catalog::Column> {
        catalog::column(self.relation, name).ok_or(Error::NotSetUp(
            "a column of the attached table is gone or was renamed",
            "SELECT auth.detach_users(); and attach the table again, naming its columns.",
        ))
    }

    fn users(self, table: catalog::Relation) -> Result<Users> {
        let id = self.column(&self.id_column)?.type_oid;
        self.column(&self.version_column)?;
        if let Some(active) = &self.active_column {
            self.column(active)?;
        }
        let id_type = IdType::of(id).ok_or(Error::NO_USERS)?;
        Ok(Users::new(table, self.id_column, id_type, self.version_column, self.active_column, self.version_floor, self.bumped_floor))
    }

    fn api_keys(self) -> Result<ApiKeys> {
        for name in [&self.user_column, &self.fingerprint_column, &self.version_column] {
            self.column(name)?;
        }
        Ok(ApiKeys {
            user_column: self.user_column,
            fingerprint_column: self.fingerprint_column,
            version_column: self.version_column,
            active_column: self.active_column,
            expires_column: self.expires_column,
        })
    }
}
