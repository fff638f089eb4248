\set QUIET on
\pset border 2
\pset linestyle ascii
\pset format aligned
SELECT what, figure, reach FROM (VALUES
    (1, 'a primary-key look-up by the executor (P), µs', round(median('P'), 2)::text, ''),
    (2, 'warm HS256 / P', round(median('warm HS256') / median('P'), 2)::text, 'at most 1.0'),
    (3, 'warm ES256 / P', round(median('warm ES256') / median('P'), 2)::text, 'at most 1.0'),
    (4, 'warm RS256 / P', round(median('warm RS256') / median('P'), 2)::text, 'at most 1.0'),
    (5, 'warm EdDSA / P', round(median('warm EdDSA') / median('P'), 2)::text, 'at most 1.0'),
    (6, 'warm HS256 / P while another session commits', round(median('busy warm HS256') / median('busy P'), 2)::text, 'at most 2.5'),
    (7, 'authenticate, warm / P', round(median('authenticate') / median('P'), 2)::text, 'at most 3.0'),
    (8, 'by hand with pgcrypto (H) / cold HS256', round(median('H') / median('cold HS256'), 1)::text, 'at least 5'),
    (9, 'by hand with pgcrypto (H) / warm HS256', round(median('H') / median('warm HS256'), 1)::text, 'at least 25'),
    (10, 'cold HS256, µs', round(median('cold HS256'), 1)::text, ''),
    (11, 'cold ES256 - cold HS256, µs', round(median('cold ES256') - median('cold HS256'), 1)::text, '1.15 of the signature alone'),
    (12, 'cold RS256 - cold HS256, µs', round(median('cold RS256') - median('cold HS256'), 1)::text, '1.15 of the signature alone'),
    (13, 'api_key_fingerprint / encode(sha256(…), ''hex'')',
        round((median('fingerprint') - median('key text')) / (median('encode(sha256)') - median('key text')), 2)::text, 'at most 0.8'),
    (14, 'policy owner = auth.user_id() / with (SELECT …), no index', round(median('scan plain') / median('scan wrapped'), 2)::text, 'at most 1.05'),
    (15, 'the same in a parallel scan', round(median('parallel plain') / median('parallel wrapped'), 2)::text, 'at most 1.05'),
    (16, 'the same with an index', round(median('index plain') / median('index wrapped'), 2)::text, 'at most 1.05'),
    (17, 'current_setting(…)::jsonb ->> ''sub'' / auth.user_id()', round(median('scan jsonb') / median('scan plain'), 1)::text, 'at least 20'),
    (18, 'BEGIN; authenticate; SELECT; COMMIT / with a trivial round trip, 8 clients', round(median('tx trivial') / median('tx authenticate'), 2)::text, 'at most 1.15'),
    (19, 'a fresh connection that verifies - one that does not, ms', round((median('fresh verify') - median('fresh nothing')) / 1000, 2)::text, 'at most 2'),
    (20, 'backend memory over 1,000,000 tokens, first half, MB', round(median('memory first half'), 1)::text, 'at most 16'),
    (21, 'backend memory over 1,000,000 tokens, second half, MB', round(median('memory second half'), 1)::text, '0'),
    (22, 'a bump by UPDATE / a plain UPDATE, 1 client, with a real flush', round(median('commit plain 1') / median('commit off 1'), 2)::text, 'at most 1.25'),
    (23, 'bumps a second of 32 clients: relay / off', round(median('commit relay 32') / median('commit off 32'), 2)::text, 'at least 0.85'),
    (24, 'bumps a second of 32 clients: relay / inline', round(median('commit relay 32') / median('commit inline 32'), 1)::text, 'at least 5'),
    (25, 'open_session / a row inserted', round(median('open session') / median('insert by key'), 1)::text, ''),
    (26, 'refresh_session / a row updated by its key', round(median('refresh session') / median('update by key'), 1)::text, ''),
    (27, 'list_sessions / a row read by its key', round(median('list sessions') / median('read by key'), 1)::text, ''),
    (28, 'end_session / a row updated by its key', round(median('end session') / median('update by key'), 1)::text, ''),
    (29, 'refreshes that are HOT updates, %', round(median('refreshes HOT'), 1)::text, ''),
    (30, 'auth.sessions grows by 100,000 refreshes of 1,000 sessions, MB', round(median('refreshes grow'), 1)::text, ''),
    (31, 'sequential scans of auth.sessions meanwhile', round(median('refreshes scan'), 0)::text, '0'),
    (32, 'warm HS256: everything on / off', round(median('on warm HS256') / median('off warm HS256'), 2)::text, '1.0'),
    (33, 'authenticate, warm: everything on / off', round(median('on authenticate') / median('off authenticate'), 2)::text, ''),
    (34, 'the same, µs more', round(median('on authenticate') - median('off authenticate'), 2)::text, ''),
    (35, 'BEGIN; authenticate; SELECT; COMMIT, 8 clients: everything on / off', round(median('tx authenticate') / median('tx everything'), 2)::text, '1.0')
) AS report (n, what, figure, reach)
WHERE figure IS NOT NULL ORDER BY n;
