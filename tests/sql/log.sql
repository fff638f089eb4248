-- The log of events and its cursor, in one session.
CREATE TABLE users (id text PRIMARY KEY, email text);
INSERT INTO users VALUES ('alice'), ('bob');
SELECT auth.attach_users('users', bump_on => '{email}');
SELECT auth.invalidation_cursor() AS cursor \gset
SELECT :'cursor' ~ '^[12](\.[0-9a-f]+){4}\.[0-9a-f,]*(\.[0-9a-f]+){0,2}$' AS looks_like_a_cursor;
SELECT * FROM auth.invalidations_since(:'cursor');
SELECT auth.bump_session_version('alice');
UPDATE users SET email = 'new';
DELETE FROM users WHERE id = 'bob';
SELECT event FROM auth.invalidations_since(:'cursor');
SELECT count(DISTINCT next_cursor) AS next_cursors, min(next_cursor) AS next FROM auth.invalidations_since(:'cursor') \gset
SELECT :next_cursors AS next_cursors;
SELECT * FROM auth.invalidations_since(:'next');
-- In a transaction of its own nothing is seen before it commits.
BEGIN;
SELECT auth.bump_session_version('alice');
SELECT count(*) FROM auth.invalidations_since(:'next');
COMMIT;
SELECT event FROM auth.invalidations_since(:'next');
-- What is no cursor.
SELECT auth.invalidations_since(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT auth.invalidations_since('');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.invalidations_since(:'cursor' || ',');
\echo :LAST_ERROR_SQLSTATE
-- Of somewhere else.
SELECT event FROM auth.invalidations_since('1.1.1.1.3e8.');
-- An event is kept for log_retention.
SELECT auth.prune();
SET auth_ext.log_retention = '1 s';
UPDATE auth.invalidation_log SET created_at = created_at - interval '2 s';
SELECT auth.prune() > 0 AS pruned;
SELECT event FROM auth.invalidations_since(:'cursor');
SELECT in_recovery, notify, relay_pending_events, log_events, log_retention, users_table, users_table_intact,
    api_keys_table, api_keys_table_intact, verifying_keys
FROM auth.health();
RESET auth_ext.log_retention;
SELECT auth.detach_users();
DROP TABLE users;
