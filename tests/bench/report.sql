-- Makes the tables and the picture of what the runs have measured: `raw` has a line for each single measurement.
\set QUIET on
SET client_min_messages = warning;
CREATE TABLE raw (what text, value float8, run int);

CREATE VIEW medians AS
SELECT what, run, percentile_cont(0.5) WITHIN GROUP (ORDER BY value)::numeric AS value FROM raw GROUP BY what, run;

-- Three digits, and never more than two behind the point.
CREATE FUNCTION digits(x numeric) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN abs(x) >= 100 THEN to_char(x, 'FM999,999,999,990') ELSE round(x, CASE WHEN abs(x) >= 10 THEN 1 ELSE 2 END)::text END $$;

-- Times are measured in microseconds.
CREATE FUNCTION in_unit(x float8, unit text) RETURNS numeric LANGUAGE sql IMMUTABLE AS
$$ SELECT (x / CASE unit WHEN 'ms' THEN 1000 WHEN 's' THEN 1000000 ELSE 1 END)::numeric $$;

-- The median of all single measurements.
CREATE FUNCTION median(name text, unit text) RETURNS numeric LANGUAGE sql STABLE AS
$$ SELECT in_unit(percentile_cont(0.5) WITHIN GROUP (ORDER BY value), unit) FROM raw WHERE what = name $$;

-- The same in words, with the lowest and the highest.
CREATE FUNCTION spread(name text, unit text) RETURNS text LANGUAGE sql STABLE AS
$$
    SELECT concat(digits(median(name, unit)),
        CASE WHEN count(*) > 1 THEN format(' (%s–%s)', digits(in_unit(min(value), unit)), digits(in_unit(max(value), unit))) END, ' ' || unit)
    FROM raw WHERE what = name
$$;

-- Of two things: their ratio or difference in each run, and of those the median, the lowest and the highest.
CREATE FUNCTION compared(name text, how text, other text, unit text) RETURNS text LANGUAGE sql STABLE AS
$$
    SELECT concat(CASE WHEN how = '-' AND percentile_cont(0.5) WITHIN GROUP (ORDER BY r.x) >= 0 THEN '+' END,
        digits(percentile_cont(0.5) WITHIN GROUP (ORDER BY r.x)::numeric),
        CASE WHEN count(*) > 1 THEN format(' (%s–%s)', digits(min(r.x)), digits(max(r.x))) END, CASE WHEN how = '-' THEN ' ' || unit END)
    FROM (
        SELECT CASE how WHEN '/' THEN m.value / nullif(o.value, 0) WHEN '\' THEN o.value / nullif(m.value, 0)
            WHEN '-' THEN in_unit(m.value - o.value, unit) END
        FROM medians AS m JOIN medians AS o ON o.what = other AND o.run = m.run WHERE m.what = name
    ) AS r (x)
$$;

