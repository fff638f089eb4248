//! Whatever way a users row changes, its version stays right, and listeners hear of it.
//!
//! BEFORE triggers decide the version that the row gets; AFTER triggers, which run once the change has
//! happened, write history and record events.

use std::cell::RefCell;

use jose::SessionVersion;
use pgrx::AllocatedByPostgres;
use pgrx::prelude::*;

use super::binding::current;
use super::history;
use super::moves;
use super::one_time;
use super::state::State;
use super::users::Users;
use crate::attach::{UserId, as_it_is, exhausted, is_bump, raised, refuse_too_high};
use crate::error::Result;
use crate::invalidation::{self, Event, Reason};
use crate::pg::boundary::sql;
use crate::pg::catalog;
use crate::pg::local::process_local;
use crate::pg::trigger_row::TriggerRow;
use crate::settings;

process_local! {
    static REASON: RefCell<Option<Reason>> = const { RefCell::new(None) };
}

/// Runs `body`; the events of the bumps in it carry `reason`.
pub fn with_reason<T>(reason: Reason, body: impl FnOnce() -> T) -> T {
    REASON.during(Some(reason), body)
}

// ---- BEFORE ----------------------------------------------------------------------------------------

#[pg_trigger(sql = false)]
fn users_before_row<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgHeapTupleError> {
    Ok(sql(|| {
        let attached = current();
        let row = attached
            .if_any()?
            .filter(|users| is_theirs(users, trigger))
            .map(|users| with_right_version(users, trigger))
            .transpose()?;
        Ok(row.flatten().or_else(|| as_it_is(trigger)))
    }))
}

fn is_theirs(users: &Users, trigger: &PgTrigger<'_>) -> bool {
    trigger.relid().is_ok_and(|relation| users.covers(relation))
}

/// NEW with the version that it must have; None when it has it, or there is no NEW.
fn with_right_version<'a>(
    users: &Users,
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>> {
    let (old, new) = (TriggerRow::old(trigger), TriggerRow::new(trigger));
    let Some(new) = new else {
        if let Some(old) = old {
            moves::note_delete(users, &old);
        }
        return Ok(None);
    };
    let Some(version) = new.column(&users.version_column) else {
        return Ok(None);
    };
    let is = new.bigint(version);
    if old.is_none() && is == Some(0) && nobody_is_remembered(users) {
        // As most new rows are: a million of them should cost little.
        return Ok(None);
    }
    let Some(id) = new.column(&users.id_column) else {
        return Ok(None);
    };
    let must_be = match old {
        None => match new.text(id).map(UserId::new) {
            Some(id) => inserted(users, &id, is.unwrap_or(0), &|| new.half_of(version))?,
            None => return Ok(None),
        },
        Some(old) => {
            let was = old.bigint(version).unwrap_or(0);
            let is = is.unwrap_or(0);
            let other_id = new.text_unless_same(&old, id).map(UserId::new);
            let floor = match &other_id {
                Some(id) => history::floor(users, id),
                None => 0,
            };
            refuse_too_high(is, was.saturating_add(1).max(floor), new.half_of(version))?;
            // At the last version a deactivation raises nothing: an inactive user's tokens are refused as such.
            let ends_here = was == users.last_version() && deactivates(users, &old, &new);
            let raised = raised(was, is, is_bump(trigger) && !ends_here)?.max(floor);
            if other_id.is_none() && users.is_partitioned() {
                moves::note_update(&old, raised);
            }
            raised
        }
    };
    if is == Some(must_be) {
        return Ok(None);
    }
    new.with_bigint(version, must_be)
        .map(Some)
        .ok_or_else(exhausted)
}

/// The version that a new row must have whose statement says `is`.
fn inserted(users: &Users, id: &UserId, is: i64, half: &dyn Fn() -> i64) -> Result<i64> {
    let moved = moves::version_of(id);
    let floor = match moved {
        // The user was not deleted, so what only deleted users start above does not count.
        Some((true, version)) => return Ok(is.max(version).max(history::own_floor(users, id))),
        Some((false, version)) => history::floor(users, id).max(version.saturating_add(1)),
        None => history::floor(users, id),
    };
    if floor > users.last_version() || floor == i64::MAX {
        // No version is left that no token of the deleted user has.
        return Err(exhausted());
    }
    refuse_too_high(is, floor, half())?;
    Ok(is.max(floor))
}

fn deactivates(users: &Users, old: &TriggerRow<'_>, new: &TriggerRow<'_>) -> bool {
    let is_active = |row: &TriggerRow<'_>| {
        let column = users.active_column.as_ref()?;
        row.boolean(row.column(column)?)
    };
    is_active(old) == Some(true) && is_active(new) != Some(true)
}

// ---- AFTER -----------------------------------------------------------------------------------------

#[pg_trigger(sql = false)]
fn users_after_row<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgHeapTupleError> {
    sql(|| {
        let (old, new) = (TriggerRow::old(trigger), TriggerRow::new(trigger));
        if old.is_none() {
            history::await_mark();
        }
        let attached = current();
        let Some(users) = attached.if_any()?.filter(|users| is_theirs(users, trigger)) else {
            return Ok(());
        };
        if leaves_nothing(users, old.as_ref(), new.as_ref()) {
            return Ok(());
        }
        let read = |row: Option<TriggerRow<'_>>| row.and_then(|row| State::read(users, &row));
        let (old, new) = (read(old), read(new));
        match (old, new) {
            (None, Some(new)) => match moves::end(&new.id) {
                Some(old) => changed(users, &old, &new),
                None => hold_floor(&new),
            },
            (Some(old), Some(new)) if old.id == new.id => changed(users, &old, &new),
            (Some(old), Some(new)) => {
                deleted(users, &old)?;
                hold_floor(&new)
            }
            (Some(old), None) => {
                if !moves::is_moving(&old.id) || users.find(&old.id).is_none() {
                    moves::end(&old.id);
                    deleted(users, &old)?;
                }
                Ok(())
            }
            (None, None) => Ok(()),
        }
    });
    Ok(as_it_is(trigger))
}

