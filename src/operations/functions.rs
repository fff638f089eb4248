//! The SQL functions of operation. Declared in `sql/functions.sql`.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use super::health::health_now;
use super::prune;
use crate::pg::boundary::sql;
use crate::pg::wal;
use crate::relay;
use crate::settings;
use crate::token;

#[pg_extern(sql = false)]
#[allow(
    clippy::type_complexity,
    reason = "the columns of the function's result"
)]
fn health() -> TableIterator<
    'static,
    (
        name!(in_recovery, bool),
        name!(notify, Option<String>),
        name!(notification_queue_usage, Option<f64>),
        name!(relay_available, bool),
        name!(relay_running, bool),
        name!(relay_pid, Option<i32>),
        name!(relay_sent_at, Option<TimestampWithTimeZone>),
        name!(relay_pending_events, i64),
        name!(relay_pending_age, Option<Interval>),
        name!(log_events, Option<i64>),
        name!(log_bytes, Option<i64>),
        name!(log_oldest_age, Option<Interval>),
        name!(log_retention, Option<Interval>),
        name!(users_table, Option<String>),
        name!(users_table_intact, Option<bool>),
        name!(api_keys_table, Option<String>),
        name!(api_keys_table_intact, Option<bool>),
        name!(verifying_keys, Option<i64>),
        name!(next_key_lapses_at, Option<TimestampWithTimeZone>),
        name!(verified_cache_tokens, i64),
        name!(verified_cache_hits, i64),
        name!(verified_cache_misses, i64),
    ),
> {
    let retention = Interval::from_seconds(f64::from(settings::log_retention()));
    let cache = token::cache_statistics();
    let row = sql(health_now).map(|health| {
        let tables = health.tables;
        (
            wal::in_recovery(),
            tables.notify,
            tables.queue_usage,
            relay::is_available(),
            health.relay_pid.is_some(),
            health.relay_pid,
            tables.relay_sent_at,
            health.backlog.events,
            health.backlog.age,
            tables.log_events,
            tables.log_bytes,
            tables.log_oldest_age,
            Some(retention),
            tables.users_table,
            health.users_intact,
            tables.api_keys_table,
            health.api_keys_intact,
            tables.verifying_keys,
            tables.key_lapses_at,
            cache.tokens,
            cache.hits,
            cache.misses,
        )
    });
    TableIterator::new(row)
}

#[pg_extern(sql = false)]
fn prune() -> i64 {
    sql(|| Ok(i64::try_from(prune::prune()).unwrap_or(i64::MAX)))
}
