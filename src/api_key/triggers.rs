//! Whatever way a key's row changes, listeners hear of it by its fingerprint.

use std::cell::RefCell;

use pgrx::AllocatedByPostgres;
use pgrx::prelude::*;

use super::binding::current;
use super::table::{ApiKeys, KeyRow};
use crate::accounts;
use crate::attach::{UserId, as_it_is, exhausted, is_bump, raised, refuse_too_high};
use crate::invalidation::{self, Event, Reason};
use crate::pg::boundary::sql;
use crate::pg::local::process_local;
use crate::pg::trigger_row::TriggerRow;

process_local! {
    static REVOKING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs `body`; the keys that it ends are announced as revoked.
pub fn revoking<T>(body: impl FnOnce() -> T) -> T {
    REVOKING.during(true, body)
}

/// Does [`revoking`] run?
fn is_revoking() -> bool {
    REVOKING.with_borrow(|revoking| *revoking)
}

#[pg_trigger(sql = false)]
fn api_keys_before_row<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgHeapTupleError> {
    Ok(sql(|| {
        let attached = current();
        let (Some(keys), Some(new)) = (attached.if_any()?, TriggerRow::new(trigger)) else {
            return Ok(as_it_is(trigger));
        };
        let Some(column) = new.column(&keys.version_column) else {
            return Ok(as_it_is(trigger));
        };
        let version = |row: &TriggerRow<'_>| row.bigint(column).unwrap_or(0);
        let half = new.half_of(column);
        let Some(old) = TriggerRow::old(trigger) else {
            refuse_too_high(version(&new), 0, half)?;
            return Ok(as_it_is(trigger));
        };
        let (was, is) = (version(&old), version(&new));
        refuse_too_high(is, was.saturating_add(1), half)?;
        // Only caches compare a key's version, and they hear of the key's end by its event. So a key at the last version can be
        // ended, too.
        let is_last = was.checked_sub(half).is_some_and(|rest| rest > half);
        let raised = raised(was, is, is_bump(trigger) && !is_last)?;
        new.with_bigint(column, raised)
            .map(Some)
            .ok_or_else(exhausted)
    }))
}

#[pg_trigger(sql = false)]
fn api_keys_after_row<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgHeapTupleError> {
    sql(|| {
        let attached = current();
        if let (Some(keys), Some(old)) = (attached.if_any()?, TriggerRow::old(trigger)) {
            let new = TriggerRow::new(trigger);
            if let Some(event) = event(keys, &old, new.as_ref()) {
                invalidation::record(event);
            }
        }
        Ok(())
    });
    Ok(as_it_is(trigger))
}

/// What a cache that holds the old row must hear. An event names the key by its fingerprint. A row without one, whose key was never
/// used since the column exists, needs a flush.
fn event(keys: &ApiKeys, old: &TriggerRow<'_>, new: Option<&TriggerRow<'_>>) -> Option<Event> {
    let active = |row: &TriggerRow<'_>| {
        let active = |column: &String| row.boolean(row.column(column)?);
        keys.active_column
            .as_ref()
            .is_none_or(|column| active(column).unwrap_or(false))
    };
    let revoking = is_revoking();
    let moved = match new {
        None if keys.table.kind == b'p' => {
            text(old, &keys.id_column).and_then(|id| keys.find_by_id(&id))
        }
        _ => None,
    };
    let reason = match new {
        // An UPDATE that moves the row to another partition deletes it in this one.
        None if moved.is_some() => reason_of_move(keys, old, active(old), &moved?)?,
        None if revoking => "revoked",
        None => "deleted",
        Some(new) if revoking && active(old) && !active(new) => "revoked",
        Some(new) if active(old) && !active(new) => "deactivated",
        Some(new) if !active(old) && active(new) => "activated",
        Some(new) if only_fingerprint_filled(keys, old, new) => return None,
        Some(_) => "updated",
    };
    Some(match text(old, &keys.fingerprint_column) {
        Some(fingerprint) => Event::ApiKey {
            fingerprint,
            user_id: text(old, &keys.user_column).map(owner),
            reason: Reason::new(reason),
        },
        None => Event::Flush,
    })
}

/// What happened to a key whose row was moved to another partition; None when a cache need not hear of it.
fn reason_of_move(
    keys: &ApiKeys,
    old: &TriggerRow<'_>,
    was_active: bool,
    new: &KeyRow,
) -> Option<&'static str> {
    let version = old
        .column(&keys.version_column)
        .and_then(|column| old.bigint(column));
    let user_id = text(old, &keys.user_column).map(UserId::new);
    // Its end cannot be compared: one is a column, the other what is made of it.
    let is_the_same = keys.expires.is_none()
        && version.unwrap_or(0) == new.session_version
        && user_id == new.user_id
        && text(old, &keys.fingerprint_column) == new.fingerprint;
    match (was_active, new.active) {
        (true, false) => Some(if is_revoking() {
            "revoked"
        } else {
            "deactivated"
        }),
        (false, true) => Some("activated"),
        _ if is_the_same => None,
        _ => Some("updated"),
    }
}

/// The back-fill of a missing fingerprint changes nothing that a cache could hold.
fn only_fingerprint_filled(keys: &ApiKeys, old: &TriggerRow<'_>, new: &TriggerRow<'_>) -> bool {
    let others = [
        Some(&keys.user_column),
        Some(&keys.version_column),
        keys.expires.as_ref().map(|column| &column.name),
        keys.hash_column.as_ref(),
        keys.prefix_column.as_ref(),
    ];
    text(old, &keys.fingerprint_column).is_none()
        && others
            .into_iter()
            .flatten()
            .all(|column| text(old, column) == text(new, column))
}

/// The owner as the users table prints ids: events of the user name him so, and the key's column may be of another type.
fn owner(id: String) -> UserId {
    let attached = accounts::current();
    let users = attached.users().ok();
    let printed = users.and_then(|users| users.id_type.canonical(&id));
    UserId::new(printed.unwrap_or(id))
}

fn text(row: &TriggerRow<'_>, column: &str) -> Option<String> {
    row.text(row.column(column)?)
}

#[pg_trigger(sql = false)]
fn api_keys_after_truncate<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, impl WhoAllocated>>, PgTriggerError> {
    sql(|| {
        invalidation::record(Event::Flush);
        Ok(())
    });
    Ok(trigger.new())
}
