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
-- What PostgreSQL itself does for a table with a BEFORE trigger, before it asks the trigger anything.
CREATE TABLE idle (LIKE plain INCLUDING ALL);
CREATE TRIGGER idle BEFORE INSERT OR UPDATE OR DELETE ON idle FOR EACH ROW WHEN (false)
EXECUTE FUNCTION suppress_redundant_updates_trigger();
SELECT auth.attach_users('users', bump_on => '{password_hash}') \g /dev/null
\ir measured.sql

CREATE PROCEDURE measure_writers(what text, change text) LANGUAGE plpgsql AS $$
DECLARE
    started timestamptz;
    name text;
BEGIN
    TRUNCATE auth.user_history, auth.user_floor;
    COMMIT;
    FOREACH name IN ARRAY '{plain,idle,attached}'::text[] LOOP
        started := clock_timestamp();
        EXECUTE format(change, CASE name WHEN 'attached' THEN 'users' ELSE name END);
        COMMIT;
        INSERT INTO measured VALUES (name || ' ' || what, extract(epoch FROM clock_timestamp() - started) * 1000000);
        COMMIT;
    END LOOP;
END
$$;
-- A password hash of one octet, and one that makes rows of 60.
SELECT format($$COPY (SELECT g, repeat('x', %s), true, 0 FROM generate_series(1, %s) AS g) TO %L$$,
    octets - 24, :rows, current_setting('data_directory') || '/users.' || octets)
FROM unnest('{25,60}'::int[]) AS octets
\gexec
SELECT format($$CALL measure_writers(%L, %L)$$, octets || ' ' || what, change), 'VACUUM plain', 'VACUUM idle', 'VACUUM users', 'CHECKPOINT'
FROM unnest('{25,60}'::int[]) AS octets, LATERAL (VALUES
    (1, 'INSERT', format('INSERT INTO %%I SELECT g, repeat(''x'', %s) FROM generate_series(1, %s) AS g', octets - 24, :rows)),
    (2, 'version', 'UPDATE %I SET session_version = session_version + 1'),
    (3, 'password', 'UPDATE %I SET password_hash = password_hash || ''x'''),
    (4, 'irrelevant', 'UPDATE %I SET is_active = is_active'),
    (5, 'DELETE', 'DELETE FROM %I'),
    (6, 'COPY', format('COPY %%I FROM %L', current_setting('data_directory') || '/users.' || octets)),
    (7, 'DELETE', 'DELETE FROM %I')) AS changes (n, what, change)
WHERE octets = 25 OR n NOT IN (2, 3, 4)
ORDER BY octets, n
\gexec
