-- What a row may ask of its tokens, with tokens made by PyJWT. No users row is read here.
INSERT INTO auth.issuers (issuer, audience, user_claim, required_claims, session_check) VALUES ('dj', '{}', 'user_id', '{"token_type":"access"}', 'none');
INSERT INTO auth.issuers (issuer, audience, session_check) VALUES ('', '{app}', 'none');
INSERT INTO auth.issuers (issuer, audience, numeric_subject, session_check) VALUES ('n', '{app}', true, 'none');
SELECT count(auth.import_signing_key('an-old-shared-secret-of-well-over-thirty-two-octets', 'HS256', issuer, 'k')) FROM auth.issuers;
SELECT name, (auth.check_jwt(token)).* FROM (VALUES
    ('a refresh token', 'eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAiZGoiLCAidG9rZW5fdHlwZSI6ICJyZWZyZXNoIiwgImp0aSI6ICJiIiwgInVzZXJfaWQiOiA0MiwgImlhdCI6IDE3NjcyMjU2MDAsICJleHAiOiA0MTAyNDQ0ODAwfQ.7bsgcUHARr0B6DxvxEjMZ6IQ_E9FSssLrZLJHLyFN5Y'),
    ('an access token', 'eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAiZGoiLCAidG9rZW5fdHlwZSI6ICJhY2Nlc3MiLCAianRpIjogImEiLCAidXNlcl9pZCI6IDQyLCAiaWF0IjogMTc2NzIyNTYwMCwgImV4cCI6IDQxMDI0NDQ4MDB9.gZB1qdLtole3ipEMsdqNKsLH862lRrYRAJsJ36FLyxs'),
    ('no iss', 'eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJhdWQiOiAiYXBwIiwgInN1YiI6ICI0MiIsICJpYXQiOiAxNzY3MjI1NjAwLCAiZXhwIjogNDEwMjQ0NDgwMH0.o1DXE0DpXvZ6CfKwi6PWwkim3tmhUsPZPRgCKWX_hFQ'),
    ('a numeric sub', 'eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAibiIsICJhdWQiOiAiYXBwIiwgInN1YiI6IDQyLCAiaWF0IjogMTc2NzIyNTYwMCwgImV4cCI6IDQxMDI0NDQ4MDB9.3QfQLS89eQnrxJqqWZv6aFuKC6UTqkfjXaiosgXtlU4')) AS tokens(name, token) \gx
UPDATE auth.issuers SET numeric_subject = false WHERE issuer = 'n';
SELECT (auth.check_jwt('eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJpc3MiOiAibiIsICJhdWQiOiAiYXBwIiwgInN1YiI6IDQyLCAiaWF0IjogMTc2NzIyNTYwMCwgImV4cCI6IDQxMDI0NDQ4MDB9.3QfQLS89eQnrxJqqWZv6aFuKC6UTqkfjXaiosgXtlU4')).reason;
-- Without the nameless row a token without iss lacks it.
DELETE FROM auth.issuers WHERE issuer = '';
SELECT (auth.check_jwt('eyJhbGciOiAiSFMyNTYiLCAidHlwIjogIkpXVCJ9.eyJhdWQiOiAiYXBwIiwgInN1YiI6ICI0MiIsICJpYXQiOiAxNzY3MjI1NjAwLCAiZXhwIjogNDEwMjQ0NDgwMH0.o1DXE0DpXvZ6CfKwi6PWwkim3tmhUsPZPRgCKWX_hFQ')).reason;
-- What is issued follows the row.
UPDATE auth.issuers SET audience = '{client}', audience_claim = 'azp', user_claim = '/app/user', role_claim = '/realm_access/roles', token_types = '{JOSE}' WHERE issuer = 'n';
SELECT auth.decode_jwt(token)->'header'->>'typ' AS typ, jwt - '{iat,exp,jti}'::text[] AS jwt, (auth.try_authenticate(token)).user_id, auth.roles(), auth.role()
FROM auth.issue_jwt('42', claims => '{"realm_access":{"roles":["editor","reader"]}}', issuer => 'n') AS token, auth.verify_jwt(token) AS jwt;
SELECT call, regexp_replace(spec.outcome('SELECT auth.issue_jwt(' || call || ')'), '^eyJ.*', 'a token') AS outcome FROM (VALUES
    ($$'42', issuer => 'dj'$$), ($$'42', issuer => 'dj', claims => '{"token_type":"refresh"}'$$), ($$'42', issuer => 'dj', claims => '{"token_type":["x","access"]}'$$),
    ($$'42', issuer => 'n', claims => '{"app":{}}'$$), ($$'42', issuer => 'n', claims => '{"azp":"x"}'$$)) AS calls(call);
UPDATE auth.issuers SET user_claim = '/users/0' WHERE issuer = 'n';
SELECT spec.outcome($$SELECT auth.issue_jwt('42', issuer => 'n')$$);
-- A wrong row is refused by a constraint that names the column.
SELECT change, left(spec.outcome('UPDATE auth.issuers SET ' || change), 5) AS sqlstate FROM (VALUES
    ($$required_claims = '[]'$$), ($$required_claims = '{"":1}'$$), ($$required_claims = '{"/~":1}'$$), ($$token_types = '{}'$$), ($$token_types = '{NULL}'$$),
    ($$token_types = '{JWT,SSO+jwt}'$$), ($$token_types = '{application/logout+jwt}'$$), ($$audience_claim = ''$$), ($$audience_claim = 'exp'$$), ($$audience_claim = '/a~'$$),
    ($$role_claim = ''$$), ($$user_claim = '/a~2'$$), ($$version_claim = '/~'$$)) AS changes(change);
DELETE FROM auth.issuers;
