//! Is the library one of `shared_preload_libraries`?

use core::sync::atomic::{AtomicBool, Ordering};

use pgrx::prelude::*;

/// Processes inherit it from the postmaster.
static PRELOADED: AtomicBool = AtomicBool::new(false);

/// Called first while the library is loaded.
pub fn init() {
    // SAFETY: reads a variable of the server.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        PRELOADED.store(true, Ordering::Relaxed);
    }
}

/// Was the library loaded when the server started?
pub fn is_preloaded() -> bool {
    PRELOADED.load(Ordering::Relaxed)
}
