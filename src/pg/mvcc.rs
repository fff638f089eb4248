//! Which transactions had ended at a moment: a snapshot as PostgreSQL takes it, with ids that never wrap.

use core::fmt;

use pgrx::prelude::*;

use super::snapshot;

/// What a snapshot sees: of the transactions below `xmax`, those that are not in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mvcc {
    xmax: u64,
    /// Ascending, all below `xmax`.
    in_progress: Vec<u64>,
}

impl Mvcc {
    /// From the transactions in progress, in any order.
    pub fn new(xmax: u64, mut in_progress: Vec<u64>) -> Self {
        in_progress.retain(|xid| *xid < xmax);
        in_progress.sort_unstable();
        in_progress.dedup();
        Self { xmax, in_progress }
    }

    /// Is what the transaction did, if it committed, seen?
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.in_progress.binary_search(&xid).is_err()
    }

    /// All below have ended.
    pub fn xmin(&self) -> u64 {
        self.in_progress.first().copied().unwrap_or(self.xmax)
    }

    /// None from here on is seen.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// Those in progress, ascending.
    pub fn in_progress(&self) -> &[u64] {
        &self.in_progress
    }

    /// Sees what either sees.
    pub fn union(&self, other: &Self) -> Self {
        let (later, earlier) = if self.xmax >= other.xmax {
            (self, other)
        } else {
            (other, self)
        };
        let neither = |xid: &u64| !earlier.sees(*xid);
        Self {
            xmax: later.xmax,
            in_progress: later.in_progress.iter().copied().filter(neither).collect(),
        }
    }

    /// Sees no transaction that is later than `last`.
    pub fn up_to(mut self, last: u64) -> Self {
        self.xmax = self.xmax.min(last.saturating_add(1));
        self.in_progress.retain(|xid| *xid < self.xmax);
        self
    }

    /// Sees less, so that at most `limit` are in progress.
    pub fn bounded(mut self, limit: usize) -> Self {
        if let Some(first_beyond) = self.in_progress.get(limit) {
            self.xmax = *first_beyond;
            self.in_progress.truncate(limit);
        }
        self
    }

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

/// As `pg_snapshot` is written.
impl fmt::Display for Mvcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin(), self.xmax)?;
        for (n, xid) in self.in_progress.iter().enumerate() {
            write!(f, "{}{xid}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
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
        pg_sys::PushActiveSnapshot(snapshot::latest());
        Mvcc::read(&*pg_sys::GetActiveSnapshot())
    };
    let result = body(&now);
    // SAFETY: the snapshot pushed above is on top again.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}
