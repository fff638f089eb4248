-- What a token must be, beyond its signature: every rule with its reason. All of these are rightly signed.
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test,second.test}');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');
SET client_min_messages = warning;
CREATE TABLE users (id text PRIMARY KEY);
INSERT INTO users VALUES ('alice');
SELECT auth.attach_users('users');

-- Claims: a change of the usual ones, NULL takes one away.
SELECT claim, value, coalesce(reason, 'passes') AS outcome
FROM (VALUES
    ('iss', NULL), ('iss', 'null'), ('iss', '7'), ('iss', '["https://issuer.test"]'), ('iss', '"https://issuer.test/"'), ('iss', '"HTTPS://issuer.test"'), ('iss', '""'),
    ('iss', '"https:\/\/issuer.test"'),
    ('aud', NULL), ('aud', 'null'), ('aud', '[]'), ('aud', '7'), ('aud', '[7]'), ('aud', '["app.test",7]'), ('aud', '{}'), ('aud', '""'), ('aud', '"other"'), ('aud', '["other"]'),
    ('aud', '["other","second.test"]'), ('aud', '"APP.test"'),
    ('sub', NULL), ('sub', 'null'), ('sub', '""'), ('sub', '7'), ('sub', '["alice"]'), ('sub', 'true'), ('sub', '"Alice"'), ('sub', '"alice "'), ('sub', '"\u0061lice"'),
    ('exp', NULL), ('exp', 'null'), ('exp', '"4102444800"'), ('exp', 'true'), ('exp', '[]'), ('exp', '-1'), ('exp', '253402300800'), ('exp', '253402300799.999'), ('exp', '1e400'),
    ('exp', '0'), ('exp', '1700000000'), ('exp', '4.1024448e9'), ('exp', '4102444800.5'),
    ('nbf', 'null'), ('nbf', '"1"'), ('nbf', '-1'), ('nbf', '253402300800'), ('nbf', '4102444700'), ('nbf', '0'), ('nbf', '1700000000.25'),
    ('iat', NULL), ('iat', 'null'), ('iat', '"1700000000"'), ('iat', '-0.1'), ('iat', '1e99'), ('iat', '4102444700'), ('iat', '0'),
    ('jti', 'null'), ('jti', '7'), ('jti', '["x"]'), ('jti', '""'), ('jti', '"x"'),
    ('session_version', NULL), ('session_version', 'null'), ('session_version', '"0"'), ('session_version', '0.0'), ('session_version', '0e0'), ('session_version', '-0'), ('session_version', '-1'),
    ('session_version', '9223372036854775808'), ('session_version', '9223372036854775807'), ('session_version', '1'), ('session_version', 'true'), ('session_version', '[0]'), ('session_version', '0'),
    ('device_hash', '7'), ('sso', 'true'), ('sso', 'false'), ('sub', '"\ud83d\ude00"')
) AS cases(claim, value), auth.check_jwt(spec.token(spec.claims(claim, value)));

