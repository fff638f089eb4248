-- issue_jwt: a token for a user, signed with the issuer's active key.
SET client_min_messages = warning;
CREATE TABLE users (id text PRIMARY KEY, is_active boolean DEFAULT true, session_version bigint DEFAULT 3);
INSERT INTO users VALUES ('alice', true), ('inactive', false);
SELECT auth.attach_users('users');
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test,other.test}');
SELECT auth.create_signing_key(kid => 'ec');

-- What it says. iat and exp are whole seconds, jti is a UUID.
CREATE FUNCTION says(token text) RETURNS jsonb LANGUAGE sql AS
$$
    SELECT jsonb_set(d, '{payload}', (d->'payload') - '{iat,exp,jti}'::text[] || jsonb_build_object('ttl', (d#>>'{payload,exp}')::numeric - (d#>>'{payload,iat}')::numeric))
    FROM auth.decode_jwt(token) AS d
$$;
SELECT says(auth.issue_jwt('alice'));
SELECT payload->>'jti' ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' AS jti_is_a_uuid,
    payload->>'iat' ~ '^\d+$' AS iat_is_whole, abs(extract(epoch FROM now()) - (payload->>'iat')::numeric) < 60 AS iat_is_now
FROM (SELECT auth.verify_jwt(auth.issue_jwt('alice')) AS payload) AS issued;
SELECT count(DISTINCT auth.issue_jwt('alice')) AS different FROM generate_series(1, 10);

-- With the version given no users row is read: so it may be of anybody, and of a time to come.
SELECT says(auth.issue_jwt('nobody', session_version => 9223372036854775807))->'payload';
-- Time to live, and further claims, numbers of any size among them.
SELECT says(auth.issue_jwt('alice', ttl => '1 day 2 s', claims => '{"role":"admin","n":1234567890123456789012345678901234567890.5}'))->'payload';
SELECT auth.verify_jwt(auth.issue_jwt('alice', claims => '{"n":1e-30,"deep":{"exp":1}}')) @> '{"n":0.000000000000000000000000000001,"deep":{"exp":1}}' AS unaltered;
-- The issuer's own rules: no audience, other names of claims, a default time to live.
INSERT INTO auth.issuers (issuer, audience, user_claim, version_claim, token_ttl) VALUES ('https://second.test', '{}', 'user_id', 'ver', '1 h');
SELECT auth.create_signing_key('https://second.test', 'HS256', 'hmac');
SELECT says(auth.issue_jwt('alice', issuer => 'https://second.test'));
SELECT auth.verify_jwt(auth.issue_jwt('alice', issuer => 'https://second.test'))->>'user_id' AS verifies;
-- Service accounts have no users row, and no version.
UPDATE auth.issuers SET session_check = 'none' WHERE issuer = 'https://second.test';
SELECT says(auth.issue_jwt('robot', issuer => 'https://second.test'))->'payload';

-- Refused.
SELECT call, spec.outcome(format('SELECT auth.issue_jwt(%s)', call))
FROM (VALUES
    ($$'nobody'$$), ($$'inactive'$$), ($$NULL$$), ($$''$$), ($$'', 0$$), ($$'alice', -1$$), ($$'alice', issuer => 'https://nobody.test'$$),
    ($$'alice', claims => '[]'$$), ($$'alice', claims => '7'$$), ($$'alice', claims => '{"iss":"x"}'$$), ($$'alice', claims => '{"aud":"x"}'$$),
    ($$'alice', claims => '{"exp":1}'$$), ($$'alice', claims => '{"nbf":1}'$$), ($$'alice', claims => '{"iat":1}'$$), ($$'alice', claims => '{"jti":"x"}'$$),
    ($$'alice', claims => '{"device_hash":"x"}'$$), ($$'alice', claims => '{"sub":"x"}'$$), ($$'alice', claims => '{"session_version":1}'$$),
    ($$'alice', issuer => 'https://second.test', claims => '{"user_id":"x"}'$$), ($$'alice', issuer => 'https://second.test', claims => '{"ver":1}'$$),
    ($$'alice', ttl => '9000 years'$$), ($$'alice', ttl => '-100 years'$$),
    ($$'alice', claims => jsonb_build_object('x', repeat('x', 16000))$$), ($$'alice', claims => (repeat('{"a":', 33) || '1' || repeat('}', 33))::jsonb$$)
) AS calls(call);
-- NULL claims are none; another issuer's claim names are free.
SELECT says(auth.issue_jwt('alice', claims => NULL)) = says(auth.issue_jwt('alice')) AS same;
SELECT says(auth.issue_jwt('alice', claims => '{"user_id":"x"}'))->'payload'->>'user_id';

-- Writes nothing.
BEGIN READ ONLY;
SELECT auth.verify_jwt(auth.issue_jwt('alice'))->>'sub';
COMMIT;
DROP FUNCTION says;
SELECT auth.detach_users();
DROP TABLE users;
DELETE FROM auth.issuers;
