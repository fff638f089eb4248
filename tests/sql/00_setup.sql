-- What CREATE EXTENSION brings, and the helpers of the files that follow.
SELECT extname, extnamespace::regnamespace, extrelocatable FROM pg_extension WHERE extname = 'auth_ext';
SELECT superuser, trusted, relocatable, schema, requires
FROM pg_available_extension_versions WHERE name = 'auth_ext' AND installed;

\pset format unaligned
\pset expanded on
-- Every function: arguments, defaults, result, volatility, strictness, parallel safety, and what PUBLIC may call.
SELECT
    p.proname AS function,
    pg_get_function_arguments(p.oid) AS arguments,
    pg_get_function_result(p.oid) AS result,
    CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS volatility,
    CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS parallel,
    p.proisstrict AS strict,
    has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc AS p
WHERE p.pronamespace = 'auth'::regnamespace AND p.prorettype <> 'trigger'::regtype
ORDER BY 1;
\pset format aligned
\pset expanded off

-- Trigger functions.
SELECT p.proname AS function, has_function_privilege('public', p.oid, 'EXECUTE') AS public
FROM pg_proc AS p
WHERE p.pronamespace = 'auth'::regnamespace AND p.prorettype = 'trigger'::regtype
ORDER BY 1;

-- Tables and views.
SELECT c.relname AS relation, c.relkind AS kind, coalesce(s.public, '') AS public
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT string_agg(right_, ' ') AS public
    FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS right_
    WHERE has_table_privilege('public', c.oid, right_)
) AS s
WHERE c.relnamespace = 'auth'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
ORDER BY 1;

-- Every one of them carries a comment.
SELECT p.oid::regprocedure AS uncommented FROM pg_proc AS p
WHERE p.pronamespace = 'auth'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NULL
UNION ALL
SELECT NULL FROM pg_class AS c
WHERE c.relnamespace = 'auth'::regnamespace AND c.relkind IN ('r', 'v') AND obj_description(c.oid, 'pg_class') IS NULL;

-- What a dump carries: without these tables no token would verify after a restore.
SELECT c.relname AS dumped
FROM pg_extension AS e, unnest(e.extconfig) AS t(oid)
JOIN pg_class AS c ON c.oid = t.oid
WHERE e.extname = 'auth_ext'
ORDER BY 1;

-- Nobody is trusted yet, and nothing attached: 55000, with the call to make.
SELECT auth.verify_jwt('eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.create_signing_key();
\echo :LAST_ERROR_SQLSTATE
SELECT auth.jwks();
\echo :LAST_ERROR_SQLSTATE
SELECT auth.session_version('alice');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.bump_session_version('alice');
\echo :LAST_ERROR_SQLSTATE
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.issue_jwt('alice', session_version => 0);
\echo :LAST_ERROR_SQLSTATE
SELECT auth.rotate_signing_key();
\echo :LAST_ERROR_SQLSTATE
SELECT auth.create_signing_key(alg => 'HS256', kid => 'k');
SELECT auth.issue_jwt('alice');
\echo :LAST_ERROR_SQLSTATE
-- A token is judged before the set-up is: what is no token is malformed, also where nobody is trusted.
DELETE FROM auth.issuers;
SELECT auth.verify_jwt('nonsense');
\echo :LAST_ERROR_SQLSTATE

-- Helpers for what follows -----------------------------------------------------------------------

CREATE SCHEMA spec;

CREATE FUNCTION spec.base64url(octets bytea) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT rtrim(translate(encode(octets, 'base64'), E'+/\n', '-_'), '=') $$;

-- HMAC-SHA256 (RFC 2104) of keys of at most 64 octets, without pgcrypto.
CREATE FUNCTION spec.hmac(message bytea, key bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS
$$
    SELECT sha256(string_agg(set_byte('\x00', 0, k.octet # 92), '' ORDER BY i)
        || sha256(string_agg(set_byte('\x00', 0, k.octet # 54), '' ORDER BY i) || message))
    FROM generate_series(0, 63) AS i,
        LATERAL (SELECT CASE WHEN i < length(key) THEN get_byte(key, i) ELSE 0 END AS octet) AS k
$$;

-- A token of any header and payload, signed as PyJWT would sign it.
CREATE FUNCTION spec.token(
    payload text,
    header text DEFAULT '{"alg":"HS256","typ":"JWT"}',
    secret text DEFAULT 'auth-ext-regression-secret-0123456789abcdef'
) RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT input || '.' || spec.base64url(spec.hmac(convert_to(input, 'UTF8'), convert_to(secret, 'UTF8')))
    FROM (SELECT spec.base64url(convert_to(header, 'UTF8')) || '.' || spec.base64url(convert_to(payload, 'UTF8'))) AS t(input)
$$;

-- The payload of a token that passes, with claims added or replaced; an SQL NULL takes one away.
CREATE FUNCTION spec.claims(VARIADIC changes text[] DEFAULT '{}') RETURNS text LANGUAGE sql IMMUTABLE AS
$$
    SELECT '{' || string_agg(to_json(name)::text || ':' || value, ',' ORDER BY position) || '}'
    FROM (
        SELECT DISTINCT ON (name) name, value, position
        FROM (
            SELECT name, value, position, false AS changed
            FROM (VALUES
                (1, 'iss', '"https://issuer.test"'), (2, 'aud', '"app.test"'), (3, 'sub', '"alice"'),
                (4, 'session_version', '0'), (5, 'iat', '1700000000'), (6, 'exp', '4102444800')
            ) AS usual(position, name, value)
            UNION ALL
            SELECT changes[2 * i - 1], changes[2 * i], 100 + i, true
            FROM generate_series(1, cardinality(changes) / 2) AS i
        ) AS members
        ORDER BY name, changed DESC
    ) AS members
    WHERE value IS NOT NULL
$$;

-- What a client is told of a failure, in one line; the first column of the first row where there is none.
CREATE FUNCTION spec.outcome(command text) RETURNS text LANGUAGE plpgsql AS
$$
DECLARE
    answer text; state text; message text; detail text;
BEGIN
    EXECUTE command INTO answer;
    RETURN coalesce(answer, 'NULL');
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
    RETURN concat_ws(' ', state, coalesce(nullif(detail, ''), message));
END
$$;

-- RFC 4231 test case 2, and the first segment of RFC 7515's own example.
SELECT spec.hmac('what do ya want for nothing?', 'Jefe') =
    '\x5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843' AS hmac_is_right,
    spec.base64url('{"typ":"JWT",' || '\x0d0a'::bytea || ' "alg":"HS256"}');
