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
                    .map(|(name, value)| equals(table, name, value)),
            );
        }
        snapshot::see_own_changes();
        let scan = pg_sys::systable_beginscan(
            relation,
            index.as_ref().map_or(pg_sys::InvalidOid, |index| index.oid),
            index.is_some(),
            snapshot::latest(),
            i32::try_from(keys.len()).unwrap_or(0),
            keys.as_mut_ptr(),
        );
        let mut rows = Vec::new();
        loop {
            let tuple = pg_sys::systable_getnext(scan);
            if tuple.is_null() {
                break;
            }
            rows.push(read(&Row::new(tuple, (*relation).rd_att)));
        }
        pg_sys::systable_endscan(scan);
        pg_sys::relation_close(relation, READ_LOCK);
        rows
    }
}

/// That a text column is `value`.
fn equals(table: pg_sys::Oid, name: &str, value: &str) -> pg_sys::ScanKeyData {
    let Some(column) = catalog::column(table, name).filter(|c| c.type_oid == pg_sys::TEXTOID)
    else {
        boundary::raise(Error::Internal(format!("{name} is no text column")));
    };
    let mut key = pg_sys::ScanKeyData::default();
    // SAFETY: the function compares texts, as the column and the value are; PostgreSQL copies the function's address.
    unsafe {
        pg_sys::ScanKeyEntryInitialize(
            &mut key,
            0,
            column.number,
            u16::try_from(pg_sys::BTEqualStrategyNumber).unwrap_or(0),
            pg_sys::InvalidOid,
            column.collation,
            pg_sys::Oid::from(pg_sys::F_TEXTEQ),
            value.into_datum().unwrap_or(pg_sys::Datum::from(0)),
        );
    }
    key
}
