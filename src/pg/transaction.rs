//! Which transaction is running.

use core::ffi::CStr;
use std::panic::AssertUnwindSafe;

use jose::UnixMicros;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;

use super::{clock, guc};
use crate::error::{Error, Result};

/// Has the running transaction an id, as it gets with the first row that it writes?
pub fn has_written() -> bool {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetTopTransactionIdIfAny() != pg_sys::InvalidTransactionId }
}

/// The id of the running transaction, in 64 bits. One that had none has it from now on, so that its end is written to the WAL with its
/// time, whatever else it does.
pub fn id() -> u64 {
    // SAFETY: inside of a transaction, which is not parallel and on no standby.
    unsafe { pg_sys::GetTopFullTransactionId().value }
}

/// Names a command of a transaction that has written something. The next command has another name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Step(pg_sys::TransactionId, pg_sys::CommandId);

/// The running command, in a transaction that has written something.
pub fn step() -> Step {
    // SAFETY: inside of a transaction, which is not parallel as it has written. The id is marked as used, so that no command after this
    // one has it, though this one may write nothing more.
    unsafe {
        Step(
            pg_sys::GetTopTransactionIdIfAny(),
            pg_sys::GetCurrentCommandId(true),
        )
    }
}

/// When the running transaction began.
pub fn began_at() -> UnixMicros {
    // SAFETY: reads a variable of the running transaction.
    clock::from_pg(unsafe { pg_sys::GetCurrentTransactionStartTimestamp() })
}

/// The commit waits until it is on disk, here and on the standbys that are waited for, whatever `synchronous_commit` was set to: as
/// with `on`, or with what the session began with, if that is more. (`ForceSyncCommit` waits for no standby.)
pub fn commit_synchronously() {
    const NAME: &CStr = c"synchronous_commit";
    // SAFETY: the parameter exists, and is one whose values are constants of PostgreSQL's.
    let began_with = unsafe { CStr::from_ptr(pg_sys::GetConfigOptionResetString(NAME.as_ptr())) };
    let (least, level) = if began_with == c"remote_apply" {
        (
            began_with,
            pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_APPLY,
        )
    } else {
        (
            c"on",
            pg_sys::SyncCommitLevel::SYNCHRONOUS_COMMIT_REMOTE_FLUSH,
        )
    };
    // SAFETY: reads a variable of the backend.
    let now = unsafe { pg_sys::synchronous_commit };
    if u32::try_from(now).is_ok_and(|now| now < level) {
        guc::set(NAME, least, pg_sys::GucAction::GUC_ACTION_LOCAL);
    }
}

/// The current subtransaction; ids grow, so what an aborted one and its children did has its id or more.
pub fn current_subtransaction() -> pg_sys::SubTransactionId {
    // SAFETY: reads a variable of the running transaction.
    unsafe { pg_sys::GetCurrentSubTransactionId() }
}

/// Runs `body` with a snapshot, which callbacks at the end of a transaction don't have.
pub fn with_snapshot<T>(body: impl FnOnce() -> T) -> T {
    // SAFETY: inside a transaction that has not ended; the snapshot is popped below, or by its abort after an error.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot()) };
    let outcome = body();
    // SAFETY: the snapshot pushed above is on top again.
    unsafe { pg_sys::PopActiveSnapshot() };
    outcome
}

/// Runs `body`, which writes what belongs to changes that were made before: with a snapshot, and also if the transaction was made READ
/// ONLY after them.
pub fn to_settle(body: impl FnOnce()) {
    with_snapshot(|| {
        // SAFETY: inside a transaction that has written; the variable is put back below, or set anew with the next transaction.
        let was_read_only = unsafe { (&raw mut pg_sys::XactReadOnly).replace(false) };
        body();
        // SAFETY: as above.
        unsafe { pg_sys::XactReadOnly = was_read_only };
    });
}

