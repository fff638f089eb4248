-- Whom the database trusts: issuers are rows, keys are made by functions.

-- Issuers ----------------------------------------------------------------------------------------

INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
\x
SELECT * FROM auth.issuers;
\x

-- The first is the default one; a row that is made the default takes its place.
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://second.test', '{}');
SELECT issuer, is_default FROM auth.issuers ORDER BY issuer;
UPDATE auth.issuers SET is_default = true WHERE issuer = 'https://second.test';
SELECT issuer, is_default FROM auth.issuers ORDER BY issuer;
INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('https://third.test', '{}', true);
SELECT issuer, is_default FROM auth.issuers ORDER BY issuer;
DELETE FROM auth.issuers WHERE issuer <> 'https://issuer.test';
-- Without a default one a function wants to be told.
SELECT auth.jwks();
\echo :LAST_ERROR_SQLSTATE
SELECT auth.jwks('https://issuer.test');
UPDATE auth.issuers SET is_default = true;
SELECT auth.jwks();
SELECT auth.jwks('https://nobody.test');
\echo :LAST_ERROR_SQLSTATE

-- A row that makes no sense is not taken.
SELECT change, left(spec.outcome('UPDATE auth.issuers SET ' || change), 5) AS sqlstate
FROM (VALUES
    ($$ audience = NULL $$), ($$ audience = '{a,NULL}' $$), ($$ audience = '{""}' $$),
    ($$ user_claim = '' $$), ($$ user_claim = 'exp' $$), ($$ user_claim = NULL $$), ($$ user_claim = version_claim $$),
    ($$ version_claim = 'aud' $$), ($$ leeway = '-1 s' $$), ($$ leeway = '2 days' $$),
    ($$ token_ttl = '0' $$), ($$ token_ttl = '101 years' $$), ($$ refresh_grace = '-1 s' $$),
    ($$ session_check = 'sometimes' $$), ($$ require_session_version = NULL $$)
) AS changes(change);

-- Making keys ------------------------------------------------------------------------------------

-- The first key that can sign is active, later ones only verify.
SELECT auth.create_signing_key(kid => 'first');
SELECT auth.create_signing_key(alg => 'EdDSA', kid => 'second');
SELECT auth.create_signing_key(alg => 'HS256', kid => 'secret');
SELECT kid, issuer, alg, status, verify_until FROM auth.signing_keys ORDER BY created_at;
-- A key without a kid gets the RFC 7638 thumbprint of its public half, here of an ECDSA key.
SELECT auth.create_signing_key() AS kid \gset
SELECT :'kid' = spec.base64url(sha256(convert_to(
    format('{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}', public_jwk->>'x', public_jwk->>'y'), 'UTF8'))) AS is_thumbprint
FROM auth.signing_keys WHERE kid = :'kid';
DELETE FROM auth.signing_key_store WHERE kid = :'kid';
-- Every algorithm there is.
SELECT alg, auth.create_signing_key(alg => alg, kid => alg)
FROM unnest('{HS256,HS384,HS512,RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA}'::text[]) AS alg;
DELETE FROM auth.signing_key_store WHERE kid = alg;

-- What is published: never a secret, and nothing of a private half.
SELECT key->>'kid' AS kid, key->>'use' AS use, key->>'alg' AS alg,
    (SELECT string_agg(name, ' ' ORDER BY name) FROM jsonb_object_keys(key) AS name) AS members
FROM jsonb_array_elements(auth.jwks()->'keys') AS key;

-- Wrong arguments are 22023.
SELECT call, spec.outcome('SELECT auth.' || call)
FROM (VALUES
    ($$create_signing_key(alg => 'none')$$), ($$create_signing_key(alg => 'ES512')$$), ($$create_signing_key(alg => 'es256')$$),
    ($$create_signing_key(alg => NULL)$$), ($$create_signing_key('https://nobody.test')$$),
    ($$create_signing_key(kid => 'first')$$), ($$create_signing_key(kid => '')$$),
    ($$create_signing_key(kid => repeat('k', 513))$$), ($$activate_signing_key('nosuch')$$), ($$activate_signing_key(NULL)$$),
    ($$activate_signing_key('second', overlap => '-1 s')$$), ($$retire_signing_key(NULL)$$),
    ($$retire_signing_key('first', at => NULL)$$), ($$rotate_signing_key(overlap => '-1 s')$$), ($$retire_signing_key('nosuch')$$)
) AS calls(call);

-- Importing keys ---------------------------------------------------------------------------------

