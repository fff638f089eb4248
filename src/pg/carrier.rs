//! Two values that PostgreSQL itself carries, as every parameter: it restores them at the end of the transaction and after a
//! rollback to a savepoint, and hands them to parallel workers. Nobody can SET them, superusers included: only [`set`] does.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};
use std::cell::Cell;
use std::ffi::CString;

use super::local::process_local;
use super::slots;
use pgrx::prelude::*;

/// Which value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Ends with the transaction.
    Transaction,
    /// Stays, once the transaction that set it has committed.
    Session,
}

/// What PostgreSQL keeps its parameters' values in; read and written by this backend's one thread.
static TRANSACTION: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
static SESSION: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());

process_local! {
    static GENERATION: Cell<u64> = const { Cell::new(0) };
    static SETTING: Cell<bool> = const { Cell::new(false) };
}

impl Scope {
    const fn name(self) -> &'static CStr {
        match self {
            Self::Transaction => c"auth_ext.identity",
            Self::Session => c"auth_ext.session_identity",
        }
    }

    fn variable(self) -> &'static AtomicPtr<c_char> {
        match self {
            Self::Transaction => &TRANSACTION,
            Self::Session => &SESSION,
        }
    }
}

/// Defines both, before the prefix is reserved.
pub fn init() {
    // No RESET ALL takes them away, and nothing shows them.
    #[allow(clippy::cast_possible_wrap, reason = "flags of one bit each")]
    const FLAGS: c_int = (pg_sys::GUC_NO_RESET_ALL
        | pg_sys::GUC_NO_SHOW_ALL
        | pg_sys::GUC_NOT_IN_SAMPLE
        | pg_sys::GUC_SUPERUSER_ONLY
        | pg_sys::GUC_DISALLOW_IN_FILE
        | pg_sys::GUC_DISALLOW_IN_AUTO_FILE) as c_int;
    let assigns: [(
        Scope,
        unsafe extern "C-unwind" fn(*const c_char, *mut c_void),
    ); 2] = [
        (Scope::Transaction, assign_transaction),
        (Scope::Session, assign_session),
    ];
    for (scope, assign) in assigns {
        // SAFETY: called from _PG_init; names and texts are NUL-terminated and static, as is the variable.
        unsafe {
            pg_sys::DefineCustomStringVariable(
                scope.name().as_ptr(),
                c"Who is authenticated: see auth.authenticate().".as_ptr(),
                core::ptr::null(),
                scope.variable().as_ptr(),
                c"".as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                FLAGS,
                Some(check),
                Some(assign),
                Some(show),
            );
        }
    }
}

/// Another number whenever one of the values may have become another.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// The value; empty when there is none.
pub fn get(scope: Scope) -> String {
    let value = scope.variable().load(Relaxed);
    // SAFETY: PostgreSQL keeps a NUL-terminated string there, until it assigns another.
    let (_, value) = unsafe { parts(value) };
    String::from_utf8_lossy(value).into_owned()
}

/// Parts what is carried: the value is behind what is listed of it, and that behind its length.
///
/// # Safety
/// `carried` is NULL or NUL-terminated, for as long as the parts are used.
unsafe fn parts<'c>(carried: *const c_char) -> (&'c [u8], &'c [u8]) {
    if carried.is_null() {
        return (&[], &[]);
    }
    // SAFETY: NUL-terminated.
    let carried = unsafe { CStr::from_ptr(carried) }.to_bytes();
    let digits = carried.iter().take_while(|b| b.is_ascii_digit()).count();
    let (length, rest) = carried.split_at(digits);
    let length = (length.iter()).fold(0_usize, |n, digit| {
        n.saturating_mul(10)
            .saturating_add(usize::from(digit - b'0'))
    });
    rest.get(1..)
        .and_then(|rest| rest.split_at_checked(length))
        .unwrap_or((&[], &[]))
}

/// Sets the value, without NUL: until the transaction ends, or for the session if it commits. `listed` is what the
/// server's list of connections says meanwhile, whatever becomes of the transaction.
pub fn set(scope: Scope, listed: &str, value: &str) {
    struct Setting;
    impl Drop for Setting {
        fn drop(&mut self) {
            SETTING.set(false);
        }
    }
    let action = match scope {
        Scope::Transaction => pg_sys::GucAction::GUC_ACTION_LOCAL,
        Scope::Session => pg_sys::GucAction::GUC_ACTION_SET,
    };
    let carried = if value.is_empty() {
        String::new()
    } else {
        format!("{} {listed}{value}", listed.len())
    };
    let value = CString::new(carried).unwrap_or_default();
    SETTING.set(true);
    let _setting = Setting;
    // SAFETY: inside a transaction; name and value are NUL-terminated.
    unsafe {
        pg_sys::set_config_option(
            scope.name().as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_SESSION,
            action,
            true,
            0,
            false,
        );
    }
}

/// A parallel worker is given its leader's value when it starts; everybody else must come through [`set`].
unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes the address of a NUL-terminated string; the other is a variable of the backend.
    let (empty, worker) = unsafe { (**value == 0, pg_sys::InitializingParallelWorker) };
    empty || worker || SETTING.get()
}

unsafe extern "C-unwind" fn assign_transaction(value: *const c_char, _extra: *mut c_void) {
    // SAFETY: PostgreSQL's new value.
    unsafe { assigned(Scope::Transaction, value) };
}

unsafe extern "C-unwind" fn assign_session(value: *const c_char, _extra: *mut c_void) {
    // SAFETY: PostgreSQL's new value.
    unsafe { assigned(Scope::Session, value) };
}

/// # Safety
/// `value` is NULL or NUL-terminated. Must not fail: also called while a transaction is aborted.
unsafe fn assigned(scope: Scope, value: *const c_char) {
    GENERATION.set(GENERATION.get().wrapping_add(1));
    // SAFETY: as the caller's.
    let (listed, _) = unsafe { parts(value) };
    slots::write(scope, listed);
}

unsafe extern "C-unwind" fn show() -> *const c_char {
    c"".as_ptr()
}
