//! The log: every event is a row, written by the transaction that it is about.
//!
//! A row carries its transaction's id, so that a reader who remembers which transactions it has seen
//! ([`Cursor`]) gets each event once, in whatever order they commit.

use std::cell::RefCell;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::cursor::{Anchor, Cursor, Origin};
use crate::pg::acting::ActingAs;
use crate::pg::local::process_local;
use crate::pg::mvcc::Mvcc;
use crate::pg::plan::{OurPlan, Sees};
use crate::pg::snapshot::at_this_moment;
use crate::pg::{catalog, clock, heap, process, transaction, wal};

/// A reader who is further behind is told to forget everything: that is quicker.
const MAX_EVENTS: usize = 10_000;

/// The columns of `auth.invalidation_log`.
const COLUMNS: [heap::Known; 5] = [
    (c"xid", pg_sys::XID8OID),
    (c"n", pg_sys::INT8OID),
    (c"event", pg_sys::TEXTOID),
    (c"relayed", pg_sys::BOOLOID),
    (c"created_at", pg_sys::TIMESTAMPTZOID),
];

struct Plans {
    write: OurPlan,
    emit: OurPlan,
    pruned: OurPlan,
    unaccounted: OurPlan,
    since: OurPlan,
    newest: OurPlan,
    written: OurPlan,
}

process_local! {
    static PLANS: Plans = Plans {
        write: OurPlan::new(
            "INSERT INTO auth.invalidation_log (xid, n, event, relayed)
             SELECT pg_catalog.pg_current_xact_id(), e.n, e.event, $2
             FROM pg_catalog.unnest($1) WITH ORDINALITY AS e(event, n)",
            &[pg_sys::TEXTARRAYOID, pg_sys::BOOLOID],
        ),
        emit: OurPlan::new(
            "SELECT pg_catalog.pg_logical_emit_message(true, 'auth_ext', e.event) FROM pg_catalog.unnest($1) AS e(event)",
            &[pg_sys::TEXTARRAYOID],
        ),
        pruned: OurPlan::new("SELECT p.began::text, p.max_xid::text FROM auth.invalidation_pruned AS p", &[]),
        // Of these transactions, is there one that may have committed, and has no row (any more)?
        unaccounted: OurPlan::new(
            "SELECT FROM unnest($1) AS x(xid)
             WHERE pg_xact_status(x.xid::xid8) IS DISTINCT FROM 'aborted'
               AND NOT EXISTS (SELECT FROM auth.invalidation_log AS l WHERE l.xid = x.xid::xid8)
             LIMIT 1",
            &[pg_sys::TEXTARRAYOID],
        ),
        since: OurPlan::new(
            // By the index: a scan from the oldest transaction in progress would read all that was committed since.
            "SELECT l.created_at, l.n, l.event, l.relayed
             FROM (
                 SELECT l.* FROM auth.invalidation_log AS l WHERE l.xid = ANY ($1::xid8[])
                 UNION ALL
                 SELECT l.* FROM auth.invalidation_log AS l WHERE l.xid >= $2::xid8
             ) AS l
             LIMIT $3",
            &[pg_sys::TEXTARRAYOID, pg_sys::TEXTOID, pg_sys::INT8OID],
        ),
        newest: OurPlan::new(
            "SELECT l.xid::text, l.created_at FROM auth.invalidation_log AS l ORDER BY l.xid DESC, l.n DESC LIMIT 1",
            &[],
        ),
        written: OurPlan::new(
            "SELECT FROM auth.invalidation_log AS l WHERE l.xid = $1::xid8 AND l.created_at = $2",
            &[pg_sys::TEXTOID, pg_sys::TIMESTAMPTZOID],
        ),
    };
    static WRITING: RefCell<bool> = const { RefCell::new(false) };
}

/// Runs `body`, whose writes to the tables of the log are this server's own.
pub fn as_our_own<T>(body: impl FnOnce() -> T) -> T {
    WRITING.during(true, body)
}

/// Does [`as_our_own`] run?
pub fn is_our_own() -> bool {
    WRITING.with_borrow(|writing| *writing)
}

