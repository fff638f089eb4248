-- verify_jwt: the claims of a token whose signature, claims and session hold; otherwise an error.
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');
SET client_min_messages = warning;
DELETE FROM auth.user_history;
CREATE TABLE users (id text PRIMARY KEY, is_active boolean DEFAULT true, session_version int DEFAULT 3);
INSERT INTO users VALUES ('alice', true), ('inactive', false), ('7', true);
SELECT auth.attach_users('users');

-- A token made by PyJWT, without kid; NULL in, NULL out.
\set pyjwt '''eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.a_7uqMjjoAH6zZ4qbLLAOWPcCxhYPbm8BYbEv4momKY'''
SELECT jsonb_pretty(auth.verify_jwt(:pyjwt));
SELECT auth.verify_jwt(NULL) IS NULL AND auth.verify_jwt_claims(NULL) IS NULL AS null_of_null;
-- With kid, and under each kind of algorithm. The keys are of the tests of the pure crate.
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdefauth-ext-regression-secret-0123456789abcdef', 'HS384', kid => 'h384'),
    auth.import_signing_key('auth-ext-regression-secret-0123456789abcdefauth-ext-regression-secret-0123456789abcdef', 'HS512', kid => 'h512'),
    auth.import_signing_key(E'-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELy/qCEl0unoGiIxib/V6+kOB3O+6flmwB8VJONyExrykQPyDlfY9QK2NZjYFFynBC/XgmqRvpKDCgtWRuuz4Jw==\n-----END PUBLIC KEY-----', 'ES256', kid => 'ec'),
    auth.import_signing_key(E'-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAExLaeU8CCFYr+4PhQYimXzsZDHryI7NghL+bMYfrJUlLY2xgzp3bJngsIHfpaFjRZCh7BzcoDphcrtxeF1cKyAc6q1AyvWy6zZNcoTcw32nVKRN7oM0G/JGkd+rvbPa1o\n-----END PUBLIC KEY-----', 'ES384', kid => 'p384'),
    auth.import_signing_key(E'-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAUT1Rj99cNRWyFriOuyUpSuuuvqsk+dDB4MjGkBisbNo=\n-----END PUBLIC KEY-----', 'EdDSA', kid => 'ed'),
    auth.import_signing_key(E'-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs7GUdr1WR90UxlvR1sxE9sCuzSiSoSTcJQcr0UhRkkHwXrdf9c9L8krnOebevgRLu1RSOQZ19nY8YuMf72Pe/9MkxdtMgU0yQQ1X+hg1NHsbTsX0EtKSt4ani7B6IaDfzaPYRh/VaLJPaN2+Z9/H2CN6RNa9rKyjSFMQwUujwi7vN4HDPHNEO2QnAS0V9zW7ELiE+fClSkzN1Q+OWC6ze74SxXkANawurLdJ7yyVfMF8pskQdH9anwUdzCXf67dIHFQkVkl4/Zkdh14rU03MNSFLgTRNS0mt+mvoxQFshZsb+RDBAMxpBn0Yw9oQStWGFYUa0dlFuRNJRA+nnzh4iQIDAQAB\n-----END PUBLIC KEY-----', 'RS256', kid => 'rsa'),
    auth.import_signing_key(E'-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAs7GUdr1WR90UxlvR1sxE9sCuzSiSoSTcJQcr0UhRkkHwXrdf9c9L8krnOebevgRLu1RSOQZ19nY8YuMf72Pe/9MkxdtMgU0yQQ1X+hg1NHsbTsX0EtKSt4ani7B6IaDfzaPYRh/VaLJPaN2+Z9/H2CN6RNa9rKyjSFMQwUujwi7vN4HDPHNEO2QnAS0V9zW7ELiE+fClSkzN1Q+OWC6ze74SxXkANawurLdJ7yyVfMF8pskQdH9anwUdzCXf67dIHFQkVkl4/Zkdh14rU03MNSFLgTRNS0mt+mvoxQFshZsb+RDBAMxpBn0Yw9oQStWGFYUa0dlFuRNJRA+nnzh4iQIDAQAB\n-----END PUBLIC KEY-----', 'PS256', kid => 'pss');
