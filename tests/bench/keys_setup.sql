-- A database with :keys signing keys, half of them HS256 and half EdDSA, and a thousand tokens, as many by one key as by another.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION auth_ext;
CREATE EXTENSION dblink;
\ir measured.sql
CREATE TABLE users (id bigint PRIMARY KEY, session_version bigint NOT NULL DEFAULT 0);
INSERT INTO users VALUES (42);
SELECT auth.attach_users('users') \g /dev/null
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://keys.test', '{bench}');
CREATE TABLE tokens (n int PRIMARY KEY, token text NOT NULL);
SELECT CASE WHEN n % 2 = 0 THEN auth.create_signing_key(alg => 'EdDSA', kid => 'key-' || n)
    ELSE auth.import_signing_key(md5(n::text), 'HS256', kid => 'key-' || n) END
FROM generate_series(1, :keys) AS n \g /dev/null
-- Each statement is planned and run by itself: the next token is of the next key.
DO $$
DECLARE
    keys int := (SELECT count(*) FROM auth.signing_key_store);
BEGIN
    FOR n IN 1..keys LOOP
        PERFORM auth.activate_signing_key('key-' || n, overlap => '1 day');
        INSERT INTO tokens SELECT t, auth.issue_jwt('42', ttl => '1 day') FROM generate_series(n, 1000, keys) AS t;
    END LOOP;
END
$$;
VACUUM ANALYZE;
