//! How old a standby may be (`auth_ext.max_standby_staleness`), and is.

use std::cell::Cell;

use jose::{Refusal, UnixMicros};

use crate::error::Result;
use crate::pg::local::process_local;
use crate::pg::{standby, wal};
use crate::settings;

process_local! {
    /// What was shown once stays shown: the next verifications need not look.
    static SHOWN: Cell<Option<UnixMicros>> = const { Cell::new(None) };
}

/// Refuses on a standby that may be older than `auth_ext.max_standby_staleness`: it cannot show that it has replayed all that the
/// primary had committed that long ago.
pub fn refuse(now: UnixMicros) -> Result<()> {
    let Some(bound) = settings::max_standby_staleness() else {
        return Ok(());
    };
    if !wal::in_recovery() {
        return Ok(());
    }
    // A moment that is so far ahead says only that the clocks differ.
    let is_near = |at: &UnixMicros| now.0.abs_diff(at.0) < bound;
    if SHOWN.get().as_ref().is_some_and(is_near) {
        return Ok(());
    }
    let shown = standby::by_commit()
        .filter(is_near)
        .or_else(|| standby::by_message(is_near));
    if shown.is_none() {
        return Err(Refusal::StaleStandby.into());
    }
    SHOWN.set(shown);
    Ok(())
}

/// How many microseconds the standby may be behind, as far as it can show. None on a primary, and where nothing shows it.
pub fn age(now: UnixMicros) -> Option<i64> {
    if !wal::in_recovery() {
        return None;
    }
    let by_commit = standby::by_commit();
    let shown = by_commit.max(standby::by_message(|at| Some(*at) > by_commit))?;
    Some(now.0.saturating_sub(shown.0).max(0))
}