CREATE TABLE tokens (alg text, token text);
INSERT INTO tokens VALUES
    ('HS256', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImhtYWMiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.bzQA6hTJR72ZX_w5SeyIZvzXLHHhQSgfv0QGjQl2Mek'),
    ('HS384', 'eyJhbGciOiJIUzM4NCIsImtpZCI6ImgzODQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.DiKHg4GCwt8rjgQS9PGL106oqVwUWwuV_A-ilJwde6rZWgnJkjg1mpb4VSl0ZbEU'),
    ('HS512', 'eyJhbGciOiJIUzUxMiIsImtpZCI6Img1MTIiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.yDT4famVA7IfNDHdEaao6WiO9EDGh_Is5Qq_zYXdzig-3Y9hqYaGR7cIiWobhF7CjSVrJKSoM2jAfZ2Y9C1YIg'),
    ('ES256', 'eyJhbGciOiJFUzI1NiIsImtpZCI6ImVjIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.pPvurSLKTKtR1VmwmDrP9BTgw8iyQLW75oBjsMXAvWiCIH3xq8ah6oY7Mzbm8MnFL66UXaU55p633bFu3oadvw'),
    ('ES384', 'eyJhbGciOiJFUzM4NCIsImtpZCI6InAzODQiLCJ0eXAiOiJKV1QifQ.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.bDrv1kEu-upSdqZWb9BOO9ctezHQUY0D7yEV9tU6WoFi4qIQxhqyUOIut--evS3b-brnFlaUKday9Osd6RL5WlWsNVjgkyriK_qUDDAXdm3ggT611W-UKDB3Xz8fqF67'),
    ('EdDSA', 'eyJhbGciOiJFZERTQSIsImtpZCI6ImVkIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.zmddtHFT3syY7haZqhndxblbVfAn35X_jgDcpjKfK6sT7FkolGtqfQCPNTgb02hpMz7zs7Or37Wbt-zNPTxeCw'),
    ('RS256', 'eyJhbGciOiJSUzI1NiIsImtpZCI6InJzYSIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.P93y_wswbPafQqb_2ZvjVAsO91ZIqOOfOa9E2KEPKQkbbF7UGkQOzv46wBUUTNNLeTiwGBz65Dz3JNj6kNTBvDY4a7cAhvHSeWiRuzXpR9QMVxXPfb7BYGBqNgWgPjU1F86PA4Yh3EBi9ObyxLcQ7-rRrr6JypWArYqXXCkQxQaYTqQl8cydYZ9A3ZM7vQCt2e87taB-PMAz-9DC9WcFpjo-F76PE4QvnoorRsvKStbszMCFJLWthnNnHyDW8t3sSgJjTF6huK0AcqwaMusVRXkxIntR1zFzt1bZ5JuCCxrU77dA5Vg8cd7efRA950eDHNv9030pefl4XXGbf4uYHg'),
    ('PS256', 'eyJhbGciOiJQUzI1NiIsImtpZCI6InBzcyIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJodHRwczovL2lzc3Vlci50ZXN0IiwiYXVkIjpbImFwcC50ZXN0Iiwib3RoZXIudGVzdCJdLCJzdWIiOiJhbGljZSIsInNlc3Npb25fdmVyc2lvbiI6MywiaWF0IjoxNzAwMDAwMDAwLCJleHAiOjQxMDI0NDQ4MDAsImp0aSI6IjExMTExMTExLTExMTEtNDExMS04MTExLTExMTExMTExMTExMSJ9.DrSRL0bbNzyOr5Ut8f3q_rqXQIAjeGA4qMTJXiq0Bk_n08vOvav2Fg2PNl2RF937TGdyH25qr0-NH1pVwuOFmXKuLy0USyGMfgK1Zu7bxv_O04AztspGz8BPaPbqXW6Iq10RU3VVZDKDBbus8Z27Ef6a-pT4bwZZ_F-deIQ2aIgqCm1UDzzVkHb91Yi8KOnFGGBEj9-6vexjSeZ6XGH115asELkI-YE4xyurk8SlnXfQVpOJ1Dy8Zpw4-qrV6hqeNhbBiK8sjV9pR9Je0vTzCmENX6--ruArpsQGgYT6l_-wL0zizWb5CCS5T8teCLx8iQwCrpKrwNnUKp5SJeHfBA');
SELECT alg, auth.verify_jwt(token) = auth.verify_jwt(:pyjwt) AS verifies FROM tokens;
-- One octet of the signature or of the payload changed, and it does not.
SELECT alg, spec.outcome(format('SELECT auth.verify_jwt(%L)', overlay(token PLACING changed FROM at FOR 1)))
FROM tokens, LATERAL (SELECT length(token) - 20 AS at) AS place,
    LATERAL (SELECT CASE substr(token, at, 1) WHEN 'A' THEN 'B' ELSE 'A' END AS changed) AS change;
-- A key verifies under its own algorithm only: PSS is not PKCS#1, though the key is the same.
SELECT alg, kid, spec.outcome(format('SELECT auth.verify_jwt(%L)', spec.token(spec.claims(), format('{"alg":"%s","kid":"%s"}', alg, kid))))
FROM (VALUES ('PS256', 'rsa'), ('HS256', 'rsa'), ('RS256', 'hmac'), ('HS384', 'hmac')) AS headers(alg, kid);

-- A failure in full: SQLSTATE 28000, and the reason code as the whole DETAIL.
SELECT auth.verify_jwt(spec.token(spec.claims('session_version', '2')));
\echo :LAST_ERROR_SQLSTATE
SELECT auth.verify_jwt(spec.token(spec.claims('exp', '1700000001')));
\echo :LAST_ERROR_SQLSTATE

-- The session is that of the users row, now.
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''sub''', :pyjwt));
SELECT auth.bump_session_version('alice');
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''sub''', :pyjwt));
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''sub''', spec.token(spec.claims('session_version', '4'))));
UPDATE users SET is_active = false WHERE id = 'alice';
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''sub''', spec.token(spec.claims('session_version', '5'))));
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''sub''', spec.token(spec.claims('sub', '"nobody"'))));
-- verify_jwt_claims reads no users row, but obeys the kill switch.
SELECT auth.verify_jwt_claims(:pyjwt) IS NOT NULL AS verifies;
UPDATE auth.issuers SET not_before = '2023-11-14 22:13:20+00';
SELECT auth.verify_jwt_claims(:pyjwt) IS NOT NULL AS verifies;
UPDATE auth.issuers SET not_before = '2023-11-14 22:13:20.000001+00';
SELECT spec.outcome(format('SELECT auth.verify_jwt_claims(%L)', :pyjwt));
SELECT spec.outcome(format('SELECT auth.verify_jwt_claims(%L)', spec.token(spec.claims('iat', NULL))));
UPDATE auth.issuers SET not_before = NULL;

-- The PyJWT token of the service whose design this is: its user, no version, so version 0.
INSERT INTO auth.issuers (issuer, audience, user_claim) VALUES ('api.robosystems.ai', '{robosystems.ai,roboledger.ai,roboinvestor.ai}', 'user_id');
SELECT auth.import_signing_key('auth-ext-interop-secret-0123456789abcdef', 'HS256', 'api.robosystems.ai', 'legacy');
INSERT INTO users VALUES ('user_01ARZ3NDEKTSV4RRFFQ69G5FAV', true, 0);
\set legacy '''eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcl8wMUFSWjNOREVLVFNWNFJSRkZRNjlHNUZBViIsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJpc3MiOiJhcGkucm9ib3N5c3RlbXMuYWkiLCJhdWQiOlsicm9ib3N5c3RlbXMuYWkiLCJyb2JvbGVkZ2VyLmFpIiwicm9ib2ludmVzdG9yLmFpIl19.LtM48bVYMxIq8aZVCvvCmnTo8tD7WQWoSn7w_RaQ3IA'''
SELECT auth.verify_jwt(:legacy)->>'user_id';
UPDATE auth.issuers SET require_session_version = true;
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));
UPDATE auth.issuers SET require_session_version = false;
SELECT auth.bump_session_version('user_01ARZ3NDEKTSV4RRFFQ69G5FAV');
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));

-- session_check = 'issued_at': for providers whose tokens carry no version.
UPDATE auth.issuers SET session_check = 'issued_at' WHERE issuer = 'api.robosystems.ai';
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));
DELETE FROM auth.user_history;
INSERT INTO auth.user_floor (bumped_at) VALUES ('2023-11-14 22:13:20.5+00') ON CONFLICT (singleton) DO UPDATE SET bumped_at = excluded.bumped_at;
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));
INSERT INTO auth.user_floor (bumped_at) VALUES ('2023-11-14 22:13:19.9+00') ON CONFLICT (singleton) DO UPDATE SET bumped_at = excluded.bumped_at;
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)->>''user_id''', :legacy));
UPDATE users SET is_active = false WHERE id LIKE 'user%';
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));
-- 'none': service accounts, whom no users row knows.
UPDATE auth.issuers SET session_check = 'none' WHERE issuer = 'api.robosystems.ai';
DELETE FROM users WHERE id LIKE 'user%';
SELECT auth.verify_jwt(:legacy)->>'user_id';

-- Retiring the key ends the token, and so does deleting its issuer.
SELECT auth.retire_signing_key('legacy', 'api.robosystems.ai');
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));
DELETE FROM auth.issuers WHERE issuer = 'api.robosystems.ai';
SELECT spec.outcome(format('SELECT auth.verify_jwt(%L)', :legacy));

-- A number as the user: only where the claim is not sub.
UPDATE auth.issuers SET user_claim = 'uid';
SELECT uid, spec.outcome(format('SELECT auth.verify_jwt(%L)->>''uid''', spec.token(spec.claims('uid', uid, 'session_version', '3'))))
FROM (VALUES ('7'), ('"7"'), ('7.0'), ('-7'), ('-0'), ('7e0'), ('""'), ('true'), ('null')) AS users(uid);

-- A table that is gone.
DROP TABLE users, tokens;
SELECT auth.verify_jwt(spec.token(spec.claims('uid', '7')));
\echo :LAST_ERROR_SQLSTATE
SELECT auth.detach_users();
DELETE FROM auth.issuers;
DELETE FROM auth.user_history;
