//! The events of the running transaction.
//!
//! Each is remembered with its subtransaction, so that a rollback to a savepoint forgets it. Beyond
//! `auth_ext.bulk_threshold` they are only counted: one flush takes the place of all when the transaction
//! commits, and memory stays bounded.

use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::OnceLock;

use pgrx::prelude::*;
use pgrx::{
    PgSubXactCallbackEvent, PgXactCallbackEvent, register_subxact_callback, register_xact_callback,
};

use super::deliver::deliver;
use super::event::Event;
use crate::attach::UserId;
use crate::pg::local::process_local;
use crate::pg::{preload, transaction};
use crate::settings;
use crate::statistics::{self, Count, Kind};

#[derive(Default)]
struct Pending {
    registered: bool,
    events: Vec<(pg_sys::SubTransactionId, Event)>,
    /// How many of them are users'.
    users: usize,
    bulk: Option<Bulk>,
    /// Whose sessions end, but for those whom a mark stands for.
    ended: Vec<(pg_sys::SubTransactionId, UserId)>,
    /// How many versions were raised, with the subtransaction in which.
    bumped: Vec<(pg_sys::SubTransactionId, u64)>,
    /// What the events became, once they are written.
    told: Vec<Kind>,
    /// Is there something for the relay?
    wakes: bool,
}

/// What was beyond the threshold. One value is enough for all subtransactions. Only an abort of the one in which it began, or of
/// one around that, undoes it; and since subtransactions nest, that abort undoes all that came later, too. (A mark that a later one
/// asked for stays, and ends more than it has to.)
struct Bulk {
    subtransaction: pg_sys::SubTransactionId,
    /// Deleted users of this bulk start no lower when they come back.
    version_floor: i64,
    /// How many users were among it.
    users: usize,
    /// Were they, with those before, so many that one mark stands for all of them?
    marks: bool,
}

/// What others do when a transaction with events ends.
pub struct Ends {
    /// Called before the commit of a transaction with events, with the users whose sessions it ended.
    pub settle: fn(&[UserId]),
    /// The same of one that touched too many users for a mark each. The argument is the version below
    /// which no new row may start.
    pub settle_bulk: fn(i64),
    /// After the commit of one that left something for the relay.
    pub wake: fn(),
}

static ENDS: OnceLock<Ends> = OnceLock::new();

/// Called while the library is loaded.
pub fn init(ends: Ends) {
    // A second call would bring the same.
    let _ = ENDS.set(ends);
}

process_local! {
    static PENDING: RefCell<Pending> = RefCell::default();
}

/// Remembers an event until the transaction commits. False when the transaction has become a bulk, so that
/// the event itself was not kept.
pub fn record(event: Event) -> bool {
    register();
    PENDING.with_borrow_mut(|pending| {
        let subtransaction = transaction::current_subtransaction();
        if pending.events.len() < settings::bulk_threshold() {
            pending.events.push((subtransaction, event));
            return true;
        }
        pending.bulk();
        false
    })
}

/// The same for a user's event. False when the transaction has touched so many users that one mark will stand
/// for all of them; `next_version` is what a new row of a deleted user's id must start at.
pub fn record_user(event: Event, user_id: &UserId, next_version: i64) -> bool {
    let kept = record(event);
    PENDING.with_borrow_mut(|pending| {
        if kept {
            pending.users += 1;
        } else {
            pending.bulk().users += 1;
        }
        let within = pending.all_users() <= settings::bulk_threshold();
        if within {
            pending.end(user_id.clone());
        } else {
            let bulk = pending.bulk();
            bulk.marks = true;
            bulk.version_floor = bulk.version_floor.max(next_version);
        }
        within
    })
}

/// Notes that the sessions of a user end, who has a row of his own in the history, without an event of his own.
pub fn record_end(user_id: UserId) {
    register();
    PENDING.with_borrow_mut(|pending| {
        if pending.ended.len() < settings::bulk_threshold() {
            pending.end(user_id);
        } else {
            pending.bulk().marks = true;
        }
    });
}

/// Counts a deletion, of one user or of all, among so many that a flush and a mark stand for all of them; see [`in_user_bulk`].
pub fn record_deletion_in_bulk(next_version: i64) {
    register();
    PENDING.with_borrow_mut(|pending| {
        let bulk = pending.bulk();
        bulk.users += 1;
        bulk.marks = true;
        bulk.version_floor = bulk.version_floor.max(next_version);
    });
}

