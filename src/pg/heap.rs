//! Writing rows of our own tables without a plan. That takes a fraction of the time; and PostgreSQL can print a plan with the values in
//! it, and a secret must not be printed.

use core::ffi::CStr;

use pgrx::memcxt::PgMemoryContexts;
use pgrx::prelude::*;

use super::catalog::{self, Lock};
use super::probe::{Looked, Probe, ProbedRow};
use super::{boundary, members};
use crate::error::Error;

/// A column as the caller knows it: its name and its type.
pub type Known = (&'static CStr, pg_sys::Oid);

/// A row to be written: a value for each known column. None of our columns that are written so can be NULL: None is an internal error.
pub type Values<const N: usize> = [Option<pg_sys::Datum>; N];

/// Where a row stands, as long as its table is locked.
#[derive(Clone, Copy)]
pub struct Place(pub(super) pg_sys::ItemPointerData);

/// Inserts rows, and what finds them in the indexes. The transaction's next command sees them.
///
/// False, and nothing done, where the table is not just what the extension made it: with another column, a constraint, a rule, a trigger of
/// somebody else's, an index with an expression, a predicate or columns beside its keys, or one that is deferred. Then it takes a plan. Triggers of our own do not fire.
pub fn insert<const N: usize>(
    table: pg_sys::Oid,
    columns: &[Known; N],
    rows: impl IntoIterator<Item = Values<N>>,
) -> bool {
    let Some(table) = Plain::open(table, columns) else {
        return false;
    };
    for row in rows {
        // SAFETY: the row is of the table's columns, and the indexes are its own.
        unsafe {
            let tuple = table.form(&row);
            pg_sys::CatalogTupleInsertWithInfo(table.relation, tuple, table.indexes);
            pg_sys::heap_freetuple(tuple);
        }
    }
    table.close();
    true
}

/// Changes the row that `probe` finds by `keys`, or inserts one: what `values` says, given the row that is there. False, and nothing done,
/// where that takes a plan, as with [`insert`]; and where somebody else has just changed the row.
///
/// The caller holds a lock that keeps others from inserting a row of those keys, but for whoever loads the table as a whole. Such a row of a
/// transaction in progress takes a plan, too, which waits for it; only one of the same instant makes this fail.
pub fn upsert<const N: usize>(
    probe: &Probe,
    keys: &[pg_sys::Datum],
    still_holds: impl Fn() -> bool,
    columns: &[Known; N],
    values: impl Fn(Option<&ProbedRow<'_>>) -> Values<N>,
) -> bool {
    // From here on nothing moves the rows of the table.
    catalog::lock(probe.table(), Lock::Write);
    let write = || match probe.look(keys, still_holds, |row| (row.place(), values(Some(row)))) {
        Looked::Row((place, row)) => update(probe.table(), place, columns, &row),
        Looked::Nothing if probe.sees_unfinished(keys) => false,
        Looked::Nothing => insert(probe.table(), columns, [values(None)]),
        Looked::Changed => false,
    };
    // A statement may write a million of them.
    // SAFETY: nothing that is palloc'd meanwhile is used afterwards. The context is deleted when the value is dropped.
    unsafe { PgMemoryContexts::new("auth_ext row").switch_to(|_| write()) }
}

fn update<const N: usize>(
    table: pg_sys::Oid,
    Place(place): Place,
    columns: &[Known; N],
    row: &Values<N>,
) -> bool {
    let Some(table) = Plain::open(table, columns) else {
        return false;
    };
    let mut place = place;
    let mut tuple = pg_sys::HeapTupleData {
        t_self: place,
        ..Default::default()
    };
    let mut buffer = 0;
    let mut failure = pg_sys::TM_FailureData::default();
    // SAFETY: the place is one of a row that the transaction's snapshot sees, which keeps it from being reused. What becomes of the lock on
    // that row is in the answer; only with TM_Ok it is ours until the transaction ends, so that the update cannot meet another's. The
    // buffer, which holds the old row, is released when it is not needed any more. The new row is of the table's columns.
    let locked = unsafe {
        let outcome = pg_sys::heap_lock_tuple(
            table.relation,
            &mut tuple,
            pg_sys::GetCurrentCommandId(true),
            pg_sys::LockTupleMode::LockTupleNoKeyExclusive,
            pg_sys::LockWaitPolicy::LockWaitBlock,
            false,
            &mut buffer,
            &mut failure,
        );
        let locked = outcome == pg_sys::TM_Result::TM_Ok;
        if locked {
            let tuple = table.form(row);
            pg_sys::CatalogTupleUpdateWithInfo(table.relation, &mut place, tuple, table.indexes);
            pg_sys::heap_freetuple(tuple);
        }
        pg_sys::ReleaseBuffer(buffer);
        locked
    };
    table.close();
    locked
}

/// A table that can be written so, open and locked.
struct Plain {
    relation: pg_sys::Relation,
    indexes: pg_sys::CatalogIndexState,
    /// For each known column its place in the table.
    order: Vec<usize>,
}

impl Plain {
    fn open(table: pg_sys::Oid, columns: &[Known]) -> Option<Self> {
        // SAFETY: the read-only checks are those of the executor (ExecCheckXactReadOnly). The table is open and locked while it is looked
        // at and written; the lock stays until the transaction ends. What is opened is closed by `close`, or by the abort after an error.
        unsafe {
            pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
            pg_sys::PreventCommandIfParallelMode(c"INSERT".as_ptr());
            let relation = pg_sys::table_open(table, Lock::Write.level());
            let order = is_plain(relation)
                .then(|| order(relation, columns))
                .flatten();
            let Some(order) = order else {
                pg_sys::table_close(relation, pg_sys::NoLock.cast_signed());
                return None;
            };
            let plain = Self {
                relation,
                indexes: pg_sys::CatalogOpenIndexes(relation),
                order,
            };
            if !has_plain_indexes(plain.indexes) {
                plain.close();
                return None;
            }
            Some(plain)
        }
    }

    /// # Safety
    /// The values have the types of the known columns.
    unsafe fn form(&self, row: &[Option<pg_sys::Datum>]) -> pg_sys::HeapTuple {
        let mut values = vec![pg_sys::Datum::from(0); row.len()];
        let mut nulls = vec![false; row.len()];
        for (place, value) in self.order.iter().zip(row) {
            values[*place] = value.unwrap_or_else(|| {
                boundary::raise(Error::Internal("NULL in a row of ours".to_owned()))
            });
        }
        // SAFETY: as many values as the table has columns, in their order.
        unsafe {
            pg_sys::heap_form_tuple(
                (*self.relation).rd_att,
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            )
        }
    }

    fn close(self) {
        // SAFETY: opened by `open`, closed once. The transaction's next command sees what was written.
        unsafe {
            pg_sys::CatalogCloseIndexes(self.indexes);
            pg_sys::table_close(self.relation, pg_sys::NoLock.cast_signed());
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// An ordinary table without anything that the executor would have to do for a row.
///
/// # Safety
/// The relation is open.
unsafe fn is_plain(relation: pg_sys::Relation) -> bool {
    // SAFETY: an open relation's descriptions are complete; what it does not have is NULL.
    unsafe {
        let class = &*(*relation).rd_rel;
        let checks = (*(*relation).rd_att).constr.as_ref();
        class.relkind.cast_unsigned() == pg_sys::RELKIND_RELATION
            && class.relam == pg_sys::HEAP_TABLE_AM_OID
            && (*relation).rd_rules.is_null()
            && checks.is_none_or(|checks| checks.num_check == 0 && !checks.has_generated_stored)
            && !class.relispartition
            && {
                // A list of its own: `has_function` may read a catalog.
                let called: Vec<_> = catalog::triggers_of(relation)
                    .filter(|trigger| fires(trigger))
                    .map(|trigger| trigger.tgfoid)
                    .collect();
                called.into_iter().all(members::has_function)
            }
    }
}

/// As PostgreSQL's `TriggerEnabled` decides, but for WHEN.
fn fires(trigger: &pg_sys::Trigger) -> bool {
    // SAFETY: reads a variable of the backend.
    let role = unsafe { pg_sys::SessionReplicationRole };
    let is_replica = u32::try_from(role) == Ok(pg_sys::SESSION_REPLICATION_ROLE_REPLICA);
    match trigger.tgenabled.cast_unsigned() {
        b'D' => false,
        b'O' => !is_replica,
        b'R' => is_replica,
        _ => true,
    }
}

/// For each known column its place in the table, from 0; None unless the table has just these.
///
/// # Safety
/// The relation is open.
unsafe fn order(relation: pg_sys::Relation, columns: &[Known]) -> Option<Vec<usize>> {
    // SAFETY: an open relation's description is complete; the names are NUL-terminated.
    unsafe {
        let descriptor = (*relation).rd_att;
        if usize::try_from((*descriptor).natts) != Ok(columns.len()) {
            return None;
        }
        columns
            .iter()
            .map(|(name, type_oid)| {
                let number = pg_sys::SPI_fnumber(descriptor, name.as_ptr());
                let place = usize::try_from(number).ok()?.checked_sub(1)?;
                (pg_sys::SPI_gettypeid(descriptor, number) == *type_oid).then_some(place)
            })
            .collect()
    }
}

/// Can CatalogTupleInsert fill all of them?
///
/// # Safety
/// They are open.
unsafe fn has_plain_indexes(indexes: pg_sys::CatalogIndexState) -> bool {
    // SAFETY: as many of them, and descriptions, as it says.
    unsafe {
        let count = usize::try_from((*indexes).ri_NumIndices).unwrap_or(0);
        (0..count)
            .map(|n| {
                let relation = &**(*indexes).ri_IndexRelationDescs.add(n);
                (
                    &**(*indexes).ri_IndexRelationInfo.add(n),
                    &*relation.rd_index,
                )
            })
            .all(|(index, form)| {
                form.indimmediate
                    && index.ii_NumIndexAttrs == index.ii_NumIndexKeyAttrs
                    && index.ii_Expressions.is_null()
                    && index.ii_Predicate.is_null()
                    && index.ii_ExclusionOps.is_null()
            })
    }
}
