//! Where the server stands in its write-ahead log.

use pgrx::prelude::*;

/// Is this a standby?
pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Names the cluster; a standby has its primary's.
pub fn system_identifier() -> u64 {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::GetSystemIdentifier() }
}

/// The timeline of what is being written or, on a standby, replayed. (`pg_control_checkpoint` would lag behind
/// a promotion.)
pub fn timeline() -> u32 {
    // SAFETY: both read shared memory; the first is for recovery, the second for afterwards.
    unsafe {
        if pg_sys::RecoveryInProgress() {
            let mut timeline = 0;
            pg_sys::GetXLogReplayRecPtr(&mut timeline);
            timeline
        } else {
            pg_sys::GetWALInsertionTimeLine()
        }
    }
}

/// Waits until all that was written is on disk. Nothing to do on a standby, which replays what is.
pub fn flush() {
    if in_recovery() {
        return;
    }
    // SAFETY: out of recovery WAL can be flushed; the position is one that was inserted up to.
    unsafe { pg_sys::XLogFlush(end_of_records(pg_sys::GetXLogInsertRecPtr())) };
}

/// The insert position at the start of a page is given as behind the page's header, which nobody has written:
/// XLogFlush could not reach it.
fn end_of_records(position: u64) -> u64 {
    const SHORT_HEADER: u64 = 24;
    const LONG_HEADER: u64 = 40;
    let in_page = position % u64::from(pg_sys::XLOG_BLCKSZ);
    let page = position.saturating_sub(in_page);
    // SAFETY: set when the server starts.
    let segment = u64::try_from(unsafe { pg_sys::wal_segment_size }).unwrap_or(0);
    let header = if page.checked_rem(segment) == Some(0) {
        LONG_HEADER
    } else {
        SHORT_HEADER
    };
    if in_page == header { page } else { position }
}
