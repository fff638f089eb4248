//! The one error type of the extension, and the only place that maps it to SQLSTATE, DETAIL and HINT.
//!
//! Nothing here carries a token, a key, a secret or a claim: messages name rules and the
//! administrator's own names (an issuer, a kid, a table, a column).

use core::ffi::{CStr, c_char};
use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;

use jose::{KeyError, Refusal};
use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;

/// Why a call fails.
#[derive(Clone, Debug)]
pub enum Error {
    /// A credential is refused: SQLSTATE 28000, DETAIL is the reason code.
    Refused(Refusal),
    /// Something is missing that an administrator sets up: SQLSTATE 55000, with the call to make.
    NotSetUp(&'static str, &'static str),
    /// A wrong argument: SQLSTATE 22023.
    Argument(String),
    /// The caller may not: SQLSTATE 42501.
    Forbidden(String),
}

/// The result of everything that can be refused.
pub type Result<T, E = Error> = core::result::Result<T, E>;

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Argument(error.to_string())
    }
}

impl Error {
    /// No issuer was named and none is the default.
    pub const NO_ISSUER: Self = Self::NotSetUp(
        "no default issuer is set up",
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example.com', '{example.com}');",
    );
    /// The issuer has no key to sign with.
    pub const NO_KEY: Self = Self::NotSetUp(
        "the issuer has no active signing key",
        "SELECT auth.create_signing_key();",
    );
    /// No users table is attached, or the attached one is gone.
    pub const NO_USERS: Self = Self::NotSetUp(
        "no users table is attached",
        "SELECT auth.attach_users('your_schema.users');",
    );

    /// No API-key table is attached, or the attached one is gone.
    pub const NO_API_KEYS: Self = Self::NotSetUp(
        "no API-key table is attached",
        "SELECT auth.attach_api_keys('your_schema.api_keys');",
    );
    /// The users table lacks a column or trigger that it had when it was attached.
    pub const BROKEN_USERS: Self = Self::NotSetUp(
        "a column or trigger of the attached users table is gone, renamed or disabled",
        "SELECT auth.attach_users('your_schema.users', …); again, naming its columns.",
    );
    /// The same of the API-key table.
    pub const BROKEN_API_KEYS: Self = Self::NotSetUp(
        "a column or trigger of the attached API-key table is gone, renamed or disabled",
        "SELECT auth.attach_api_keys('your_schema.api_keys', …); again, naming its columns.",
    );

    fn report(self) -> ErrorReport {
        let (code, message, detail, hint) = match self {
            Self::Refused(refusal) => (
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
                refusal.explanation().to_owned(),
                Some(refusal.code()),
                None,
            ),
            Self::NotSetUp(message, hint) => (
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                message.to_owned(),
                None,
                Some(hint),
            ),
            Self::Argument(message) => (
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                message,
                None,
                None,
            ),
            Self::Forbidden(message) => (
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                message,
                None,
                None,
            ),
        };
        let mut report = ErrorReport::new(code, message, "auth_ext").set_domain(DOMAIN);
        if let Some(detail) = detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = hint {
            report = report.set_hint(hint);
        }
        report
    }

    fn raise(self) -> ! {
        leave_out_context();
        self.report().report(PgLogLevel::ERROR);
        unreachable!("reporting at ERROR does not return")
    }
}

