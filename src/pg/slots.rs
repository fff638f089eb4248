//! A place in shared memory for each backend, where it says who is authenticated on it.
//!
//! Only the backend itself writes there. Readers take no lock: a number that is odd while it writes, and another afterwards, tells
//! them whether what they copied is whole.

use core::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, Ordering, fence};
use std::cell::Cell;
use std::collections::HashSet;
use std::time::Duration;

use pgrx::prelude::*;

use super::carrier::Scope;
use super::local::process_local;
use super::process;
use super::shared::{Area, Zeroed};

/// As many octets fit into a place.
pub const LONGEST: usize = WORDS * 8;
const WORDS: usize = 254;
/// How often a reader tries again, some of the times after a pause.
const TRIES: usize = 2000;

/// What one scope's identity says.
#[repr(C)]
struct Place {
    /// Odd while it is written.
    turn: AtomicU64,
    length: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// A backend's.
#[repr(C, align(64))]
pub struct Slot {
    /// 0: nobody's.
    pid: AtomicI32,
    database: AtomicU32,
    /// When the process began: another has another.
    started: AtomicI64,
    /// 1: what runs under an identity that ends is ended, too.
    hang_up: AtomicU32,
    /// The turn of the transaction's place whose identity has ended; 0: none has.
    over: AtomicU64,
    transaction: Place,
    session: Place,
}

// SAFETY: atomics only; aligned to 64 bytes.
unsafe impl Zeroed for Slot {}

pub(super) static SLOTS: Area<Slot> = Area::new(c"auth_ext_activity", || {
    // SAFETY: set before shared memory is asked for, and never changed.
    usize::try_from(unsafe { pg_sys::MaxBackends }).unwrap_or(0)
});

/// This process's slot.
#[derive(Clone, Copy)]
enum Own {
    Unknown,
    Entered(&'static Slot),
    /// It has none, or is about to end.
    None,
}

process_local! {
    static OWN: Cell<Own> = const { Cell::new(Own::Unknown) };
    static HANG_UP: Cell<bool> = const { Cell::new(false) };
}

/// The place of a process among all.
///
/// # Safety
/// `process` is one of the server's PGPROCs.
unsafe fn index(process: *const pg_sys::PGPROC) -> Option<usize> {
    // SAFETY: all of them are in one array, whose address is set before any process begins.
    let distance = unsafe { process.offset_from((*pg_sys::ProcGlobal).allProcs) };
    usize::try_from(distance).ok()
}

fn enter() -> Own {
    // SAFETY: variables of this process.
    let (process, parallel, walsender, started) = unsafe {
        (
            pg_sys::MyProc,
            pg_sys::ParallelWorkerNumber >= 0,
            pg_sys::am_walsender,
            pg_sys::MyStartTimestamp,
        )
    };
    let database = process::own_database();
    if process.is_null() || database == pg_sys::InvalidOid {
        return Own::Unknown;
    }
    // A parallel worker has its leader's identity, and ends with its statement.
    if parallel || walsender {
        return Own::None;
    }
    // SAFETY: this process's own.
    let slot = unsafe { index(process) }.and_then(|index| SLOTS.all().get(index));
    let Some(slot) = slot else { return Own::None };
    slot.transaction.write(&[]);
    slot.session.write(&[]);
    slot.database.store(database.to_u32(), Ordering::Relaxed);
    slot.started.store(started, Ordering::Relaxed);
    slot.hang_up
        .store(u32::from(HANG_UP.get()), Ordering::Relaxed);
    slot.over.store(0, Ordering::Relaxed);
    slot.pid.store(process::own_pid(), Ordering::Release);
    process::at_exit(leave);
    Own::Entered(slot)
}

/// Before the process's transaction is aborted, which would write here again.
#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: i32, _argument: pg_sys::Datum) {
    if let Own::Entered(slot) = OWN.replace(Own::None) {
        slot.pid.store(0, Ordering::Release);
        slot.transaction.write(&[]);
        slot.session.write(&[]);
    }
}

/// Says who is authenticated in a scope; empty: nobody. Must not fail.
pub fn write(scope: Scope, listed: &[u8]) {
    let slot = match OWN.get() {
        Own::Entered(slot) => slot,
        Own::None => return,
        // Not before there is something to say.
        Own::Unknown if listed.is_empty() => return,
        Own::Unknown => {
            let own = enter();
            OWN.set(own);
            let Own::Entered(slot) = own else { return };
            slot
        }
    };
    slot.place(scope).write(listed);
}

/// Says whether what runs on this connection under an identity is to end with it. Must not fail.
pub fn hang_up(hang_up: bool) {
    HANG_UP.set(hang_up);
    if let Own::Entered(slot) = OWN.get() {
        slot.hang_up.store(u32::from(hang_up), Ordering::Relaxed);
    }
}

/// Has another process found that this transaction's identity has ended, and cancelled what ran under it?
pub fn is_over() -> bool {
    let Own::Entered(slot) = OWN.get() else {
        return false;
    };
    let over = slot.over.load(Ordering::Relaxed);
    over != 0 && over == slot.transaction.turn.load(Ordering::Relaxed)
}

impl Slot {
    fn place(&self, scope: Scope) -> &Place {
        match scope {
            Scope::Transaction => &self.transaction,
            Scope::Session => &self.session,
        }
    }

