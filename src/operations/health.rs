//! What an operator looks at: `auth.health()`.

use pgrx::datum::{Interval, TimestampWithTimeZone};

use crate::accounts;
use crate::api_key;
use crate::attach::{self, Binding};
use crate::error::Result;
use crate::pg::catalog;
use crate::pg::plan::{Sees, query};
use crate::pg::row::{Row, only};
use crate::relay::{self, Backlog};

/// What SQL knows. The log is counted up to a bound, so that the question stays cheap.
const TABLES: &str = "
    SELECT
        current_setting('auth_ext.notify'),
        pg_notification_queue_usage(),
        (SELECT count(*) FROM (SELECT FROM auth.invalidation_log LIMIT 100000) AS l),
        pg_total_relation_size('auth.invalidation_log'),
        (SELECT greatest(clock_timestamp() - min(l.created_at), '0') FROM (
            SELECT o.created_at FROM auth.invalidation_log AS o ORDER BY o.xid LIMIT 100) AS l HAVING count(*) > 0),
        (SELECT t.relation::text FROM auth.attached_tables AS t WHERE t.kind = 'users'),
        (SELECT t.relation::text FROM auth.attached_tables AS t WHERE t.kind = 'api_keys'),
        k.verifying,
        k.lapses_at,
        (SELECT p.sent_at FROM auth.relay_position AS p),
        {restored},
        (SELECT t.relation::text FROM auth.attached_tables AS t WHERE t.kind = 'identities'),
        {fetches}
    FROM (
        SELECT count(*) AS verifying, min(k.verify_until) AS lapses_at
        FROM auth.signing_keys AS k WHERE k.status <> 'retired'
    ) AS k";

/// Keys that a restore has left without their secret, and what it has not loaded.
const RESTORED: &str = "
        (SELECT count(*) FROM auth.signing_key_store AS s
         WHERE s.signs AND (s.verify_until IS NULL OR s.verify_until > clock_timestamp())
           AND NOT EXISTS (SELECT FROM auth.signing_secrets AS h WHERE h.issuer = s.issuer AND h.kid = s.kid)),
        (WITH foreign_keys AS (
             SELECT DISTINCT s.origin FROM auth.signing_key_store AS s
             WHERE s.origin <> (SELECT i.origin FROM auth.installation AS i)
         ), marks AS (
             SELECT 'auth.revoking_issuers' AS part, split_part(r.issuer, ' ', 2) AS origin FROM auth.revoking_issuers AS r
             WHERE starts_with(r.issuer, 'auth_ext:restored ')
             UNION ALL
             SELECT 'auth.session_issuers', split_part(i.issuer, ' ', 2) FROM auth.session_issuers AS i
             WHERE starts_with(i.issuer, 'auth_ext:restored ')
             UNION ALL
             SELECT 'auth.revoked_tokens', split_part(r.jti, ' ', 1) FROM auth.revoked_tokens AS r
             WHERE r.issuer = 'auth_ext:restored'
             UNION ALL
             SELECT 'auth.user_history', split_part(h.user_id, ' ', 2) FROM auth.user_history AS h
             WHERE h.user_id >= 'auth_ext:restored ' AND h.user_id < 'auth_ext:restored!'
             UNION ALL
             SELECT 'auth.user_floor', f.origin FROM foreign_keys AS f
             WHERE NOT EXISTS (
                 SELECT FROM auth.user_history AS h
                 WHERE h.user_id >= 'auth_ext:restored ' AND h.user_id < 'auth_ext:restored!'
                   AND split_part(h.user_id, ' ', 2) = f.origin
                   AND h.bumped_at > coalesce((SELECT u.bumped_at FROM auth.user_floor AS u), '-infinity'))
         )
         SELECT array_agg(DISTINCT p.part ORDER BY p.part) FROM foreign_keys AS f
         CROSS JOIN (VALUES ('auth.revoking_issuers'), ('auth.session_issuers'), ('auth.revoked_tokens'), ('auth.user_history'),
             ('auth.user_floor')) AS p (part)
         WHERE NOT EXISTS (SELECT FROM marks AS m WHERE m.part = p.part AND m.origin = f.origin))";

