-- Tokens that were verified before: what health() counts, and that nothing but the signature is remembered.
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');
SET client_min_messages = warning;
CREATE TABLE users (id text PRIMARY KEY);
INSERT INTO users VALUES ('alice');
SELECT auth.attach_users('users');
CREATE VIEW cache AS SELECT verified_cache_tokens AS tokens, verified_cache_hits AS hits, verified_cache_misses AS misses FROM auth.health();
SELECT spec.token(spec.claims()) AS token \gset
SELECT * FROM cache;
-- Once cold, then warm; whoever asks.
SELECT auth.verify_jwt(:'token') ->> 'sub' AS first, auth.verify_jwt(:'token') ->> 'sub' AS second,
    auth.verify_jwt_claims(:'token') ->> 'sub' AS claims FROM (SELECT) AS one;
SELECT * FROM cache;
-- Garbage does not enter.
SELECT count(*), count(DISTINCT spec.outcome(format('SELECT auth.verify_jwt(%L)', :'token' || n))) AS reasons FROM generate_series(1, 50) AS n;
SELECT * FROM cache;
-- The session is asked each time: a bump, a revocation, the clock, the key.
SELECT auth.bump_session_version('alice');
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :'token'));
SELECT auth.verify_jwt_claims(:'token') ->> 'sub' AS claims;
SELECT auth.issue_jwt('alice') AS fresh \gset
SELECT auth.verify_jwt(:'fresh') ->> 'session_version' AS version;
SELECT auth.revoke_jwt(:'fresh');
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :'fresh'));
SELECT auth.issue_jwt('alice', ttl => '2 s') AS short \gset
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''sub''', :'short'));
SELECT pg_sleep(2.1);
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :'short'));
-- Another key set is another cache.
SELECT tokens > 0 AS before FROM cache;
SELECT auth.retire_signing_key('hmac');
SELECT spec.outcome(format('SELECT auth.verify_jwt_claims(%L)', :'token'));
SELECT tokens FROM cache;
-- Bounded: with room for two, the third goes; with none, nothing is kept.
SELECT auth.create_signing_key(alg => 'HS256', kid => 'new');
SET auth_ext.verified_cache_size = 2;
SELECT count(auth.verify_jwt(auth.issue_jwt('alice'))) FROM generate_series(1, 20);
SELECT tokens FROM cache;
SET auth_ext.verified_cache_size = 0;
SELECT auth.issue_jwt('alice') AS fresh \gset
SELECT count(auth.verify_jwt(:'fresh')) FROM generate_series(1, 3);
SELECT tokens FROM cache;
RESET auth_ext.verified_cache_size;
DROP VIEW cache;
SELECT auth.detach_users();
DROP TABLE users;
DELETE FROM auth.issuers;
DELETE FROM auth.user_history;
