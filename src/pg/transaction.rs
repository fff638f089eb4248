//! Which transaction is running.

use pgrx::prelude::*;

/// Names a transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TransactionId(pg_sys::TransactionId);

/// The running transaction. Assigns its id: for triggers of writing commands only.
pub fn current() -> TransactionId {
    // SAFETY: inside a transaction, as triggers are.
    TransactionId(unsafe { pg_sys::GetTopTransactionId() })
}

/// The current subtransaction; ids grow, so what an aborted one and its children did has its id or more.
pub fn current_subtransaction() -> pg_sys::SubTransactionId {
    // SAFETY: reads a variable of the running transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Runs `body` with a snapshot, which callbacks at the end of a transaction don't have.
pub fn with_snapshot(body: impl FnOnce()) {
    // SAFETY: inside a transaction that has not ended; popped again, or by its abort after an error.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    body();
    // SAFETY: the snapshot pushed above is on top again.
    unsafe { pg_sys::PopActiveSnapshot() };
}
