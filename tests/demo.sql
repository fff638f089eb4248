-- The story that `make demo` tells. Run by tests/demo on a throw-away server, with a listener beside it.
\set QUIET on
\pset format unaligned
\pset tuples_only on
\pset null -
SET client_min_messages = warning;
CREATE EXTENSION auth_ext;

\echo
\echo '1. An application has a users table. We attach it: a new password ends the sessions.'
CREATE TABLE users (id text PRIMARY KEY, email text, password_hash text, is_active boolean NOT NULL DEFAULT true);
INSERT INTO users VALUES ('user_01ARZ3NDEKTSV4RRFFQ69G5FAV', 'ada@example.com', 'secret'), ('user_42', 'bob@example.com', 'secret');
\echo '   SELECT auth.attach_users(''users'', bump_on => ''{password_hash}'')'
SELECT auth.attach_users('users', bump_on => '{password_hash}') \g /dev/null

\echo
\echo '2. A token made by PyJWT long ago, by the application''s own service (it has no session version, so it counts as 0):'
INSERT INTO auth.issuers (issuer, audience, user_claim) VALUES ('service.example', '{app.example}', 'user_id');
SELECT auth.import_signing_key('auth-ext-interop-secret-0123456789abcdef', 'HS256') \g /dev/null
\set pyjwt 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcl8wMUFSWjNOREVLVFNWNFJSRkZRNjlHNUZBViIsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJpc3MiOiJzZXJ2aWNlLmV4YW1wbGUiLCJhdWQiOlsiYXBwLmV4YW1wbGUiLCJsZWRnZXIuZXhhbXBsZSJdfQ.hc6D635k314yS1thiaaMUj2pEqqmbTbnXcKLJsRV6zc'
SELECT '     user ' || (auth.verify_jwt(:'pyjwt') ->> 'user_id') || ' is verified';

\echo
\echo '3. An issuer and a key of our own; Bob logs in.'
INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('https://api.example.com', '{app.example.com}', true);
SELECT auth.create_signing_key() AS kid \gset
SELECT auth.issue_jwt('user_42') AS token \gset
\echo '   SELECT auth.issue_jwt(''user_42'')'
SELECT '     ' || left(:'token', 60) || '…';
\echo '   SELECT valid, reason, session_version, current_session_version FROM auth.check_jwt(token)'
SELECT '     valid: ' || valid || ', version in the token: ' || session_version || ', in the row: ' || current_session_version FROM auth.check_jwt(:'token');

\echo
\echo '4. Bob logs out everywhere. Beside us, an application cache listens on auth_invalidation:'
\echo '   SELECT auth.bump_session_version(''user_42'')'
SELECT auth.bump_session_version('user_42') \g /dev/null
SELECT pg_sleep(0.7) \g /dev/null

\echo
\echo '5. The old token, its signature as good as ever, is refused with its reason; a new one passes.'
\set ON_ERROR_STOP off
\echo '   SELECT auth.verify_jwt(token)'
SELECT auth.verify_jwt(:'token');
\set ON_ERROR_STOP on
SELECT '     token version ' || session_version || ', row version ' || current_session_version FROM auth.check_jwt(:'token');
SELECT auth.issue_jwt('user_42') AS token \gset
SELECT '     new token: valid ' || valid || ', version ' || session_version FROM auth.check_jwt(:'token');

\echo
\echo '6. Two devices, each with a session of its own; one is ended, and the other lives.'
SELECT session_id AS phone, access_token AS phone_token FROM auth.open_session('user_42', label => 'phone') \gset
SELECT session_id AS desk, access_token AS desk_token FROM auth.open_session('user_42', label => 'desk') \gset
SELECT '     ' || string_agg(label, ', ' ORDER BY label) || ' are listed' FROM auth.list_sessions('user_42');
\echo '   SELECT auth.end_session(phone)'
SELECT auth.end_session(:'phone') \g /dev/null
SELECT '     phone: ' || reason FROM auth.check_jwt(:'phone_token');
SELECT '     desk: valid ' || valid FROM auth.check_jwt(:'desk_token');

\echo
\echo '7. An API key is found, and evicted, by its fingerprint:'
SELECT '     ' || auth.api_key_fingerprint('key' || repeat('a', 64));
\echo
