-- What holds of a database that tests/pg-upgrade-fill.sql has filled, wherever it has come since. Stops at the first that does not.
\set ON_ERROR_STOP on
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.must(what text, said text, expected text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF said IS DISTINCT FROM expected THEN
        RAISE EXCEPTION '%: % and not %', what, coalesce(said, 'nothing'), expected;
    END IF;
END
$$;
CREATE FUNCTION pg_temp.verdict(token text) RETURNS text LANGUAGE sql AS
    $$ SELECT CASE WHEN c.valid THEN 'valid' ELSE c.reason END FROM auth.check_jwt(token) AS c $$;
CREATE FUNCTION pg_temp.kept(name text) RETURNS text LANGUAGE sql AS $$ SELECT k.value FROM public.kept AS k WHERE k.name = kept.name $$;

-- What was given out before.
SELECT pg_temp.must(name, verdict, expected) FROM verdicts;
SELECT pg_temp.must('tokens', (count(*) >= 13)::text, 'true') FROM verdicts;
SELECT pg_temp.must('version', auth.session_version('42')::text, pg_temp.kept('version'));
SELECT pg_temp.must('api key', k.user_id, '41') FROM auth.verify_api_key(pg_temp.kept('api key')) AS k;
SELECT pg_temp.must('revoked api key', k.reason, 'inactive_api_key') FROM auth.check_api_key(pg_temp.kept('revoked api key')) AS k;
SELECT pg_temp.must('mail', auth.consume_one_time_token(pg_temp.kept('mail'), 'password_reset'), '41');
SELECT pg_temp.must(name, auth.consume_one_time_token(value, 'password_reset'), NULL) FROM kept WHERE name LIKE '%mail';
SELECT pg_temp.must('deleted', (auth.session_version('45') IS NULL)::text, 'true');
INSERT INTO users (id) VALUES (45);
SELECT pg_temp.must('back again', pg_temp.verdict(token), 'session_version_mismatch') FROM tokens WHERE name = 'deleted';

-- Every key has its secret; the tables are attached with all their triggers.
SELECT
    pg_temp.must('users_table_intact', users_table_intact::text, 'true'),
    pg_temp.must('api_keys_table_intact', api_keys_table_intact::text, 'true'),
    pg_temp.must('keys_without_secret', keys_without_secret::text, '0'),
    pg_temp.must('restore_lacks', restore_lacks::text, NULL)
FROM auth.health();
SELECT pg_temp.must('a token of ' || i, pg_temp.verdict(auth.issue_jwt('41', issuer => i)), 'valid')
FROM unnest('{https://api.example.com,ed,hmac}'::text[]) AS i;
SELECT pg_temp.must('refreshed', pg_temp.verdict(auth.refresh_jwt(token)), 'valid') FROM tokens WHERE name = 'good';
SELECT pg_temp.must('after its refresh', pg_temp.verdict(token), 'revoked') FROM tokens WHERE name = 'good';
SELECT pg_temp.must('session', s.valid::text || ' ' || pg_temp.verdict(s.access_token), 'true valid')
FROM kept AS k, auth.refresh_session(k.value) AS s WHERE k.name = 'refresh';

-- A cursor of before is another cluster's; a new one has what comes.
SELECT pg_temp.must('old cursor', string_agg(event ->> 'kind', ' '), 'flush') FROM auth.invalidations_since(pg_temp.kept('cursor'));
SELECT auth.invalidation_cursor() AS cursor \gset
SELECT auth.session_version('41') + 1 AS next \gset
SELECT pg_temp.must('bump', auth.bump_session_version('41')::text, :'next');
UPDATE users SET is_active = false WHERE id = 46;
SELECT pg_temp.must('events', string_agg(event ->> 'id' || ' ' || (event ->> 'reason'), ', '), '41 logout_everywhere, 46 deactivated')
FROM auth.invalidations_since(:'cursor');
SELECT pg_temp.must('after a bump', pg_temp.verdict(token), 'session_version_mismatch') FROM tokens WHERE name = 'former key';
DO $$
BEGIN
    FOR second IN 1..60 LOOP
        EXIT WHEN (SELECT relay_pending_events = 0 AND relay_sent_at IS NOT NULL FROM auth.health());
        PERFORM pg_sleep(1);
    END LOOP;
END
$$;
SELECT pg_temp.must('relayed', relay_pending_events::text, '0') FROM auth.health();

-- Row-level security, asked once a statement.
BEGIN;
SELECT auth.authenticate(auth.issue_jwt('41'));
SET LOCAL ROLE reader;
SELECT pg_temp.must('notes', count(*)::text, '100') FROM notes;
SELECT pg_temp.must('owners', min(owner), '41') FROM notes;
DO $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (FORMAT json) SELECT FROM notes' INTO plan;
    IF plan::text NOT LIKE '%InitPlan%' THEN
        RAISE EXCEPTION 'not hoisted: %', plan;
    END IF;
END
$$;
ROLLBACK;

-- What a role was granted, and no more.
SELECT EXISTS (SELECT FROM kept WHERE name = 'refresh') AS has_sessions \gset
\if :has_sessions
SET ROLE web;
SELECT auth.issue_jwt('41');
RESET ROLE;
\endif
SELECT pg_temp.must('grants', string_agg(n, ' '), NULL)
FROM unnest('{issuers,signing_secrets,sessions,user_history}'::text[]) AS n
WHERE has_table_privilege('web', 'auth.' || n, 'SELECT') OR has_table_privilege('reader', 'auth.' || n, 'SELECT');
