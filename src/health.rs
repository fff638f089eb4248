//! What an operator looks at: `auth.health()`. Declared in `sql/functions.sql`.

use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use crate::accounts;
use crate::error::{Result, sql};
use crate::invalidation::{self, Pending};
use crate::pg::plan::{Row, Sees, query};
use crate::pg::wal;
use crate::relay;
use crate::settings;
use crate::token;

/// What SQL knows. The log is counted up to a bound, so that the question stays cheap.
const TABLES: &str = "
    SELECT
        current_setting('auth_ext.notify'),
        pg_notification_queue_usage(),
        (SELECT count(*) FROM (SELECT FROM auth.invalidation_log LIMIT 100000) AS l),
        pg_total_relation_size('auth.invalidation_log'),
        (SELECT clock_timestamp() - l.created_at FROM auth.invalidation_log AS l ORDER BY l.xid LIMIT 1),
        (SELECT t.relation::text FROM auth.attached_tables AS t WHERE t.kind = 'users'),
        (SELECT t.relation::text FROM auth.attached_tables AS t WHERE t.kind = 'api_keys'),
        k.verifying,
        k.lapses_at,
        (SELECT p.sent_at FROM auth.relay_position AS p)
    FROM (
        SELECT count(*) AS verifying, min(k.verify_until) AS lapses_at
        FROM auth.signing_keys AS k WHERE k.status <> 'retired'
    ) AS k";

struct Tables {
    notify: Option<String>,
    queue_usage: Option<f64>,
    log_events: Option<i64>,
    log_bytes: Option<i64>,
    log_oldest_age: Option<Interval>,
    users_table: Option<String>,
    api_keys_table: Option<String>,
    verifying_keys: Option<i64>,
    key_lapses_at: Option<TimestampWithTimeZone>,
    relay_sent_at: Option<TimestampWithTimeZone>,
}

impl Tables {
    fn read(row: &Row) -> Self {
        Self {
            notify: row.get(1),
            queue_usage: row.get(2),
            log_events: row.get(3),
            log_bytes: row.get(4),
            log_oldest_age: row.get(5),
            users_table: row.get(6),
            api_keys_table: row.get(7),
            verifying_keys: row.get(8),
            key_lapses_at: row.get(9),
            relay_sent_at: row.get(10),
        }
    }
}

struct Health {
    tables: Tables,
    users_intact: Option<bool>,
    api_keys_intact: Option<bool>,
    relay_pid: Option<i32>,
    pending: Pending,
}

fn health_now() -> Result<Option<Health>> {
    let attached = accounts::current();
    let intact = |attached: Result<bool>| match attached {
        Ok(is_attached) => is_attached.then_some(true),
        Err(_) => Some(false),
    };
    let users_intact = intact(attached.users_if_any().map(|users| users.is_some()));
    let api_keys_intact = intact(attached.api_keys_if_any().map(|keys| keys.is_some()));
    let pending = invalidation::pending_for_relay();
    Ok(query(Sees::Latest, TABLES, &[], Tables::read)
        .pop()
        .map(|tables| Health {
            // A table that was dropped is neither whole nor broken.
            users_intact: tables
                .users_table
                .as_ref()
                .map(|_| users_intact == Some(true)),
            api_keys_intact: tables
                .api_keys_table
                .as_ref()
                .map(|_| api_keys_intact == Some(true)),
            tables,
            relay_pid: relay::worker(),
            pending,
        }))
}

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
            health.pending.events,
            health.pending.age,
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
