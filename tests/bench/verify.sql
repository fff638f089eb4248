-- Verification, against the executor's own look-up of one row by its primary key (P) and a verification by hand (H).
\set QUIET on
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
SET enable_hashjoin = off;
SET enable_mergejoin = off;
SET enable_memoize = off;
-- :'when' is what happens beside: nothing, or another session's commits.
SELECT format('CALL measure(%L, %L, %s, %L)', :'when' || what, replace(expression, '$TOKEN', quote_literal(token)), times, source)
FROM generate_series(1, :rounds) AS round, (
    SELECT 1 AS n, 'P' AS what, 'u.email' AS expression, :times AS times,
        format('generate_series(1, %%s) AS g JOIN users AS u ON u.id = mod(g * 7919::bigint, %s) + 1', :rows) AS source, 'HS256' AS alg
    UNION ALL
    SELECT 1, 'P same row', 'u.email', :times, 'generate_series(1, %s) AS g JOIN users AS u ON u.id = 42 + g - g', 'HS256' WHERE :'when' = ''
    UNION ALL
    SELECT 2, 'warm ' || alg, 'auth.verify_jwt($TOKEN)', :times, 'generate_series(1, %s) AS g', alg FROM tokens
    UNION ALL
    SELECT 3, 'authenticate', 'auth.authenticate($TOKEN)', :times, 'generate_series(1, %s) AS g', 'HS256'
    UNION ALL
    SELECT 4, 'H', 'verify_by_hand($TOKEN || left(g::text, 0))', :times / 20, 'generate_series(1, %s) AS g', 'HS256'
    WHERE :'when' = ''
    UNION ALL
    SELECT 5, 'fingerprint', 'auth.api_key_fingerprint(''rfs'' || repeat(''a'', 58) || g)', :times, 'generate_series(1, %s) AS g', 'HS256'
    WHERE :'when' = ''
    UNION ALL
    SELECT 6, 'encode(sha256)', 'encode(sha256(convert_to(''rfs'' || repeat(''a'', 58) || g, ''UTF8'')), ''hex'')', :times, 'generate_series(1, %s) AS g', 'HS256'
    WHERE :'when' = ''
    UNION ALL
    SELECT 7, 'key text', '''rfs'' || repeat(''a'', 58) || g', :times, 'generate_series(1, %s) AS g', 'HS256'
    WHERE :'when' = ''
) AS things JOIN tokens USING (alg)
ORDER BY round, n
\gexec
-- Cold: nothing is remembered.
SET auth_ext.verified_cache_size = 0;
SELECT format('CALL measure(%L, %L, %s)', 'cold ' || alg, format('auth.verify_jwt(%L)', token), :times / 20)
FROM generate_series(1, :rounds) AS round, tokens WHERE :'when' = '' ORDER BY round, alg
\gexec
RESET auth_ext.verified_cache_size;
-- The text of the key is made in both; it is no cost of theirs.
INSERT INTO measured
SELECT m.what || ' alone', m.us - (SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY us) FROM measured WHERE what = 'key text')
FROM measured AS m WHERE :'when' = '' AND m.what IN ('fingerprint', 'encode(sha256)');
