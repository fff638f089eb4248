-- Sessions, five for each user: what opening, refreshing, listing and ending one costs, against a row inserted, updated or read by
-- its primary key; and what steady refreshing leaves behind.
\set QUIET on
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
-- Those of the others. Nobody has their tokens; everything else is as open_session writes it.
INSERT INTO auth.sessions (session_id, issuer, user_id, session_version, family_hash, refresh_tokens, label, created_at, last_used_at, expires_at)
SELECT md5('session' || n), 'https://HS256', (n % :rows + 1)::text, 0, sha256(n::text::bytea),
    jsonb_build_array(jsonb_build_array(md5(n::text) || md5(n::text), NULL)), 'Laptop', now(), now(), now() + '30 days'
FROM generate_series(1, 5 * :rows) AS n;
CREATE TABLE by_key (id bigint PRIMARY KEY, body text) WITH (fillfactor = 70);
INSERT INTO by_key SELECT n, repeat('x', 300) FROM generate_series(1, 5 * :rows) AS n;
CREATE TABLE opened (n int PRIMARY KEY, session_id text, refresh_token text) WITH (fillfactor = 50);
VACUUM ANALYZE auth.sessions;
VACUUM ANALYZE by_key;

CREATE PROCEDURE measure_sessions(users bigint, times int) LANGUAGE plpgsql AS
$$
DECLARE
    started timestamptz;
    what text;
    statement text;
BEGIN
    TRUNCATE opened;
    FOR what, statement IN VALUES
        ('insert by key', format('INSERT INTO by_key SELECT -1 - g, repeat(''x'', 300) FROM generate_series(1, %s) AS g', times)),
        ('open session', format('INSERT INTO opened SELECT g, s.session_id, s.refresh_token FROM generate_series(1, %s) AS g,
            auth.open_session(mod(g * 7919::bigint, %s)::text, label => ''Phone'', issuer => ''https://HS256'') AS s', times, users - 1)),
        ('update by key', format('UPDATE by_key SET body = repeat(''y'', 300) FROM generate_series(1, %s) AS g WHERE id = -1 - g', times)),
        ('refresh session', 'UPDATE opened AS o SET refresh_token = s.refresh_token FROM opened AS p, auth.refresh_session(p.refresh_token) AS s
            WHERE o.n = p.n AND s.valid'),
        ('read by key', format('SELECT count(k.body) FROM generate_series(1, %s) AS g JOIN by_key AS k ON k.id = mod(g * 7919::bigint, %s) + 1',
            times, users)),
        ('list sessions', 'SELECT count(s.label) FROM opened AS o, auth.list_sessions((o.n * 7919::bigint % ' || users || ' + 1)::text) AS s'),
        ('end session', 'SELECT count(*) FROM opened AS o WHERE auth.end_session(o.session_id)')
    LOOP
        started := clock_timestamp();
        EXECUTE statement;
        INSERT INTO measured VALUES (what, extract(epoch FROM clock_timestamp() - started) * 1000000 / times);
        COMMIT;
    END LOOP;
    DELETE FROM by_key WHERE id < 0;
END
$$;
SELECT 'CALL measure_sessions(' || :rows || ', 2000)' FROM generate_series(1, :rounds)
\gexec

-- A thousand sessions that are refreshed a hundred times each, every refresh in a transaction of its own. What happens here within
-- seconds takes days elsewhere: no used token waits for another tab.
UPDATE auth.issuers SET refresh_reuse = '0' WHERE issuer = 'https://HS256';
TRUNCATE opened;
INSERT INTO opened SELECT g, s.session_id, s.refresh_token
FROM generate_series(1, 1000) AS g, auth.open_session(g::text, label => 'Phone', issuer => 'https://HS256') AS s;
CREATE TEMP TABLE before AS
SELECT pg_total_relation_size('auth.sessions') AS size, n_tup_upd AS updates, n_tup_hot_upd AS hot, seq_scan AS scans
FROM pg_stat_force_next_flush(), pg_stat_all_tables WHERE relid = 'auth.sessions'::regclass;
DO $$
DECLARE
    changed int;
BEGIN
    FOR turn IN 0..99999 LOOP
        UPDATE opened AS o SET refresh_token = s.refresh_token
        FROM opened AS p, auth.refresh_session(p.refresh_token) AS s
        WHERE p.n = turn % 1000 + 1 AND o.n = p.n AND s.valid;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> 1 THEN
            RAISE 'refresh % failed', turn;
        END IF;
        COMMIT;
    END LOOP;
END
$$;
SELECT pg_stat_force_next_flush() \g /dev/null
INSERT INTO measured
SELECT f.what, f.figure
FROM pg_stat_all_tables AS s, before AS b, LATERAL (VALUES
    ('refreshes HOT', 100.0 * (s.n_tup_hot_upd - b.hot) / (s.n_tup_upd - b.updates)),
    ('refreshes grow', (pg_total_relation_size('auth.sessions') - b.size) / 1048576.0),
    ('refreshes scan', s.seq_scan - b.scans)) AS f (what, figure)
WHERE s.relid = 'auth.sessions'::regclass;