/// Counts a version that was raised, when the transaction commits.
pub fn record_bump() {
    if !preload::is_preloaded() {
        return;
    }
    register();
    let now = transaction::current_subtransaction();
    PENDING.with_borrow_mut(|pending| match pending.bumped.last_mut() {
        Some((subtransaction, times)) if *subtransaction == now => *times += 1,
        _ => pending.bumped.push((now, 1)),
    });
}

/// The version that no new row starts below, because of this transaction's own bulk deletions.
pub fn bulk_version_floor() -> i64 {
    PENDING.with_borrow(|pending| pending.bulk.as_ref().map_or(0, |bulk| bulk.version_floor))
}

/// Has this transaction touched so many users that one mark and a flush will stand for all of them?
pub fn in_user_bulk() -> bool {
    PENDING.with_borrow(|pending| pending.bulk.as_ref().is_some_and(|bulk| bulk.marks))
}

impl Pending {
    fn all_users(&self) -> usize {
        self.users + self.bulk.as_ref().map_or(0, |bulk| bulk.users)
    }

    fn end(&mut self, user_id: UserId) {
        let subtransaction = transaction::current_subtransaction();
        self.ended.push((subtransaction, user_id));
    }

    fn bulk(&mut self) -> &mut Bulk {
        self.bulk.get_or_insert_with(|| Bulk {
            subtransaction: transaction::current_subtransaction(),
            version_floor: 0,
            users: 0,
            marks: false,
        })
    }

    fn forget(&mut self, aborted: pg_sys::SubTransactionId) {
        self.events
            .retain(|(subtransaction, _)| *subtransaction < aborted);
        self.users = self
            .events
            .iter()
            .filter(|(_, event)| matches!(event, Event::User { .. }))
            .count();
        self.ended
            .retain(|(subtransaction, _)| *subtransaction < aborted);
        self.bumped
            .retain(|(subtransaction, _)| *subtransaction < aborted);
        self.bulk.take_if(|bulk| bulk.subtransaction >= aborted);
    }
}

/// Hooks into the transaction, once in each.
fn register() {
    if PENDING.with_borrow_mut(|pending| core::mem::replace(&mut pending.registered, true)) {
        return;
    }
    register_xact_callback(PgXactCallbackEvent::PreCommit, || settle(true));
    // Postgres cannot PREPARE a transaction that notifies; ours must not break one that bumps.
    register_xact_callback(PgXactCallbackEvent::PrePrepare, || settle(false));
    register_xact_callback(PgXactCallbackEvent::Abort, clear);
    register_xact_callback(PgXactCallbackEvent::Commit, committed);
    // COMMIT PREPARED wakes nobody and counts nothing: the worker waits for it.
    register_xact_callback(PgXactCallbackEvent::Prepare, committed);
    register_subxact_callback(PgSubXactCallbackEvent::AbortSub, |aborted, _parent| {
        PENDING.with_borrow_mut(|pending| pending.forget(aborted));
    });
}

fn committed() {
    let pending = PENDING.take();
    let bumped = pending.bumped.iter().map(|(_, times)| times).sum();
    statistics::count(Count::Bumped, bumped);
    pending.told.into_iter().for_each(statistics::count_event);
    if pending.wakes
        && let Some(ends) = ENDS.get()
    {
        (ends.wake)();
    }
}

fn clear() {
    PENDING.take();
}

/// Before the commit: settles what a bulk leaves behind, and delivers the events.
fn settle(may_notify: bool) {
    let (events, ended, bulk) = PENDING.with_borrow_mut(|pending| {
        let ended = core::mem::take(&mut pending.ended);
        let ended: Vec<UserId> = ended.into_iter().map(|(_, user_id)| user_id).collect();
        let events = core::mem::take(&mut pending.events);
        (events, ended, pending.bulk.take())
    });
    if let Some(ends) = ENDS.get() {
        match &bulk {
            Some(bulk) if bulk.marks => (ends.settle_bulk)(bulk.version_floor),
            _ => (ends.settle)(&ended),
        }
    }
    let told: Vec<(Kind, String)> =
        if bulk.is_some() || events.iter().any(|(_, event)| *event == Event::Flush) {
            vec![Event::Flush.told()]
        } else {
            // One of a kind is enough, as NOTIFY itself has it.
            let mut known = HashSet::new();
            let mut told: Vec<_> = events.iter().map(|(_, event)| event.told()).collect();
            told.retain(|(_, payload)| known.insert(payload.clone()));
            told
        };
    let (kinds, payloads): (Vec<Kind>, Vec<String>) = told.into_iter().unzip();
    if payloads.is_empty() {
        return;
    }
    let wakes = deliver(&payloads, may_notify);
    PENDING.with_borrow_mut(|pending| {
        pending.wakes = wakes;
        pending.told = kinds;
    });
}
