//! What a backend knows of the attached tables: read once, kept until they change.

use std::cell::RefCell;
use std::rc::Rc;
use std::thread::LocalKey;

use jose::UnixMicros;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::id::IdType;
use super::table::TRIGGER_PREFIX;
use crate::error::{Error, Result};
use crate::pg::plan::Row;
use crate::pg::{catalog, clock, scan, watch};

/// The attached tables, as `auth.attached_tables` names them.
pub struct Bindings {
    users: Option<Binding>,
    api_keys: Option<Binding>,
}

thread_local! {
    static CACHE: RefCell<Option<Rc<Bindings>>> = const { RefCell::new(None) };
}

/// The attached tables as committed now (and as changed by this transaction). Another value whenever one of them, or
/// what the catalogs say of it, may have changed.
pub fn current() -> Rc<Bindings> {
    watch::ATTACHED.with(|watch| {
        // A change that arrives while we read makes the watch stale again: then read once more.
        loop {
            if watch.is_fresh()
                && let Some(bindings) = CACHE.with_borrow(Clone::clone)
            {
                return bindings;
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
            CACHE.set(Some(Rc::new(Bindings::of(rows))));
        }
    })
}

impl Bindings {
    fn of(rows: Vec<Binding>) -> Self {
        let mut bindings = Self {
            users: None,
            api_keys: None,
        };
        for row in rows {
            if row.kind == "users" {
                bindings.users = Some(row);
            } else {
                bindings.api_keys = Some(row);
            }
        }
        bindings
    }

    /// The users table's row.
    pub fn users(&self) -> Option<&Binding> {
        self.users.as_ref()
    }

    /// The API-key table's row.
    pub fn api_keys(&self) -> Option<&Binding> {
        self.api_keys.as_ref()
    }
}

/// An attached table, as a room resolved it from its binding.
pub struct Attached<T> {
    bindings: Rc<Bindings>,
    state: State<T>,
}

/// How it stands with it.
enum State<T> {
    /// None is attached, or it was dropped.
    Missing,
    /// It is attached, and not as it was when it was: nothing can be trusted in it.
    Broken(Error),
    /// As it should be.
    Attached(T),
}

/// Where a backend keeps an [`Attached`].
pub type Kept<T> = LocalKey<RefCell<Option<Rc<Attached<T>>>>>;

impl<T> Attached<T> {
    /// The table that `binding` picks, made by `resolve` once, until the bindings change.
    pub fn current(
        kept: &'static Kept<T>,
        binding: fn(&Bindings) -> Option<&Binding>,
        resolve: fn(&Binding, catalog::Relation) -> Result<T>,
    ) -> Rc<Self> {
        loop {
            let bindings = current();
            if let Some(attached) = kept.with_borrow(Clone::clone)
                && Rc::ptr_eq(&attached.bindings, &bindings)
            {
                return attached;
            }
            let found = binding(&bindings)
                .and_then(|binding| Some((binding, catalog::relation(binding.relation)?)));
            let state = match found {
                None => State::Missing,
                Some((binding, table)) => match resolve(binding, table) {
                    Ok(table) => State::Attached(table),
                    Err(error) => State::Broken(error),
                },
            };
            // What changed while we read the catalogs makes the bindings others.
            kept.set(Some(Rc::new(Self { bindings, state })));
        }
    }

    /// The table; None when none is attached, 55000 when it is not as it was attached.
    pub fn if_any(&self) -> Result<Option<&T>> {
        match &self.state {
            State::Missing => Ok(None),
            State::Broken(error) => Err(error.clone()),
            State::Attached(table) => Ok(Some(table)),
        }
    }
}

/// A row of `auth.attached_tables`, and what the catalogs say now.
pub struct Binding {
    kind: String,
    /// The table.
    pub relation: pg_sys::Oid,
    /// The column of the id.
    pub id_column: String,
    /// The column of the version.
    pub version_column: String,
    /// The column that says whether the row holds.
    pub active_column: Option<String>,
    /// Of users: no new row starts lower.
    pub version_floor: i64,
    /// Of users: any may have been bumped at that time.
    pub bumped_floor: Option<UnixMicros>,
    /// Of API keys: owner, fingerprint, hash, prefix, expiry, last use.
    pub key_columns: [Option<String>; 6],
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
    pub fn check(&self, columns: &[Option<&String>], broken: Error) -> Result<()> {
        let has = |name: &&String| catalog::column(self.relation, name).is_some();
        let triggers = catalog::triggers(self.relation, TRIGGER_PREFIX);
        if self.trigger_count <= triggers && columns.iter().flatten().all(has) {
            Ok(())
        } else {
            Err(broken)
        }
    }

    /// The type of a column of ids.
    pub fn id_type(&self, column: &str) -> Option<IdType> {
        catalog::column(self.relation, column).and_then(|column| IdType::of(column.type_oid))
    }
}
