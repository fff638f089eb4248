//! Keeps the statements of our calls out of the server log.

use core::ffi::{CStr, c_char};
use std::cell::{Cell, RefCell};

use pgrx::prelude::*;

use crate::error::DOMAIN;

thread_local! {
    /// How many of our calls are running: what PostgreSQL logs meanwhile (a lock wait, say) is about them.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// The message of PostgreSQL's own error that last ended one of our calls (a lock timeout, say).
    static PASSED_ON: RefCell<Option<String>> = const { RefCell::new(None) };
    static NEXT: Cell<pg_sys::emit_log_hook_type> = const { Cell::new(None) };
}

/// One of our calls runs while it lives.
pub struct Inside(());

/// One of our calls begins.
pub fn enter() -> Inside {
    DEPTH.set(DEPTH.get().saturating_add(1));
    Inside(())
}

impl Drop for Inside {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
    }
}

/// An error of PostgreSQL ends one of our calls, and is reported later, outside of it.
pub fn passes_on(message: &str) {
    PASSED_ON.replace(Some(message.to_owned()));
}

/// Installs the hook, once in a backend.
pub fn init() {
    // SAFETY: _PG_init runs once in a backend, which has one thread; the hook that was there is kept.
    unsafe {
        NEXT.set(pg_sys::emit_log_hook);
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
        if let Some(next) = NEXT.get() {
            next(error);
        }
    }
}
