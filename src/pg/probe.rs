//! One row by a unique index, read directly: no plan, no executor, no change of role. It works for plain tables with a unique btree
//! over just the columns that are asked by. The rows of every other table are read with a kept plan.

use pgrx::prelude::*;

use super::catalog::UniqueIndex;
use super::heap::Place;
use super::row::{Value, missing, require_fit};
use super::{READ_LOCK, catalog, scan, snapshot};

/// A table, and the index by which its rows are found.
pub struct Probe {
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    /// For each of the index's columns, the function that says what is equal.
    equal: Vec<pg_sys::Oid>,
    /// The columns that are read.
    columns: Vec<Read>,
}

/// A column that is read: its number, and its type, a domain resolved to what it is over.
#[derive(Clone, Copy)]
struct Read {
    number: i16,
    type_oid: pg_sys::Oid,
}

/// What became of a look-up.
pub enum Looked<T> {
    /// The row was read.
    Row(T),
    /// There is no such row.
    Nothing,
    /// The table or index is not what it was: the caller's other way knows.
    Changed,
}

/// A row, while the closure runs that reads it.
pub struct ProbedRow<'a> {
    values: &'a [pg_sys::Datum],
    nulls: &'a [bool],
    columns: &'a [Read],
    place: Place,
}

impl Probe {
    /// For the rows of `table` by `keys`, which are those of its `index`, reading `columns`; None where the index is no plain
    /// one, or `table` has partitions.
    pub fn new(
        table: pg_sys::Oid,
        index: &UniqueIndex,
        keys: &[&str],
        columns: &[&str],
    ) -> Option<Self> {
        if !index.is_plain || catalog::relation(table)?.kind != b'r' {
            return None;
        }
        let equal = keys
            .iter()
            .map(|key| equality(catalog::column(table, key)?.type_oid))
            .collect::<Option<_>>()?;
        let columns = columns
            .iter()
            .map(|column| {
                let column = catalog::column(table, column)?;
                Some(Read {
                    number: column.number,
                    type_oid: column.type_oid,
                })
            })
            .collect::<Option<_>>()?;
        Some(Self {
            table,
            index: index.oid,
            equal,
            columns,
        })
    }

    /// The table.
    pub fn table(&self) -> pg_sys::Oid {
        self.table
    }