    /// What holds now: the transaction's hides the session's.
    fn listed(&self) -> Option<Said> {
        [Scope::Transaction, Scope::Session]
            .into_iter()
            .map(|scope| {
                let (turn, listed) = self.place(scope).read();
                Said {
                    scope,
                    turn,
                    listed,
                }
            })
            .find(|said| !said.listed.is_empty())
    }

    /// Is somebody authenticated, perhaps, on a connection that is to end with its identity?
    fn is_watched(&self) -> bool {
        let is_said = |place: &Place| place.length.load(Ordering::Relaxed) != 0;
        self.pid.load(Ordering::Acquire) != 0
            && self.hang_up.load(Ordering::Relaxed) != 0
            && (is_said(&self.transaction) || is_said(&self.session))
    }

    fn is_of(&self, pid: i32, started: i64) -> bool {
        self.pid.load(Ordering::Acquire) == pid && self.started.load(Ordering::Relaxed) == started
    }
}

impl Place {
    fn write(&self, listed: &[u8]) {
        let listed = listed.get(..LONGEST).unwrap_or(listed);
        let turn = self.turn.load(Ordering::Relaxed);
        self.turn.store(turn.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        let length = u64::try_from(listed.len()).unwrap_or(0);
        self.length.store(length, Ordering::Relaxed);
        for (word, octets) in self.words.iter().zip(listed.chunks(8)) {
            let mut whole = [0; 8];
            if let Some(part) = whole.get_mut(..octets.len()) {
                part.copy_from_slice(octets);
            }
            word.store(u64::from_ne_bytes(whole), Ordering::Relaxed);
        }
        self.turn.store(turn.wrapping_add(2), Ordering::Release);
    }

    /// A copy that is whole, with its turn. Empty where none is to be had: its backend was stopped in the middle of writing.
    fn read(&self) -> (u64, Vec<u8>) {
        for attempt in 0..TRIES {
            let turn = self.turn.load(Ordering::Acquire);
            if turn.is_multiple_of(2) {
                let length = usize::try_from(self.length.load(Ordering::Relaxed)).unwrap_or(0);
                let length = length.min(LONGEST);
                let words = self.words.iter().take(length.div_ceil(8));
                let mut copy: Vec<u8> = words
                    .flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes())
                    .collect();
                copy.truncate(length);
                fence(Ordering::Acquire);
                if self.turn.load(Ordering::Relaxed) == turn {
                    return (turn, copy);
                }
            }
            if attempt % 20 == 19 {
                process::sleep(Duration::from_millis(1));
            }
        }
        (0, Vec::new())
    }
}

/// What a backend said of itself.
#[derive(PartialEq, Eq)]
pub struct Said {
    /// How long it holds.
    pub scope: Scope,
    /// The text.
    pub listed: Vec<u8>,
    turn: u64,
}

/// A backend's, and what it said.
pub struct Entry {
    /// Its process.
    pub pid: i32,
    /// Is what runs under the identity to end with it?
    pub hangs_up: bool,
    /// What it said.
    pub said: Said,
    started: i64,
    slot: usize,
}

/// Names one identity of one backend.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Named {
    slot: usize,
    started: i64,
    turn: u64,
}