SELECT auth.import_signing_key('-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAUT1Rj99cNRWyFriOuyUpSuuuvqsk+dDB4MjGkBisbNo=
-----END PUBLIC KEY-----', 'EdDSA', kid => 'public');
SELECT auth.import_signing_key('{"kty":"oct","kid":"named by its JWK","k":"YXV0aC1leHQtcmVncmVzc2lvbi1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg"}', 'HS256');
-- A public half cannot be activated.
SELECT auth.activate_signing_key('public');
\echo :LAST_ERROR_SQLSTATE
SELECT kid, alg, status FROM auth.signing_keys ORDER BY created_at;
SELECT what, spec.outcome(format('SELECT auth.import_signing_key(%L, %L, kid => ''new'')', key, alg))
FROM (VALUES
    ('a secret of 31 octets', repeat('s', 31), 'HS256'), ('of 32', repeat('s', 32), 'HS384'), ('of 48', repeat('s', 48), 'HS512'),
    ('nothing', '', 'HS256'), ('nothing', '', 'ES256'), ('no key', 'nonsense', 'RS256'), ('NULL', NULL, 'HS256'),
    ('a PEM as a secret', E'-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAUT1Rj99cNRWyFriOuyUpSuuuvqsk+dDB4MjGkBisbNo=\n-----END PUBLIC KEY-----', 'HS256'),
    ('a public JWK as a secret', '{"kty":"OKP","crv":"Ed25519","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}', 'HS256'),
    ('another algorithm''s key', E'-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAUT1Rj99cNRWyFriOuyUpSuuuvqsk+dDB4MjGkBisbNo=\n-----END PUBLIC KEY-----', 'ES256'),
    ('a JWK of another algorithm', '{"kty":"OKP","crv":"Ed25519","alg":"ES256","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}', 'EdDSA'),
    ('a JWK for encryption', '{"kty":"OKP","crv":"Ed25519","use":"enc","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}', 'EdDSA'),
    ('a point of small order', '{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}', 'EdDSA'),
    ('a point off its curve', '{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}', 'ES256'),
    ('RSA of 1024 bits', E'-----BEGIN PUBLIC KEY-----\nMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDA7tEs30X+USPW6gqXTJF7aCcY/Gn4gNJb+e8YOmKZwcx/LA6Pj5vscASVnUc04Xj5RNqt0cJ4wGu6H3gWSA+pzq3WCRacWKq14kx9pufcF9YRVgcAOUQs8hhqQ9lp6QsRFTn3Z6GUoCYDsaaHK9+SXQby3eB0zXAa45tGdrRoDwIDAQAB\n-----END PUBLIC KEY-----', 'RS256'),
    ('a certificate', E'-----BEGIN CERTIFICATE-----\nMCowBQYDK2VwAyEAUT1Rj99cNRWyFriOuyUpSuuuvqsk+dDB4MjGkBisbNo=\n-----END CERTIFICATE-----', 'EdDSA'),
    ('a good one', repeat('s', 32), 'HS256')
) AS keys(what, key, alg);
DELETE FROM auth.signing_key_store WHERE kid NOT IN ('first', 'second');

-- Rotation ---------------------------------------------------------------------------------------

-- The former active key verifies until overlap is over, by default token_ttl + refresh_grace.
SELECT auth.activate_signing_key('second');
SELECT kid, status, verify_until - now() BETWEEN '34 min' AND '36 min' AS in_35_minutes FROM auth.signing_keys ORDER BY created_at;
SELECT auth.activate_signing_key('first', overlap => '1 day');
SELECT kid, status, verify_until - now() BETWEEN '23 h' AND '25 h' AS in_a_day FROM auth.signing_keys ORDER BY created_at;
-- Rotation makes a key of the same algorithm; without overlap the former ends at once.
SELECT auth.rotate_signing_key(overlap => '0') AS third \gset
SELECT CASE kid WHEN :'third' THEN 'third' ELSE kid END AS kid, alg, status FROM auth.signing_keys ORDER BY created_at;
SELECT key->>'kid' = :'third' AS third, key->>'kid' = 'second' AS second FROM jsonb_array_elements(auth.jwks()->'keys') AS key;

-- Retirement: true where it ends something. A retired key does not come back, and cannot sign.
SELECT auth.retire_signing_key('second'), auth.retire_signing_key('second') AS again;
SELECT auth.activate_signing_key('second');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.retire_signing_key(:'third', at => now() + '1 h') AS later;
SELECT status FROM auth.signing_keys WHERE kid = :'third';
SELECT auth.retire_signing_key(:'third') AS sooner, auth.retire_signing_key(:'third', at => 'infinity') AS never;
SELECT auth.jwks();
SELECT auth.issue_jwt('alice', session_version => 0);
\echo :LAST_ERROR_SQLSTATE
-- Where the active key has ended, the next one takes over.
SELECT auth.create_signing_key(kid => 'fourth');
SELECT kid FROM auth.signing_keys WHERE status = 'active';
DELETE FROM auth.issuers;
SELECT count(*) AS keys_without_issuer FROM auth.signing_key_store;
