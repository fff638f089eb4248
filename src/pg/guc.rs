//! Defining parameters, beyond what pgrx offers safely.

use core::ffi::{CStr, c_int, c_void};

use pgrx::guc::GucEnum;
use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

/// Values of a parameter that may be refused where the server runs.
pub trait Checked: GucEnum + Copy + 'static {
    /// What to do before the value can be set; None for one that can.
    fn why_not(self) -> Option<&'static CStr>;
}

/// Defines a parameter that a superuser may set.
pub fn define_enum<T: Checked>(
    name: &'static CStr,
    description: &'static CStr,
    details: &'static CStr,
    setting: &'static GucSetting<T>,
) {
    // SAFETY: the hook passes no panic on, and reads what PostgreSQL gives it.
    unsafe {
        GucRegistry::define_enum_guc_with_hooks(
            name,
            description,
            details,
            setting,
            GucContext::Suset,
            GucFlags::empty(),
            Some(check::<T>),
            None,
            None,
        );
    }
}

/// Refuses a value, with a hint. Must not fail.
unsafe extern "C-unwind" fn check<T: Checked>(
    value: *mut c_int,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the new value, one of the enum's.
    let value = T::from_ordinal(unsafe { *value });
    let Some(hint) = value.why_not() else {
        return true;
    };
    // SAFETY: PostgreSQL reads the string, and does not change or free it.
    unsafe { pg_sys::GUC_check_errhint_string = hint.as_ptr().cast_mut() };
    false
}

/// Called last in _PG_init: from here on a misspelt parameter is an error.
pub fn reserve_prefix() {
    // SAFETY: the argument is a NUL-terminated string; called from _PG_init, as PostgreSQL asks.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"auth_ext".as_ptr()) };
}
