//! Removing what can no longer matter.

use core::ffi::CStr;
use std::time::{Duration, Instant};

use jose::UnixMicros;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use crate::invalidation;
use crate::pg::acting::ActingAs;
use crate::pg::plan::{Sees, query, text};
use crate::pg::{catalog, clock};
use crate::settings;

/// What a call takes at a time, so that it can stop in between.
const BATCH: i64 = 5_000;
const DAY: i64 = 86_400;

/// Rows that nothing can ask for any more, once a time in them is so long ago. Each key has an index.
struct Over {
    table: &'static CStr,
    key: &'static str,
    /// In seconds.
    keep: i64,
    and: &'static str,
}

const OVER: [Over; 6] = [
    // The token could neither be verified nor refreshed.
    Over::new(c"revoked_tokens", "keep_until", 0, ""),
    // For a day a used or late hand-off is still told what it was.
    Over::new(c"sso_handoffs", "expires_at", DAY, ""),
    Over::new(c"one_time_tokens", "expires_at", 0, "AND used_at IS NULL"),
    Over::new(
        c"one_time_tokens",
        "used_at",
        30 * DAY,
        "AND used_at IS NOT NULL",
    ),
    // Nothing of an ended or past session holds any more.
    Over::new(c"sessions", "ended_at", 0, "AND ended_at IS NOT NULL"),
    Over::new(c"sessions", "expires_at", 0, ""),
];

/// The tables that rows are removed from.
pub const TABLES: [&CStr; 6] = [
    c"revoked_tokens",
    c"sso_handoffs",
    c"one_time_tokens",
    c"sessions",
    c"invalidation_log",
    c"invalidation_pruned",
];

/// What a call has done.
#[derive(Default)]
pub struct Pruned {
    /// So many rows were removed.
    pub removed: i64,
    /// The time was over before all was gone.
    pub is_more: bool,
}

/// Removes what can no longer matter, in batches, until all is gone or the time is over. Passes over rows that somebody else has
/// locked.
pub fn prune(budget: Duration) -> Pruned {
    let began = Instant::now();
    let now = clock::now();
    let mut pruned = Pruned::default();
    let _acting = ActingAs::writer(catalog::extension_owner(), None).by_index();
    for over in &OVER {
        over.remove(now, &mut pruned, &|| began.elapsed() > budget);
    }
    prune_ended_sessions(&mut pruned);
    prune_log(now, &mut pruned, &|| began.elapsed() > budget);
    pruned
}

/// Sessions that their issuer ended by a `sid`. A note goes when none of the keys that were there at its time can verify any more.
/// For a month, a key that has gone from a JWKS may come back with another JWKS.
fn prune_ended_sessions(pruned: &mut Pruned) {
    // Missing before the extension is updated, as are the sessions.
    if !catalog::has_auth_relation(c"jwks_fetches") {
        return;
    }
    let removed = query(
        Sees::Transaction,
        "WITH removed AS (
             DELETE FROM auth.revoked_tokens WHERE ctid = ANY (ARRAY(
                 SELECT r.ctid FROM auth.revoked_tokens AS r
                 WHERE r.keep_until = 'infinity' AND starts_with(r.issuer, 'auth_ext:sid ')
                   AND r.revoked_at < clock_timestamp() - interval '30 days'
                   AND NOT EXISTS (
                       SELECT FROM auth.signing_key_store AS k
                       WHERE k.issuer = substr(r.issuer, length('auth_ext:sid ') + 1) AND k.created_at <= r.revoked_at
                         AND (k.verify_until IS NULL
                              OR k.verify_until > clock_timestamp() - interval '30 days' AND NOT k.retired
                              OR k.verify_until > clock_timestamp()))
                 LIMIT 50000 FOR UPDATE SKIP LOCKED))
             RETURNING true
         )
         SELECT count(*) FROM removed",
        &[],
        |row| row.required::<i64>(1),
    );
    pruned.removed = pruned.removed.saturating_add(removed.into_iter().sum());
}

type Argument = (pg_sys::Oid, Option<pg_sys::Datum>);

fn time(time: UnixMicros) -> Argument {
    (
        pg_sys::TIMESTAMPTZOID,
        clock::to_timestamptz(time).into_datum(),
    )
}

fn before(now: UnixMicros, seconds: i64) -> UnixMicros {
    UnixMicros(now.0.saturating_sub(seconds.saturating_mul(1_000_000)))
}

impl Over {
    const fn new(table: &'static CStr, key: &'static str, keep: i64, and: &'static str) -> Self {
        Self {
            table,
            key,
            keep,
            and,
        }
    }

