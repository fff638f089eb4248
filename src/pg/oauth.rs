//! Logging in with a token on PostgreSQL 18: the module of `oauth_validator_libraries` (libpq/oauth.h, which pgrx does not bind).
//!
//! While PostgreSQL asks the validator, no table of the database can be read. So the token is only kept then, and verified where the
//! start-up's transaction commits: when the database and its settings are there, and before anything that the client sends. All that
//! goes wrong until then is a failed login.

use core::ffi::{CStr, c_char, c_int, c_void};
use std::cell::{Cell, RefCell};

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::connecting::{self, Connecting, Decides};
use super::local::process_local;
use super::{boundary, transaction};
use crate::error::{self, DOMAIN};

/// `ValidatorModuleResult`.
#[repr(C)]
pub struct ModuleResult {
    authorized: bool,
    authn_id: *mut c_char,
}

type StateCallback = unsafe extern "C-unwind" fn(state: *mut c_void);
type ValidateCallback = unsafe extern "C-unwind" fn(
    state: *const c_void,
    token: *const c_char,
    role: *const c_char,
    result: *mut ModuleResult,
) -> bool;

/// `OAuthValidatorCallbacks`.
#[repr(C)]
pub struct Callbacks {
    magic: u32,
    startup: Option<StateCallback>,
    shutdown: Option<StateCallback>,
    validate: Option<ValidateCallback>,
}

/// `PG_OAUTH_VALIDATOR_MAGIC`.
const MAGIC: u32 = 0x2025_0220;

static CALLBACKS: Callbacks = Callbacks {
    magic: MAGIC,
    startup: None,
    shutdown: None,
    validate: Some(validate),
};

/// What PostgreSQL looks for in a library of `oauth_validator_libraries`.
#[unsafe(no_mangle)]
#[allow(non_snake_case, reason = "PostgreSQL's name")]
pub extern "C-unwind" fn _PG_oauth_validator_module_init() -> *const Callbacks {
    &raw const CALLBACKS
}

/// Who wants to log in, as far as anybody says so.
pub struct Login {
    /// The token that was brought.
    pub token: String,
    /// The role that the connection has.
    pub role: String,
    /// By whose word it may have that.
    pub decides: Decides,
}

/// What the rooms above decide.
#[derive(Clone, Copy)]
pub struct Rules {
    /// May superusers log in with a token?
    pub superusers: fn() -> bool,
    /// Verifies the token, and makes it the session's identity: the user's id, if it is of one, or why not, for the server's log only.
    pub admit: fn(&Login) -> Result<Option<String>, String>,
}

struct Pending {
    token: String,
    connecting: Connecting,
}

process_local! {
    static RULES: Cell<Option<Rules>> = const { Cell::new(None) };
    static PENDING: RefCell<Option<Pending>> = const { RefCell::new(None) };
}

/// Called once, when the library is loaded.
pub fn init(rules: Rules) {
    RULES.set(Some(rules));
}

/// PostgreSQL has read a token, which is well-formed as a Bearer token. Nothing is said of who it is (`authn_id`): PostgreSQL would log that,
/// and show it as SYSTEM_USER, before it is verified.
#[pg_guard]
unsafe extern "C-unwind" fn validate(
    _state: *const c_void,
    token: *const c_char,
    role: *const c_char,
    result: *mut ModuleResult,
) -> bool {
    let outcome = boundary::reason(|| {
        // SAFETY: PostgreSQL passes NUL-terminated strings, the role being the connection's.
        unsafe { keep(CStr::from_ptr(token), CStr::from_ptr(role)) }
    });
    match outcome {
        // SAFETY: PostgreSQL's, and filled with zeros.
        Ok(()) => unsafe { (*result).authorized = true },
        // SAFETY: as above.
        Err(reason) => refuse(unsafe { CStr::from_ptr(role) }, &reason),
    }
    true
}

