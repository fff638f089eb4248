//! Writing a row of our own tables without a plan: PostgreSQL can print plans with the values in them, and a secret must not be
//! printed.

use pgrx::prelude::*;

/// The lock of whoever inserts.
#[allow(clippy::cast_possible_wrap, reason = "a small constant")]
const WRITE_LOCK: pg_sys::LOCKMODE = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;

/// Inserts a row into `table`, and into its indexes. None is NULL. No trigger fires, and no constraint but that of a unique index
/// is checked: for plain tables of the extension, whose indexes have neither expressions nor predicates.
///
/// The transaction's next command sees the row.
pub fn insert(table: pg_sys::Oid, row: &[Option<pg_sys::Datum>]) {
    let mut values: Vec<pg_sys::Datum> = row
        .iter()
        .map(|value| value.unwrap_or(pg_sys::Datum::from(0)))
        .collect();
    let mut nulls: Vec<bool> = row.iter().map(Option::is_none).collect();
    // SAFETY: the table is open and locked while it is written, and the caller's values are of its columns' types, in their order,
    // as many as it has: asserted. The read-only checks are those of the executor for an INSERT (ExecCheckXactReadOnly). The
    // lock is kept until the transaction ends. What is opened is closed, or is by the abort after an error.
    unsafe {
        pg_sys::PreventCommandIfReadOnly(c"INSERT".as_ptr());
        pg_sys::PreventCommandIfParallelMode(c"INSERT".as_ptr());
        let relation = pg_sys::table_open(table, WRITE_LOCK);
        let descriptor = (*relation).rd_att;
        assert_eq!(
            usize::try_from((*descriptor).natts),
            Ok(row.len()),
            "columns of an insert"
        );
        let tuple = pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
        pg_sys::CatalogTupleInsert(relation, tuple);
        pg_sys::heap_freetuple(tuple);
        pg_sys::table_close(relation, pg_sys::NoLock.cast_signed());
        pg_sys::CommandCounterIncrement();
    }
}
