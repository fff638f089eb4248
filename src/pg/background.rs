//! Where PostgreSQL enters our background processes.

use std::sync::OnceLock;

use pgrx::prelude::*;

/// The C name of the launcher's entry.
pub const LAUNCHER: &str = "auth_ext_relay_launcher";
/// The C name of a worker's entry.
pub const WORKER: &str = "auth_ext_relay_worker";

/// What the processes do.
struct Tasks {
    launcher: fn(),
    worker: fn(Option<pg_sys::Oid>),
}

/// Processes inherit it from the postmaster.
static TASKS: OnceLock<Tasks> = OnceLock::new();

/// Called in the postmaster, before any of the processes is started. A worker is told its database.
pub fn init(launcher: fn(), worker: fn(Option<pg_sys::Oid>)) {
    // A second call would bring the same.
    let _ = TASKS.set(Tasks { launcher, worker });
}

/// The launcher's process.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn auth_ext_relay_launcher(_argument: pg_sys::Datum) {
    if let Some(tasks) = TASKS.get() {
        (tasks.launcher)();
    }
}

/// A worker's process; the argument is its database.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn auth_ext_relay_worker(database: pg_sys::Datum) {
    if let Some(tasks) = TASKS.get() {
        // SAFETY: the launcher passes an oid.
        (tasks.worker)(unsafe { pg_sys::Oid::from_datum(database, false) });
    }
}