    /// Looks the row up as committed at this moment, with the transaction's own changes. `still_holds` is asked when the
    /// table is locked: what the probe was made from must still be so.
    pub fn look<T>(
        &self,
        keys: &[pg_sys::Datum],
        still_holds: impl Fn() -> bool,
        read: impl FnOnce(&ProbedRow<'_>) -> T,
    ) -> Looked<T> {
        // SAFETY: opening takes the lock, and reads the messages that came before it; a table or index that is gone is NULL,
        // and one that changed is found out by `still_holds`, so that the column numbers are right. Everything opened here
        // is closed here, or by the abort after an error. The keys' types are those of the equality functions. The slot's
        // arrays hold as many values as were asked for, valid until the slot is dropped.
        unsafe {
            let table = pg_sys::try_relation_open(self.table, READ_LOCK);
            if table.is_null() {
                return Looked::Changed;
            }
            let index = pg_sys::try_relation_open(self.index, READ_LOCK);
            if index.is_null() || !still_holds() {
                if !index.is_null() {
                    pg_sys::relation_close(index, READ_LOCK);
                }
                pg_sys::relation_close(table, READ_LOCK);
                return Looked::Changed;
            }
            snapshot::see_own_changes();
            // It holds until it is taken anew, which nothing does while this scan lasts, and its horizon is held by the statement's
            // own, older snapshot.
            let latest = snapshot::latest();
            let found = self.first(table, index, latest, keys, |slot| {
                let last = self
                    .columns
                    .iter()
                    .map(|column| column.number)
                    .max()
                    .unwrap_or(0);
                if last > 0 {
                    pg_sys::slot_getsomeattrs_int(slot, i32::from(last));
                }
                let count = usize::try_from(last).unwrap_or(0);
                read(&ProbedRow {
                    values: core::slice::from_raw_parts((*slot).tts_values, count),
                    nulls: core::slice::from_raw_parts((*slot).tts_isnull, count),
                    columns: &self.columns,
                    place: Place((*slot).tts_tid),
                })
            });
            pg_sys::relation_close(index, READ_LOCK);
            pg_sys::relation_close(table, READ_LOCK);
            found.map_or(Looked::Nothing, Looked::Row)
        }
    }

    /// Is there a row of these keys that a transaction in progress has inserted? The table is locked by the caller.
    pub fn sees_unfinished(&self, keys: &[pg_sys::Datum]) -> bool {
        let mut unfinished = pg_sys::SnapshotData {
            snapshot_type: pg_sys::SnapshotType::SNAPSHOT_DIRTY,
            ..Default::default()
        };
        // SAFETY: as in `look`; the snapshot outlives the scan, as PostgreSQL's own checks of exclusion constraints have it.
        unsafe {
            let table = pg_sys::table_open(self.table, READ_LOCK);
            let index = pg_sys::index_open(self.index, READ_LOCK);
            let found = self.first(table, index, &mut unfinished, keys, |_| ());
            pg_sys::index_close(index, READ_LOCK);
            pg_sys::table_close(table, READ_LOCK);
            found.is_some()
        }
    }

    /// Reads the row of these keys, in a slot.
    ///
    /// # Safety
    /// Both are open and locked, and the index is one of the table's. The snapshot holds until the row is read. The keys' types are
    /// those of the equality functions.
    unsafe fn first<T>(
        &self,
        table: pg_sys::Relation,
        index: pg_sys::Relation,
        snapshot: pg_sys::Snapshot,
        keys: &[pg_sys::Datum],
        read: impl FnOnce(*mut pg_sys::TupleTableSlot) -> T,
    ) -> Option<T> {
        let count = i32::try_from(self.equal.len()).unwrap_or(0);
        // SAFETY: as the caller says. Scan and slot end here, or by the abort after an error.
        unsafe {
            let slot = pg_sys::table_slot_create(table, core::ptr::null_mut());
            #[cfg(not(feature = "pg18"))]
            let scan = pg_sys::index_beginscan(table, index, snapshot, count, 0);
            #[cfg(feature = "pg18")]
            let scan =
                pg_sys::index_beginscan(table, index, snapshot, core::ptr::null_mut(), count, 0);
            let mut scan_keys = self.scan_keys(index, keys);
            pg_sys::index_rescan(
                scan,
                scan_keys.as_mut_ptr(),
                count,
                core::ptr::null_mut(),
                0,
            );
            let forward = pg_sys::ScanDirection::ForwardScanDirection;
            let found = pg_sys::index_getnext_slot(scan, forward, slot).then(|| read(slot));
            pg_sys::index_endscan(scan);
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            found
        }
    }

    unsafe fn scan_keys(
        &self,
        index: pg_sys::Relation,
        keys: &[pg_sys::Datum],
    ) -> Vec<pg_sys::ScanKeyData> {
        assert_eq!(keys.len(), self.equal.len(), "keys of an index look-up");
        (self.equal.iter().zip(keys).zip(0..))
            .map(|((equal, key), n)| {
                let column = i16::try_from(n + 1).unwrap_or(0);
                // SAFETY: the index is open and has a collation for each of its key columns, of which there are as many; the
                // caller's keys are of the functions' types, and live while it looks.
                unsafe { scan::equals(column, *(*index).rd_indcollation.add(n), *equal, *key) }
            })
            .collect()
    }
}

impl ProbedRow<'_> {
    /// The `n`th of the columns that are read; None for NULL. One of another type is an internal error.
    pub fn get<T: Value>(&self, n: usize) -> Option<T> {
        let column = self.columns.get(n)?;
        require_fit::<T>(column.type_oid, || format!("column {n} of a look-up"));
        let at = usize::try_from(column.number).ok()?.checked_sub(1)?;
        // SAFETY: values and nulls of a row that is being read, of a type that fits. T copies what it needs.
        unsafe { T::from_datum(*self.values.get(at)?, *self.nulls.get(at)?) }
    }

    /// Where the row stands.
    pub fn place(&self) -> Place {
        self.place
    }

    /// One that cannot be NULL: if it is, that is an internal error.
    pub fn required<T: Value>(&self, n: usize) -> T {
        self.get(n)
            .unwrap_or_else(|| missing(&format!("column {n} of a look-up")))
    }
}

/// The function behind `=` of the types that ids can have.
fn equality(type_oid: pg_sys::Oid) -> Option<pg_sys::Oid> {
    let function = match type_oid {
        pg_sys::TEXTOID | pg_sys::VARCHAROID => pg_sys::F_TEXTEQ,
        pg_sys::UUIDOID => pg_sys::F_UUID_EQ,
        pg_sys::INT8OID => pg_sys::F_INT8EQ,
        pg_sys::INT4OID => pg_sys::F_INT4EQ,
        _ => return None,
    };
    Some(pg_sys::Oid::from(function))
}
