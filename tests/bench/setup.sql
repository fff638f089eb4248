-- What is measured, and how: each thing in turn, round after round in one run, so that what the machine does meanwhile meets
-- all alike. The median counts, without the cost of the loop around it.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION auth_ext;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE TABLE users (
    id bigint PRIMARY KEY, email text NOT NULL, is_active boolean NOT NULL DEFAULT true,
    session_version bigint NOT NULL DEFAULT 0);
INSERT INTO users SELECT n, 'user' || n || '@example.com' FROM generate_series(1, :rows) AS n;
SELECT auth.attach_users('users') \g /dev/null
CREATE TABLE docs (id bigint PRIMARY KEY, owner bigint NOT NULL, body text);
INSERT INTO docs SELECT n, n % 1000 + 1, 'x' FROM generate_series(1, :rows) AS n;
VACUUM ANALYZE users;
VACUUM ANALYZE docs;

CREATE TABLE tokens (alg text PRIMARY KEY, token text NOT NULL);
INSERT INTO auth.issuers (issuer, audience)
SELECT 'https://' || alg, '{bench}' FROM unnest('{HS256,ES256,RS256,EdDSA}'::text[]) AS alg;
SELECT auth.create_signing_key('https://' || alg, alg) FROM unnest('{ES256,RS256,EdDSA}'::text[]) AS alg \g /dev/null
SELECT auth.import_signing_key('0123456789abcdef0123456789abcdef', 'HS256', 'https://HS256') \g /dev/null
INSERT INTO tokens
SELECT alg, auth.issue_jwt('42', claims => '{"role":"editor","name":"Ada Lovelace"}', issuer => 'https://' || alg, ttl => '1 day')
FROM unnest('{HS256,ES256,RS256,EdDSA}'::text[]) AS alg;

-- H: what a careful author writes with pgcrypto, who checks signature, algorithm, issuer, audience and expiry.
CREATE FUNCTION from_base64url(segment text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT decode(rpad(translate(segment, '-_', '+/'), (length(segment) + 3) / 4 * 4, '='), 'base64') $$;
CREATE FUNCTION verify_by_hand(token text, secret text) RETURNS jsonb LANGUAGE plpgsql STABLE STRICT AS
$$
DECLARE
    header text := split_part(token, '.', 1);
    payload text := split_part(token, '.', 2);
    claims jsonb;
BEGIN
    IF convert_from(from_base64url(header), 'UTF8')::jsonb ->> 'alg' <> 'HS256'
        OR hmac(header || '.' || payload, secret, 'sha256') <> from_base64url(split_part(token, '.', 3)) THEN
        RAISE invalid_authorization_specification;
    END IF;
    claims := convert_from(from_base64url(payload), 'UTF8')::jsonb;
    IF claims ->> 'iss' <> 'https://HS256' OR NOT claims -> 'aud' ? 'bench'
        OR to_timestamp((claims ->> 'exp')::numeric) <= clock_timestamp() THEN
        RAISE invalid_authorization_specification;
    END IF;
    RETURN claims;
END
$$;

CREATE TABLE measured (what text, us float8);

-- Runs `expression` (of the number g) `times` times, and notes the microseconds of one.
CREATE PROCEDURE measure(what text, expression text, times int, source text DEFAULT 'generate_series(1, %s) AS g') LANGUAGE plpgsql AS
$$
DECLARE
    started timestamptz;
    loop_us float8;
    us float8;
BEGIN
    started := clock_timestamp();
    EXECUTE format('SELECT count(g) FROM generate_series(1, %s) AS g', times);
    loop_us := extract(epoch FROM clock_timestamp() - started) * 1000000;
    started := clock_timestamp();
    EXECUTE format('SELECT count(' || expression || ') FROM ' || source, times);
    us := extract(epoch FROM clock_timestamp() - started) * 1000000;
    INSERT INTO measured VALUES (what, greatest(us - loop_us, 0) / times);
    COMMIT;
END
$$;

CREATE FUNCTION median(name text) RETURNS numeric LANGUAGE sql STABLE AS
$$ SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY us)::numeric FROM measured WHERE what = name $$;
