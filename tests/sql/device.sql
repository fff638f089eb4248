-- Device binding: device_hash is the SHA-256 of the fingerprint as Python's json.dumps(fp, sort_keys=True) writes it.
INSERT INTO auth.issuers (issuer, audience, session_check) VALUES ('https://issuer.test', '{app.test}', 'none');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');

CREATE FUNCTION hash_of(device jsonb) RETURNS text LANGUAGE sql AS
$$ SELECT auth.decode_jwt(auth.issue_jwt('alice', device => hash_of.device))->'payload'->>'device_hash' $$;

-- The vector that was computed with Python; order and blanks of the input do not matter.
SELECT hash_of('{"user_agent": "Mozilla/5.0", "client_ip": "203.0.113.7", "accept_encoding": "gzip, deflate, br",
    "accept_language":"en-US,en;q=0.9","sec_ch_ua_platform":"\"macOS\"","sec_ch_ua":"\"Chromium\";v=\"124\""}');
-- Written out: separators, escapes in lower-case hex, surrogate pairs, and \u007f.
SELECT hash_of(U&'{"b": [1, 2.50, true, null], "a": {"\00e9": "\+01f600\007f", "A": ""}}') =
    encode(sha256(convert_to('{"a": {"A": "", "\u00e9": "\ud83d\ude00\u007f"}, "b": [1, 2.5, true, null]}', 'UTF8')), 'hex') AS as_python_writes_it;
-- None and the empty one bind nothing; anything but an object is refused.
SELECT hash_of(NULL) AS null, hash_of('{}') AS empty;
SELECT left(device, 12) AS device, spec.outcome(format('SELECT auth.issue_jwt(''alice'', device => %L)', device))
FROM (VALUES ('[]'), ('"x"'), ('7'), ('null'), (repeat('{"a":', 33) || '1' || repeat('}', 33))) AS devices(device);

-- A bound token passes from its device, and where the caller does not say which it is.
SELECT auth.issue_jwt('alice', device => '{"user_agent":"Mozilla/5.0"}') AS bound, auth.issue_jwt('alice') AS free \gset
SELECT what, valid, reason, user_id
FROM (VALUES
    (1, 'its device', :'bound', '{"user_agent": "Mozilla/5.0"}'::jsonb), (2, 'another', :'bound', '{"user_agent":"curl"}'),
    (3, 'none told', :'bound', NULL), (4, 'empty', :'bound', '{}'), (5, 'not bound', :'free', '{"user_agent":"curl"}')
) AS cases(n, what, token, device), auth.check_jwt(token, device)
ORDER BY n;
SELECT auth.verify_jwt(:'bound')->>'sub' AS verify_jwt_is_told_no_device;
SELECT reason FROM auth.check_jwt(spec.token(spec.claims('device_hash', '7')));
DROP FUNCTION hash_of;
DELETE FROM auth.issuers;
