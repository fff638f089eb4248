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

-- H: what a careful author writes with pgcrypto: three segments, the algorithm and type, the issuer's key from a table, the MACs
-- compared by their own MACs (in constant time), issuer, audience, exp, nbf and iat. No session is looked up.
CREATE TABLE keys_by_hand (iss text PRIMARY KEY, secret bytea NOT NULL);
INSERT INTO keys_by_hand VALUES ('https://HS256', '0123456789abcdef0123456789abcdef');
CREATE FUNCTION from_base64url(segment text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT decode(rpad(translate(segment, '-_', '+/'), (length(segment) + 3) / 4 * 4, '='), 'base64') $$;
CREATE FUNCTION verify_by_hand(token text) RETURNS jsonb LANGUAGE plpgsql STABLE STRICT AS
$$
DECLARE
    segments text[] := string_to_array(token, '.');
    now_ float8 := extract(epoch FROM clock_timestamp());
    header jsonb;
    claims jsonb;
    key bytea;
    mac bytea;
BEGIN
    IF cardinality(segments) <> 3 THEN
        RAISE invalid_authorization_specification;
    END IF;
    header := convert_from(from_base64url(segments[1]), 'UTF8')::jsonb;
    claims := convert_from(from_base64url(segments[2]), 'UTF8')::jsonb;
    IF header ->> 'alg' IS DISTINCT FROM 'HS256' OR upper(coalesce(header ->> 'typ', 'JWT')) <> 'JWT' THEN
        RAISE invalid_authorization_specification;
    END IF;
    SELECT k.secret INTO key FROM keys_by_hand AS k WHERE k.iss = claims ->> 'iss';
    IF NOT FOUND THEN
        RAISE invalid_authorization_specification;
    END IF;
    mac := hmac(convert_to(segments[1] || '.' || segments[2], 'UTF8'), key, 'sha256');
    IF hmac(mac, key, 'sha256') <> hmac(from_base64url(segments[3]), key, 'sha256') THEN
        RAISE invalid_authorization_specification;
    END IF;
    IF NOT coalesce(CASE jsonb_typeof(claims -> 'aud') WHEN 'array' THEN claims -> 'aud' ? 'bench' ELSE claims ->> 'aud' = 'bench' END, false)
        OR NOT coalesce((claims ->> 'exp')::float8 > now_, false)
        OR (claims ->> 'nbf')::float8 > now_ OR (claims ->> 'iat')::float8 > now_ OR coalesce(claims ->> 'sub', '') = '' THEN
        RAISE invalid_authorization_specification;
    END IF;
    RETURN claims;
END
$$;

\ir measured.sql
