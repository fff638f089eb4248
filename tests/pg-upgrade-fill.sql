-- Makes something of all that the extension keeps, and notes what must be said of it later (tests/pg-upgrade-check.sql).
-- :version is the extension's, :partitioned how the users table is.
\set ON_ERROR_STOP on
SELECT :'version' <> '0.1.0' AS has_sessions \gset
SET client_min_messages = warning;
CREATE EXTENSION auth_ext VERSION :'version';

CREATE TABLE kept (name text PRIMARY KEY, value text NOT NULL);
CREATE TABLE tokens (name text PRIMARY KEY, token text NOT NULL, expected text NOT NULL);
CREATE VIEW verdicts AS
SELECT t.name, t.expected, CASE WHEN c.valid THEN 'valid' ELSE c.reason END AS verdict
FROM tokens AS t CROSS JOIN LATERAL auth.check_jwt(t.token) AS c;

CREATE TABLE users (id bigint PRIMARY KEY, email text, password_hash text, is_active boolean NOT NULL DEFAULT true) :partitioned;
SELECT :'partitioned' <> '' AS has_partitions \gset
\if :has_partitions
CREATE TABLE users_even PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE users_odd PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1);
\endif
INSERT INTO users SELECT n, 'user' || n || '@example.com' FROM generate_series(40, 46) AS n;
SELECT auth.attach_users('users', bump_on => '{password_hash}');
CREATE TABLE api_keys (id text PRIMARY KEY, user_id bigint, is_active boolean NOT NULL DEFAULT true);
SELECT auth.attach_api_keys('api_keys');
-- Our functions in an index and in a policy.
CREATE INDEX ON kept (auth.api_key_fingerprint(value));
CREATE TABLE notes (owner text);
INSERT INTO notes SELECT 40 + n % 7 FROM generate_series(1, 700) AS n;
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = auth.user_id());
GRANT SELECT ON notes TO reader;

INSERT INTO auth.issuers (issuer, audience)
SELECT issuer, '{app}' FROM unnest('{https://api.example.com,ed,hmac,killed,gone}'::text[]) AS issuer;
SELECT auth.create_signing_key(), auth.create_signing_key('ed', 'EdDSA'), auth.create_signing_key('killed'), auth.create_signing_key('gone'),
    auth.import_signing_key('a-secret-of-the-old-server-0123456789abcdef', 'HS256', 'hmac', 'shared');
INSERT INTO tokens VALUES
    ('former key', auth.issue_jwt('41'), 'valid'),
    ('ed', auth.issue_jwt('41', issuer => 'ed'), 'valid'),
    ('hmac', auth.issue_jwt('41', issuer => 'hmac'), 'valid'),
    ('killed', auth.issue_jwt('41', issuer => 'killed'), 'issued_before_cutoff'),
    ('gone', auth.issue_jwt('41', issuer => 'gone'), 'wrong_issuer');
SELECT auth.rotate_signing_key();
INSERT INTO tokens VALUES
    ('good', auth.issue_jwt('41'), 'valid'),
    ('revoked', auth.issue_jwt('41'), 'revoked'),
    ('expired', auth.issue_jwt('41', ttl => '1 second'), 'expired'),
    ('bumped', auth.issue_jwt('42'), 'session_version_mismatch'),
    ('password', auth.issue_jwt('43'), 'session_version_mismatch'),
    ('inactive', auth.issue_jwt('44'), 'inactive_user'),
    ('deleted', auth.issue_jwt('45'), 'unknown_user');
SELECT auth.rotate_signing_key();
INSERT INTO tokens VALUES ('retired', auth.issue_jwt('41'), 'unknown_key');
SELECT auth.rotate_signing_key();
SELECT auth.retire_signing_key(auth.decode_jwt(token) #>> '{header,kid}') FROM tokens WHERE name = 'retired';

INSERT INTO kept VALUES ('cursor', auth.invalidation_cursor());
SELECT auth.revoke_jwt(token) FROM tokens WHERE name = 'revoked';
SELECT auth.bump_session_version('42') FROM generate_series(1, 3);
UPDATE users SET password_hash = 'new' WHERE id = 43;
UPDATE users SET is_active = false WHERE id = 44;
DELETE FROM users WHERE id = 45;
UPDATE auth.issuers SET not_before = clock_timestamp() + '1 second' WHERE issuer = 'killed';
DELETE FROM auth.issuers WHERE issuer = 'gone';
INSERT INTO kept VALUES ('version', auth.session_version('42'));

INSERT INTO kept SELECT 'api key', key FROM auth.create_api_key('41', 'ci');
INSERT INTO kept SELECT 'revoked api key', key FROM auth.create_api_key('41', 'ci');
SELECT auth.revoke_api_key(k.id) FROM kept, auth.check_api_key(value) AS k WHERE name = 'revoked api key';
INSERT INTO kept VALUES
    ('mail', auth.issue_one_time_token('41', 'password_reset')), ('used mail', auth.issue_one_time_token('42', 'password_reset'));
SELECT auth.consume_one_time_token(value, 'password_reset') FROM kept WHERE name = 'used mail';

\if :has_sessions
CREATE TABLE identities (provider text, subject text, user_id bigint, PRIMARY KEY (provider, subject));
INSERT INTO identities VALUES ('idp', 'account', 41);
SELECT auth.attach_identities('identities');
-- The token is made while the issuer's users are nobody's accounts yet.
INSERT INTO auth.issuers (issuer, audience, session_check) VALUES ('https://idp.example.com', '{app}', 'none');
SELECT auth.create_signing_key('https://idp.example.com');
INSERT INTO tokens VALUES ('identity', auth.issue_jwt('account', issuer => 'https://idp.example.com'), 'valid');
UPDATE auth.issuers SET session_check = 'issued_at', identity_provider = 'idp' WHERE issuer = 'https://idp.example.com';
WITH s AS MATERIALIZED (SELECT * FROM auth.open_session('41', label => 'phone')), t AS (INSERT INTO tokens SELECT 'session', s.access_token, 'valid' FROM s)
INSERT INTO kept SELECT 'refresh', s.refresh_token FROM s;
INSERT INTO tokens SELECT 'ended session', access_token, 'session_ended' FROM auth.open_session('41', label => 'desk');
SELECT auth.end_session(auth.decode_jwt(token) #>> '{payload,sid}') FROM tokens WHERE name = 'ended session';
SELECT auth.grant_access('web', 'application');
ALTER ROLE web SET auth_ext.when_ended = 'hang_up';
INSERT INTO kept VALUES ('bundle', auth.export_keys('a passphrase of the test'));
\endif
-- 'expired' is.
SELECT pg_sleep(1.1);
DO $$
DECLARE
    wrong text := (SELECT string_agg(format('%s: %s and not %s', name, verdict, expected), ', ') FROM verdicts WHERE verdict <> expected);
BEGIN
    IF wrong <> '' THEN
        RAISE EXCEPTION '%', wrong;
    END IF;
END
$$;
