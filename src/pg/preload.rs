//! Is the library one of `shared_preload_libraries`?

use core::ffi::CStr;
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

/// Has pg_upgrade started this server? Nobody but pg_upgrade is to write then.
pub fn is_for_pg_upgrade() -> bool {
    // SAFETY: reads a variable that the server sets before it loads libraries.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// What to do before something can be used that needs the preloaded library; None where it is.
pub fn hint() -> Option<&'static CStr> {
    (!is_preloaded()).then_some(c"Add auth_ext to shared_preload_libraries and restart the server.")
}
