-- A provider's JWKS: what is sound in it verifies, the rest is skipped and does not block it.
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.import_jwks('{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"ed","use":"sig","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"EC","crv":"P-256","kid":"ec","alg":"ES256","x":"Ly_qCEl0unoGiIxib_V6-kOB3O-6flmwB8VJONyExrw","y":"pED8g5X2PUCtjWY2BRcpwQv14Jqkb6SgwoLVkbrs-Cc"}
]}');
SELECT kid, alg, status, public_jwk FROM auth.signing_keys ORDER BY kid;
SELECT auth.jwks() = jsonb_build_object('keys', (SELECT jsonb_agg(public_jwk ORDER BY created_at, kid) FROM auth.signing_keys)) AS published;

-- Each of these is skipped with a warning that names the rule, the kid and the member; but what is for encryption
-- is left out without a word, and a key that is there twice counts once.
SELECT auth.import_jwks('{"keys":[
    7,
    {},
    {"kty":"PQ","kid":"a new type"},
    {"kty":"OKP","crv":"X25519","kid":"a curve for encryption","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"oct","kid":"symmetric","k":"YXV0aC1leHQtcmVncmVzc2lvbi1zZWNyZXQtMDEyMzQ1Njc4OWFiY2RlZg"},
    {"kty":"OKP","crv":"Ed25519","kid":"private","d":"60AlRmf6_LgeGmI22-8JbDuxHlhGjuP17WjleHsdYi0","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"OKP","crv":"Ed25519","kid":"for encryption","use":"enc","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"OKP","crv":"Ed25519","kid":"of small order","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    {"kty":"EC","crv":"P-256","kid":"off its curve","x":"Ly_qCEl0unoGiIxib_V6-kOB3O-6flmwB8VJONyExrw","y":"Ly_qCEl0unoGiIxib_V6-kOB3O-6flmwB8VJONyExrw"},
    {"kty":"RSA","kid":"weak","n":"wO7RLN9F_lEj1uoKl0yRe2gnGPxp-IDSW_nvGDpimcHMfywOj4-b7HAElZ1HNOF4-UTardHCeMBruh94FkgPqc6t1gkWnFiqteJMfabn3BfWEVYHADlELPIYakPZaekLERU592ehlKAmA7Gmhyvfkl0G8t3gdM1wGuObRna0aA8","e":"AQAB"},
    {"kty":"OKP","crv":"Ed25519","kid":7,"x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"OKP","crv":"Ed25519","kid":"twice","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"EC","crv":"P-256","kid":"twice","x":"Ly_qCEl0unoGiIxib_V6-kOB3O-6flmwB8VJONyExrw","y":"pED8g5X2PUCtjWY2BRcpwQv14Jqkb6SgwoLVkbrs-Cc"},
    {"kty":"OKP","crv":"Ed25519","kid":"sound","use":"sig","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo="},
    {"kty":"OKP","crv":"Ed25519","kid":"sound","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}
]}');
-- A later document ends what an earlier one brought and it has not; keys of our own stay.
SELECT kid, status FROM auth.signing_keys ORDER BY kid;
SELECT auth.create_signing_key(kid => 'own');
SELECT count(*) AS kids FROM auth.import_jwks('{"keys":[]}');
SELECT kid, status FROM auth.signing_keys ORDER BY kid;
-- It may bring one back, unless the administrator retired it. A kid of our own is not the provider's to take.
SELECT auth.retire_signing_key('ec');
SELECT auth.import_jwks('{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"sound","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}]}');
SELECT auth.retire_signing_key('sound');
SELECT auth.import_jwks('{"keys":[
    {"kty":"OKP","crv":"Ed25519","kid":"ed","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"OKP","crv":"Ed25519","kid":"sound","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"},
    {"kty":"OKP","crv":"Ed25519","kid":"own","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}
]}');
SELECT kid, status FROM auth.signing_keys ORDER BY kid;

-- A document that is no JWKS changes nothing, nor does one of which nothing is usable.
SELECT document, spec.outcome(format('SELECT auth.import_jwks(%L)', document))
FROM (VALUES ('{}'), ('[]'), ('null'), ('"keys"'), ('{"keys":{}}'), ('{"keys":null}'), ('{"keys":[{"kty":"PQ","kid":"new"}]}'),
    ('{"keys":[{"kty":"OKP","crv":"Ed25519","use":"enc","x":"UT1Rj99cNRWyFriOuyUpSuuuvqsk-dDB4MjGkBisbNo"}]}'), (NULL)) AS documents(document);
SELECT kid FROM auth.signing_keys WHERE status <> 'retired' ORDER BY kid;
SELECT auth.import_jwks('{"keys":[]}', 'https://nobody.test');
\echo :LAST_ERROR_SQLSTATE
DELETE FROM auth.issuers;
