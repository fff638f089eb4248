//! Our own small tables, read row by row: without a plan, which would take longer to make than a fresh connection to open.

use pgrx::prelude::*;

use super::row::Row;
use super::{READ_LOCK, boundary, catalog, snapshot};
use crate::error::Error;

/// A table of so many pages is read whole, however few rows are asked for: a backend that has not used the index yet would take
/// longer to open it.
const FEW_PAGES: pg_sys::BlockNumber = 4;

/// Every row of `table` as committed at this moment, with the transaction's own changes. Its columns are read by
/// name: an upgrade adds new ones at the end of a table that was there, and a fresh install has them elsewhere.
pub fn rows<T>(table: pg_sys::Oid, read: impl FnMut(&Row<'_>) -> T) -> Vec<T> {
    scan(table, None, read)
}

/// The same of the rows whose `columns`, text, have those values: by the unique index over just `key`, of which they are the
/// first, where the table is large and has it.
pub fn rows_by<T>(
    table: pg_sys::Oid,
    key: &[&str],
    columns: &[(&str, &str)],
    read: impl FnMut(&Row<'_>) -> T,
) -> Vec<T> {
    scan(table, Some((key, columns)), read)
}

type Only<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

fn scan<T>(
    table: pg_sys::Oid,
    only: Option<Only<'_>>,
    mut read: impl FnMut(&Row<'_>) -> T,
) -> Vec<T> {
    // SAFETY: a table of the extension's, locked while it is read; a missing one is NULL. The scan is over before the
    // snapshot is taken anew, unless `read` does so, which must not. All is closed here, or by the abort after an error.
    // The index is one of the table's, by its list, which the lock keeps as it is.
    unsafe {
        let relation = pg_sys::try_relation_open(table, READ_LOCK);
        if relation.is_null() {
            return Vec::new();
        }
        let mut index = None;
        let mut keys = Vec::new();
        if let Some((key, columns)) = only {
            let main = pg_sys::ForkNumber::MAIN_FORKNUM;
            if pg_sys::RelationGetNumberOfBlocksInFork(relation, main) > FEW_PAGES {
                index = catalog::unique_index(table, key).filter(|index| index.is_plain);
            }
            keys.extend(
                columns
                    .iter()
                    .map(|(name, value)| text_equals(table, name, value)),
            );
        }
        snapshot::see_own_changes();
        let mut rows = Vec::new();
        let index = index.map_or(pg_sys::InvalidOid, |index| index.oid);
        each_row(relation, index, snapshot::latest(), &mut keys, |row| {
            rows.push(read(row));
        });
        pg_sys::relation_close(relation, READ_LOCK);
        rows
    }
}

/// Reads the rows that have these keys, by the index, or by the table alone where that is InvalidOid.
///
/// # Safety
/// The relation is open and locked, the index is its own, and the keys are on its columns. The snapshot holds until all is read;
/// NULL is a catalog's own.
pub(super) unsafe fn each_row(
    relation: pg_sys::Relation,
    index: pg_sys::Oid,
    snapshot: pg_sys::Snapshot,
    keys: &mut [pg_sys::ScanKeyData],
    mut read: impl FnMut(&Row<'_>),
) {
    // SAFETY: as the caller says; each tuple is read before the next is fetched. An abort after an error ends the scan, too.
    unsafe {
        let scan = pg_sys::systable_beginscan(
            relation,
            index,
            index != pg_sys::InvalidOid,
            snapshot,
            i32::try_from(keys.len()).unwrap_or(0),
            keys.as_mut_ptr(),
        );
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            read(&Row::new(tuple, (*relation).rd_att));
        }
        pg_sys::systable_endscan(scan);
    }
}

/// The condition that a column is equal to `value`, by the function `equal` under a collation.
///
/// # Safety
/// The function compares what the column has with what the value is. The value outlives the key.
pub(super) unsafe fn equals(
    column: i16,
    collation: pg_sys::Oid,
    equal: pg_sys::Oid,
    value: pg_sys::Datum,
) -> pg_sys::ScanKeyData {
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: fills the key in; PostgreSQL copies the function's address.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            &mut key,
            0,
            column,
            u16::try_from(pg_sys::BTEqualStrategyNumber).unwrap_or(0),
            pg_sys::InvalidOid,
            collation,
            equal,
            value,
        );
    }
    key
}

fn text_equals(table: pg_sys::Oid, name: &str, value: &str) -> pg_sys::ScanKeyData {
    let column = catalog::column(table, name).filter(|c| c.type_oid == pg_sys::TEXTOID);
    let (Some(column), Some(value)) = (column, value.into_datum()) else {
        boundary::raise(Error::Internal(format!("{name} is no text column")));
    };
    // SAFETY: compares texts; the value is palloc'd.
    unsafe {
        equals(
            column.number,
            column.collation,
            pg_sys::Oid::from(pg_sys::F_TEXTEQ),
            value,
        )
    }
}
