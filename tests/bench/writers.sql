-- What attaching costs the writers: a bulk UPDATE of all users with and without the extension, interleaved
-- in one run. Ratios are what counts.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auth_ext;
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://bench.test', '{bench}') ON CONFLICT DO NOTHING;
CREATE TABLE plain (
    id bigint PRIMARY KEY, password_hash text NOT NULL, is_active boolean NOT NULL DEFAULT true,
    session_version bigint NOT NULL DEFAULT 0);
INSERT INTO plain SELECT g, 'x' FROM generate_series(1, :rows) AS g;
CREATE TABLE users (LIKE plain INCLUDING ALL);
INSERT INTO users TABLE plain;
SELECT auth.attach_users('users', bump_on => '{password_hash}') \g /dev/null
CREATE TABLE measured (what text, attached boolean, seconds float8);

CREATE PROCEDURE measure(what text, change text) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    attached boolean;
BEGIN
    FOREACH attached IN ARRAY '{f,t}'::boolean[] LOOP
        started := clock_timestamp();
        EXECUTE format('UPDATE %I SET %s', CASE WHEN attached THEN 'users' ELSE 'plain' END, change);
        COMMIT;
        INSERT INTO measured VALUES (what, attached, extract(epoch FROM clock_timestamp() - started));
        COMMIT;
    END LOOP;
END
$$;
SELECT format($$CALL measure(%L, %L)$$, what, change), 'VACUUM plain', 'VACUUM users', 'CHECKPOINT'
FROM generate_series(1, 3) AS round,
     (VALUES ('version', 'session_version = session_version + 1'),
             ('password', 'password_hash = password_hash || ''x'''),
             ('nothing relevant', 'is_active = is_active')) AS changes (what, change)
\gexec
\pset border 1
SELECT what AS "bulk UPDATE of all users",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE NOT attached))::numeric, 2) AS "plain, s",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE attached))::numeric, 2) AS "attached, s",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE attached)
              / percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE NOT attached))::numeric, 2) AS "ratio"
FROM measured GROUP BY what ORDER BY what;