impl Entry {
    /// Another for each identity.
    pub fn name(&self) -> Named {
        Named {
            slot: self.slot,
            started: self.started,
            turn: self.said.turn,
        }
    }
}

/// Databases with a connection that is to end with its identity: a worker has to watch it.
pub fn watched_databases() -> HashSet<pg_sys::Oid> {
    (SLOTS.all().iter())
        .filter(|slot| slot.is_watched())
        .map(|slot| pg_sys::Oid::from(slot.database.load(Ordering::Relaxed)))
        .collect()
}

/// Is this database one of them?
pub fn is_watched() -> bool {
    let database = process::own_database().to_u32();
    (SLOTS.all().iter())
        .any(|slot| slot.database.load(Ordering::Relaxed) == database && slot.is_watched())
}

/// What the backends of this database say.
pub fn entries() -> Vec<Entry> {
    let database = process::own_database().to_u32();
    (SLOTS.all().iter().enumerate())
        .filter_map(|(index, slot)| {
            let pid = slot.pid.load(Ordering::Acquire);
            let started = slot.started.load(Ordering::Relaxed);
            if pid == 0 || slot.database.load(Ordering::Relaxed) != database {
                return None;
            }
            let hangs_up = slot.hang_up.load(Ordering::Relaxed) != 0;
            let said = slot.listed()?;
            // The same process's as a moment ago.
            slot.is_of(pid, started).then_some(Entry {
                pid,
                hangs_up,
                said,
                started,
                slot: index,
            })
        })
        .collect()
}

/// ProcArrayLock: the same number in 15 to 18.
const PROC_ARRAY_LOCK: usize = 4;

unsafe extern "C" {
    fn kill(pid: i32, signal: i32) -> i32;
}

/// Terminates the backend, if it still says the same. False where it does not, or is gone.
pub fn terminate(entry: &Entry) -> bool {
    const SIGTERM: i32 = 15;
    signal(entry, SIGTERM)
}

/// Cancels the statement that runs under a transaction's identity; those that follow in the same transaction are refused
/// ([`is_over`]). False where the backend does not say the same any more, or is gone.
pub fn cancel(entry: &Entry) -> bool {
    const SIGINT: i32 = 2;
    // Another transaction's place has another turn: for that it says nothing.
    if let Some(slot) = SLOTS.all().get(entry.slot) {
        slot.over.store(entry.said.turn, Ordering::Relaxed);
    }
    signal(entry, SIGINT)
}

fn signal(entry: &Entry, signal: i32) -> bool {
    let Some(slot) = SLOTS.all().get(entry.slot) else {
        return false;
    };
    if slot.listed().as_ref() != Some(&entry.said) {
        return false;
    }
    // SAFETY: the lock is released below, and nothing between fails. A backend leaves the array of processes, which takes this lock
    // exclusively, before it ends: while it is held here, a process that is in the array is alive, and its pid no other's.
    unsafe {
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(PROC_ARRAY_LOCK)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_SHARED);
        let process = pg_sys::BackendPidGetProcWithLock(entry.pid);
        let is_it = !process.is_null()
            && index(process) == Some(entry.slot)
            && slot.is_of(entry.pid, entry.started);
        let told = is_it && kill(entry.pid, signal) == 0;
        pg_sys::LWLockRelease(lock);
        told
    }
}
