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

/// The same as a `timestamptz`; None where PostgreSQL has none for it.
pub fn now_in_pg() -> Option<TimestampWithTimeZone> {
    to_timestamptz(now())
}

/// From PostgreSQL's microseconds since 2000; the infinities stay beyond every date.
pub const fn from_pg(micros: pg_sys::TimestampTz) -> UnixMicros {
    UnixMicros(micros.saturating_add(EPOCH_DIFFERENCE))
}

/// As a `timestamptz`; None where PostgreSQL has none for it.
pub fn to_timestamptz(time: UnixMicros) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(time.0.checked_sub(EPOCH_DIFFERENCE)?).ok()
}

/// Microseconds of an interval, as `extract(epoch FROM …)` counts: 365.25 days a year, 30 a month; 22023 beyond 200,000 years.
pub fn micros(interval: &Interval) -> Result<i64> {
    const SECOND: i128 = 1_000_000;
    const DAY: i128 = 86_400 * SECOND;
    const YEAR: i128 = 31_557_600 * SECOND;
    let (years, months) = (interval.months() / 12, interval.months() % 12);
    let micros = i128::from(years) * YEAR
        + i128::from(months) * 30 * DAY
        + i128::from(interval.days()) * DAY
        + i128::from(interval.micros());
    i64::try_from(micros)
        .ok()
        .filter(|micros| micros.unsigned_abs() < 6_400_000_000_000_000_000)
        .ok_or_else(|| Error::Argument("interval out of range".to_owned()))
}
