-- check_jwt: one row, whatever the token; what it says is reported once its signature holds.
SET timezone = 'UTC';
SET datestyle = 'ISO';
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');
SET client_min_messages = warning;
CREATE TABLE users (id text PRIMARY KEY, is_active boolean DEFAULT true, session_version bigint DEFAULT 3);
INSERT INTO users VALUES ('alice', true), ('inactive', false);
SELECT auth.attach_users('users');
\x
-- A token that holds.
SELECT * FROM auth.check_jwt('eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.a_7uqMjjoAH6zZ4qbLLAOWPcCxhYPbm8BYbEv4momKY');
-- One of an ended session: both versions, so that a cache can drop its entry at once.
SELECT * FROM auth.check_jwt(spec.token(spec.claims('session_version', '2', 'jti', '"t-1"')));
-- An expired one.
SELECT * FROM auth.check_jwt(spec.token(spec.claims('exp', '1700000001.5', 'session_version', '3')));
-- A forged one: nothing of what it says.
SELECT * FROM auth.check_jwt(spec.token(spec.claims('session_version', '3'), secret => 'another secret, which nobody here trusts'));
-- None.
SELECT * FROM auth.check_jwt(NULL);
SELECT * FROM auth.check_jwt('');
-- Claims of the wrong type are not reported as columns, only as claims.
SELECT * FROM auth.check_jwt(spec.token('{"iss":"https://issuer.test","aud":"app.test","sub":7,"session_version":"3","iat":"x","exp":null,"jti":1}'));
-- Without a version the token counts as version 0.
SELECT * FROM auth.check_jwt(spec.token(spec.claims('session_version', NULL)));
\x

-- In a query, one row each: no token disturbs the others.
SELECT what, c.valid, c.reason, c.user_id, c.session_version AS version, c.current_session_version AS current, c.issuer IS NOT NULL AS signed
FROM (VALUES
    (1, 'good', spec.token(spec.claims('session_version', '3'))),
    (2, 'unknown user', spec.token(spec.claims('sub', '"nobody"'))),
    (3, 'inactive user', spec.token(spec.claims('sub', '"inactive"', 'session_version', '3'))),
    (4, 'other audience', spec.token(spec.claims('aud', '"other.test"'))),
    (5, 'other issuer', spec.token(spec.claims('iss', '"https://other.test"'))),
    (6, 'other key', spec.token(spec.claims(), '{"alg":"HS256","kid":"other"}')),
    (7, 'other purpose', spec.token(spec.claims(), '{"alg":"HS256","typ":"logout+jwt"}')),
    (8, 'no token', 'nonsense')
) AS tokens(n, what, token), auth.check_jwt(token) AS c
ORDER BY n;

-- Not the token's fault, and so an error.
SELECT reason FROM auth.check_jwt('x', '7');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.detach_users();
SELECT reason FROM auth.check_jwt(spec.token(spec.claims()));
\echo :LAST_ERROR_SQLSTATE
DROP TABLE users;
DELETE FROM auth.issuers;
