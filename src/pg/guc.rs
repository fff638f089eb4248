//! Defining parameters, beyond what pgrx offers safely.

use core::ffi::{CStr, c_int, c_void};

use pgrx::guc::GucEnum;
use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use super::preload;

/// Values of a parameter that may be refused where the server runs.
pub trait Checked: GucEnum + Copy + 'static {
    /// What to do before the value can be set; None for one that can.
    fn why_not(self) -> Option<&'static CStr>;
    /// Called when it is the value from now on, also while a transaction is aborted: must not fail.
    fn assigned(self) {}
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
            Some(assign::<T>),
            None,
        );
    }
}

/// Defines a number for the configuration file that means nothing without the preloaded library.
pub fn define_int_of_the_server(
    name: &'static CStr,
    description: &'static CStr,
    details: &'static CStr,
    setting: &'static GucSetting<i32>,
    range: core::ops::RangeInclusive<i32>,
    unit: GucFlags,
) {
    let (min, max) = range.into_inner();
    // SAFETY: the hook passes no panic on, and reads nothing that PostgreSQL gives it by address.
    unsafe {
        GucRegistry::define_int_guc_with_hooks(
            name,
            description,
            details,
            setting,
            min,
            max,
            GucContext::Sighup,
            unit,
            Some(check_preloaded),
            None,
            None,
        );
    }
}

/// Refuses what was set, with a hint. Must not fail.
fn refuse(hint: &'static CStr) -> bool {
    // SAFETY: PostgreSQL reads the string, and does not change or free it.
    unsafe { pg_sys::GUC_check_errhint_string = hint.as_ptr().cast_mut() };
    false
}

/// The default is no setting.
unsafe extern "C-unwind" fn check_preloaded(
    _value: *mut c_int,
    _extra: *mut *mut c_void,
    source: pg_sys::GucSource::Type,
) -> bool {
    source == pg_sys::GucSource::PGC_S_DEFAULT || preload::hint().is_none_or(refuse)
}

unsafe extern "C-unwind" fn assign<T: Checked>(value: c_int, _extra: *mut c_void) {
    T::from_ordinal(value).assigned();
}

/// Refuses a value, with a hint. Must not fail.
unsafe extern "C-unwind" fn check<T: Checked>(
    value: *mut c_int,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the new value, one of the enum's.
    let value = T::from_ordinal(unsafe { *value });
    value.why_not().is_none_or(refuse)
}

/// Called last in _PG_init: from here on a misspelt parameter is an error.
pub fn reserve_prefix() {
    // SAFETY: the argument is a NUL-terminated string; called from _PG_init, as PostgreSQL asks.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"auth_ext".as_ptr()) };
}

/// Sets a parameter that is any user's to set: with `GUC_ACTION_SAVE` until the level of settings that is open ends, with
/// `GUC_ACTION_LOCAL` for the rest of the transaction.
pub fn set(name: &CStr, value: &CStr, action: pg_sys::GucAction::Type) {
    // SAFETY: name and value are NUL-terminated; a value that does not fit is an error like any other.
    unsafe {
        pg_sys::set_config_option(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}
