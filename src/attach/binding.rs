//! What a backend knows of the attached tables: read once, kept until they change.

use std::cell::RefCell;
use std::rc::Rc;

use jose::UnixMicros;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::id::IdType;
use super::table::TRIGGER_PREFIX;
use crate::error::{Error, Result};
use crate::pg::acting::ActingAs;
use crate::pg::catalog::Fires;
use crate::pg::local::{Local, process_local};
use crate::pg::row::Row;
use crate::pg::watch::{Watch, Watched};
use crate::pg::{catalog, clock, scan};

/// The attached tables, as `auth.attached_tables` names them.
pub struct Bindings {
    users: Option<Binding>,
    api_keys: Option<Binding>,
    identities: Option<Binding>,
}

process_local! {
    static KEPT: Watched<Bindings> = Watched::new(true);
}

/// The attached tables as committed now (and as changed by this transaction). Another value whenever one of them, or
/// what the catalogs say of it, may have changed.
pub fn bindings() -> Rc<Bindings> {
    let tables = || {
        vec![
            catalog::auth_relation(c"attached_tables"),
            catalog::auth_relation(c"user_floor"),
            catalog::auth_relation(c"user_history"),
            catalog::auth_relation(c"unlinked_accounts"),
        ]
    };
    KEPT.with(|kept| kept.current(tables, Bindings::read))
}

/// Is what [`bindings`] gave last still so, by the messages that were read since?
pub fn still_holds() -> bool {
    KEPT.with(Watched::was_fresh)
}

impl Bindings {
    fn read(watch: &Watch) -> Self {
        let floor = scan::rows(catalog::auth_relation(c"user_floor"), Floor::read).pop();
        let rows = scan::rows(catalog::auth_relation(c"attached_tables"), |row| {
            Binding::read(row, floor.as_ref())
        });
        for row in &rows {
            watch.also([row.relation]);
            watch.also(catalog::partitions(row.relation));
        }
        let mut bindings = Self {
            users: None,
            api_keys: None,
            identities: None,
        };
        for row in rows {
            match row.kind.as_str() {
                "users" => bindings.users = Some(row),
                "api_keys" => bindings.api_keys = Some(row),
                _ => bindings.identities = Some(row),
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

    /// The identities table's row.
    pub fn identities(&self) -> Option<&Binding> {
        self.identities.as_ref()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Binding> {
        [&self.users, &self.api_keys, &self.identities]
            .into_iter()
            .flatten()
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
    /// It is attached, but is not as it was then: nothing in it can be trusted.
    Broken(Error),
    /// As it should be.
    Attached(T),
}

/// Where a backend keeps an [`Attached`].
pub type Kept<T> = Local<RefCell<Option<Rc<Attached<T>>>>>;

/// A table as a room resolved it.
pub trait AttachedTable {
    /// The table.
    fn relation(&self) -> pg_sys::Oid;
}

/// What is attached by now in place of `table`; None where `table` still is. Whoever reads or changes the table asks this after
/// locking it: the lock may have waited for a transaction that attached another table.
pub fn successor<T: AttachedTable>(
    table: &T,
    current: fn() -> Rc<Attached<T>>,
) -> Option<Rc<Attached<T>>> {
    if still_holds() {
        return None;
    }
    let now = current();
    let is_same = matches!(now.if_any(), Ok(Some(other)) if other.relation() == table.relation());
    (!is_same).then_some(now)
}

impl<T> Attached<T> {
    /// The table that `binding` picks, made by `resolve` once, until the bindings change.
    pub fn current(
        kept: &'static Kept<T>,
        binding: fn(&Bindings) -> Option<&Binding>,
        resolve: fn(&Binding, catalog::Relation) -> Result<T>,
    ) -> Rc<Self> {
        loop {
            let bindings = bindings();
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

    /// The table, where it is to be trusted.
    pub fn sound(&self) -> Option<&T> {
        self.if_any().ok().flatten()
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
    /// The column of the id; empty for an identities table.
    pub id_column: String,
    /// The column of the version; empty for an identities table.
    pub version_column: String,
    /// The column that says whether the row holds.
    pub active_column: Option<String>,
    /// Of users: no new row starts lower.
    pub version_floor: i64,
    /// Of users: any may have been bumped at that time.
    pub bumped_floor: Option<UnixMicros>,
    /// Of API keys: owner, fingerprint, hash, prefix, expiry, last use. Of identities: the first, the user.
    pub key_columns: [Option<String>; 6],
    /// Of identities: provider, subject.
    pub account_columns: [Option<String>; 2],
    trigger_count: i32,
    /// What it was called when it was attached; None where that is not known.
    pub table_name: Option<String>,
}

/// The row of `auth.user_floor`.
struct Floor {
    bumped_at: UnixMicros,
    version: i64,
}

impl Floor {
    fn read(row: &Row<'_>) -> Self {
        let bumped_at = row.required::<TimestampWithTimeZone>(c"bumped_at");
        Self {
            bumped_at: clock::from_pg(bumped_at.into_inner()),
            version: row.required(c"next_version"),
        }
    }
}

impl Binding {
    fn read(row: &Row<'_>, floor: Option<&Floor>) -> Self {
        Self {
            kind: row.required(c"kind"),
            relation: row.required(c"relation"),
            id_column: row.get(c"id_column").unwrap_or_default(),
            version_column: row.get(c"version_column").unwrap_or_default(),
            active_column: row.get(c"active_column"),
            version_floor: floor.map_or(0, |floor| floor.version),
            bumped_floor: floor.map(|floor| floor.bumped_at),
            key_columns: [
                c"user_column",
                c"fingerprint_column",
                c"hash_column",
                c"prefix_column",
                c"expires_column",
                c"last_used_column",
            ]
            .map(|column| row.get(column)),
            account_columns: [c"provider_column", c"subject_column"].map(|column| row.get(column)),
            trigger_count: row.required(c"trigger_count"),
            table_name: row.get(c"table_name"),
        }
    }

    /// What was there when the table was attached must still be.
    pub fn check(&self, columns: &[Option<&String>], broken: Error) -> Result<()> {
        let has = |name: &&String| {
            catalog::column(self.relation, name).is_some_and(|column| !column.is_virtual)
        };
        if self.has_triggers(Fires::Commonly) && columns.iter().flatten().all(has) {
            Ok(())
        } else {
            Err(broken)
        }
    }

    /// Do our triggers fire so, on the table and on each of its partitions?
    fn has_triggers(&self, fires: Fires) -> bool {
        let of = |table| catalog::triggers(table, TRIGGER_PREFIX, fires);
        let own = of(self.relation);
        let has_as_many = |partition| own.of_rows <= of(partition).of_rows;
        self.trigger_count <= own.all
            && (catalog::partitions(self.relation).into_iter()).all(has_as_many)
    }

    /// Is it the table that the administrator attached, with triggers that fire in every session? `ENABLE TRIGGER ALL` makes
    /// them fire in ordinary ones only, and another table may have been given its name: the binding went with this one.
    pub fn is_as_attached(&self) -> bool {
        // Whoever asks may have no right on the table's schema.
        let _acting = ActingAs::reader(catalog::extension_owner());
        let has_its_name = |name: &String| {
            catalog::relation_named(name).is_none_or(|named| named == self.relation)
        };
        self.has_triggers(Fires::Always) && self.table_name.as_ref().is_none_or(has_its_name)
    }

    /// The type of a column of ids.
    pub fn id_type(&self, column: &str) -> Option<IdType> {
        catalog::column(self.relation, column).and_then(|column| IdType::of(column.type_oid))
    }
}
