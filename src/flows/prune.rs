//! Removing what can no longer matter.

use pgrx::prelude::*;

use crate::error::sql;
use crate::pg::plan::{Sees, query};

/// Each removes rows that nothing can ask for any more, at most so many a call, passing over those that
/// somebody else has locked.
const COMMANDS: [&str; 3] = [
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
];

#[pg_extern(sql = false)]
fn prune() -> i64 {
    sql(|| {
        let removed: usize = COMMANDS
            .iter()
            .map(|command| query(Sees::Transaction, command, &[], |_| ()).len())
            .sum();
        Ok(i64::try_from(removed).unwrap_or(i64::MAX))
    })
}