/// # Safety
/// `role` is what PostgreSQL passed to the validator.
unsafe fn keep(token: &CStr, role: &CStr) -> Result<(), String> {
    let rules = RULES.get().ok_or("the library is not set up")?;
    if let Some(reason) = connecting::why_not(role, (rules.superusers)()) {
        return Err(reason.to_owned());
    }
    let token = token.to_str().map_err(|_| "malformed")?.to_owned();
    // SAFETY: as the caller's.
    let connecting = unsafe { Connecting::take_over(role.as_ptr()) }
        .ok_or("this server keeps connections in a way that is not known here")?;
    PENDING.replace(Some(Pending { token, connecting }));
    // SAFETY: inside of the start-up's transaction; the callback is of this library, which is never unloaded.
    unsafe { pg_sys::RegisterXactCallback(Some(transaction_ends), core::ptr::null_mut()) };
    Ok(())
}

/// Registered while the token is kept: it is called at the end of the start-up's transaction, the backend's first.
#[pg_guard]
unsafe extern "C-unwind" fn transaction_ends(
    event: pg_sys::XactEvent::Type,
    _argument: *mut c_void,
) {
    // SAFETY: reads a variable of the backend.
    if unsafe { pg_sys::proc_exit_inprogress } {
        return;
    }
    let Some(Pending { token, connecting }) = PENDING.take() else {
        return;
    };
    let role = connecting::session_role();
    let outcome = boundary::reason(|| {
        if event != pg_sys::XactEvent::XACT_EVENT_PRE_COMMIT {
            return Err("the transaction of the start-up did not commit".to_owned());
        }
        let rules = RULES.get().ok_or("the library is not set up")?;
        // The role may have become one since.
        if let Some(reason) = connecting::why_not(&role, (rules.superusers)()) {
            return Err(reason.to_owned());
        }
        let login = Login {
            token,
            role: role
                .to_str()
                .map_err(|_| "the role's name is no UTF-8")?
                .to_owned(),
            decides: connecting.decides,
        };
        in_time(|| transaction::with_snapshot(|| (rules.admit)(&login)))
    });
    match outcome {
        Ok(user) => {
            // SAFETY: the same callback as above; PostgreSQL allows it from inside of it.
            unsafe {
                pg_sys::UnregisterXactCallback(Some(transaction_ends), core::ptr::null_mut())
            };
            if let Some(user) = user {
                connecting::set_system_user(&user);
            }
            connecting.options.apply();
        }
        Err(reason) => refuse(&role, &reason),
    }
}

unsafe extern "C-unwind" {
    fn enable_timeout_after(id: c_int, milliseconds: c_int);
    fn disable_timeout(id: c_int, keep_indicator: bool);
}

/// Runs `body` for `authentication_timeout` at most, as PostgreSQL's own part of a login: somebody may hold a lock on our tables.
fn in_time<T>(body: impl FnOnce() -> T) -> T {
    /// `STATEMENT_TIMEOUT` of `TimeoutId`.
    const STATEMENT_TIMEOUT: c_int = 3;
    // SAFETY: the start-up has registered the timeout, and uses it itself so (`PerformAuthentication`); after an error the process ends.
    unsafe {
        enable_timeout_after(
            STATEMENT_TIMEOUT,
            pg_sys::AuthenticationTimeout.saturating_mul(1000),
        );
    }
    let outcome = body();
    // SAFETY: as above.
    unsafe { disable_timeout(STATEMENT_TIMEOUT, false) };
    outcome
}

/// Ends the login. The client is told what PostgreSQL says to every token that it refuses, only the server's log why.
fn refuse(role: &CStr, reason: &str) -> ! {
    error::log(format!("auth_ext refused a login with a token: {reason}"));
    let role = role.to_string_lossy();
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        format!("OAuth bearer authentication failed for user \"{role}\""),
        "auth_ext",
    )
    .set_domain(DOMAIN)
    .report(PgLogLevel::FATAL);
    unreachable!("reporting at FATAL does not return")
}