-- Headers.
SELECT replace(header, U&'\FEFF', '<BOM>') AS header, coalesce(reason, 'passes') AS outcome
FROM (VALUES
    ('{"alg":"HS256"}'), ('{"alg":"HS256","typ":"jwt"}'), ('{"alg":"HS256","typ":"application/JWT"}'), ('{"alg":"HS256","typ":"AT+jwt"}'), ('{"alg":"HS256","typ":"application/at+jwt"}'),
    ('{"alg":"HS256","typ":""}'), ('{"alg":"HS256","typ":"logout+jwt"}'), ('{"alg":"HS256","typ":"dpop+jwt"}'), ('{"alg":"HS256","typ":"text/JWT"}'), ('{"alg":"HS256","typ":null}'), ('{"alg":"HS256","typ":7}'),
    ('{}'), ('{"alg":null}'), ('{"alg":["HS256"]}'), ('{"alg":"none"}'), ('{"alg":"None"}'), ('{"alg":"hs256"}'), ('{"alg":"ES512"}'), ('{"alg":"ES256K"}'), ('{"alg":""}'),
    ('{"alg":"HS384"}'), ('{"alg":"RS256"}'), ('{"alg":"HS256","kid":"hmac"}'), ('{"alg":"HS384","kid":"hmac"}'), ('{"alg":"HS256","kid":"other"}'), ('{"alg":"HS256","kid":""}'),
    ('{"alg":"HS256","kid":7}'), ('{"alg":"HS256","kid":null}'), ('{"alg":"HS256","kid":"../../dev/null"}'), ('{"alg":"HS256","kid":"x'' OR true --"}'),
    ('{"alg":"HS256","crit":["exp"],"exp":1}'), ('{"alg":"HS256","crit":[]}'), ('{"alg":"HS256","crit":null}'), ('{"alg":"HS256","b64":true}'), ('{"alg":"HS256","b64":false}'), ('{"alg":"HS256","b64":"true"}'),
    ('{"alg":"HS256","zip":"DEF"}'), ('{"alg":"HS256","enc":"A256GCM"}'), ('{"alg":"HS256","cty":"JWT"}'), ('{"alg":"HS256","cty":"jwt"}'), ('{"alg":"HS256","cty":"application/jwt"}'), ('{"alg":"HS256","cty":"json"}'),
    ('{"alg":"HS256","jku":"https://evil.test","x5u":7,"jwk":{"kty":"oct","k":""},"x5c":[null]}'),
    ('{"alg":"HS256","alg":"HS256"}'), ('{"alg":"HS256","\u0061lg":"HS256"}'), ('{"alg":"HS256","jwk":{"a":1,"a":1}}'),
    ('["alg","HS256"]'), ('"HS256"'), ('{"alg":"HS256",}'), ('{"alg":"HS256"} x'), (' {"alg" : "HS256"} '), ('{''alg'':''HS256''}'), (U&'\FEFF{"alg":"HS256"}')
) AS cases(header), auth.check_jwt(spec.token(spec.claims(), header));
SELECT octets, coalesce(reason, 'passes') AS outcome
FROM unnest('{512,513}'::int[]) AS octets, auth.check_jwt(spec.token(spec.claims(), format('{"alg":"HS256","kid":"%s"}', repeat('k', octets))));

-- Payloads.
SELECT payload, coalesce(reason, 'passes') AS outcome
FROM (VALUES
    ('[]'), ('7'), ('"x"'), ('null'), ('{'), ('{}'), ('{"a":1}{"a":1}'), ('{"iss":"https://issuer.test","iss":"https://issuer.test"}'), ('{"a":1,"\u0061":1}'),
    ('{"a":"\u0000"}'), ('{"\u0000":1}'), ('{"a":"\ud800"}'), ('{"a":"\udc00\ud800"}'), ('{"a":"\x41"}'), (E'{"a":"\t"}'), ('{"a":01}'), ('{"a":+1}'), ('{"a":.5}'), ('{"a":1.}'),
    ('{"a":NaN}'), ('{"a":Infinity}'), ('{"a":1e200000}'), ('{"a":1,}'), ('{"a":1 /* one */}'), ('{a:1}'), ('{"a":tru}')
) AS cases(payload), auth.check_jwt(spec.token(payload));
-- Nesting: 32 levels, the outer object being the first. Duplicates below the top level are the application's own affair.
SELECT levels, coalesce(reason, 'passes') AS outcome
FROM unnest('{31,32,10000}'::int[]) AS levels, auth.check_jwt(spec.token(spec.claims('a', repeat('[', levels) || repeat(']', levels))));
SELECT coalesce(reason, 'passes') AS outcome FROM auth.check_jwt(spec.token(spec.claims('a', '{"b":1,"b":2}')));
SELECT claims->'n' AS unaltered FROM auth.check_jwt(spec.token(spec.claims('n', '[12345678901234567890123456789012345678901234567890, 0.1000, 1e3, -0.0]')));
-- Octets that are not UTF-8.
SELECT reason FROM (SELECT 'eyJhbGciOiJIUzI1NiJ9.' || spec.base64url('\x7b2261223a22ff227d') AS input) AS t,
    auth.check_jwt(input || '.' || spec.base64url(spec.hmac(convert_to(input, 'UTF8'), 'auth-ext-regression-secret-0123456789abcdef')));

