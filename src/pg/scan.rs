//! Our own small tables, read row by row: without a plan, which would take longer to make than a fresh connection to open.

use pgrx::prelude::*;

use super::row::Row;
use super::{READ_LOCK, snapshot};

/// Every row of `table` as committed at this moment, with the transaction's own changes. Its columns are read by
/// name: an upgrade adds new ones at the end of a table that was there, and a fresh install has them elsewhere.
pub fn rows<T>(table: pg_sys::Oid, mut read: impl FnMut(&Row<'_>) -> T) -> Vec<T> {
    // SAFETY: a table of the extension's, locked while it is read; a missing one is NULL. The scan is over before the
    // snapshot is taken anew, unless `read` does so, which must not. All is closed here, or by the abort after an error.
    unsafe {
        let relation = pg_sys::try_relation_open(table, READ_LOCK);
        if relation.is_null() {
            return Vec::new();
        }
        snapshot::see_own_changes();
        let scan = pg_sys::systable_beginscan(
            relation,
            pg_sys::InvalidOid,
            false,
            snapshot::latest(),
            0,
            core::ptr::null_mut(),
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