/// Runs the body of an SQL function: an error is raised as the mapping above says, and a panic,
/// which would be a bug, as an internal error that names the place and nothing of the data.
pub fn sql<T>(body: impl FnOnce() -> Result<T>) -> T {
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            DEPTH.set(DEPTH.get().saturating_sub(1));
        }
    }
    DEPTH.set(DEPTH.get().saturating_add(1));
    let _inside = Inside;
    // What the body was working on is thrown away with the transaction that fails.
    match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => error.raise(),
        // An error of PostgreSQL, or one that was raised before, goes on as it is.
        Err(payload) if payload.is::<CaughtError>() || payload.is::<ErrorReportWithLevel>() => {
            if let Some(CaughtError::PostgresError(report)) = payload.downcast_ref() {
                PASSED_ON.replace(Some(report.message().to_owned()));
            }
            leave_out_context();
            std::panic::resume_unwind(payload)
        }
        Err(_) => {
            let (file, line) = PANIC_PLACE.take();
            ErrorReport::new(
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                format!("internal error in auth_ext at {file}:{line}"),
                "auth_ext",
            )
            .set_domain(DOMAIN)
            .report(PgLogLevel::ERROR);
            unreachable!("reporting at ERROR does not return")
        }
    }
}

/// PL/pgSQL and SPI would add the statement that they were running, with its literals, to the CONTEXT that the
/// client gets.
fn leave_out_context() {
    // SAFETY: an error is about to be raised; whoever catches it, PG_CATCH or the main loop, sets the stack to
    // what it was there.
    unsafe { pg_sys::error_context_stack = core::ptr::null_mut() };
}

/// A caller's name for something, as a message quotes it: not more of it than a name is long.
pub fn quoted(name: &str) -> String {
    const LONGEST: usize = 80;
    match name.get(..name.floor_char_boundary(LONGEST)) {
        Some(cut) if cut.len() < name.len() => format!("\"{cut}…\""),
        _ => format!("\"{name}\""),
    }
}

/// Raises a WARNING about the administrator's own input.
pub fn warn(message: String) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "auth_ext")
        .set_domain(DOMAIN)
        .report(PgLogLevel::WARNING);
}

/// The message domain of our reports, by which [`hide_statement`] knows them.
const DOMAIN: &str = "auth_ext";

thread_local! {
    /// How many of our calls are running: what PostgreSQL logs meanwhile (a lock wait, say) is about them.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static PANIC_PLACE: RefCell<(String, u32)> = const { RefCell::new((String::new(), 0)) };
    /// The message of PostgreSQL's own error that last ended one of our calls (a lock timeout, say).
    static PASSED_ON: RefCell<Option<String>> = const { RefCell::new(None) };
    static NEXT_LOG_HOOK: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

/// Replaces pgrx's panic hook, which captures a backtrace and puts it into the DETAIL that clients
/// see when RUST_BACKTRACE is set, and hides our statements from the server log.
pub fn init() {
    std::panic::set_hook(Box::new(|info| {
        if let Some(place) = info.location() {
            PANIC_PLACE.replace((place.file().to_owned(), place.line()));
        }
    }));
    // SAFETY: _PG_init runs once in a backend, which has one thread; the hook that was there is kept.
    unsafe {
        NEXT_LOG_HOOK.set(pg_sys::emit_log_hook);
        pg_sys::emit_log_hook = Some(hide_statement);
    }
}

/// The statement that failed may hold a token or a key as a literal: `log_min_error_statement` would
/// write it to the server log, and so would a PL/pgSQL context. Errors of our calls go there without both.
#[pg_guard]
unsafe extern "C-unwind" fn hide_statement(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes a valid ErrorData, whose texts are NULL or NUL-terminated strings.
    unsafe {
        if let Some(error) = error.as_mut() {
            let is = |text: *const c_char, ours: &[u8]| {
                !text.is_null() && CStr::from_ptr(text).to_bytes() == ours
            };
            let passed_on = PASSED_ON.take();
            if DEPTH.get() > 0
                || is(error.domain, DOMAIN.as_bytes())
                || passed_on.is_some_and(|message| is(error.message, message.as_bytes()))
            {
                error.hide_stmt = true;
                error.hide_ctx = true;
                // Of a deadlock: the statements of all who took part.
                error.detail_log = core::ptr::null_mut();
            }
        }
        if let Some(next) = NEXT_LOG_HOOK.get() {
            next(error);
        }
    }
}