-- The compact form: three non-empty segments of canonical base64url, and nothing around them.
SELECT change, coalesce(reason, 'passes') AS outcome
FROM (SELECT split_part(t, '.', 1) AS h, split_part(t, '.', 2) AS p, split_part(t, '.', 3) AS s FROM spec.token(spec.claims()) AS t) AS good,
    LATERAL (VALUES
        (1, 'none', h||'.'||p||'.'||s), (2, 'blank before', ' '||h||'.'||p||'.'||s), (3, 'blank after', h||'.'||p||'.'||s||' '), (4, 'newline after', h||'.'||p||'.'||s||E'\n'),
        (5, 'newline inside', h||'.'||E'\n'||p||'.'||s), (6, 'padding', h||'.'||p||'.'||s||'='), (7, 'a fourth segment', h||'.'||p||'.'||s||'.'||s), (8, 'two segments', h||'.'||p),
        (9, 'no signature', h||'.'||p||'.'), (10, 'no payload', h||'..'||s), (11, 'no header', '.'||p||'.'||s), (12, 'Bearer', 'Bearer '||h||'.'||p||'.'||s),
        (13, 'base64, not base64url', h||'.'||p||'.'||translate(s, '-_', '+/')||'+'), (14, 'signature cut', h||'.'||p||'.'||left(s, -4)), (15, 'signature longer', h||'.'||p||'.'||s||'AAAA'),
        (16, 'not canonical', h||'.'||p||'.'||left(s, -1)||chr(ascii(right(s, 1)) + 1)), (17, 'not ASCII', h||'.'||p||'.'||U&'\00e9'), (18, 'JSON serialization', '{"payload":"'||p||'","protected":"'||h||'","signature":"'||s||'"}')
    ) AS changed(n, change, token),
    auth.check_jwt(token)
ORDER BY n;

-- The clock: exp is the first moment that is too late, nbf the first that is not too early; leeway widens all three.
CREATE TABLE clock AS SELECT * FROM (VALUES ('exp', -70), ('exp', -50), ('exp', 10), ('nbf', -10), ('nbf', 50), ('nbf', 70), ('iat', -10), ('iat', 50), ('iat', 70)) AS cases(claim, seconds);
SELECT claim, seconds, coalesce(reason, 'passes') AS outcome FROM clock, auth.check_jwt(spec.token(spec.claims(claim, (extract(epoch FROM clock_timestamp()) + seconds)::text)));
UPDATE auth.issuers SET leeway = '1 min';
SELECT claim, seconds, coalesce(reason, 'passes') AS outcome FROM clock, auth.check_jwt(spec.token(spec.claims(claim, (extract(epoch FROM clock_timestamp()) + seconds)::text)));
UPDATE auth.issuers SET leeway = '0';

-- Which reason wins: the graver fault, and expiry last.
SELECT what, reason
FROM (VALUES
    (1, 'forged and expired', spec.token(spec.claims('exp', '1'), secret => 'another secret, which nobody here trusts')),
    (2, 'of another purpose and expired', spec.token(spec.claims('exp', '1'), '{"alg":"HS256","typ":"x"}')),
    (3, 'for another audience and expired', spec.token(spec.claims('exp', '1', 'aud', '"x"'))),
    (4, 'of a bumped user and expired', spec.token(spec.claims('exp', '1', 'session_version', '7'))),
    (5, 'not yet valid and expired', spec.token(spec.claims('exp', '1', 'nbf', '4102444700')))
) AS cases(n, what, token), auth.check_jwt(token)
ORDER BY n;
-- An issuer without audience: its tokens carry none.
UPDATE auth.issuers SET audience = '{}';
SELECT value, coalesce(reason, 'passes') AS outcome
FROM (VALUES (NULL), ('"app.test"'), ('[]'), ('""')) AS cases(value), auth.check_jwt(spec.token(spec.claims('aud', value)));
SELECT auth.detach_users();
DROP TABLE users, clock;
DELETE FROM auth.issuers;
