//! Which process relays for which database: a small table in shared memory.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::shmem::PGRXSharedMemory;
use pgrx::{pg_shmem_init, pg_sys};

use super::latch::Latch;
use super::process;

/// As many databases can have a relay.
const MOST: usize = 64;
/// A worker that failed is started again after a second, then two, up to this.
const LONGEST_PAUSE: i64 = 10;
const SECOND: i64 = 1_000_000;

/// A database that wants a relay, or has one.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// 0: the entry is free.
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
    entries: [Entry; MOST],
}

// SAFETY: plain values; a latch's address is that of shared memory.
unsafe impl PGRXSharedMemory for Registry {}

impl Default for Registry {
    fn default() -> Self {
        Self {
            launcher: Latch::default(),
            entries: [Entry::default(); MOST],
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
    fn entry(&mut self, database: pg_sys::Oid) -> Option<&mut Entry> {
        let key = database.to_u32();
        self.entries.iter_mut().find(|entry| entry.database == key)
    }

    fn entry_or_free(&mut self, database: pg_sys::Oid) -> Option<&mut Entry> {
        let place = (self.entries.iter())
            .position(|entry| entry.database == database.to_u32())
            .or_else(|| self.entries.iter().position(|entry| entry.database == 0))?;
        let entry = self.entries.get_mut(place)?;
        entry.database = database.to_u32();
        Some(entry)
    }
}

/// Wakes the database's worker; where there is none, asks the launcher for one.
pub fn wake(database: pg_sys::Oid) {
    let key = database.to_u32();
    let latch = (REGISTRY.share().entries.iter())
        .find(|entry| entry.database == key && entry.pid != 0)
        .map(|entry| entry.latch);
    match latch {
        Some(latch) => latch.set(),
        None => want(database),
    }
}

/// The worker of a database, if one runs.
pub fn worker(database: pg_sys::Oid) -> Option<i32> {
    let key = database.to_u32();
    (REGISTRY.share().entries.iter())
        .find(|entry| entry.database == key && entry.pid != 0)
        .map(|entry| entry.pid)
}

/// Asks for a worker. With more databases than entries, those beyond have none.
pub fn want(database: pg_sys::Oid) {
    let mut registry = REGISTRY.exclusive();
    let launcher = registry.launcher;
    registry.entry_or_free(database);
    drop(registry);
    launcher.set();
}

/// This process is the launcher.
pub fn enter_launcher() {
    REGISTRY.exclusive().launcher = Latch::own();
}

/// Databases that want a worker and have none, and after how many microseconds each may be given one.
pub fn waiting() -> Vec<(pg_sys::Oid, i64)> {
    let entries = REGISTRY.share().entries;
    (entries.iter())
        .filter(|entry| entry.database != 0 && entry.pid == 0)
        .map(|entry| {
            let pause = entry.not_before.saturating_sub(now()).max(0);
            (pg_sys::Oid::from(entry.database), pause)
        })
        .collect()
}

/// The database is gone.
pub fn forget(database: pg_sys::Oid) {
    if let Some(entry) = REGISTRY.exclusive().entry(database) {
        *entry = Entry::default();
    }
}

/// A worker is about to be started for the database: the next one later, and later each time, until one has done
/// something ([`well`]).
pub fn starting(database: pg_sys::Oid) {
    if let Some(entry) = REGISTRY.exclusive().entry(database) {
        entry.failures = entry.failures.saturating_add(1);
        let pause = entry.failures.min(LONGEST_PAUSE).saturating_mul(SECOND);
        entry.not_before = now().saturating_add(pause);
    }
}

/// This process is the worker of its database. False when another is.
pub fn enter() -> bool {
    let mut registry = REGISTRY.exclusive();
    let entry = registry.entry_or_free(process::own_database());
    let Some(entry) = entry.filter(|entry| entry.pid == 0) else {
        return false;
    };
    entry.pid = process::own_pid();
    entry.latch = Latch::own();
    drop(registry);
    process::at_exit(at_exit);
    true
}

/// This worker has done something without an error.
pub fn well() {
    if let Some(entry) = REGISTRY.exclusive().entry(process::own_database()) {
        entry.failures = 0;
    }
}

/// This worker has nothing to do any more. Whoever commits from now on asks for another.
pub fn leave() {
    let mut registry = REGISTRY.exclusive();
    let entry = registry.entry(process::own_database());
    if let Some(entry) = entry.filter(|entry| entry.pid == process::own_pid()) {
        *entry = Entry::default();
    }
}

/// A worker that did not leave is missed.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _argument: pg_sys::Datum) {
    let mut registry = REGISTRY.exclusive();
    let launcher = registry.launcher;
    let entry = registry.entry(process::own_database());
    let Some(entry) = entry.filter(|entry| entry.pid == process::own_pid()) else {
        return;
    };
    entry.pid = 0;
    entry.not_before = entry.not_before.max(now().saturating_add(SECOND));
    drop(registry);
    launcher.set();
}
