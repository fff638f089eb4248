//! Look-ups in PostgreSQL's catalogs.

use core::ffi::CStr;
use std::cell::Cell;

use pgrx::fcinfo::direct_function_call;
use pgrx::prelude::*;

use super::READ_LOCK;
use super::local::Local;
use super::members::{catalog_rows, key};
use super::snapshot::{self, Command};

pub use super::members::{auth_relation, extension_owner, has_auth_relation, our_schema, place};
pub use super::unique_index::{UniqueIndex, unique_index};

/// What the catalogs say of a relation.
pub struct Relation {
    /// Its oid.
    pub oid: pg_sys::Oid,
    /// Its owner.
    pub owner: pg_sys::Oid,
    /// Its schema's name.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its name, qualified and quoted.
    pub qualified_name: String,
    /// `r`, `p`, … as in `pg_class.relkind`.
    pub kind: u8,
    /// Is it a partition of another table?
    pub is_partition: bool,
    /// `p`, `u` or `t` as in `pg_class.relpersistence`.
    pub persistence: u8,
}

impl Relation {
    /// As FROM and UPDATE name it: without inheritance children, which have triggers of their own, or none.
    pub fn as_source(&self) -> String {
        let only = if self.kind == b'r' { "ONLY " } else { "" };
        format!("{only}{}", self.qualified_name)
    }
}

