//! The clock of the moment (not the transaction's start) and conversions of time.

use jose::UnixMicros;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use crate::error::{Error, Result};

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL's time begins.
const EPOCH_DIFFERENCE: i64 = 946_684_800_000_000;

/// Now, by the machine's clock.
pub fn now() -> UnixMicros {
    // SAFETY: reads the system clock.
    from_pg(unsafe { pg_sys::GetCurrentTimestamp() })
}

/// From PostgreSQL's microseconds since 2000; the infinities stay beyond every date.
pub const fn from_pg(micros: pg_sys::TimestampTz) -> UnixMicros {
    UnixMicros(micros.saturating_add(EPOCH_DIFFERENCE))
}

/// As a `timestamptz`; None where PostgreSQL has none for it.
pub fn to_timestamptz(time: UnixMicros) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(time.0.checked_sub(EPOCH_DIFFERENCE)?).ok()
}

/// Microseconds of an interval, a month counted as 30 days; 22023 beyond 200,000 years.
pub fn micros(interval: &Interval) -> Result<i64> {
    i64::try_from(interval.as_micros())
        .ok()
        .filter(|micros| micros.unsigned_abs() < 6_400_000_000_000_000_000)
        .ok_or_else(|| Error::Argument("interval out of range".to_owned()))
}