    fn remove(&self, now: UnixMicros, pruned: &mut Pruned, is_late: &dyn Fn() -> bool) {
        let Self {
            table, key, and, ..
        } = self;
        // Missing before the extension is updated.
        if !catalog::has_auth_relation(table) {
            return;
        }
        let table = table.to_string_lossy();
        // Each batch begins where the one before ended: it does not look at the removed rows again.
        let command = format!(
            "WITH removed AS (
                 DELETE FROM auth.{table} WHERE ctid = ANY (ARRAY(
                     SELECT ctid FROM auth.{table}
                     WHERE {key} < $1 AND {key} >= coalesce($2, '-infinity') {and}
                     ORDER BY {key} LIMIT {BATCH} FOR UPDATE SKIP LOCKED))
                 RETURNING {key}
             )
             SELECT count(*), max({key}) FROM removed"
        );
        let mut from: Option<TimestampWithTimeZone> = None;
        loop {
            let arguments = [
                time(before(now, self.keep)),
                (pg_sys::TIMESTAMPTZOID, from.into_datum()),
            ];
            let batch = query(Sees::Transaction, &command, &arguments, |row| {
                (row.required::<i64>(1), row.get::<TimestampWithTimeZone>(2))
            });
            let Some((removed, last)) = batch.into_iter().next() else {
                return;
            };
            pruned.removed = pruned.removed.saturating_add(removed);
            if removed < BATCH {
                return;
            }
            if is_late() {
                pruned.is_more = true;
                return;
            }
            from = last;
        }
    }
}

/// One batch of events: those of the next 20,000 ($3 is behind the last) that are older than $1, in the order of their transactions up
/// to the first event that is younger. An event that is ahead of the clock ($2) says nothing of its age: it goes with
/// an older one behind it.
const LOG: &str = "
    WITH young AS MATERIALIZED (
        SELECT w.xid FROM (
            SELECT l.xid, l.created_at FROM auth.invalidation_log AS l WHERE l.xid > $3::xid8 ORDER BY l.xid LIMIT 20000
        ) AS w
        WHERE w.created_at BETWEEN $1 AND $2 LIMIT 1
    ), last AS MATERIALIZED (
        SELECT l.xid FROM auth.invalidation_log AS l WHERE l.xid > $3::xid8 ORDER BY l.xid OFFSET 19999 LIMIT 1
    ), old AS MATERIALIZED (
        SELECT o.xid FROM auth.invalidation_log AS o
        WHERE o.xid > $3::xid8 AND o.created_at < $1
          AND o.xid < coalesce((SELECT y.xid FROM young AS y), (SELECT l.xid FROM last AS l), '18446744073709551615')
        ORDER BY o.xid DESC LIMIT 1
    ), removed AS (
        DELETE FROM auth.invalidation_log AS l
        WHERE l.xid > $4::xid8 AND l.xid <= (SELECT o.xid FROM old AS o) RETURNING l.xid
    ), mark AS (
        UPDATE auth.invalidation_pruned AS p SET max_xid = greatest(p.max_xid, o.xid) FROM old AS o
    )
    SELECT (SELECT count(*) FROM removed), (SELECT o.xid::text FROM old AS o),
           CASE WHEN NOT EXISTS (SELECT FROM young) THEN (SELECT l.xid::text FROM last AS l) END";

/// Events older than `auth_ext.log_retention`, each transaction's as a whole, so that the highest one says which cursors are
/// too old. Only one caller prunes the log at a time; the others pass it over.
fn prune_log(now: UnixMicros, pruned: &mut Pruned, is_late: &dyn Fn() -> bool) {
    const TURN: &str = "SELECT true FROM auth.invalidation_pruned FOR UPDATE SKIP LOCKED";
    let cutoff = before(now, i64::from(settings::log_retention()));
    invalidation::as_our_own(|| {
        if query(Sees::Transaction, TURN, &[], |_| ()).is_empty() {
            return;
        }
        let (mut from, mut gone) = ("0".to_owned(), "0".to_owned());
        loop {
            let arguments = [
                time(cutoff),
                time(now),
                text(from.clone()),
                text(gone.clone()),
            ];
            let batch = query(Sees::Transaction, LOG, &arguments, |row| {
                (
                    row.required::<i64>(1),
                    row.get::<String>(2),
                    row.get::<String>(3),
                )
            });
            let Some((removed, old, last)) = batch.into_iter().next() else {
                return;
            };
            pruned.removed = pruned.removed.saturating_add(removed);
            gone = old.unwrap_or(gone);
            let Some(last) = last else {
                return;
            };
            if is_late() {
                pruned.is_more = true;
                return;
            }
            from = last;
        }
    });
}
