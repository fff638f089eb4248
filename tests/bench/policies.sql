-- Row-level security over all rows of docs, by each way to write the policy; with and without an index, and in a parallel scan.
\set QUIET on
SET client_min_messages = warning;
SET jit = off;
CREATE PROCEDURE measure_scan(name text, condition text) LANGUAGE plpgsql AS
$$
DECLARE
    started timestamptz := clock_timestamp();
    found bigint;
BEGIN
    EXECUTE 'SELECT count(body) FROM docs WHERE ' || condition INTO found;
    INSERT INTO measured VALUES (name, extract(epoch FROM clock_timestamp() - started) * 1000000);
    ASSERT found = (SELECT count(*) / 1000 FROM docs), found;
END
$$;
SELECT token AS hs256 FROM tokens WHERE alg = 'HS256' \gset
SELECT auth.authenticate(:'hs256', 'session') IS NOT NULL \g /dev/null
SELECT set_config('request.jwt.claims', auth.jwt()::text, false) \g /dev/null
SELECT format('CALL measure_scan(%L, %L)', :'how' || what, condition)
FROM generate_series(1, :rounds) AS round, (VALUES
    (1, 'plain', 'owner = auth.user_id_bigint()'),
    (2, 'wrapped', 'owner = (SELECT auth.user_id_bigint())'),
    (3, 'jsonb', 'owner = (current_setting(''request.jwt.claims'')::jsonb ->> ''sub'')::bigint')
) AS ways (n, what, condition)
WHERE n < 3 OR (:'how' = 'scan ' AND round < 4)
ORDER BY round, n
\gexec
DROP PROCEDURE measure_scan;
