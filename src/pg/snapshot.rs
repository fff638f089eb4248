//! What is committed at this moment, and the proof that nothing was since.

use std::cell::UnsafeCell;

use super::local::process_local;
use super::mvcc::Mvcc;
use super::transaction;
use pgrx::prelude::*;

process_local! {
    /// The snapshot of the moment. PostgreSQL fills it in place, and leaves it as it is while no transaction that
    /// wrote anything has ended since: then taking it again costs next to nothing.
    static LATEST: UnsafeCell<pg_sys::SnapshotData> = UnsafeCell::new(pg_sys::SnapshotData {
        snapshot_type: pg_sys::SnapshotType::SNAPSHOT_MVCC,
        ..Default::default()
    });
}

/// The latest snapshot, also in a REPEATABLE READ transaction that began earlier, in parallel mode, and on a standby.
/// To be pushed as the active one, which copies it, or scanned with at once: the next call fills it anew.
pub fn latest() -> pg_sys::Snapshot {
    // SAFETY: a backend has one thread, and nobody else knows the cell. GetSnapshotData may be called wherever a
    // statement has a snapshot, as in every SQL function, and allocates the arrays on its first call. They stay as
    // long as the backend. PostgreSQL 18 asserts that whoever scans with a snapshot holds it: this one is held as long as
    // nobody takes it anew. Copies count for themselves.
    LATEST.with(|latest| unsafe {
        let snapshot = pg_sys::GetSnapshotData(latest.get());
        (*snapshot).active_count = 1;
        snapshot
    })
}

/// Makes what the running command has done so far visible to the next snapshot, as PostgreSQL's foreign-key checks do. (In
/// parallel mode nothing is written.)
pub fn see_own_changes() {
    // SAFETY: a command counter may be incremented between any two steps of a function that is not in parallel mode.
    unsafe {
        if !pg_sys::IsInParallelMode() {
            pg_sys::CommandCounterIncrement();
        }
    }
}

/// Names a state of the database: while it is the same, no transaction that wrote anything has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment(u64);

/// The present moment; None in a transaction that has written something itself, which commits nothing but sees it.
pub fn moment() -> Option<Moment> {
    (!transaction::has_written()).then(others_moment)
}

/// The present moment of all other transactions.
///
/// Exact and no time-to-live: PostgreSQL counts the ends of transactions, under the lock under which they become visible
/// to new snapshots (`snapXactCompletionCount`), also while a standby replays them.
fn others_moment() -> Moment {
    // SAFETY: the snapshot was just filled.
    Moment(unsafe { (*latest()).snapXactCompletionCount })
}

/// Names a command of a transaction: while it is the same, no other transaction that wrote anything has ended, and nothing that
/// this one did has become visible to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Command(Moment, pg_sys::CommandId);

/// The command that is running.
pub fn command() -> Command {
    // SAFETY: reads a variable of the running transaction.
    Command(others_moment(), unsafe {
        pg_sys::GetCurrentCommandId(false)
    })
}

impl Mvcc {
    /// Reads a snapshot. `pg_current_snapshot()` would be wrong on a standby, where it takes no
    /// transaction for running.
    ///
    /// # Safety
    /// It must be an MVCC snapshot that was just taken.
    unsafe fn read(snapshot: &pg_sys::SnapshotData) -> Self {
        // SAFETY: both read variables of the server or of the running transaction.
        let (next, own) = unsafe {
            (
                pg_sys::ReadNextFullTransactionId().value,
                pg_sys::GetTopFullTransactionIdIfAny().value,
            )
        };
        // SAFETY: the arrays have that many elements; where there are none, the pointer may be NULL.
        let ids = |array: *mut pg_sys::TransactionId, count: usize| unsafe {
            if array.is_null() {
                &[]
            } else {
                core::slice::from_raw_parts(array, count)
            }
        };
        let running = if snapshot.takenDuringRecovery {
            // In recovery all ids, those of subtransactions too, are here.
            ids(
                snapshot.subxip,
                usize::try_from(snapshot.subxcnt).unwrap_or(0),
            )
        } else {
            ids(snapshot.xip, usize::try_from(snapshot.xcnt).unwrap_or(0))
        };
        let mut in_progress: Vec<u64> = running.iter().map(|xid| widened(*xid, next)).collect();
        // A snapshot does not list the own transaction. 0 when it has no id.
        in_progress.extend((own != 0).then_some(own));
        Self::new(widened(snapshot.xmax, next), in_progress)
    }
}

/// A transaction's id in 64 bits: the last one of these 32 that is not after `next`.
fn widened(xid: pg_sys::TransactionId, next: u64) -> u64 {
    let low = u64::from(xid.into_inner());
    let same_epoch = (next & !u64::from(u32::MAX)) | low;
    if same_epoch <= next {
        same_epoch
    } else {
        same_epoch.saturating_sub(1 << 32)
    }
}

/// Runs `body` while the snapshot of this moment is the active one, also inside a REPEATABLE READ transaction
/// that began earlier.
pub fn at_this_moment<T>(body: impl FnOnce(&Mvcc) -> T) -> T {
    // SAFETY: inside a transaction. The active snapshot is a copy, which lives until it is popped: below, or by
    // the abort of the transaction after an error.
    let now = unsafe {
        pg_sys::PushActiveSnapshot(latest());
        Mvcc::read(&*pg_sys::GetActiveSnapshot())
    };
    let result = body(&now);
    // SAFETY: the snapshot pushed above is on top again.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}
