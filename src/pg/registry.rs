//! Which process relays for which database: a small table in shared memory.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::shmem::PGRXSharedMemory;
use pgrx::{pg_shmem_init, pg_sys};

use super::latch::Latch;
use super::process;

/// As many databases can have a relay.
const SLOTS: usize = 64;
/// A worker that failed is started again after a second, then two, up to this.
const LONGEST_PAUSE: i64 = 10;
const SECOND: i64 = 1_000_000;

/// A database that wants a relay, or has one.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// 0: the slot is free.
    database: u32,
    /// 0: no worker runs.
    pid: i32,
    latch: Latch,
    failures: i64,
    /// No new worker before that, in PostgreSQL's microseconds.
    not_before: i64,
}

#[derive(Clone, Copy)]
struct Registry {
    launcher: Latch,
    slots: [Slot; SLOTS],
}

// SAFETY: plain values; a latch's address is that of shared memory.
unsafe impl PGRXSharedMemory for Registry {}

impl Default for Registry {
    fn default() -> Self {
        Self {
            launcher: Latch::default(),
            slots: [Slot::default(); SLOTS],
        }
    }
}

// SAFETY: the name is ours.
static REGISTRY: PgLwLock<Registry> = unsafe { PgLwLock::new(c"auth_ext_relay") };

/// While the server loads its shared libraries. Everything else here is for a server that did so.
pub fn init() {
    pg_shmem_init!(REGISTRY);
}

fn now() -> i64 {
    // SAFETY: reads the system clock.
    unsafe { pg_sys::GetCurrentTimestamp() }
}

impl Registry {
    fn slot(&mut self, database: pg_sys::Oid) -> Option<&mut Slot> {
        let key = database.to_u32();
        self.slots.iter_mut().find(|slot| slot.database == key)
    }

    fn slot_or_free(&mut self, database: pg_sys::Oid) -> Option<&mut Slot> {
        let place = (self.slots.iter())
            .position(|slot| slot.database == database.to_u32())
            .or_else(|| self.slots.iter().position(|slot| slot.database == 0))?;
        let slot = self.slots.get_mut(place)?;
        slot.database = database.to_u32();
        Some(slot)
    }
}

/// Wakes the database's worker; where there is none, asks the launcher for one.
pub fn wake(database: pg_sys::Oid) {
    let key = database.to_u32();
    let latch = (REGISTRY.share().slots.iter())
        .find(|slot| slot.database == key && slot.pid != 0)
        .map(|slot| slot.latch);
    match latch {
        Some(latch) => latch.set(),
        None => want(database),
    }
}

/// The worker of a database, if one runs.
pub fn worker(database: pg_sys::Oid) -> Option<i32> {
    let key = database.to_u32();
    (REGISTRY.share().slots.iter())
        .find(|slot| slot.database == key && slot.pid != 0)
        .map(|slot| slot.pid)
}

/// Asks for a worker. With more databases than slots, those beyond have none.
pub fn want(database: pg_sys::Oid) {
    let mut registry = REGISTRY.exclusive();
    let launcher = registry.launcher;
    registry.slot_or_free(database);
    drop(registry);
    launcher.set();
}

/// This process is the launcher.
pub fn enter_launcher() {
    REGISTRY.exclusive().launcher = Latch::own();
}

/// Databases that want a worker and have none, and after how many microseconds each may be given one.
pub fn waiting() -> Vec<(pg_sys::Oid, i64)> {
    let slots = REGISTRY.share().slots;
    (slots.iter())
        .filter(|slot| slot.database != 0 && slot.pid == 0)
        .map(|slot| {
            let pause = slot.not_before.saturating_sub(now()).max(0);
            (pg_sys::Oid::from(slot.database), pause)
        })
        .collect()
}

/// The database is gone.
pub fn forget(database: pg_sys::Oid) {
    if let Some(slot) = REGISTRY.exclusive().slot(database) {
        *slot = Slot::default();
    }
}

/// A worker is about to be started for the database: the next one later, and later each time, until one has done
/// something ([`well`]).
pub fn starting(database: pg_sys::Oid) {
    if let Some(slot) = REGISTRY.exclusive().slot(database) {
        slot.failures = slot.failures.saturating_add(1);
        let pause = slot.failures.min(LONGEST_PAUSE).saturating_mul(SECOND);
        slot.not_before = now().saturating_add(pause);
    }
}

/// This process is the worker of its database. False when another is.
pub fn enter() -> bool {
    let mut registry = REGISTRY.exclusive();
    let slot = registry.slot_or_free(process::own_database());
    let Some(slot) = slot.filter(|slot| slot.pid == 0) else {
        return false;
    };
    slot.pid = process::own_pid();
    slot.latch = Latch::own();
    drop(registry);
    process::at_exit(at_exit);
    true
}

/// This worker has done something without an error.
pub fn well() {
    if let Some(slot) = REGISTRY.exclusive().slot(process::own_database()) {
        slot.failures = 0;
    }
}

/// This worker has nothing to do any more. Whoever commits from now on asks for another.
pub fn leave() {
    let mut registry = REGISTRY.exclusive();
    let slot = registry.slot(process::own_database());
    if let Some(slot) = slot.filter(|slot| slot.pid == process::own_pid()) {
        *slot = Slot::default();
    }
}

/// A worker that did not leave is missed.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _argument: pg_sys::Datum) {
    let mut registry = REGISTRY.exclusive();
    let launcher = registry.launcher;
    let slot = registry.slot(process::own_database());
    let Some(slot) = slot.filter(|slot| slot.pid == process::own_pid()) else {
        return;
    };
    slot.pid = 0;
    slot.not_before = slot.not_before.max(now().saturating_add(SECOND));
    drop(registry);
    launcher.set();
}