/// Writes events, at the end of the transaction. `relayed`: the relay is to send them.
pub fn write(payloads: &[String], relayed: bool) {
    let table = catalog::auth_relation(c"invalidation_log");
    // Gone with DROP EXTENSION in this very transaction.
    if table == pg_sys::InvalidOid {
        return;
    }
    as_our_own(|| transaction::to_settle(|| write_rows(table, payloads, relayed)));
}

fn write_rows(table: pg_sys::Oid, payloads: &[String], relayed: bool) {
    let xid = pg_sys::Datum::from(transaction::id());
    let rows = (1..).zip(payloads).map(|(n, payload): (i64, _)| {
        [
            Some(xid),
            n.into_datum(),
            payload.as_str().into_datum(),
            relayed.into_datum(),
            clock::now_in_pg().into_datum(),
        ]
    });
    if !heap::insert(table, &COLUMNS, rows) {
        let arguments = [payloads.to_vec().into_datum(), relayed.into_datum()];
        run(&arguments, |plans| &plans.write);
    }
}

/// Writes events as logical messages into the WAL.
pub fn emit(payloads: &[String]) {
    let arguments = [payloads.to_vec().into_datum()];
    transaction::to_settle(|| run(&arguments, |plans| &plans.emit));
}

fn run(arguments: &[Option<pg_sys::Datum>], plan: impl Fn(&Plans) -> &OurPlan) {
    let _acting = ActingAs::qualified(catalog::extension_owner());
    PLANS.with(|plans| plan(plans).run(Sees::Transaction, arguments, 0, |_| ()));
}

/// What a reader is interested in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// All events.
    All,
    /// Those that the relay is to send.
    Relay,
}

/// A row of the log.
struct Logged {
    /// In PostgreSQL's microseconds.
    written: i64,
    n: i64,
    event: String,
    relayed: bool,
}

/// The transactions that `seen` does not see, as parameters of a query: those in progress, by their own ids, and the first
/// of all that began later.
pub fn unseen_by(seen: &Mvcc) -> [Option<pg_sys::Datum>; 2] {
    let in_progress: Vec<String> = seen.in_progress().iter().map(u64::to_string).collect();
    [
        in_progress.into_datum(),
        seen.xmax().to_string().into_datum(),
    ]
}

/// What was committed since a cursor was taken.
pub enum Since {
    /// No event.
    Nothing,
    /// These payloads, in the order in which they were written; there may be none of interest. The cursor is for the next time.
    Events(Vec<String>, Cursor),
    /// Not known, or too much; next time from there.
    Flush(Cursor),
}

/// The place behind all that is committed at this moment.
pub fn cursor() -> Cursor {
    let _acting = reading();
    at_this_moment(|now| PLANS.with(|plans| plans.here(now, plans.bounds())))
}

/// The events that were committed since `cursor` was taken.
pub fn since(cursor: &Cursor, of: Of) -> Since {
    let _acting = reading();
    at_this_moment(|now| PLANS.with(|plans| plans.since(cursor, of, now)))
}

/// This database's.
fn origin() -> Origin {
    Origin {
        system: wal::system_identifier(),
        database: process::own_database().to_u32(),
        timeline: wal::timeline(),
    }
}

fn reading() -> ActingAs {
    ActingAs::reader(catalog::extension_owner())
        .without_jit()
        .by_index()
}

/// What the log does not hold.
#[derive(Clone, Copy)]
struct Bounds {
    /// The transaction that made it.
    began: u64,
    /// The last one whose events were pruned; 0: none.
    pruned: u64,
}

