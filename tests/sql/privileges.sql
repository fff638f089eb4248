-- Who may call what: an ordinary role, an administrator's grants, and the owner of a table.
CREATE ROLE regress_auth_app;
CREATE ROLE regress_auth_owner;
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');
SET client_min_messages = warning;
CREATE TABLE users (id text PRIMARY KEY, secret text);
INSERT INTO users VALUES ('alice', 'her own');
CREATE TABLE keys (id text PRIMARY KEY, user_id text);
DELETE FROM auth.user_history;
SELECT auth.attach_users('users');

-- Every function and trigger function, called by an ordinary role, texts 'x' and the rest NULL.
GRANT USAGE ON SCHEMA spec TO regress_auth_app;
CREATE TABLE calls AS
SELECT p.proname, format('SELECT auth.%I(%s)', p.proname,
    (SELECT string_agg(format('%L::%s', CASE t::regtype WHEN 'text'::regtype THEN 'x' END, t::regtype), ', ' ORDER BY n) FROM unnest(p.proargtypes) WITH ORDINALITY AS a(t, n))) AS call
FROM pg_proc AS p
WHERE p.pronamespace = 'auth'::regnamespace AND p.prorettype NOT IN ('trigger'::regtype, 'internal'::regtype);
GRANT SELECT ON calls TO regress_auth_app;
SET ROLE regress_auth_app;
SELECT proname, CASE left(outcome, 5) WHEN '42501' THEN outcome ELSE 'may be called' END AS outcome
FROM (SELECT proname, spec.outcome(call) FROM calls) AS c ORDER BY 1;
-- What PUBLIC may call works without any right on any table.
SELECT auth.verify_jwt(spec.token(spec.claims()))->>'sub' AS verify_jwt, auth.verify_jwt_claims(spec.token(spec.claims()))->>'sub' AS verify_jwt_claims;
SELECT valid, user_id, current_session_version FROM auth.check_jwt(spec.token(spec.claims()));
SELECT auth.jwks();
-- No table and no view of ours can be read or written, and no trigger function called or bound.
SELECT command, spec.outcome(command)
FROM (VALUES
    ('TABLE auth.issuers'), ('TABLE auth.signing_key_store'), ('TABLE auth.signing_keys'), ('TABLE auth.attached_tables'), ('TABLE auth.user_history'), ('TABLE auth.invalidation_log'), ('TABLE auth.invalidation_pruned'), ('TABLE auth.relay_position'), ('TABLE users'),
    ('INSERT INTO auth.issuers VALUES (''x'', ''{}'')'), ('DELETE FROM auth.issuers'), ('UPDATE auth.signing_key_store SET retired = false'), ('TRUNCATE auth.issuers'),
    ('CREATE TABLE auth.mine ()'), ('CREATE TEMP TABLE t (); CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION auth.trust_changed()')
) AS commands(command);
RESET ROLE;

-- The administrator grants functions; the application's role needs no right on any table, and gets none.
GRANT EXECUTE ON FUNCTION auth.issue_jwt(text, bigint, interval, jsonb, jsonb, text), auth.bump_session_version(text, text), auth.session_version(text),
    auth.rotate_signing_key(text, interval), auth.import_jwks(jsonb, text), auth.retire_signing_key(text, text, timestamptz), auth.create_signing_key(text, text, text)
    TO regress_auth_app;
SET ROLE regress_auth_app;
SELECT auth.session_version('alice'), auth.bump_session_version('alice');
SELECT auth.verify_jwt(auth.issue_jwt('alice'))->>'session_version' AS version;
SELECT auth.create_signing_key(alg => 'EdDSA', kid => 'new'), auth.rotate_signing_key() IS NOT NULL AS rotated, auth.retire_signing_key('new');
SELECT * FROM auth.import_jwks('{"keys":[]}');
SELECT spec.outcome('TABLE users'), spec.outcome('TABLE auth.signing_key_store');
SELECT current_user;
RESET ROLE;

-- Attaching is for the table's owner, also where the function was granted.
GRANT EXECUTE ON FUNCTION auth.attach_users(regclass, name, name, name, name[]), auth.detach_users(),
    auth.attach_api_keys(regclass, name, name, name, name, name, name, name, name, name), auth.detach_api_keys() TO regress_auth_app, regress_auth_owner;
SET ROLE regress_auth_app;
SELECT auth.attach_users('users');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.attach_api_keys('keys');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.detach_users();
\echo :LAST_ERROR_SQLSTATE
RESET ROLE;
ALTER TABLE users OWNER TO regress_auth_owner;
ALTER TABLE keys OWNER TO regress_auth_owner;
SET ROLE regress_auth_owner;
SELECT auth.detach_users(), auth.attach_users('users'), auth.attach_api_keys('keys'), auth.detach_api_keys();
SELECT auth.session_version('alice');
RESET ROLE;
-- Row security that its owner forces on itself does not hide a user from the check.
ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
SET ROLE regress_auth_app;
SELECT auth.session_version('alice'), auth.bump_session_version('alice');
RESET ROLE;
-- An ordinary role's own search_path puts nothing in the way of ours.
SET ROLE regress_auth_app;
CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE 'mine was called'; END $$;
CREATE TEMP TABLE issuers (issuer text);
CREATE TEMP TABLE pg_class (oid oid);
SET search_path = pg_temp, public, pg_catalog;
SELECT auth.verify_jwt(auth.issue_jwt('alice'))->>'sub', auth.bump_session_version('alice');
RESET search_path;
RESET ROLE;
SELECT auth.detach_users();
DROP TABLE users, keys, calls, pg_temp.issuers, pg_temp.pg_class;
DELETE FROM auth.issuers;
REVOKE ALL ON SCHEMA spec FROM regress_auth_app;
DROP OWNED BY regress_auth_app, regress_auth_owner;
DROP ROLE regress_auth_app, regress_auth_owner;
