-- What attaching costs the writers: changes of all users with and without the extension, interleaved in one run. Ratios are what
-- counts. New users are measured while nobody is remembered; those of ids that were deleted cost a look-up each.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auth_ext;
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://bench.test', '{bench}') ON CONFLICT DO NOTHING;
CREATE TABLE plain (
    id bigint PRIMARY KEY, password_hash text NOT NULL, is_active boolean NOT NULL DEFAULT true,
    session_version bigint NOT NULL DEFAULT 0);
CREATE TABLE users (LIKE plain INCLUDING ALL);
SELECT auth.attach_users('users', bump_on => '{password_hash}') \g /dev/null
CREATE TABLE measured (n int, what text, attached boolean, seconds float8);

CREATE PROCEDURE measure(n int, what text, change text) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    attached boolean;
BEGIN
    TRUNCATE auth.user_history, auth.user_floor;
    COMMIT;
    FOREACH attached IN ARRAY '{f,t}'::boolean[] LOOP
        started := clock_timestamp();
        EXECUTE format(change, CASE WHEN attached THEN 'users' ELSE 'plain' END);
        COMMIT;
        INSERT INTO measured VALUES (n, what, attached, extract(epoch FROM clock_timestamp() - started));
        COMMIT;
    END LOOP;
END
$$;
SELECT format($$COPY (SELECT g, 'x', true, 0 FROM generate_series(1, %s) AS g) TO %L$$, :rows, current_setting('data_directory') || '/users.copy')
\gexec
SELECT format($$CALL measure(%s, %L, %L)$$, n, what, change), 'VACUUM plain', 'VACUUM users', 'CHECKPOINT'
FROM generate_series(1, 3) AS round,
     (VALUES (1, 'INSERT', 'INSERT INTO %I SELECT g, ''x'' FROM generate_series(1, ' || :rows || ') AS g'),
             (2, 'UPDATE of the version', 'UPDATE %I SET session_version = session_version + 1'),
             (3, 'UPDATE of the password', 'UPDATE %I SET password_hash = password_hash || ''x'''),
             (4, 'UPDATE of nothing relevant', 'UPDATE %I SET is_active = is_active'),
             (5, 'DELETE', 'DELETE FROM %I'),
             (6, 'COPY', 'COPY %I FROM ' || quote_literal(current_setting('data_directory') || '/users.copy')),
             (7, 'DELETE', 'DELETE FROM %I')) AS changes (n, what, change)
ORDER BY round, n
\gexec
\pset border 1
SELECT what AS "of all users",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE NOT attached))::numeric, 2) AS "plain, s",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE attached))::numeric, 2) AS "attached, s",
       round((percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE attached)
              / percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE NOT attached))::numeric, 2) AS "ratio"
FROM measured GROUP BY what ORDER BY min(n);
