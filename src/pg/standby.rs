//! What a standby can show of its age: from the shared memory of recovery and of the walreceiver.

use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use jose::UnixMicros;
use pgrx::prelude::*;

use super::clock;
use super::upstream::{self, Walreceiver};

/// The latest moment, by the primary's clock, for which a replayed commit record shows that all that the primary had committed by
/// then is replayed here. The record's time is taken before the record is written: what was in the log at that time stands before
/// it.
pub fn by_commit() -> Option<UnixMicros> {
    // SAFETY: reads shared memory, under the lock that PostgreSQL has for it.
    let committed = unsafe { pg_sys::GetLatestXTime() };
    (committed != 0).then(|| clock::from_pg(committed))
}

/// The same, shown by a message in which the primary says where its log ends, when all up to there is replayed. A message of
/// another standby does not count: it says where that standby's log ends. Which of the two has spoken is only asked where the
/// moment `matters`.
pub fn by_message(matters: impl Fn(&UnixMicros) -> bool) -> Option<UnixMicros> {
    // The message comes first: what is read after it is at least as far.
    let told = told()?;
    let mut timeline = 0;
    // SAFETY: reads shared memory, under the lock that PostgreSQL has for it.
    let replayed = unsafe { pg_sys::GetXLogReplayRecPtr(&mut timeline) };
    (told.end <= replayed && matters(&told.at) && told.upstream.is_primary()).then_some(told.at)
}

/// What the primary said last.
struct Told {
    /// Where its log ended.
    end: pg_sys::XLogRecPtr,
    at: UnixMicros,
    upstream: Upstream,
}

/// None without a message of this connection.
fn told() -> Option<Told> {
    // SAFETY: set when the server starts, and not changed. The fields are read under the lock under which the walreceiver writes them;
    // nothing in between can fail or be interrupted.
    let (shown, sent, received, end, conninfo, of, host, port) = unsafe {
        let walreceiver = pg_sys::WalRcv;
        if walreceiver.is_null() {
            return None;
        }
        let _locked = SpinLock::acquire(&raw mut (*walreceiver).mutex);
        (
            (*walreceiver).ready_to_display,
            (*walreceiver).lastMsgSendTime,
            (*walreceiver).lastMsgReceiptTime,
            (*walreceiver).latestWalEnd,
            (*walreceiver).conninfo,
            Walreceiver {
                pid: (*walreceiver).pid,
                started: (*walreceiver).startTime,
            },
            (*walreceiver).sender_host,
            (*walreceiver).sender_port,
        )
    };
    // A walreceiver that begins sets both times to its own start, before it is connected and whether or not it ever will be
    // (WalReceiverMain), and leaves the end of the log as it was.
    if !shown || sent == received || end == 0 {
        return None;
    }
    Some(Told {
        end,
        // The message may have waited on its way; and the primary's clock may be ahead.
        at: clock::from_pg(sent.min(received)),
        upstream: Upstream {
            names_a_primary: names_a_primary(&text(&conninfo)),
            of,
            host: text(&host),
            port,
        },
    })
}

/// The other end of the connection.
struct Upstream {
    names_a_primary: bool,
    of: Walreceiver,
    host: String,
    port: i32,
}

impl Upstream {
    fn is_primary(&self) -> bool {
        self.names_a_primary || upstream::is_primary(self.of, &self.host, self.port)
    }
}

fn text(bytes: &[core::ffi::c_char]) -> String {
    let bytes: Vec<u8> = (bytes.iter())
        .map(|byte| byte.cast_unsigned())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Is the other end a primary for sure? libpq has asked it, where the connection string says so.
fn names_a_primary(conninfo: &str) -> bool {
    conninfo.split_ascii_whitespace().any(|option| {
        matches!(
            option,
            "target_session_attrs=primary" | "target_session_attrs=read-write"
        )
    })
}

/// PostgreSQL's spinlock (s_lock.h), held until it is dropped.
struct SpinLock(*mut pg_sys::slock_t);

impl SpinLock {
    /// # Safety
    /// The lock is one of PostgreSQL's, in shared memory. Until it is dropped nothing may fail, wait, or check for interrupts.
    unsafe fn acquire(lock: *mut pg_sys::slock_t) -> Self {
        // SAFETY: as TAS() of s_lock.h does: an atomic exchange of a byte, or of an int on other machines; 0 is free. Only atomics are used
        // for it, here and there.
        unsafe {
            let was_taken = if size_of::<pg_sys::slock_t>() == 1 {
                AtomicU8::from_ptr(lock.cast()).swap(1, Ordering::Acquire) != 0
            } else {
                AtomicU32::from_ptr(lock.cast()).swap(1, Ordering::Acquire) != 0
            };
            if was_taken {
                pg_sys::s_lock(lock, c"standby.rs".as_ptr(), 0, c"told".as_ptr());
            }
        }
        Self(lock)
    }
}

impl Drop for SpinLock {
    fn drop(&mut self) {
        // SAFETY: as S_UNLOCK() of s_lock.h does, for the lock that `acquire` has taken.
        unsafe {
            if size_of::<pg_sys::slock_t>() == 1 {
                AtomicU8::from_ptr(self.0.cast()).store(0, Ordering::Release);
            } else {
                AtomicU32::from_ptr(self.0.cast()).store(0, Ordering::Release);
            }
        }
    }
}