-- What stands in the first table: how: '/' thing / other, '\' other / thing, '-' thing - other, NULL nothing.
CREATE TABLE lines (n int GENERATED ALWAYS AS IDENTITY, what text, thing text, unit text, how text, against text, other text, aim text);
INSERT INTO lines (what, thing, unit, how, against, other, aim) VALUES
    ('one row by primary key in the executor, anywhere in the table (P)', 'P', 'µs', NULL, NULL, NULL, ''),
    ('the same row by primary key again and again', 'P same row', 'µs', '/', 'P', 'P', ''),
    ('a client''s round trip: one row by primary key, prepared (R)', 'R', 'µs', NULL, NULL, NULL, ''),
    ('`verify_jwt` of a token seen before: HS256', 'warm HS256', 'µs', '/', 'P', 'P', 'at most 1.0'),
    ('the same: ES256', 'warm ES256', 'µs', '/', 'P', 'P', 'at most 1.0'),
    ('the same: RS256', 'warm RS256', 'µs', '/', 'P', 'P', 'at most 1.0'),
    ('the same: EdDSA', 'warm EdDSA', 'µs', '/', 'P', 'P', 'at most 1.0'),
    ('the same: HS256 against the same row again and again', 'warm HS256', 'µs', '/', 'the same row', 'P same row', 'at most 1.0'),
    ('the same: HS256 in a client''s round trip, prepared', 'R verify', 'µs', '/', 'R', 'R', 'at most 1.0'),
    ('the same: HS256 while another session commits', 'busy warm HS256', 'µs', '/', 'P meanwhile', 'busy P', 'at most 2.5'),
    ('`authenticate` of a token seen before', 'authenticate', 'µs', '/', 'P', 'P', 'at most 3.0'),
    ('the first `verify_jwt` of an HS256 token: by hand with pgcrypto (H) is so many times as much', 'cold HS256', 'µs', '\', 'H', 'H', 'at least 5'),
    ('`verify_jwt` of a token seen before: H is so many times as much', 'warm HS256', 'µs', '\', 'H', 'H', 'at least 25'),
    ('the first `verify_jwt` of an ES256 token', 'cold ES256', 'µs', '-', 'HS256', 'cold HS256', '1.15 of the signature alone'),
    ('the first `verify_jwt` of an RS256 token', 'cold RS256', 'µs', '-', 'HS256', 'cold HS256', '1.15 of the signature alone'),
    ('`api_key_fingerprint`', 'fingerprint alone', 'µs', '/', '`encode(sha256(…), ''hex'')`', 'encode(sha256) alone', 'at most 0.8'),
    ('policy `owner = auth.user_id_bigint()` over the whole table', 'scan plain', 'ms', '/', 'with `(SELECT …)`', 'scan wrapped', 'at most 1.05'),
    ('the same in a parallel scan', 'parallel plain', 'ms', '/', 'with `(SELECT …)`', 'parallel wrapped', 'at most 1.05'),
    ('the same with an index', 'index plain', 'ms', '/', 'with `(SELECT …)`', 'index wrapped', 'at most 1.05'),
    ('the same: a policy on `current_setting(…)::jsonb ->> ''sub''` is so many times as much', 'scan plain', 'ms', '\', '`current_setting`', 'scan jsonb', 'at least 20'),
    ('`BEGIN; authenticate; SELECT; COMMIT` of 8 clients', 'tx authenticate', 'tps', '\', 'a trivial round trip instead', 'tx trivial', 'at most 1.15'),
    ('a fresh connection that verifies, 10 keys', 'fresh 10 verify', 'ms', '-', 'one that does not', 'fresh 10 nothing', 'at most 1.5 ms'),
    ('the same with 1,000 keys', 'fresh 1000 verify', 'ms', '-', 'one that does not', 'fresh 1000 nothing', 'at most 1.5 ms'),
    ('the same with 10 keys, preloaded', 'preloaded fresh 10 verify', 'ms', '-', 'one that does not', 'preloaded fresh 10 nothing', 'at most 1.5 ms'),
    ('the same with 1,000 keys, preloaded', 'preloaded fresh 1000 verify', 'ms', '-', 'one that does not', 'preloaded fresh 1000 nothing', 'at most 1.5 ms'),
    ('1,000 keys: memory of a backend that has met one of them', 'keys 1000 memory one', 'MB', '-', '10 keys', 'keys 10 memory one', 'at most 1 MB'),
    ('the same, of one that has met them all', 'keys 1000 memory all', 'MB', '-', '10 keys', 'keys 10 memory all', 'at most 1 MB'),
    ('1,000 keys: an open connection''s next verification, after a key was imported', 'keys 1000 next', 'µs', '/', '10 keys', 'keys 10 next', '1.0'),
    ('1,000 keys: importing one more', 'keys 1000 import', 'µs', '/', '10 keys', 'keys 10 import', '1.0'),
    ('1,000 keys: `create_signing_key`, EdDSA', 'keys 1000 create', 'µs', '/', '10 keys', 'keys 10 create', '1.0'),
    ('growth of a backend over many tokens: first half', 'memory first half', 'MB', NULL, NULL, NULL, 'at most 16 MB'),
    ('the same: second half', 'memory second half', 'MB', NULL, NULL, NULL, 'none'),
    ('one UPDATE that bumps, with a real flush, 1 client', 'commit off 1', 'tps', '\', 'a plain UPDATE', 'commit plain 1', 'at most 1.25'),
    ('bumps of 32 clients, `relay`', 'commit relay 32', 'tps', '/', '`off`', 'commit off 32', 'at least 0.85'),
    ('the same', 'commit relay 32', 'tps', '/', '`inline`', 'commit inline 32', 'at least 5'),
    ('the same with the clients on one core and the server on another', 'apart commit relay 32', 'tps', '/', '`off`', 'apart commit off 32', 'at least 0.85'),
    ('the same, so placed', 'apart commit relay 32', 'tps', '/', '`inline`', 'apart commit inline 32', 'at least 5'),
    ('one UPDATE that bumps, with a flush of 2 ms, 1 client', 'slow commit off 1', 'tps', '\', 'a plain UPDATE', 'slow commit plain 1', 'at most 1.25'),
    ('bumps of 32 clients with a flush of 2 ms, `relay`', 'slow commit relay 32', 'tps', '/', '`off`', 'slow commit off 32', 'at least 0.85'),
    ('the same with a flush of 2 ms', 'slow commit relay 32', 'tps', '/', '`inline`', 'slow commit inline 32', 'at least 5'),
    ('everything on (preloaded, `when_ended = hang_up`, heartbeat): `verify_jwt` of a token seen before', 'on warm HS256', 'µs', '/', 'off', 'off warm HS256', '1.0'),
    ('the same: `authenticate`', 'on authenticate', 'µs', '/', 'off', 'off authenticate', ''),
    ('the same: `BEGIN; authenticate; SELECT; COMMIT` of 8 clients', 'tx everything', 'tps', '\', 'off', 'tx authenticate', '1.0'),
    ('UPDATE of all users, nothing relevant', 'attached 25 irrelevant', 's', '/', 'a plain table', 'plain 25 irrelevant', 'at most 1.15'),
    ('the same UPDATE of a plain table with a trigger that never fires', 'idle 25 irrelevant', 's', '/', 'a plain table', 'plain 25 irrelevant', ''),
    ('the same: the password', 'attached 25 password', 's', '/', 'a plain table', 'plain 25 password', 'at most 1.5'),
    ('the same: the version', 'attached 25 version', 's', '/', 'a plain table', 'plain 25 version', 'at most 2'),
    ('INSERT of new users while nobody is remembered, rows of 60 octets', 'attached 60 INSERT', 's', '/', 'a plain table', 'plain 60 INSERT', 'at most 1.5'),
    ('the same INSERT of a plain table with a trigger that never fires', 'idle 60 INSERT', 's', '/', 'a plain table', 'plain 60 INSERT', ''),
    ('the same, rows of 25 octets', 'attached 25 INSERT', 's', '/', 'a plain table', 'plain 25 INSERT', 'at most 1.5'),
    ('COPY of new users, rows of 60 octets', 'attached 60 COPY', 's', '/', 'a plain table', 'plain 60 COPY', 'at most 1.5'),
    ('the same COPY of a plain table with a trigger that never fires', 'idle 60 COPY', 's', '/', 'a plain table', 'plain 60 COPY', ''),
    ('the same, rows of 25 octets (COPY)', 'attached 25 COPY', 's', '/', 'a plain table', 'plain 25 COPY', 'at most 1.5'),
    ('DELETE of all users, rows of 60 octets', 'attached 60 DELETE', 's', '/', 'a plain table', 'plain 60 DELETE', 'at most 2.5'),
    ('the same DELETE of a plain table with a trigger that never fires', 'idle 60 DELETE', 's', '/', 'a plain table', 'plain 60 DELETE', ''),
    ('the same, rows of 25 octets (DELETE)', 'attached 25 DELETE', 's', '/', 'a plain table', 'plain 25 DELETE', 'at most 2.5'),
    ('five sessions a user: `open_session` (random octets and a signature are in it)', 'open session', 'µs', '/', 'a row inserted', 'insert by key', ''),
    ('the same: `refresh_session`', 'refresh session', 'µs', '/', 'a row updated', 'update by key', ''),
    ('the same: `end_session`', 'end session', 'µs', '/', 'a row updated', 'update by key', ''),
    ('the same: `list_sessions`', 'list sessions', 'µs', '/', 'a row read', 'read by key', ''),
    ('100,000 refreshes of 1,000 sessions: HOT updates', 'refreshes HOT', '%', NULL, NULL, NULL, ''),
    ('the same: growth of `auth.sessions`', 'refreshes grow', 'MB', NULL, NULL, NULL, ''),
    ('the same: sequential scans', 'refreshes scan', NULL, NULL, NULL, NULL, 'none');
CREATE VIEW costs AS
SELECT what AS "What", spread(thing, unit) AS "Measured", concat(against, ': ' || digits(median(other, unit)) || ' ' || unit) AS "Against",
    coalesce(compared(thing, how, other, unit), '') AS "Ratio, or difference", aim AS "Aim"
FROM lines WHERE thing IN (SELECT raw.what FROM raw) ORDER BY n;

-- The second table: scale|what grows|size|call.
CREATE TABLE calls (n int GENERATED ALWAYS AS IDENTITY, what text);
INSERT INTO calls (what) VALUES
    ('verify_jwt, the first time'),
    ('verify_jwt, seen before'),
    ('verify_jwt, seen before, in a transaction that writes'),
    ('authenticate, seen before'),
    ('bump_session_version'),
    ('invalidations_since, at the end'),
    ('invalidations_since, one event'),
    ('open_session'),
    ('refresh_session'),
    ('list_sessions'),
    ('end_session'),
    ('issue_jwt and revoke_jwt'),
    ('create_signing_key'),
    ('health');
CREATE VIEW sized AS
SELECT split_part(what, '|', 2) AS grows, split_part(what, '|', 3)::bigint AS size, split_part(what, '|', 4) AS call, run, value
FROM medians WHERE what LIKE 'scale|%';
-- The medians from the smallest to the largest, and the largest by the smallest.
CREATE FUNCTION grown(grows_ text, call_ text) RETURNS text LANGUAGE sql STABLE AS
$$
    WITH by_size AS (
        SELECT size, percentile_cont(0.5) WITHIN GROUP (ORDER BY value)::numeric AS us FROM sized WHERE (grows, call) = (grows_, call_) GROUP BY size
    ), by_run AS (
        SELECT (array_agg(value ORDER BY size DESC))[1] / (array_agg(value ORDER BY size))[1] AS x FROM sized WHERE (grows, call) = (grows_, call_) GROUP BY run
    )
    SELECT (SELECT string_agg(digits(us), ' → ' ORDER BY size) FROM by_size) || ' µs: '
        || (SELECT digits(percentile_cont(0.5) WITHIN GROUP (ORDER BY x)::numeric) FROM by_run)
$$;
CREATE FUNCTION sizes(grows_ text) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT string_agg(to_char(size, 'FM999,999,999'), ' → ' ORDER BY size) FROM (SELECT DISTINCT size FROM sized WHERE grows = grows_) AS s $$;
CREATE VIEW scale AS
SELECT "Call", "Users", "Revocations", "Sessions", "Events in the log", "Open transactions" FROM (
    SELECT 0 AS n, '' AS "Call", sizes('users') AS "Users", sizes('revocations') AS "Revocations", sizes('sessions') AS "Sessions",
        sizes('log') AS "Events in the log", sizes('transactions') AS "Open transactions"
    UNION ALL
    SELECT n, what, grown('users', what), grown('revocations', what), grown('sessions', what), grown('log', what), grown('transactions', what)
    FROM calls
) AS s ORDER BY n;

-- The third: prune() of many rows.
CREATE VIEW pruning AS
SELECT t.label AS "`prune()`", digits(median(name || 'rows', NULL)) AS "Rows", spread(name || 'all', 's') AS "All of them",
    spread(name || 'batch', 'ms') AS "A batch", digits(median(name || 'scans', NULL)) AS "Sequential scans",
    digits(median(name || 'dead', NULL)) AS "Dead rows left to vacuum", spread(name || 'idle', 'ms') AS "The next call, before a vacuum"
FROM (VALUES (1, 'revocations, 5,000 a batch', 'prune revoked_tokens '), (2, 'events, 20,000 a batch', 'prune invalidation_log ')) AS t (n, label, name)
ORDER BY n;

-- The fourth: a neighbour.
CREATE VIEW peer AS
SELECT t.label AS "PostgREST, one row by its key, 8 clients", spread(thing, 'requests/s') AS "Requests",
    digits(8000 / median(thing, NULL)) || ' ms' AS "A request", coalesce(compared(thing, '\', 'peer own', NULL), '') AS "By its own check"
FROM (VALUES (1, 'no token', 'peer anonymous'), (2, 'its own check of the token', 'peer own'), (3, 'the same, and `auth.pre_request`', 'peer pre_request'))
    AS t (n, label, thing)
WHERE thing IN (SELECT what FROM raw) ORDER BY n;

-- What a run has not measured and the tables would show.
CREATE VIEW missing AS
SELECT name FROM (
    SELECT thing FROM lines UNION SELECT other FROM lines UNION VALUES ('peer anonymous'), ('peer own'), ('peer pre_request')
    UNION SELECT format('scale|%s|%s|%s', g, s.size, what)
    FROM calls, unnest('{users,revocations,sessions,log,transactions}'::text[]) AS g LEFT JOIN (SELECT DISTINCT grows, size FROM sized) AS s ON s.grows = g
) AS expected (name) CROSS JOIN (SELECT DISTINCT run FROM raw) AS r
WHERE name IS NOT NULL AND NOT EXISTS (SELECT FROM raw AS x WHERE x.what = name AND x.run = r.run);

-- The picture: microseconds of one call.
CREATE VIEW bars AS
SELECT label || '|' || median(what, 'µs') FROM (VALUES
    (1, 'auth_ext: verify_jwt, seen before', 'warm HS256'),
    (2, 'a look-up by primary key, in the executor', 'P'),
    (3, 'auth_ext: authenticate, seen before', 'authenticate'),
    (4, 'auth_ext: verify_jwt, beside commits', 'busy warm HS256'),
    (5, 'auth_ext: verify_jwt, the first time, HS256', 'cold HS256'),
    (6, 'auth_ext: verify_jwt, the first time, RS256', 'cold RS256'),
    (7, 'auth_ext: verify_jwt, the first time, ES256', 'cold ES256'),
    (8, 'a client''s round trip for one row', 'R'),
    (9, 'by hand with pgcrypto, HS256, no session', 'H')
) AS bars (n, label, what) ORDER BY n;

-- What the README says of it.
CREATE VIEW summary AS
SELECT format('`verify_jwt` of a token that was seen before takes %s µs inside a statement: %s of the executor''s look-up of one row by primary key among '
    'a million (%s µs), %s of the look-up of one row again and again (%s µs). The first time an HS256 token takes %s µs, an ES256 token %s µs. A client that asks over the '
    'socket pays for the round trip: %s µs, against %s µs for one row by its key.',
    digits(median('warm HS256', 'µs')), compared('warm HS256', '/', 'P', NULL), digits(median('P', 'µs')),
    compared('warm HS256', '/', 'P same row', NULL), digits(median('P same row', 'µs')),
    digits(median('cold HS256', 'µs')), digits(median('cold ES256', 'µs')), digits(median('R verify', 'µs')), digits(median('R', 'µs')));
