//! Removing what can no longer matter.

use pgrx::prelude::*;

use crate::invalidation;
use crate::pg::plan::{Sees, query};
use crate::settings;

/// Each removes rows that nothing can ask for any more, at most so many a call, passing over those that
/// somebody else has locked.
const COMMANDS: [&str; 4] = [
    // The token could neither be verified nor refreshed.
    "DELETE FROM auth.revoked_tokens WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM auth.revoked_tokens WHERE keep_until < clock_timestamp()
         LIMIT 50000 FOR UPDATE SKIP LOCKED)) RETURNING 1",
    // For a day a used or late hand-off is still told what it was.
    "DELETE FROM auth.sso_handoffs WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM auth.sso_handoffs WHERE expires_at < clock_timestamp() - interval '1 day'
         LIMIT 50000 FOR UPDATE SKIP LOCKED)) RETURNING 1",
    // Unused ones when they have expired, used ones after 30 days.
    "DELETE FROM auth.one_time_tokens WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM auth.one_time_tokens
         WHERE (used_at IS NULL AND expires_at < clock_timestamp())
            OR used_at < clock_timestamp() - interval '30 days'
         LIMIT 50000 FOR UPDATE SKIP LOCKED)) RETURNING 1",
    // Nothing of an ended or past session holds any more.
    "DELETE FROM auth.sessions WHERE ctid = ANY (ARRAY(
         SELECT ctid FROM auth.sessions
         WHERE ended_at IS NOT NULL OR expires_at < clock_timestamp()
         LIMIT 50000 FOR UPDATE SKIP LOCKED)) RETURNING 1",
];

/// Events older than `auth_ext.log_retention`, in the order of their transactions and each transaction's as a whole,
/// so that the highest one says which cursors are too old. One caller at a time: who finds another at it leaves it
/// to him.
const LOG: &str = "
    WITH turn AS MATERIALIZED (
        SELECT p.max_xid FROM auth.invalidation_pruned AS p FOR UPDATE SKIP LOCKED
    ), old AS (
        SELECT o.xid FROM auth.invalidation_log AS o
        WHERE o.xid < coalesce((
            SELECT y.xid FROM auth.invalidation_log AS y
            WHERE y.created_at >= clock_timestamp() - make_interval(secs => $1)
            ORDER BY y.xid LIMIT 1), '18446744073709551615')
        ORDER BY o.xid LIMIT 50000
    ), removed AS (
        DELETE FROM auth.invalidation_log AS l
        WHERE l.xid <= (SELECT o.xid FROM old AS o ORDER BY o.xid DESC LIMIT 1)
          AND EXISTS (SELECT FROM turn)
        RETURNING l.xid
    ), mark AS (
        UPDATE auth.invalidation_pruned AS p SET max_xid = greatest(p.max_xid, m.xid)
        FROM (SELECT r.xid FROM removed AS r ORDER BY r.xid DESC LIMIT 1) AS m
    )
    SELECT FROM removed";

fn prune_log() -> usize {
    let retention = f64::from(settings::log_retention());
    let arguments = [(pg_sys::FLOAT8OID, retention.into_datum())];
    invalidation::as_our_own(|| query(Sees::Transaction, LOG, &arguments, |_| ()).len())
}

/// Removes what can no longer matter; how many rows that were.
pub fn prune() -> usize {
    let removed: usize = COMMANDS
        .iter()
        .map(|command| query(Sees::Transaction, command, &[], |_| ()).len())
        .sum();
    removed.saturating_add(prune_log())
}
