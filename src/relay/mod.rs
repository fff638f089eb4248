//! `auth_ext.notify = relay`: background workers send the notifications, so that a commit never waits for the
//! notification queue, and never fails because it is full.
//!
//! A committing backend wakes its database's worker through the registry in shared memory, which is there when the
//! library is preloaded.

mod launcher;
mod registry;
mod worker;

use core::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;

use crate::pg::process;

/// Processes inherit it from the postmaster.
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Called while the library is loaded.
pub fn init() {
    // SAFETY: reads a variable of the server.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        PRELOADED.store(true, Ordering::Relaxed);
        registry::init();
        launcher::init();
    }
}

/// Can there be a relay?
pub fn is_available() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}

/// Something is committed that the relay is to send.
pub fn wake() {
    if is_available() {
        registry::wake(process::own_database());
    }
}

/// The process that relays for this database, if one runs.
pub fn worker() -> Option<i32> {
    is_available()
        .then(|| registry::worker(process::own_database()))
        .flatten()
}
