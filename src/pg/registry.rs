//! Which process relays for which database: a small table in shared memory.

use pgrx::lwlock::PgLwLock;
use pgrx::prelude::*;
use pgrx::shmem::PGRXSharedMemory;
use pgrx::{pg_shmem_init, pg_sys};

use super::latch::Latch;
use super::process;

/// As many databases can want or have a worker at a time; others wait until the launcher looks for them ([`overflow`]).
const MOST: usize = 1024;
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
    /// Since when it wants a worker.
    since: i64,
}

#[derive(Clone, Copy)]
struct Registry {
    launcher: Latch,
    /// 0: no launcher runs.
    launcher_pid: i32,
    /// There was no room for a database.
    overflow: bool,
    /// Databases wait for a worker of another's to end.
    others_wait: bool,
    entries: [Entry; MOST],
}

// SAFETY: plain values; a latch's address is that of shared memory.
unsafe impl PGRXSharedMemory for Registry {}

impl Default for Registry {
    fn default() -> Self {
        Self {
            launcher: Latch::default(),
            launcher_pid: 0,
            overflow: false,
            others_wait: false,
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
        if entry.database == 0 {
            entry.database = database.to_u32();
            entry.since = now();
        }
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

/// Asks for a worker.
pub fn want(database: pg_sys::Oid) {
    add(database).set();
}

/// Asks for a worker, for when the launcher looks next: its latch.
pub fn add(database: pg_sys::Oid) -> Latch {
    let mut registry = REGISTRY.exclusive();
    if registry.entry_or_free(database).is_none() {
        registry.overflow = true;
    }
    registry.launcher
}

/// This process is the launcher.
pub fn enter_launcher() {
    let mut registry = REGISTRY.exclusive();
    registry.launcher = Latch::own();
    registry.launcher_pid = process::own_pid();
    drop(registry);
    process::at_exit(launcher_exits);
}

#[pg_guard]
unsafe extern "C-unwind" fn launcher_exits(_code: i32, _argument: pg_sys::Datum) {
    REGISTRY.exclusive().launcher_pid = 0;
}

/// The launcher, if it runs.
pub fn launcher() -> Option<i32> {
    Some(REGISTRY.share().launcher_pid).filter(|pid| *pid != 0)
}

/// Was there no room for a database since the last call? Any may want a worker, then.
pub fn overflow() -> bool {
    core::mem::take(&mut REGISTRY.exclusive().overflow)
}

/// A database that wants a worker and has none.
pub struct Waiting {
    /// Its oid.
    pub database: pg_sys::Oid,
    /// After how many microseconds it may be given one.
    pub pause: i64,
    since: i64,
}

/// Databases that want a worker and have none, the one that has waited longest first.
pub fn waiting() -> Vec<Waiting> {
    let registry = REGISTRY.share();
    let mut waiting: Vec<_> = (registry.entries.iter())
        .filter(|entry| entry.database != 0 && entry.pid == 0)
        .map(|entry| Waiting {
            database: pg_sys::Oid::from(entry.database),
            pause: entry.not_before.saturating_sub(now()).max(0),
            since: entry.since,
        })
        .collect();
    drop(registry);
    waiting.sort_unstable_by_key(|waiting| waiting.since);
    waiting
}

/// Says whether databases wait for a worker of another's to end.
pub fn let_others_wait(others_wait: bool) {
    let mut registry = REGISTRY.exclusive();
    let is_new = others_wait && !registry.others_wait;
    registry.others_wait = others_wait;
    if is_new {
        (registry.entries.iter())
            .filter(|entry| entry.pid != 0)
            .for_each(|entry| entry.latch.set());
    }
}

/// Do databases wait for a worker to end?
pub fn others_wait() -> bool {
    REGISTRY.share().others_wait
}

/// The database is gone.
pub fn forget(database: pg_sys::Oid) {
    if let Some(entry) = REGISTRY.exclusive().entry(database) {
        *entry = Entry::default();
    }
}

/// Called before a worker is started for the database. The next one is started later, and later each time, until one has done
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

/// This worker makes room for others; its database wants one again, a little later.
pub fn step_aside() {
    let mut registry = REGISTRY.exclusive();
    let entry = registry.entry(process::own_database());
    if let Some(entry) = entry.filter(|entry| entry.pid == process::own_pid()) {
        entry.pid = 0;
        entry.failures = 0;
        entry.since = now();
        entry.not_before = now().saturating_add(SECOND);
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

/// A worker that ended without [`leave`] is wanted again, a little later; and the launcher hears that a place among the server's
/// background workers is free.
#[pg_guard]
unsafe extern "C-unwind" fn at_exit(_code: i32, _argument: pg_sys::Datum) {
    let mut registry = REGISTRY.exclusive();
    let launcher = registry.launcher;
    let entry = registry.entry(process::own_database());
    if let Some(entry) = entry.filter(|entry| entry.pid == process::own_pid()) {
        entry.pid = 0;
        entry.since = now();
        entry.not_before = entry.not_before.max(now().saturating_add(SECOND));
    }
    drop(registry);
    launcher.set();
}
