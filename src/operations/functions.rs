//! The SQL functions of operation. Declared in `sql/functions.sql`.

use core::time::Duration;

use pgrx::datum::Interval;
use pgrx::prelude::*;

use super::health::health_now;
use super::prune;
use crate::pg::boundary::sql;
use crate::pg::one_row::OneRow;
use crate::pg::{clock, wal};
use crate::relay;
use crate::settings;
use crate::staleness;
use crate::statistics;
use crate::token;

#[pg_extern(sql = false)]
fn health() -> OneRow {
    let retention = Interval::from_seconds(f64::from(settings::log_retention()));
    let cache = token::cache_statistics();
    sql(|| {
        let health = health_now();
        let tables = health.tables;
        Ok(OneRow::default()
            .with(c"in_recovery", wal::in_recovery())
            .with(c"notify", tables.notify)
            .with(c"notification_queue_usage", tables.queue_usage)
            .with(c"relay_available", relay::is_available())
            .with(c"relay_running", health.relay_pid.is_some())
            .with(c"relay_pid", health.relay_pid)
            .with(c"relay_sent_at", tables.relay_sent_at)
            .with(c"relay_pending_events", health.backlog.events)
            .with(c"relay_pending_age", health.backlog.age)
            .with(c"log_events", tables.log_events)
            .with(c"log_bytes", tables.log_bytes)
            .with(c"log_oldest_age", tables.log_oldest_age)
            .with(c"log_retention", Some(retention))
            .with(c"users_table", tables.users_table)
            .with(c"users_table_intact", health.users_intact)
            .with(c"api_keys_table", tables.api_keys_table)
            .with(c"api_keys_table_intact", health.api_keys_intact)
            .with(c"verifying_keys", tables.verifying_keys)
            .with(c"next_key_lapses_at", tables.key_lapses_at)
            .with(c"verified_cache_tokens", cache.tokens)
            .with(c"verified_cache_hits", cache.hits)
            .with(c"verified_cache_misses", cache.misses)
            .with(c"keys_without_secret", tables.keys_without_secret)
            .with(c"restore_lacks", tables.restore_lacks)
            .with(c"launcher_pid", relay::launcher())
            .with(c"identities_table", tables.identities_table)
            .with(c"identities_table_intact", health.identities_intact)
            .with(c"jwks_oldest_age", tables.jwks_oldest_age)
            .with(c"jwks_never_fetched", tables.jwks_never_fetched)
            .with(
                c"standby_staleness",
                staleness::age(clock::now()).map(Interval::from_micros),
            ))
    })
}

#[pg_extern(sql = false)]
fn statistics() -> TableIterator<
    'static,
    (
        name!(name, String),
        name!(reason, Option<String>),
        name!(total, i64),
    ),
> {
    TableIterator::new(sql(statistics::lines))
}

#[pg_extern(sql = false)]
fn reset_statistics() {
    sql(statistics::reset);
}

/// A caller's transaction holds what it removes: it ends after a while.
const BUDGET: Duration = Duration::from_secs(5);

#[pg_extern(sql = false)]
fn prune() -> i64 {
    sql(|| {
        let pruned = prune::prune(BUDGET);
        if pruned.is_more {
            notice!(
                "prune() stopped after {} seconds: call it again",
                BUDGET.as_secs()
            );
        }
        Ok(pruned.removed)
    })
}