/// How old the JWKS is that was fetched longest ago, and how many never were.
const FETCHES: &str = "
        (SELECT greatest(clock_timestamp() - min(f.fetched_at), '0') FROM auth.issuers AS i
         JOIN auth.jwks_fetches AS f ON f.issuer = i.issuer WHERE i.jwks_uri IS NOT NULL HAVING count(*) > 0),
        (SELECT count(*) FROM auth.issuers AS i LEFT JOIN auth.jwks_fetches AS f ON f.issuer = i.issuer
         WHERE i.jwks_uri IS NOT NULL AND f.issuer IS NULL)";

/// What the tables say.
pub struct Tables {
    pub notify: Option<String>,
    pub queue_usage: Option<f64>,
    pub log_events: Option<i64>,
    pub log_bytes: Option<i64>,
    pub log_oldest_age: Option<Interval>,
    pub users_table: Option<String>,
    pub api_keys_table: Option<String>,
    pub verifying_keys: Option<i64>,
    pub key_lapses_at: Option<TimestampWithTimeZone>,
    pub relay_sent_at: Option<TimestampWithTimeZone>,
    pub keys_without_secret: Option<i64>,
    pub restore_lacks: Option<Vec<String>>,
    pub identities_table: Option<String>,
    pub jwks_oldest_age: Option<Interval>,
    pub jwks_never_fetched: Option<i64>,
}

impl Tables {
    fn read(row: &Row<'_>) -> Self {
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
            keys_without_secret: row.get(11),
            restore_lacks: row.get(12),
            identities_table: row.get(13),
            jwks_oldest_age: row.get(14),
            jwks_never_fetched: row.get(15),
        }
    }
}

/// The answer.
pub struct Health {
    pub tables: Tables,
    pub users_intact: Option<bool>,
    pub api_keys_intact: Option<bool>,
    pub identities_intact: Option<bool>,
    pub relay_pid: Option<i32>,
    pub backlog: Backlog,
}

/// How it stands now.
pub fn health_now() -> Health {
    let intact = |attached: Result<bool>| match attached {
        Ok(is_attached) => is_attached.then_some(true),
        Err(_) => Some(false),
    };
    let bindings = attach::bindings();
    let as_attached = |binding: Option<&Binding>| binding.is_none_or(Binding::is_as_attached);
    let users_intact = intact(accounts::current().if_any().map(|users| users.is_some()))
        .map(|intact| intact && as_attached(bindings.users()));
    let api_keys_intact = intact(api_key::current().if_any().map(|keys| keys.is_some()))
        .map(|intact| intact && as_attached(bindings.api_keys()));
    let identities = accounts::identities::current();
    let identities_intact = intact(identities.if_any().map(|identities| identities.is_some()))
        .map(|intact| intact && as_attached(bindings.identities()));
    let backlog = relay::backlog();
    let is_updated = catalog::has_auth_relation(c"installation");
    let (restored, fetches) = if is_updated {
        (RESTORED, FETCHES)
    } else {
        ("NULL::bigint, NULL::text[]", "NULL::interval, NULL::bigint")
    };
    let tables = TABLES
        .replace("{restored}", restored)
        .replace("{fetches}", fetches);
    let tables = only(query(Sees::Latest, &tables, &[], Tables::read));
    // A table that was dropped is neither whole nor broken.
    let unless_dropped =
        |table: &Option<String>, intact: Option<bool>| table.as_ref().map(|_| intact == Some(true));
    Health {
        users_intact: unless_dropped(&tables.users_table, users_intact),
        api_keys_intact: unless_dropped(&tables.api_keys_table, api_keys_intact),
        identities_intact: unless_dropped(&tables.identities_table, identities_intact),
        tables,
        relay_pid: relay::worker(),
        backlog,
    }
}