impl Plans {
    fn since(&self, cursor: &Cursor, of: Of, now: &Mvcc) -> Since {
        let bounds = self.bounds();
        let known = cursor.anchor.zip(bounds).filter(|(anchor, bounds)| {
            cursor.origin == origin() && self.is_of_this_history(*anchor, *bounds, now)
        });
        let Some((anchor, known_bounds)) = known else {
            return Since::Flush(self.here(now, bounds));
        };
        // Out of recovery nobody can have seen a transaction that has not begun.
        let is_ahead = !wal::in_recovery() && cursor.seen.xmax() > now.xmax();
        if is_ahead || self.is_too_old(&cursor.seen, of, known_bounds, now) {
            return Since::Flush(self.here(now, bounds));
        }
        let mut events = self.after(&cursor.seen);
        if events.is_empty() {
            return Since::Nothing;
        }
        // Of both: a standby that lags behind must not move the cursor backwards.
        let here = self.here(now, bounds);
        let newest = here.anchor.map_or(anchor, |newest| newest.max(anchor));
        let next = Cursor::new(here.origin, cursor.seen.union(now), newest);
        if events.len() > MAX_EVENTS {
            return Since::Flush(next);
        }
        // Who waited for another's row lock wrote later.
        events.sort_unstable_by_key(|logged| (logged.written, logged.n));
        let events = events
            .into_iter()
            .filter(|logged| logged.relayed || of == Of::All)
            .map(|logged| logged.event);
        Since::Events(events.collect(), next)
    }

    /// The place behind all that is committed.
    fn here(&self, now: &Mvcc, bounds: Option<Bounds>) -> Cursor {
        let newest = self.newest.run(Sees::Active, &[], 1, |row| Anchor {
            xid: row.required::<String>(1).parse().unwrap_or(0),
            written: row.required::<TimestampWithTimeZone>(2).into_inner(),
        });
        let bound = bounds.map_or(0, |bounds| bounds.began.max(bounds.pruned));
        let none = Anchor {
            xid: bound,
            written: 0,
        };
        let anchor = newest.into_iter().fold(none, Anchor::max);
        Cursor::new(origin(), now.clone(), anchor)
    }

    /// Is the event that a cursor was taken behind one of this database's past, as far as can be told?
    fn is_of_this_history(&self, anchor: Anchor, bounds: Bounds, now: &Mvcc) -> bool {
        if !now.sees(anchor.xid) {
            // It may be on its way to a standby. Nobody else can have seen it.
            return wal::in_recovery();
        }
        if anchor.xid <= bounds.began.max(bounds.pruned) {
            return true;
        }
        let arguments = [
            anchor.xid.to_string().into_datum(),
            TimestampWithTimeZone::try_from(anchor.written)
                .ok()
                .into_datum(),
        ];
        !self
            .written
            .run(Sees::Active, &arguments, 1, |_| ())
            .is_empty()
    }

    fn bounds(&self) -> Option<Bounds> {
        let xid = |text: Option<String>| text?.parse::<u64>().ok();
        let bounds = self.pruned.run(Sees::Active, &[], 0, |row| {
            Some(Bounds {
                began: xid(row.get(1))?,
                pruned: xid(row.get(2))?,
            })
        });
        bounds.into_iter().next().flatten()
    }

    /// The rows that `seen` does not see, one more than a reader gets at most.
    fn after(&self, seen: &Mvcc) -> Vec<Logged> {
        let limit = i64::try_from(MAX_EVENTS.saturating_add(1)).ok();
        let [in_progress, xmax] = unseen_by(seen);
        let arguments = [in_progress, xmax, limit.into_datum()];
        self.since.run(Sees::Active, &arguments, 0, |row| Logged {
            written: row.required::<TimestampWithTimeZone>(1).into_inner(),
            n: row.required(2),
            event: row.required(3),
            relayed: row.required(4),
        })
    }

    /// May an event that `seen` does not see have been pruned?
    fn is_too_old(&self, seen: &Mvcc, of: Of, bounds: Bounds, now: &Mvcc) -> bool {
        let Bounds { began, pruned } = bounds;
        // The relay's place was made with the log. Another cursor may be of a log that was there before.
        if (of == Of::All && !seen.sees(began)) || pruned >= seen.xmax() {
            return true;
        }
        let ended: Vec<String> = seen
            .in_progress()
            .iter()
            .filter(|xid| **xid <= pruned && now.sees(**xid))
            .map(u64::to_string)
            .collect();
        !ended.is_empty()
            && !self
                .unaccounted
                .run(Sees::Active, &[ended.into_datum()], 0, |_| ())
                .is_empty()
    }
}