/// Is there nothing to write for this row alone? Asked before the row is read in full: a million of them should cost little.
fn leaves_nothing(
    users: &Users,
    old: Option<&TriggerRow<'_>>,
    new: Option<&TriggerRow<'_>>,
) -> bool {
    match (old, new) {
        (None, Some(_)) => nobody_is_remembered(users),
        (Some(old), _) => {
            !moves::any()
                && invalidation::in_user_bulk()
                && !needs_history()
                && is_lost_in_bulk(users, old, new).unwrap_or(false)
        }
        (None, None) => true,
    }
}

/// May a row of any id start at any version, and is none of another partition on its way here?
fn nobody_is_remembered(users: &Users) -> bool {
    !moves::any() && history::is_blank(users)
}

/// Is this bump or deletion one of so many that one flush and one mark stand for all of them?
fn is_lost_in_bulk(
    users: &Users,
    old: &TriggerRow<'_>,
    new: Option<&TriggerRow<'_>>,
) -> Option<bool> {
    let version = old.column(&users.version_column)?;
    let was = old.bigint(version);
    if let Some(new) = new {
        let id = old.column(&users.id_column)?;
        let is_lost = was != new.bigint(version) && new.text_unless_same(old, id).is_none();
        if is_lost {
            invalidation::record_bump();
        }
        return Some(is_lost);
    }
    let next_version = was?.saturating_add(1);
    let is_lost =
        users.has_unique_ids && !history::is_far_above(users, next_version) && one_time::has_none();
    if is_lost {
        invalidation::record_deletion_in_bulk(next_version);
    }
    Some(is_lost)
}

/// A transaction may have deleted a row of that id and committed between our BEFORE trigger and the insertion, which waited for it.
/// The new row must not start below that row's end, either.
fn hold_floor(new: &State) -> Result<()> {
    history::await_mark();
    let attached = current();
    let users = attached.users()?;
    let floor = history::floor(users, &new.id);
    if new.version < floor {
        users.raise(&new.id, floor);
    }
    Ok(())
}

fn changed(users: &Users, old: &State, new: &State) -> Result<()> {
    let bumped = new.version != old.version;
    if bumped {
        invalidation::record_bump();
    }
    let at_the_end = new.version == users.last_version();
    if !old.active && new.active && !bumped && at_the_end {
        // The tokens of before the deactivation would hold again.
        return Err(exhausted());
    }
    if old.active && !new.active && !bumped && !at_the_end {
        // The column is generated, or a trigger behind ours has changed it. The UPDATE that raises the version comes back here.
        with_reason(Reason::new("deactivated"), || {
            users.raise(&new.id, new.next_version())
        });
        return Ok(());
    }
    let reason = match (bumped, old.active, new.active) {
        (true, _, _) if REASON.with_borrow(Option::is_some) => REASON.with_borrow(Clone::clone),
        (_, true, false) => Some(Reason::new("deactivated")),
        (true, _, _) => Some(Reason::new("updated")),
        (false, false, true) => Some(Reason::new("activated")),
        _ => None,
    };
    let Some(reason) = reason else { return Ok(()) };
    let event = Event::User {
        id: new.id.clone(),
        session_version: SessionVersion::new(new.version),
        reason,
    };
    if !bumped {
        invalidation::record(event);
    } else if invalidation::record_user(event, &new.id, 0) || needs_history() {
        // The version is remembered, too, in case the row vanishes without a trace (with its partition, say).
        history::remember(users, &new.id, new.version);
    }
    Ok(())
}

fn deleted(users: &Users, old: &State) -> Result<()> {
    if !users.has_unique_ids {
        // There may be a second row of that id, which nobody could use while there were two. Old tokens must not hold by it.
        users.raise(&old.id, old.next_version());
    }
    let next_version = old.next_version();
    let event = Event::User {
        id: old.id.clone(),
        session_version: SessionVersion::new(next_version),
        reason: Reason::new("deleted"),
    };
    let is_far = history::is_far_above(users, next_version);
    let mark = if is_far { 0 } else { next_version };
    if invalidation::record_user(event, &old.id, mark) || is_far || needs_history() {
        history::remember(users, &old.id, next_version);
    }
    one_time::end_of_user(&old.id)
}

/// Must each user of a bulk have a row of its own in the history? Only issuers that compare `iat` need that; for the others one
/// mark stands for all.
fn needs_history() -> bool {
    crate::trust::current().any_issued_at()
}

// ---- TRUNCATE --------------------------------------------------------------------------------------

#[pg_trigger(sql = false)]
fn users_before_truncate<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, impl WhoAllocated>>, PgTriggerError> {
    let relation = trigger.relid()?;
    sql(move || {
        let attached = current();
        if let (Some(users), Some(truncated)) = (
            attached.if_any()?.filter(|users| users.covers(relation)),
            catalog::relation(relation),
        ) {
            let threshold = if needs_history() {
                usize::MAX
            } else {
                settings::bulk_threshold()
            };
            history::remember_all(users, &truncated, threshold);
            one_time::end_of_all()?;
            invalidation::record(Event::Flush);
        }
        Ok(())
    });
    Ok(trigger.new())
}
