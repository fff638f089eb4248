//! Keeps tokens, keys and secrets that stand in statements out of the server log.

use core::ffi::{CStr, c_char, c_int};
use std::cell::Cell;
use std::ffi::CString;

use pgrx::prelude::*;

use super::local::process_local;
use crate::error::DOMAIN;

// Nothing here is dropped: PostgreSQL logs to the very end of a process.
process_local! {
    /// How many of our calls are running: what PostgreSQL logs meanwhile (a lock wait, say) is about them.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// When the client sent what our last call was part of.
    static CALLED_IN: Cell<pg_sys::TimestampTz> = const { Cell::new(i64::MIN) };
    static NEXT: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

/// One of our calls runs while it lives.
pub struct Inside(());

/// One of our calls begins.
pub fn enter() -> Inside {
    DEPTH.set(DEPTH.get().saturating_add(1));
    CALLED_IN.set(message_came());
    Inside(())
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

/// When the client's message came that is being worked on.
fn message_came() -> pg_sys::TimestampTz {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetCurrentStatementStartTimestamp() }
}

/// Installs the hook, once in a backend.
pub fn init() {
    // SAFETY: _PG_init runs once in a backend, which has one thread; the hook that was there is kept.
    unsafe {
        NEXT.set(pg_sys::emit_log_hook);
        pg_sys::emit_log_hook = Some(hide);
    }
}

/// PostgreSQL would write the statement of an error to the log (`log_min_error_statement`), and those of others who took
/// part in a deadlock; PL/pgSQL adds to the CONTEXT what it runs.
///
/// The statement is hidden when one of our calls runs, when one has run in the same message of the client (what fails at the
/// COMMIT, or after a call, may hold a literal), and when its text names one of our functions or holds a token: it may have failed
/// before the call. Contexts, queries of functions, and details for the log go only where their own text may hold something.
#[pg_guard]
unsafe extern "C-unwind" fn hide(error: *mut pg_sys::ErrorData) {
    // SAFETY: PostgreSQL passes a valid ErrorData, whose texts are NULL or NUL-terminated strings, as is debug_query_string.
    unsafe {
        if let Some(error) = error.as_mut() {
            let ours = DEPTH.get() > 0 || is_our_domain(error.domain);
            let holds = |text: *const c_char| {
                !text.is_null() && (ours || may_hold_a_secret(CStr::from_ptr(text).to_bytes()))
            };
            let statement_holds = || {
                ours || (!pg_sys::debug_query_string.is_null()
                    && (CALLED_IN.get() == message_came() || holds(pg_sys::debug_query_string)))
            };
            error.hide_stmt |= is_with_statement(error.elevel) && statement_holds();
            error.hide_ctx |=
                holds(error.context) || (has_parameters(error.context) && statement_holds());
            // A syntax error quotes the literal that it is at.
            for text in [&mut error.message, &mut error.detail] {
                if let Some(clean) = without_tokens(*text) {
                    *text = pg_sys::pstrdup(clean.as_ptr());
                }
            }
            if holds(error.detail_log) {
                error.detail_log = core::ptr::null_mut();
            }
            if holds(error.internalquery) {
                error.internalquery = core::ptr::null_mut();
                error.internalpos = 0;
            }
        }
        if let Some(next) = NEXT.get() {
            next(error);
        }
    }
}

/// A message without the tokens that it holds; None when it holds none.
unsafe fn without_tokens(text: *const c_char) -> Option<CString> {
    if text.is_null() {
        return None;
    }
    // SAFETY: a NUL-terminated string, as the caller says.
    let mut rest = unsafe { CStr::from_ptr(text) }.to_bytes();
    let mut clean = Vec::new();
    while let Some(at) = rest.windows(3).position(|three| three == b"eyJ") {
        let (before, token) = rest.split_at(at);
        let is_of_token = |b: &u8| b.is_ascii_alphanumeric() || b"-_.=".contains(b);
        let length = token.iter().take_while(|b| is_of_token(b)).count();
        let (token, after) = token.split_at(length);
        clean.extend_from_slice(before);
        clean.extend_from_slice(if length < SHORTEST_TOKEN {
            token
        } else {
            b"..."
        });
        rest = after;
    }
    if clean.is_empty() {
        return None;
    }
    clean.extend_from_slice(rest);
    CString::new(clean).ok()
}

/// No token is shorter.
const SHORTEST_TOKEN: usize = 20;

unsafe fn is_our_domain(domain: *const c_char) -> bool {
    // SAFETY: NULL or a NUL-terminated string, as the caller says.
    !domain.is_null() && unsafe { CStr::from_ptr(domain) }.to_bytes() == DOMAIN.as_bytes()
}

/// Does a context hold the parameters of a statement (`log_parameter_max_length_on_error`)?
unsafe fn has_parameters(context: *const c_char) -> bool {
    // SAFETY: NULL or a NUL-terminated string, as the caller says.
    let text = |context| unsafe { CStr::from_ptr(context) }.to_bytes();
    !context.is_null() && contains(text(context), b" parameter")
}

/// Would PostgreSQL write the statement behind a message of that level? (`is_log_level_output`)
fn is_with_statement(level: c_int) -> bool {
    // SAFETY: reads a variable of the backend.
    let least = unsafe { pg_sys::log_min_error_statement };
    let is = |constant: u32| c_int::try_from(constant) == Ok(level);
    is(pg_sys::LOG) || is(pg_sys::LOG_SERVER_ONLY) || level >= least
}

/// The functions that take a secret.
const TAKE_SECRETS: &[&[u8]] = &[
    b"verify_jwt",
    b"check_jwt",
    b"decode_jwt",
    b"refresh_jwt",
    b"revoke_jwt",
    b"exchange_sso_token",
    b"complete_sso",
    b"one_time_token",
    b"api_key",
    b"authenticate",
    b"import_signing_key",
    b"import_jwks",
    b"refresh_jwks",
    b"export_keys",
    b"import_keys",
    b"refresh_session",
    b"receive_security_event",
];

fn contains(text: &[u8], what: &[u8]) -> bool {
    text.windows(what.len()).any(|there| there == what)
}

/// Does the text name one of our functions that take a secret, or hold what looks like a token?
fn may_hold_a_secret(text: &[u8]) -> bool {
    let is_at = |at: usize, what: &[u8]| {
        text.get(at..at + what.len())
            .is_some_and(|there| there.eq_ignore_ascii_case(what))
    };
    // Every token begins with `{"` in base64url.
    (0..text.len()).any(|at| is_at(at, b"eyJ") || TAKE_SECRETS.iter().any(|name| is_at(at, name)))
}
