-- An application has its own ids and its providers': tokens made by PyJWT in the shape of Clerk's, Auth0's, Cognito's and one with a numeric sub.
CREATE TABLE mapped (id integer PRIMARY KEY, clerk_id text UNIQUE, auth0_id varchar(99), cognito_id uuid UNIQUE, github_id bigint UNIQUE, plain text, is_active boolean NOT NULL DEFAULT true);
CREATE UNIQUE INDEX ON mapped (auth0_id) WHERE auth0_id IS NOT NULL;
CREATE UNIQUE INDEX mapped_active ON mapped (plain) WHERE is_active;
CREATE UNIQUE INDEX mapped_two ON mapped (plain, id);
INSERT INTO mapped VALUES (1, 'user_2ada', 'auth0|64a1', 'b3d0f1c2-0000-4000-8000-00000000ada0', 583231, 'user_2ada'), (2, 'user_2bob', NULL, NULL, NULL, NULL);
INSERT INTO mapped VALUES (3), (4);
SELECT auth.attach_users('mapped');
INSERT INTO auth.issuers (issuer, audience, session_check, user_column) VALUES ('https://clerk.test', '{}', 'issued_at', 'clerk_id');
INSERT INTO auth.issuers (issuer, audience, session_check, user_column) VALUES ('https://a.auth0.test/', '{https://api.test}', 'issued_at', 'auth0_id');
INSERT INTO auth.issuers (issuer, audience, audience_claim, session_check, user_column) VALUES ('https://cognito.test/p1', '{c1}', 'client_id', 'version', 'cognito_id');
INSERT INTO auth.issuers (issuer, audience, numeric_subject, user_column) VALUES ('gh', '{app}', true, 'github_id');
SELECT count(auth.import_signing_key('an-old-shared-secret-of-well-over-thirty-two-octets', 'HS256', issuer, 'k')) FROM auth.issuers;
CREATE TABLE tokens (name text, token text);
INSERT INTO tokens VALUES
    ('Clerk, ada', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoidXNlcl8yYWRhIiwiaXNzIjoiaHR0cHM6Ly9jbGVyay50ZXN0IiwiYXpwIjoiaHR0cHM6Ly9hcHAudGVzdCIsIm5iZiI6MTc2NzIyNTU5MCwic2lkIjoic2Vzc18yYWJjIn0.uKcHi10TKwPU5FPZJpotLunoFHtfZN1kbQtmS2nOtKs'),
    ('Clerk, bob', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoidXNlcl8yYm9iIiwiaXNzIjoiaHR0cHM6Ly9jbGVyay50ZXN0IiwiYXpwIjoiaHR0cHM6Ly9hcHAudGVzdCIsIm5iZiI6MTc2NzIyNTU5MCwic2lkIjoic2Vzc18yYWJjIn0.R-GWGvTQqGr6DjCaXpiz6f7zxVXg9Z40jir31crECyE'),
    ('Clerk, the own id', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwic3ViIjoiMSIsImlzcyI6Imh0dHBzOi8vY2xlcmsudGVzdCIsImF6cCI6Imh0dHBzOi8vYXBwLnRlc3QiLCJuYmYiOjE3NjcyMjU1OTAsInNpZCI6InNlc3NfMmFiYyJ9.xGjwT-J9Fbiudu_a5OCV1AWWbBPE3n6xJTXrUqIewBE'),
    ('Auth0, ada', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwiaXNzIjoiaHR0cHM6Ly9hLmF1dGgwLnRlc3QvIiwiYXVkIjpbImh0dHBzOi8vYXBpLnRlc3QiLCJodHRwczovL2EuYXV0aDAudGVzdC91c2VyaW5mbyJdLCJhenAiOiJjMSIsInNjb3BlIjoib3BlbmlkIHByb2ZpbGUiLCJzdWIiOiJhdXRoMHw2NGExIn0.bSKdg9ho5h7JlnvAvdpIyYo2t-Wat5QQIJI_x9UiZyw'),
    ('Cognito, ada', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwiaXNzIjoiaHR0cHM6Ly9jb2duaXRvLnRlc3QvcDEiLCJjbGllbnRfaWQiOiJjMSIsInRva2VuX3VzZSI6ImFjY2VzcyIsIm9yaWdpbl9qdGkiOiJvIiwiZXZlbnRfaWQiOiJlIiwic2NvcGUiOiJvcGVuaWQiLCJhdXRoX3RpbWUiOjE3NjcyMjU2MDAsImp0aSI6ImoxIiwidXNlcm5hbWUiOiJhZGEiLCJzdWIiOiJCM0QwRjFDMi0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMEFEQTAifQ.-PES7xvmnRg1iA0n8qtxnsbkuaDX_aboZO1zHd5YCs8'),
    ('Cognito, no uuid', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwiaXNzIjoiaHR0cHM6Ly9jb2duaXRvLnRlc3QvcDEiLCJjbGllbnRfaWQiOiJjMSIsInRva2VuX3VzZSI6ImFjY2VzcyIsImp0aSI6ImoyIiwidXNlcm5hbWUiOiJ4Iiwic3ViIjoiYWRhIn0.ZjaHwFtj0smAWyJxXtCDXvwYSCuMNzGlyc9PZ4MK1MA'),
    ('GitHub, ada', 'eyJhbGciOiJIUzI1NiIsImtpZCI6ImsiLCJ0eXAiOiJKV1QifQ.eyJpYXQiOjE3NjcyMjU2MDAsImV4cCI6NDEwMjQ0NDgwMCwiaXNzIjoiZ2giLCJhdWQiOiJhcHAiLCJzdWIiOiI1ODMyMzEiLCJqdGkiOiJnMSJ9.QIitH43YsrTu0xbcLwGLL3_s5E7scTG_G7d77m7Zub8');
-- Whoever is reported is reported by the id column.
SELECT name, valid, reason, user_id, session_version, current_session_version AS current, issuer FROM tokens, auth.check_jwt(token);
BEGIN;
SELECT (auth.try_authenticate(token)).user_id, auth.user_id() AS identity, auth.user_id_bigint(), auth.claim('sub') FROM tokens WHERE name = 'Auth0, ada';
COMMIT;
-- A column that does not tell users apart verifies nothing.
SELECT "column", left(spec.outcome(format($$UPDATE auth.issuers SET user_column = %L WHERE issuer = 'https://clerk.test' RETURNING user_column$$, "column")), 9) AS set,
    spec.outcome($$SELECT user_id FROM tokens, auth.check_jwt(token) WHERE name = 'Clerk, ada'$$) AS verifying
FROM (VALUES (''), ('clerk_id'), ('plain'), ('nothing'), ('is_active'), ('auth0_id'), ('id')) AS c ("column");
UPDATE auth.issuers SET user_column = 'plain' WHERE issuer = 'https://clerk.test';
SELECT auth.verify_jwt(token) FROM tokens WHERE name = 'Clerk, ada';
\echo :LAST_ERROR_SQLSTATE
DROP INDEX mapped_active;
CREATE UNIQUE INDEX ON mapped (plain);
SELECT auth.verify_jwt(token) ->> 'sub' AS sub FROM tokens WHERE name = 'Clerk, ada';
ALTER TABLE mapped RENAME plain TO plane;
SELECT spec.outcome($$SELECT auth.verify_jwt(token) FROM tokens WHERE name = 'Clerk, ada'$$);
ALTER TABLE mapped RENAME plane TO plain;
ALTER TABLE mapped ALTER plain TYPE name;
SELECT spec.outcome($$SELECT auth.verify_jwt(token) FROM tokens WHERE name = 'Clerk, ada'$$);
ALTER TABLE mapped ALTER plain TYPE varchar;
SELECT auth.verify_jwt(token) ->> 'sub' AS sub FROM tokens WHERE name = 'Clerk, ada';
ALTER TABLE mapped DROP plain;
SELECT spec.outcome($$SELECT auth.verify_jwt(token) FROM tokens WHERE name = 'Clerk, ada'$$);
UPDATE auth.issuers SET user_column = 'clerk_id' WHERE issuer = 'https://clerk.test';
-- The constraint says which column.
SELECT left(spec.outcome($$UPDATE auth.issuers SET session_check = 'none' WHERE issuer = 'gh'$$), 5) AS refused;
SELECT conname FROM pg_constraint WHERE conrelid = 'auth.issuers'::regclass AND conname ~ '^issuers_user_column' ORDER BY 1;
-- A token issued here says what the column holds; the users table is always read.
SELECT call, spec.outcome('SELECT auth.decode_jwt(auth.issue_jwt(' || call || E')) #>> \'{payload,sub}\'') AS sub FROM (VALUES
    ($$'1', issuer => 'https://clerk.test'$$), ($$'1', 0, issuer => 'https://clerk.test'$$), ($$'3', issuer => 'https://clerk.test'$$), ($$'3', 0, issuer => 'https://clerk.test'$$),
    ($$'9', 0, issuer => 'https://clerk.test'$$), ($$'user_2ada', 0, issuer => 'https://clerk.test'$$), ($$'1', issuer => 'gh'$$), ($$'1', issuer => 'https://cognito.test/p1'$$)) AS calls (call);
UPDATE mapped SET clerk_id = '' WHERE id = 3;
SELECT spec.outcome($$SELECT auth.issue_jwt('3', issuer => 'https://clerk.test')$$);
UPDATE mapped SET is_active = false WHERE id = 2;
SELECT spec.outcome($$SELECT auth.issue_jwt('2', 7, issuer => 'https://clerk.test')$$);
SELECT reason, user_id, current_session_version FROM tokens, auth.check_jwt(token) WHERE name = 'Clerk, bob';
-- Refreshed, revoked, through single sign-on and a session: always the id outside and the column's value in the token.
CREATE TEMP TABLE cursor AS SELECT auth.invalidation_cursor() AS c;
CREATE TEMP TABLE fresh AS SELECT auth.issue_jwt('1', issuer => 'gh') AS token;
UPDATE fresh SET token = auth.refresh_jwt(token);
SELECT valid, user_id, claims ->> 'sub' AS sub FROM fresh, auth.check_jwt(token);
SELECT auth.revoke_jwt(token) FROM fresh;
SELECT event - '{jti,exp}'::text[] AS event FROM cursor, auth.invalidations_since(c);
SELECT DISTINCT user_id FROM auth.revoked_tokens WHERE issuer = 'gh';
SELECT s.user_id, c.valid, c.user_id, c.claims ->> 'sub' AS sub
FROM auth.exchange_sso_token(auth.issue_sso_token('1', 'gh'), 'shop') AS handoff, auth.complete_sso(handoff) AS s, auth.check_jwt(s.token) AS c;
CREATE TEMP TABLE login AS SELECT * FROM auth.open_session('1', issuer => 'gh');
SELECT valid, user_id, claims ->> 'sub' AS sub FROM login, auth.check_jwt(access_token);
SELECT count(*) FROM auth.list_sessions('1');
UPDATE login SET refresh_token = r.refresh_token FROM (SELECT (auth.refresh_session(refresh_token)).refresh_token FROM login) AS r;
UPDATE mapped SET github_id = NULL WHERE id = 1;
SELECT valid, reason, user_id FROM login, auth.check_jwt(access_token);
SELECT valid, reason FROM login, auth.refresh_session(refresh_token);
SELECT count(*) FROM auth.list_sessions('1');
SELECT spec.outcome($$SELECT auth.issue_sso_token('1', 'gh')$$);
UPDATE mapped SET github_id = 583231 WHERE id = 1;
SELECT valid, r.access_token IS NOT NULL AS has_token FROM login, auth.refresh_session(refresh_token) AS r;
-- Ended by a bump: by the version, and by the second of it.
SELECT auth.bump_session_version('1');
SELECT name, valid, reason, user_id, current_session_version AS current FROM tokens, auth.check_jwt(token) WHERE name LIKE '%ada';
SELECT spec.outcome($$SELECT auth.bump_session_version('user_2ada')$$);
-- Somebody else's now: the token is that user's from the next statement on, and an identity of before has ended.
UPDATE mapped SET clerk_id = 'user_4eve' WHERE id = 4;
BEGIN;
SELECT auth.authenticate(auth.issue_jwt('4', issuer => 'https://clerk.test')) ->> 'sub' AS sub;
SELECT auth.user_id();
UPDATE mapped SET clerk_id = 'moved' WHERE id = 4;
UPDATE mapped SET clerk_id = 'user_4eve' WHERE id = 3;
SELECT auth.user_id() AS nobody, auth.jwt() AS nothing;
ROLLBACK;
-- A token of nobody's, where the row allows it.
UPDATE auth.issuers SET require_user = false WHERE issuer = 'gh';
SELECT valid, user_id, session_version FROM auth.check_jwt(spec.token('{"iss":"gh","aud":"app","exp":4102444800}', '{"alg":"HS256","kid":"k"}', 'an-old-shared-secret-of-well-over-thirty-two-octets'));
SELECT auth.detach_users();
SELECT spec.outcome($$SELECT auth.verify_jwt(token) FROM tokens WHERE name = 'Clerk, ada'$$);
DROP TABLE mapped, tokens, cursor, fresh, login;
TRUNCATE auth.revoked_tokens, auth.revoking_issuers, auth.sessions, auth.session_issuers, auth.sso_handoffs, auth.user_history;
DELETE FROM auth.issuers;
