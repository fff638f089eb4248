//! Where the body of an SQL function meets PostgreSQL: errors are raised here, and panics caught.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;

use pgrx::pg_sys::panic::{CaughtError, ErrorReport, ErrorReportWithLevel};
use pgrx::prelude::*;

use super::local::process_local;
use super::log_hook;
use crate::error::{DOMAIN, Error, Result};

process_local! {
    static PANIC_PLACE: RefCell<(String, u32)> = const { RefCell::new((String::new(), 0)) };
}

/// Replaces pgrx's panic hook, which captures a backtrace and puts it into the DETAIL that clients
/// see when RUST_BACKTRACE is set.
pub fn init() {
    std::panic::set_hook(Box::new(|info| {
        if let Some(place) = info.location() {
            PANIC_PLACE.replace((place.file().to_owned(), place.line()));
        }
    }));
}

/// Runs the body of an SQL function: an error is raised as the mapping above says, and a panic,
/// which would be a bug, as an internal error that names the place and nothing of the data.
pub fn sql<T>(body: impl FnOnce() -> Result<T>) -> T {
    let _inside = log_hook::enter();
    // What the body was working on is thrown away with the transaction that fails.
    match std::panic::catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => raise(error),
        // An error of PostgreSQL, or one that was raised before, goes on as it is.
        Err(payload) if payload.is::<CaughtError>() || payload.is::<ErrorReportWithLevel>() => {
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

/// Runs a body whose error is for the server's log only. Of an error that PostgreSQL raises only the code is told: its text may
/// quote what the body worked on.
#[cfg(feature = "pg18")]
pub fn reason<T>(body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let _inside = log_hook::enter();
    // The caller ends the process when this fails.
    std::panic::catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let code = match payload.downcast::<CaughtError>() {
            Ok(caught) => match *caught {
                CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                    Some(report.sql_error_code())
                }
                CaughtError::RustPanic { .. } => None,
            },
            Err(payload) => (payload.downcast_ref::<ErrorReportWithLevel>())
                .map(ErrorReportWithLevel::sql_error_code),
        };
        Err(match code {
            Some(code) => format!("{code:?}"),
            None => {
                let (file, line) = PANIC_PLACE.take();
                format!("internal error in auth_ext at {file}:{line}")
            }
        })
    })
}

/// Raises an error where nobody could pass it on.
pub fn raise(error: Error) -> ! {
    leave_out_context();
    error.report().report(PgLogLevel::ERROR);
    unreachable!("reporting at ERROR does not return")
}

/// Tells the client something that is no error, with what to do about it.
pub fn warn(code: PgSqlErrorCode, message: &str, hint: &str) {
    ErrorReport::new(code, message.to_owned(), "auth_ext")
        .set_hint(hint)
        .set_domain(DOMAIN)
        .report(PgLogLevel::WARNING);
}

/// PL/pgSQL and SPI would add the statement that they were running, with its literals, to the CONTEXT that the
/// client gets.
fn leave_out_context() {
    // SAFETY: an error is about to be raised; whoever catches it, PG_CATCH or the main loop, sets the stack to
    // what it was there.
    unsafe { pg_sys::error_context_stack = core::ptr::null_mut() };
}