/// Does what is set for the transaction end with this statement? `WarnNoTransactionBlock` (xact.c) decides the same for SET LOCAL:
/// it does outside of transaction blocks and of functions. Inside a function it still holds for the function's other statements.
pub fn ends_with_the_statement() -> bool {
    // SAFETY: reads variables of the backend.
    unsafe { !pg_sys::IsTransactionBlock() && !pg_sys::IsSubTransaction() && !is_in_function() }
}

unsafe extern "C-unwind" {
    /// Describes the parameters of the extended protocol's Execute.
    fn ParamsErrorCallback(parameters: *mut core::ffi::c_void);
}

/// Does a function's body call? Each language adds to the context of errors; before it only the protocol does.
unsafe fn is_in_function() -> bool {
    // SAFETY: the stack is NULL or a list of records that live as long as they are on it.
    unsafe {
        let Some(context) = pg_sys::error_context_stack.as_ref() else {
            return false;
        };
        let protocol = ParamsErrorCallback as *const ();
        let is_protocol = context
            .callback
            .is_some_and(|callback| core::ptr::addr_eq(callback as *const (), protocol));
        !(is_protocol && context.previous.is_null())
    }
}

/// May a call that could do without it write something down? Not on a standby, and not in a read-only transaction. Not under a
/// transaction's snapshot, either: there the caller would fail where somebody else has updated the same row.
pub fn may_note_a_use() -> bool {
    // SAFETY: reads variables of the backend and of shared memory.
    unsafe {
        !pg_sys::XactReadOnly
            && !pg_sys::RecoveryInProgress()
            && !pg_sys::IsInParallelMode()
            && !keeps_its_snapshot()
    }
}

/// Do all statements of the transaction see what the first one saw (`IsolationUsesXactSnapshot`, xact.h)?
fn keeps_its_snapshot() -> bool {
    // SAFETY: reads a variable of the running transaction.
    unsafe { pg_sys::XactIsoLevel >= i32::try_from(pg_sys::XACT_REPEATABLE_READ).unwrap_or(0) }
}

/// Called after a statement that ends every row of a kind. Under a transaction's snapshot it passes over those that were committed
/// since, and PostgreSQL sees no conflict in that: it is 40001 if `is_any_left`, which looks at what is committed now, finds one.
pub fn refuse_if_missed(is_any_left: impl FnOnce() -> bool) -> Result<()> {
    if keeps_its_snapshot() && is_any_left() {
        return Err(Error::Retry);
    }
    Ok(())
}

/// Runs `body` in a subtransaction. Where it fails, what it did is undone, and the message of the error is answered; a
/// cancelled statement stays cancelled.
pub fn attempt(body: impl FnOnce()) -> core::result::Result<(), String> {
    // SAFETY: as PL/pgSQL runs a block with an exception clause: context and owner of resources are those of before,
    // whichever way the subtransaction ends.
    let (context, owner) = unsafe {
        let before = (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner);
        pg_sys::BeginInternalSubTransaction(core::ptr::null());
        pg_sys::MemoryContextSwitchTo(before.0);
        before
    };
    let restore = move || {
        // SAFETY: as above.
        unsafe {
            pg_sys::MemoryContextSwitchTo(context);
            pg_sys::CurrentResourceOwner = owner;
        }
    };
    PgTryBuilder::new(AssertUnwindSafe(|| {
        body();
        // SAFETY: the subtransaction that was begun above is the innermost one again.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        restore();
        Ok(())
    }))
    .catch_when(PgSqlErrorCode::ERRCODE_QUERY_CANCELED, |error| {
        error.rethrow()
    })
    .catch_others(move |error| {
        // SAFETY: as above; the abort restores role, settings and snapshots.
        unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
        restore();
        Err(match error {
            CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => {
                report.message().to_owned()
            }
            CaughtError::RustPanic { ereport, .. } => ereport.message().to_owned(),
        })
    })
    .execute()
}
