//! Telling statements apart, and hearing of DISCARD ALL.
//!
//! Both hooks call on to PostgreSQL directly, not through pgrx's guard: an error that passes keeps its SQLSTATE. The frames
//! here own nothing that would have to be dropped, so that it may pass over them.

use core::ffi::c_char;
use std::cell::Cell;

use super::local::process_local;
use super::slots;
use pgrx::prelude::*;

process_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
    static RUNNING: Cell<u64> = const { Cell::new(0) };
    static ON_DISCARD_ALL: Cell<Option<OnDiscardAll>> = const { Cell::new(None) };
    static NEXT_RUN: Cell<pg_sys::ExecutorRun_hook_type> = const { Cell::new(None) };
    static NEXT_UTILITY: Cell<pg_sys::ProcessUtility_hook_type> = const { Cell::new(None) };
}

/// Which statement is running, those inside functions included: another value for each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Statement {
    /// Queries, fetches, commands and ends of transactions so far.
    count: u64,
    /// When the client's message came: a call without a query (PQfn) is a statement, too.
    received: pg_sys::TimestampTz,
}

/// The statement that is running.
pub fn statement() -> Statement {
    Statement {
        count: STATEMENTS.get(),
        // SAFETY: reads a variable of the backend.
        received: unsafe { pg_sys::GetCurrentStatementStartTimestamp() },
    }
}

/// Names the run of the executor that is under way, the innermost one: row triggers that fire before the same row is
/// written are of one run. (Another number than before where an error was caught inside of it.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExecutorRun(u64);

/// The innermost run of the executor.
pub fn executor_run() -> ExecutorRun {
    ExecutorRun(RUNNING.get())
}

/// What is called at the end of a DISCARD ALL.
pub type OnDiscardAll = fn();

/// Guarded against Rust's own panics.
#[pg_guard]
unsafe extern "C-unwind" fn call_on_discard_all() {
    if let Some(on_discard_all) = ON_DISCARD_ALL.get() {
        on_discard_all();
    }
}

/// A statement that PostgreSQL's own cancel did not meet, in between two fetches from a cursor, say.
#[pg_guard]
unsafe extern "C-unwind" fn cancel_it() {
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_QUERY_CANCELED,
        "canceling statement because the transaction's identity has ended"
    );
}

/// Installs the hooks, once in a backend.
pub fn init(on_discard_all: OnDiscardAll) {
    ON_DISCARD_ALL.set(Some(on_discard_all));
    // SAFETY: _PG_init runs once in a backend, which has one thread; the hooks that were there are kept and called.
    unsafe {
        NEXT_RUN.set(pg_sys::ExecutorRun_hook);
        pg_sys::ExecutorRun_hook = Some(run);
        NEXT_UTILITY.set(pg_sys::ProcessUtility_hook);
        pg_sys::ProcessUtility_hook = Some(utility);
        pg_sys::RegisterXactCallback(Some(transaction_ends), core::ptr::null_mut());
    }
}

/// What a procedure does after a COMMIT is another statement, though nothing else tells. Must not fail.
unsafe extern "C-unwind" fn transaction_ends(
    _event: pg_sys::XactEvent::Type,
    _argument: *mut core::ffi::c_void,
) {
    count();
}

fn count() {
    STATEMENTS.set(STATEMENTS.get().wrapping_add(1));
}

macro_rules! executor_run {
    ($($argument:ident: $type:ty),*) => {
        unsafe extern "C-unwind" {
            fn standard_ExecutorRun($($argument: $type),*);
        }

        /// A statement runs, or a cursor is fetched from.
        unsafe extern "C-unwind" fn run($($argument: $type),*) {
            count();
            if slots::is_over() {
                // SAFETY: a function of ours that fails as PostgreSQL's do.
                unsafe { cancel_it() };
            }
            let outer = RUNNING.replace(STATEMENTS.get());
            // SAFETY: passes on what PostgreSQL passed, to the next hook or to what it would have called itself.
            unsafe {
                match NEXT_RUN.get() {
                    Some(next) => next($($argument),*),
                    None => standard_ExecutorRun($($argument),*),
                }
            }
            // An error skips this: whoever catches the error goes on with a number that no run has.
            RUNNING.set(outer);
        }
    };
}

#[cfg(not(feature = "pg18"))]
executor_run!(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count_: u64, once: bool);
#[cfg(feature = "pg18")]
executor_run!(query: *mut pg_sys::QueryDesc, direction: pg_sys::ScanDirection::Type, count_: u64);

unsafe extern "C-unwind" {
    fn standard_ProcessUtility(
        statement: *mut pg_sys::PlannedStmt,
        text: *const c_char,
        read_only_tree: bool,
        context: pg_sys::ProcessUtilityContext::Type,
        parameters: pg_sys::ParamListInfo,
        environment: *mut pg_sys::QueryEnvironment,
        receiver: *mut pg_sys::DestReceiver,
        completion: *mut pg_sys::QueryCompletion,
    );
}

/// A command that is no query runs.
#[allow(clippy::too_many_arguments, reason = "PostgreSQL's signature")]
unsafe extern "C-unwind" fn utility(
    statement: *mut pg_sys::PlannedStmt,
    text: *const c_char,
    read_only_tree: bool,
    context: pg_sys::ProcessUtilityContext::Type,
    parameters: pg_sys::ParamListInfo,
    environment: *mut pg_sys::QueryEnvironment,
    receiver: *mut pg_sys::DestReceiver,
    completion: *mut pg_sys::QueryCompletion,
) {
    count();
    // SAFETY: `statement` is valid, and its utilityStmt a node, as PostgreSQL passed it; all is passed on to the next
    // hook or to what PostgreSQL would have called itself. The node is read before: its memory may be freed with the
    // cached plans that DISCARD ALL drops.
    unsafe {
        let node = (*statement).utilityStmt;
        let discards_all = (*node).type_ == pg_sys::NodeTag::T_DiscardStmt
            && (*node.cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL;
        let next = NEXT_UTILITY.get().unwrap_or(standard_ProcessUtility as _);
        next(
            statement,
            text,
            read_only_tree,
            context,
            parameters,
            environment,
            receiver,
            completion,
        );
        if discards_all {
            call_on_discard_all();
        }
    }
}