/// Looks a relation up; None when it is gone.
pub fn relation(oid: pg_sys::Oid) -> Option<Relation> {
    // SAFETY: a syscache look-up by oid; the tuple is read before it is released; get_namespace_name
    // gives NULL or a palloc'd string.
    unsafe {
        #[allow(clippy::cast_possible_wrap, reason = "a small constant")]
        let cache = pg_sys::SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
        if tuple.is_null() {
            return None;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
        let name = CStr::from_ptr(form.relname.data.as_ptr())
            .to_string_lossy()
            .into_owned();
        let schema = pg_sys::get_namespace_name(form.relnamespace);
        let found = (!schema.is_null()).then(|| {
            let schema = CStr::from_ptr(schema).to_string_lossy().into_owned();
            Relation {
                oid,
                owner: form.relowner,
                qualified_name: pgrx::spi::quote_qualified_identifier(&schema, &name),
                schema,
                name,
                kind: form.relkind.cast_unsigned(),
                is_partition: form.relispartition,
                persistence: form.relpersistence.cast_unsigned(),
            }
        });
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}

/// Locks a relation until the transaction ends, whatever its name, and reads what was committed before. Whoever waits here
/// obeys `lock_timeout`.
pub fn lock(relation: pg_sys::Oid, mode: Lock) {
    // SAFETY: inside a transaction. Of a relation that is gone only the number is locked.
    unsafe { pg_sys::LockRelationOid(relation, mode.level()) };
}

/// Waits until nobody holds a lock that is against `mode`, and hears what was committed under it.
pub fn await_lock(relation: pg_sys::Oid, mode: Lock) {
    lock(relation, mode);
    // SAFETY: locked just now.
    unsafe { pg_sys::UnlockRelationOid(relation, mode.level()) };
}

/// The same as [`lock`] without waiting: false where somebody else is in the way.
pub fn try_lock(relation: pg_sys::Oid, mode: Lock) -> bool {
    // SAFETY: as above.
    unsafe { pg_sys::ConditionalLockRelationOid(relation, mode.level()) }
}

/// Has a table of ours had no row since it was last truncated or vacuumed to nothing? It is looked at once a command, and again
/// when another transaction has ended; `kept` says in which it was so.
pub fn is_empty(kept: &Local<Cell<Option<Command>>>, table: &CStr) -> bool {
    let now = snapshot::command();
    if kept.get() == Some(now) {
        return true;
    }
    let is_empty = has_no_page(auth_relation(table));
    kept.set(is_empty.then_some(now));
    is_empty
}

/// True of one that is gone, too.
fn has_no_page(relation: pg_sys::Oid) -> bool {
    // SAFETY: opening takes the lock; what is opened is closed, or is by the abort after an error.
    unsafe {
        let table = pg_sys::try_relation_open(relation, READ_LOCK);
        if table.is_null() {
            return true;
        }
        let pages =
            pg_sys::RelationGetNumberOfBlocksInFork(table, pg_sys::ForkNumber::MAIN_FORKNUM);
        pg_sys::relation_close(table, READ_LOCK);
        pages == 0
    }
}

/// How a relation is locked.
#[derive(Clone, Copy)]
pub enum Lock {
    /// As SELECT does.
    Read,
    /// As SELECT FOR KEY SHARE does.
    Rows,
    /// As UPDATE does.
    Write,
    /// As CREATE TRIGGER does.
    Triggers,
    /// Against everybody who does more than read.
    Changes,
    /// Against everybody.
    Everything,
}

impl Lock {
    #[allow(clippy::cast_possible_wrap, reason = "small constants")]
    pub(super) const fn level(self) -> pg_sys::LOCKMODE {
        (match self {
            Self::Read => pg_sys::AccessShareLock,
            Self::Rows => pg_sys::RowShareLock,
            Self::Write => pg_sys::RowExclusiveLock,
            Self::Triggers => pg_sys::ShareRowExclusiveLock,
            Self::Changes => pg_sys::ExclusiveLock,
            Self::Everything => pg_sys::AccessExclusiveLock,
        }) as pg_sys::LOCKMODE
    }
}

/// Is `relation` a partition, at any level, of `root`, which is none itself?
pub fn is_partition_of(relation: pg_sys::Oid, root: pg_sys::Oid) -> bool {
    // SAFETY: catalog look-ups by oid; pg_partition_root takes one oid and returns one, or NULL.
    unsafe {
        pg_sys::get_rel_relispartition(relation)
            && direct_function_call::<pg_sys::Oid>(
                pg_sys::pg_partition_root,
                &[relation.into_datum()],
            ) == Some(root)
    }
}

/// The partitions of a table and theirs; none of one that is not partitioned.
pub fn partitions(table: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // PostgreSQL's catalog/pg_inherits.h, which pgrx does not bind.
    const INHERITS: u32 = 2611;
    const INHERITS_BY_PARENT: u32 = 2187;
    const PARENT: i16 = 2;
    const CHILD: i32 = 1;
    const DETACH_PENDING: i32 = 4;
    let mut found = Vec::new();
    let mut parents = vec![table];
    while let Some(parent) = parents.pop() {
        // SAFETY: a catalog look-up by oid.
        if unsafe { pg_sys::get_rel_relkind(parent) }.cast_unsigned() != b'p' {
            continue;
        }
        let (inherits, index) = (INHERITS.into(), INHERITS_BY_PARENT.into());
        catalog_rows(inherits, index, &[key(PARENT, parent)], |row| {
            if row.get::<bool>(DETACH_PENDING) != Some(true) {
                parents.push(row.required(CHILD));
                found.push(row.required(CHILD));
            }
        });
    }
    found
}

/// What the catalogs say of a column.
#[derive(Clone, Copy)]
pub struct Column {
    /// Its number in the table, from 1.
    pub number: i16,
    /// Its type, a domain resolved to what it is over.
    pub type_oid: pg_sys::Oid,
    /// Is it `GENERATED ALWAYS AS (…)`?
    pub generated: bool,
    /// Is it `GENERATED ALWAYS AS (…) VIRTUAL`? Then no row holds it.
    pub is_virtual: bool,
    /// Its collation; InvalidOid where it has none.
    pub collation: pg_sys::Oid,
    /// Does its collation tell apart what differs in a byte? (True where it has none.)
    pub deterministic: bool,
}

/// Looks a column up by name; None when there is none.
pub fn column(relation: pg_sys::Oid, name: &str) -> Option<Column> {
    let name = std::ffi::CString::new(name).ok()?;
    // SAFETY: SearchSysCacheAttName skips dropped columns; the tuple is read before it is released.
    unsafe {
        let tuple = pg_sys::SearchSysCacheAttName(relation, name.as_ptr());
        if tuple.is_null() {
            return None;
        }
        let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_attribute>();
        let found = (form.attnum > 0).then(|| Column {
            number: form.attnum,
            type_oid: pg_sys::getBaseType(form.atttypid),
            generated: form.attgenerated != 0,
            is_virtual: form.attgenerated.cast_unsigned() == b'v',
            collation: form.attcollation,
            deterministic: form.attcollation == pg_sys::InvalidOid
                || pg_sys::get_collation_isdeterministic(form.attcollation),
        });
        pg_sys::ReleaseSysCache(tuple);
        found
    }
}

/// The relation of a qualified, quoted name; None when there is none now.
pub fn relation_named(name: &str) -> Option<pg_sys::Oid> {
    // SAFETY: to_regclass takes a text and answers NULL for what is missing.
    unsafe { direct_function_call::<pg_sys::Oid>(pg_sys::to_regclass, &[name.into_datum()]) }
}

/// When a trigger fires.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fires {
    /// At least in sessions that are no replica.
    Commonly,
    /// In every session: ENABLE ALWAYS.
    Always,
}

/// How many triggers a relation has.
#[derive(Default)]
pub struct Triggers {
    /// All of them.
    pub all: i32,
    /// Those FOR EACH ROW, which partitions have, too.
    pub of_rows: i32,
}

/// The triggers of an open relation. They stay until somebody reads a catalog or takes a lock: then PostgreSQL may free them.
///
/// # Safety
/// The relation is open, and nothing but memory is read while the answer is used.
pub(super) unsafe fn triggers_of<'a>(
    relation: pg_sys::Relation,
) -> impl Iterator<Item = &'a pg_sys::Trigger> {
    // SAFETY: an open relation's triggers are NULL, or as many as it says.
    unsafe {
        let described = (*relation).trigdesc.as_ref();
        let count = described.map_or(0, |described| described.numtriggers);
        (0..usize::try_from(count).unwrap_or(0))
            .filter_map(move |n| described.map(|described| &*described.triggers.add(n)))
    }
}

/// How many triggers of `relation` have names that begin so and fire so.
pub fn triggers(relation: pg_sys::Oid, prefix: &str, fires: Fires) -> Triggers {
    let mut found = Triggers::default();
    // SAFETY: the table is open and locked while its triggers are read, whose names are NUL-terminated.
    unsafe {
        let table = pg_sys::try_relation_open(relation, READ_LOCK);
        if table.is_null() {
            return found;
        }
        for trigger in triggers_of(table) {
            let name = CStr::from_ptr(trigger.tgname).to_bytes();
            let enabled = trigger.tgenabled.cast_unsigned();
            // A: always, O: unless the session is a replica.
            let fires = enabled == b'A' || (enabled == b'O' && fires == Fires::Commonly);
            if name.starts_with(prefix.as_bytes()) && fires {
                let is_of_rows =
                    u32::from(trigger.tgtype.cast_unsigned()) & pg_sys::TRIGGER_TYPE_ROW;
                found.all += 1;
                found.of_rows += i32::from(is_of_rows != 0);
            }
        }
        pg_sys::relation_close(table, READ_LOCK);
    }
    found
}
