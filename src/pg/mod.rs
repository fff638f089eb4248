//! Small safe wrappers around what PostgreSQL offers in C. Unsafe code stands here and nowhere else.

use core::ffi::CStr;

use pgrx::prelude::*;

pub mod acting;
pub mod background;
pub mod boundary;
pub mod carrier;
pub mod catalog;
pub mod clock;
#[cfg(feature = "pg18")]
pub mod connecting;
pub mod counters;
pub mod ddl;
pub mod guc;
pub mod heap;
pub mod hooks;
pub mod json;
mod jsonb;
pub mod latch;
pub mod local;
pub mod log_hook;
pub mod members;
pub mod mvcc;
pub mod names;
pub mod notify;
#[cfg(feature = "pg18")]
pub mod oauth;
pub mod one_row;
pub mod plan;
pub mod planner;
pub mod preload;
pub mod probe;
pub mod process;
pub mod registry;
pub mod row;
pub mod scan;
pub mod shared;
pub mod slots;
pub mod snapshot;
pub mod standby;
pub mod transaction;
pub mod trigger_row;
mod unique_index;
mod upstream;
pub mod wal;
pub mod watch;

/// The lock of whoever only reads a table or index.
#[allow(clippy::cast_possible_wrap, reason = "a small constant")]
pub const READ_LOCK: pg_sys::LOCKMODE = pg_sys::AccessShareLock as pg_sys::LOCKMODE;

/// The value of a parameter that may not exist.
pub fn parameter(name: &CStr) -> Option<String> {
    // SAFETY: a missing parameter is NULL; another's value is NUL-terminated, and copied at once.
    unsafe {
        let value = pg_sys::GetConfigOption(name.as_ptr(), true, false);
        (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
    }
}
