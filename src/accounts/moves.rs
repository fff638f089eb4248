//! Rows that move between partitions.
//!
//! An UPDATE that moves a row to another partition fires, for that row: BEFORE UPDATE, BEFORE DELETE, BEFORE INSERT, and at the end
//! of the command AFTER DELETE, AFTER INSERT; but no AFTER UPDATE. The user was not deleted. We take a BEFORE DELETE for such a
//! move if the last BEFORE UPDATE in the same run of the executor saw the very same tuple, and if there is a row of that id at the
//! end: the destination may have refused the row.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use pgrx::{
    PgSubXactCallbackEvent, PgXactCallbackEvent, register_subxact_callback, register_xact_callback,
};

use super::state::State;
use super::users::Users;
use crate::attach::UserId;
use crate::pg::hooks::{self, ExecutorRun};
use crate::pg::local::process_local;
use crate::pg::trigger_row::{RowPlace, TriggerRow};

process_local! {
    static UPDATED: Cell<Option<(ExecutorRun, RowPlace, i64)>> = const { Cell::new(None) };
    static MOVED: RefCell<HashMap<UserId, Moved>> = RefCell::default();
    static WATCHING: Cell<bool> = const { Cell::new(false) };
}

/// A row on its way to another partition.
struct Moved {
    /// As it was.
    old: State,
    /// The version that it is on its way with.
    version: i64,
    /// What moves it.
    run: ExecutorRun,
}

/// Before an UPDATE that gives the row `version`.
pub fn note_update(old: &TriggerRow<'_>, version: i64) {
    forget_on_abort();
    UPDATED.set(Some((hooks::executor_run(), old.place(), version)));
}

/// Before a DELETE.
pub fn note_delete(users: &Users, row: &TriggerRow<'_>) {
    let run = hooks::executor_run();
    if let Some((by, place, version)) = UPDATED.replace(None)
        && (by, place) == (run, row.place())
        && let Some(old) = State::read(users, row)
    {
        MOVED.with_borrow_mut(|moved| moved.insert(old.id.clone(), Moved { old, version, run }));
    }
}

/// The version that a row of that id is on its way with, and whether this run of the executor moves it.
pub fn version_of(id: &UserId) -> Option<(bool, i64)> {
    let run = hooks::executor_run();
    MOVED.with_borrow(|moved| {
        let moved = moved.get(id)?;
        Some((moved.run == run, moved.version))
    })
}

/// Is any row on its way?
pub fn any() -> bool {
    MOVED.with_borrow(|moved| !moved.is_empty())
}

/// Is a row of that id on its way?
pub fn is_moving(id: &UserId) -> bool {
    MOVED.with_borrow(|moved| moved.contains_key(id))
}

/// The row of that id is on its way no longer. The answer is what it was before.
pub fn end(id: &UserId) -> Option<State> {
    let moved = MOVED.with_borrow_mut(|moved| moved.remove(id))?;
    Some(moved.old)
}

/// A command that fails halfway leaves no AFTER trigger to forget its moves.
fn forget_on_abort() {
    if WATCHING.replace(true) {
        return;
    }
    let forget = || {
        UPDATED.set(None);
        MOVED.take();
    };
    register_subxact_callback(PgSubXactCallbackEvent::AbortSub, move |_, _| forget());
    for end in [
        PgXactCallbackEvent::Abort,
        PgXactCallbackEvent::Commit,
        PgXactCallbackEvent::Prepare,
    ] {
        register_xact_callback(end, move || {
            forget();
            WATCHING.set(false);
        });
    }
}
