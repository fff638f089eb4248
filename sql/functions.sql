-- Tokens -----------------------------------------------------------------------------------------
-- VOLATILE and PARALLEL UNSAFE where the answer is what is committed at the moment of the call.

CREATE FUNCTION auth.verify_jwt(token text) RETURNS jsonb
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'verify_jwt_wrapper';
COMMENT ON FUNCTION auth.verify_jwt(text) IS
    'The claims of a token whose signature, claims and session hold now; otherwise SQLSTATE 28000 with a reason code as DETAIL.';

CREATE FUNCTION auth.check_jwt(
    token text,
    device jsonb DEFAULT NULL,
    OUT valid boolean,
    OUT reason text,
    OUT user_id text,
    OUT session_version bigint,
    OUT current_session_version bigint,
    OUT issued_at timestamptz,
    OUT expires_at timestamptz,
    OUT token_id text,
    OUT issuer text,
    OUT kid text,
    OUT claims jsonb
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'check_jwt_wrapper';
COMMENT ON FUNCTION auth.check_jwt(text, jsonb) IS
    'Like verify_jwt, as one row and without an error for a bad token; what the token says is reported once its signature holds.';

CREATE FUNCTION auth.verify_jwt_claims(token text) RETURNS jsonb
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'verify_jwt_claims_wrapper';
COMMENT ON FUNCTION auth.verify_jwt_claims(text) IS
    'The claims of a token whose signature and claims hold; neither the users table nor revocations are read.';

CREATE FUNCTION auth.decode_jwt(token text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'decode_jwt_wrapper';
COMMENT ON FUNCTION auth.decode_jwt(text) IS
    'Header and payload of a token, UNVERIFIED: for inspection only.';

CREATE FUNCTION auth.issue_jwt(
    user_id text,
    session_version bigint DEFAULT NULL,
    ttl interval DEFAULT NULL,
    device jsonb DEFAULT NULL,
    claims jsonb DEFAULT '{}',
    issuer text DEFAULT NULL
) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'issue_jwt_wrapper';
COMMENT ON FUNCTION auth.issue_jwt(text, bigint, interval, jsonb, jsonb, text) IS
    'A token for a user, signed with the issuer''s active key. With session_version given, the users table is not read.';

CREATE FUNCTION auth.refresh_jwt(token text, device jsonb DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'refresh_jwt_wrapper';
COMMENT ON FUNCTION auth.refresh_jwt(text, jsonb) IS
    'A new token for one that is valid, or expired no longer than refresh_grace ago; the old one is revoked in the same transaction.';

CREATE FUNCTION auth.revoke_jwt(token text, reason text DEFAULT 'logout') RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'revoke_jwt_wrapper';
COMMENT ON FUNCTION auth.revoke_jwt(text, text) IS
    'Revokes one token by its issuer and jti. False for a token without jti, or one that was revoked before.';

-- Single sign-on and one-time tokens -----------------------------------------------------------------

CREATE FUNCTION auth.issue_sso_token(user_id text, issuer text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'issue_sso_token_wrapper';
COMMENT ON FUNCTION auth.issue_sso_token(text, text) IS
    'Step 1 of single sign-on: a token of 5 minutes that another application of the family can exchange once.';

CREATE FUNCTION auth.exchange_sso_token(token text, target_app text, return_url text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'exchange_sso_token_wrapper';
COMMENT ON FUNCTION auth.exchange_sso_token(text, text, text) IS
    'Step 2 of single sign-on: takes the SSO token, once, for a hand-off of 30 seconds.';

CREATE FUNCTION auth.complete_sso(
    handoff text,
    device jsonb DEFAULT NULL,
    OUT token text,
    OUT user_id text,
    OUT target_app text,
    OUT return_url text
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'complete_sso_wrapper';
COMMENT ON FUNCTION auth.complete_sso(text, jsonb) IS
    'Step 3 of single sign-on: takes the hand-off, once, for an access token.';

CREATE FUNCTION auth.issue_one_time_token(
    user_id text,
    purpose text,
    ttl interval DEFAULT NULL,
    ip inet DEFAULT NULL,
    user_agent text DEFAULT NULL
) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'issue_one_time_token_wrapper';
COMMENT ON FUNCTION auth.issue_one_time_token(text, text, interval, inet, text) IS
    'A token that can be consumed once: email_verification (24 h), password_reset (1 h), or any purpose with a ttl. Ends the user''s earlier unused one of that purpose.';

CREATE FUNCTION auth.validate_one_time_token(token text, purpose text) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'validate_one_time_token_wrapper';
COMMENT ON FUNCTION auth.validate_one_time_token(text, text) IS
    'The user of a one-time token that could be consumed now, or NULL. Consumes nothing.';

CREATE FUNCTION auth.consume_one_time_token(token text, purpose text) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'consume_one_time_token_wrapper';
COMMENT ON FUNCTION auth.consume_one_time_token(text, text) IS
    'The user of a one-time token, for exactly one caller ever; NULL for every other.';

CREATE FUNCTION auth.prune() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'prune_wrapper';
COMMENT ON FUNCTION auth.prune() IS
    'Removes what can no longer matter (events older than auth_ext.log_retention, revocations, sessions, hand-offs, one-time tokens), in batches, until all is gone or five seconds are over, and answers how many. Safe at any time.';

-- Trust ------------------------------------------------------------------------------------------

CREATE FUNCTION auth.create_signing_key(issuer text DEFAULT NULL, alg text DEFAULT 'ES256', kid text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'create_signing_key_wrapper';
COMMENT ON FUNCTION auth.create_signing_key(text, text, text) IS
    'Makes a key for the issuer and returns its kid. The first key that can sign becomes active.';

CREATE FUNCTION auth.import_signing_key(key text, alg text, issuer text DEFAULT NULL, kid text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'import_signing_key_wrapper';
COMMENT ON FUNCTION auth.import_signing_key(text, text, text, text) IS
    'Imports an HMAC secret, a PEM or a JWK for the issuer and returns its kid. Pass the key as a bind parameter.';

CREATE FUNCTION auth.import_jwks(jwks jsonb, issuer text DEFAULT NULL) RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'import_jwks_wrapper';
COMMENT ON FUNCTION auth.import_jwks(jsonb, text) IS
    'Makes a provider''s JWKS the issuer''s verification keys: upserts its members, ends those of an earlier JWKS that are gone.';

CREATE FUNCTION auth.refresh_jwks(issuer text, jwks jsonb) RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'refresh_jwks_wrapper';
COMMENT ON FUNCTION auth.refresh_jwks(text, jsonb) IS
    'As import_jwks, for whoever fetches: only for an issuer with a jwks_uri, and never for one that has a key which was made or imported to sign.';

CREATE FUNCTION auth.jwks_sources(
    OUT issuer text,
    OUT jwks_uri text,
    OUT fetched_at timestamptz,
    OUT keys bigint
) RETURNS SETOF record
    LANGUAGE c ROWS 10 AS 'MODULE_PATHNAME', 'jwks_sources_wrapper';
COMMENT ON FUNCTION auth.jwks_sources() IS
    'The issuers with a jwks_uri: what to fetch, when refresh_jwks last took it, and how many of the issuer''s keys verify now.';

CREATE FUNCTION auth.activate_signing_key(kid text, issuer text DEFAULT NULL, overlap interval DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'activate_signing_key_wrapper';
COMMENT ON FUNCTION auth.activate_signing_key(text, text, interval) IS
    'Signs with this key from now on; the former active key verifies for overlap (default: token_ttl + refresh_grace).';

CREATE FUNCTION auth.rotate_signing_key(issuer text DEFAULT NULL, overlap interval DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'rotate_signing_key_wrapper';
COMMENT ON FUNCTION auth.rotate_signing_key(text, interval) IS
    'Makes a key of the active key''s algorithm, activates it and returns its kid.';

CREATE FUNCTION auth.retire_signing_key(kid text, issuer text DEFAULT NULL, at timestamptz DEFAULT pg_catalog.now()) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'retire_signing_key_wrapper';
COMMENT ON FUNCTION auth.retire_signing_key(text, text, timestamptz) IS
    'From that moment on the key verifies nothing, in every session. False when there is no such key, or it had ended before.';

CREATE FUNCTION auth.export_keys(passphrase text, issuer text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'export_keys_wrapper';
COMMENT ON FUNCTION auth.export_keys(text, text) IS
    'The keys of an issuer, or of all, with their secrets, as a compact JWE under a passphrase of 12 characters or more. Pass it as a bind parameter.';

CREATE FUNCTION auth.import_keys(bundle text, passphrase text) RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'import_keys_wrapper';
COMMENT ON FUNCTION auth.import_keys(text, text) IS
    'Takes in what export_keys made, all or nothing: the kids that have their secret now. Keys that are not here are made as verifying ones.';

CREATE FUNCTION auth.jwks(issuer text DEFAULT NULL) RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'jwks_wrapper';
COMMENT ON FUNCTION auth.jwks(text) IS
    'The public keys of an issuer that verify now, as a JWKS (RFC 7517). Never an HMAC secret.';

CREATE FUNCTION auth.trust_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'trust_changed_wrapper';
COMMENT ON FUNCTION auth.trust_changed() IS
    'Trigger function: makes every session read issuers and keys anew when the change commits, and sends an issuer event.';

-- Accounts ---------------------------------------------------------------------------------------

CREATE FUNCTION auth.attach_users(
    users regclass,
    id_column name DEFAULT NULL,
    version_column name DEFAULT NULL,
    active_column name DEFAULT NULL,
    bump_on name[] DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'attach_users_wrapper';
COMMENT ON FUNCTION auth.attach_users(regclass, name, name, name, name[]) IS
    'Binds the application''s users table: adds a missing version column and the triggers that keep versions and events right. For the table''s owner.';

CREATE FUNCTION auth.detach_users() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'detach_users_wrapper';
COMMENT ON FUNCTION auth.detach_users() IS
    'Removes the triggers from the users table; its columns and data stay.';

CREATE FUNCTION auth.attach_api_keys(
    api_keys regclass,
    id_column name DEFAULT NULL,
    user_column name DEFAULT NULL,
    fingerprint_column name DEFAULT NULL,
    version_column name DEFAULT NULL,
    hash_column name DEFAULT NULL,
    prefix_column name DEFAULT NULL,
    active_column name DEFAULT NULL,
    expires_column name DEFAULT NULL,
    last_used_column name DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'attach_api_keys_wrapper';
COMMENT ON FUNCTION auth.attach_api_keys(regclass, name, name, name, name, name, name, name, name, name) IS
    'Binds the application''s API-key table: adds missing fingerprint and version columns and the triggers. For the table''s owner.';

CREATE FUNCTION auth.detach_api_keys() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'detach_api_keys_wrapper';
COMMENT ON FUNCTION auth.detach_api_keys() IS
    'Removes the triggers from the API-key table; its columns and data stay.';

CREATE FUNCTION auth.attach_identities(
    identities regclass,
    user_column name DEFAULT NULL,
    provider_column name DEFAULT NULL,
    subject_column name DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'attach_identities_wrapper';
COMMENT ON FUNCTION auth.attach_identities(regclass, name, name, name) IS
    'Binds the application''s table of accounts at providers, of which (provider, subject) is unique: issuers with an identity_provider find their users by it. For the table''s owner.';

CREATE FUNCTION auth.detach_identities() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'detach_identities_wrapper';
COMMENT ON FUNCTION auth.detach_identities() IS
    'Removes the triggers from the identities table; its columns and data stay.';

CREATE FUNCTION auth.session_version(user_id text) RETURNS bigint
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'session_version_wrapper';
COMMENT ON FUNCTION auth.session_version(text) IS
    'The user''s session version as committed now; NULL for an unknown user.';

CREATE FUNCTION auth.bump_session_version(user_id text, reason text DEFAULT 'logout_everywhere') RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'bump_session_version_wrapper';
COMMENT ON FUNCTION auth.bump_session_version(text, text) IS
    'Ends every session of a user: raises the version by one and returns it. The reason travels in the event.';

CREATE FUNCTION auth.configuration_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'configuration_changed_wrapper';
COMMENT ON FUNCTION auth.configuration_changed() IS
    'Trigger function: makes every session read the bindings anew when the change commits.';

CREATE FUNCTION auth.follow_tables() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'follow_tables_wrapper';
COMMENT ON FUNCTION auth.follow_tables() IS
    'Event trigger function: gives new partitions of attached tables the trigger for TRUNCATE, and warns when an attached table is renamed.';

CREATE FUNCTION auth.users_before_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'users_before_row_wrapper';
COMMENT ON FUNCTION auth.users_before_row() IS
    'Trigger function of the attached users table: the version that a new or changed row must have.';

CREATE FUNCTION auth.users_after_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'users_after_row_wrapper';
COMMENT ON FUNCTION auth.users_after_row() IS
    'Trigger function of the attached users table: history and events.';

CREATE FUNCTION auth.users_before_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'users_before_truncate_wrapper';
COMMENT ON FUNCTION auth.users_before_truncate() IS
    'Trigger function of the attached users table: TRUNCATE counts as the deletion of every user.';

CREATE FUNCTION auth.api_keys_before_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'api_keys_before_row_wrapper';
COMMENT ON FUNCTION auth.api_keys_before_row() IS
    'Trigger function of the attached API-key table: the version that a changed row must have.';

CREATE FUNCTION auth.api_keys_after_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'api_keys_after_row_wrapper';
COMMENT ON FUNCTION auth.api_keys_after_row() IS
    'Trigger function of the attached API-key table: events.';

CREATE FUNCTION auth.api_keys_after_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'api_keys_after_truncate_wrapper';
COMMENT ON FUNCTION auth.api_keys_after_truncate() IS
    'Trigger function of the attached API-key table: TRUNCATE sends a flush.';

CREATE FUNCTION auth.identities_after_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'identities_after_row_wrapper';
COMMENT ON FUNCTION auth.identities_after_row() IS
    'Trigger function of the attached identities table: an account that is unlinked from its user leaves a mark and an event.';

CREATE FUNCTION auth.identities_after_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'identities_after_truncate_wrapper';
COMMENT ON FUNCTION auth.identities_after_truncate() IS
    'Trigger function of the attached identities table: TRUNCATE unlinks every account.';

-- Sessions ---------------------------------------------------------------------------------------

CREATE FUNCTION auth.open_session(
    user_id text,
    device jsonb DEFAULT NULL,
    label text DEFAULT NULL,
    lifetime interval DEFAULT NULL,
    claims jsonb DEFAULT '{}',
    issuer text DEFAULT NULL,
    OUT session_id text,
    OUT access_token text,
    OUT refresh_token text,
    OUT expires_at timestamptz
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'open_session_wrapper';
COMMENT ON FUNCTION auth.open_session(text, jsonb, text, interval, jsonb, text) IS
    'Begins a session of a user, one a login: its access token, its first refresh token, and when it ends at the latest.';

CREATE FUNCTION auth.refresh_session(
    refresh_token text,
    device jsonb DEFAULT NULL,
    OUT valid boolean,
    OUT reason text,
    OUT session_id text,
    OUT access_token text,
    OUT refresh_token text,
    OUT expires_at timestamptz
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'refresh_session_wrapper';
COMMENT ON FUNCTION auth.refresh_session(text, jsonb) IS
    'Takes a refresh token, once, for a new access token and the next refresh token. One that was used before ends its session. Never raises for a bad token.';

CREATE FUNCTION auth.list_sessions(
    user_id text,
    OUT session_id text,
    OUT label text,
    OUT device jsonb,
    OUT created_at timestamptz,
    OUT last_used_at timestamptz,
    OUT expires_at timestamptz
) RETURNS SETOF record
    LANGUAGE c ROWS 5 AS 'MODULE_PATHNAME', 'list_sessions_wrapper';
COMMENT ON FUNCTION auth.list_sessions(text) IS
    'The sessions of a user that could be refreshed now, the latest use first.';

CREATE FUNCTION auth.my_sessions(
    OUT session_id text,
    OUT label text,
    OUT device jsonb,
    OUT created_at timestamptz,
    OUT last_used_at timestamptz,
    OUT expires_at timestamptz,
    OUT is_current boolean
) RETURNS SETOF record
    LANGUAGE c ROWS 5 AS 'MODULE_PATHNAME', 'my_sessions_wrapper';
COMMENT ON FUNCTION auth.my_sessions() IS
    'The sessions of the authenticated user that could be refreshed now, the latest use first.';

CREATE FUNCTION auth.end_session(session_id text, reason text DEFAULT 'logout') RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_session_wrapper';
COMMENT ON FUNCTION auth.end_session(text, text) IS
    'Ends a session; false when there is none, or it was over. The reason travels in the event.';

CREATE FUNCTION auth.end_my_session(session_id text DEFAULT NULL) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_my_session_wrapper';
COMMENT ON FUNCTION auth.end_my_session(text) IS
    'Ends a session of the authenticated user; NULL is the one of the identity. False when it is none of theirs.';

CREATE FUNCTION auth.end_my_other_sessions() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_my_other_sessions_wrapper';
COMMENT ON FUNCTION auth.end_my_other_sessions() IS
    'Ends every session of the authenticated user but the one of the identity; how many that were.';

-- API keys ---------------------------------------------------------------------------------------

CREATE FUNCTION auth.api_key_fingerprint(key text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'api_key_fingerprint_wrapper';
COMMENT ON FUNCTION auth.api_key_fingerprint(text) IS
    'Lower-case hex SHA-256 of an API key: an identifier to find and evict it by, not a way to store passwords.';

CREATE FUNCTION auth.create_api_key(
    user_id text,
    name text,
    expires_at timestamptz DEFAULT NULL,
    prefix text DEFAULT 'rfs',
    OUT id text,
    OUT key text,
    OUT fingerprint text
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'create_api_key_wrapper';
COMMENT ON FUNCTION auth.create_api_key(text, text, timestamptz, text) IS
    'Makes an API key for a user. The key itself is shown this once.';

CREATE FUNCTION auth.verify_api_key(
    key text,
    OUT id text,
    OUT user_id text,
    OUT session_version bigint,
    OUT fingerprint text,
    OUT expires_at timestamptz
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'verify_api_key_wrapper';
COMMENT ON FUNCTION auth.verify_api_key(text) IS
    'The row of an API key that holds now, its owner being active; otherwise SQLSTATE 28000 with a reason code as DETAIL.';

CREATE FUNCTION auth.check_api_key(
    key text,
    OUT valid boolean,
    OUT reason text,
    OUT id text,
    OUT user_id text,
    OUT session_version bigint,
    OUT fingerprint text,
    OUT expires_at timestamptz
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'check_api_key_wrapper';
COMMENT ON FUNCTION auth.check_api_key(text) IS
    'Like verify_api_key, without an error for a bad key, and without writing.';

CREATE FUNCTION auth.revoke_api_key(id text) RETURNS boolean
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'revoke_api_key_wrapper';
COMMENT ON FUNCTION auth.revoke_api_key(text) IS
    'Deactivates an API key (deletes it where the table has no active column). False when there is none, or it was inactive.';

-- Identity ---------------------------------------------------------------------------------------
-- STABLE: the answer is one for a statement. LEAKPROOF: whether and what they answer says nothing of a row.

CREATE FUNCTION auth.authenticate(token text, scope text DEFAULT 'transaction') RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'authenticate_wrapper';
COMMENT ON FUNCTION auth.authenticate(text, text) IS
    'Verifies a token and makes it the identity of the transaction, or of the session. Answers its claims.';

CREATE FUNCTION auth.try_authenticate(
    token text,
    scope text DEFAULT 'transaction',
    OUT valid boolean,
    OUT reason text,
    OUT user_id text,
    OUT claims jsonb
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'try_authenticate_wrapper';
COMMENT ON FUNCTION auth.try_authenticate(text, text) IS
    'Like authenticate, as one row and without an error for a bad token: then nobody is authenticated.';

CREATE FUNCTION auth.authenticate_api_key(key text, scope text DEFAULT 'transaction') RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'authenticate_api_key_wrapper';
COMMENT ON FUNCTION auth.authenticate_api_key(text, text) IS
    'Verifies an API key and makes its owner the identity of the transaction, or of the session. Answers the key''s row.';

CREATE FUNCTION auth.logout() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'logout_wrapper';
COMMENT ON FUNCTION auth.logout() IS
    'Nobody is authenticated any more, neither in this transaction nor in the session.';

CREATE FUNCTION auth.identity_support(internal) RETURNS internal
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'identity_support_wrapper';
COMMENT ON FUNCTION auth.identity_support(internal) IS
    'Planner support of the identity functions: called once a statement, not once a row.';

CREATE FUNCTION auth.user_id() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'user_id_wrapper';
COMMENT ON FUNCTION auth.user_id() IS
    'The id of the authenticated user, as the id column prints it; NULL when nobody is authenticated.';

CREATE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'uid_wrapper';
COMMENT ON FUNCTION auth.uid() IS
    'The id of the authenticated user as a uuid; NULL when it is none.';

CREATE FUNCTION auth.user_id_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'user_id_bigint_wrapper';
COMMENT ON FUNCTION auth.user_id_bigint() IS
    'The id of the authenticated user as a bigint; NULL when it is none.';

CREATE FUNCTION auth.jwt() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'jwt_wrapper';
COMMENT ON FUNCTION auth.jwt() IS
    'The claims of the authenticated token, or the row of the authenticated API key.';

CREATE FUNCTION auth.claim(name text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'claim_wrapper';
COMMENT ON FUNCTION auth.claim(text) IS
    'One claim of the authenticated token as text, as ->> gives it.';

CREATE FUNCTION auth.role() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'role_wrapper';
COMMENT ON FUNCTION auth.role() IS
    'The claim role of the authenticated token as text; NULL when it is an array.';

CREATE FUNCTION auth.roles() RETURNS text[]
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'roles_wrapper';
COMMENT ON FUNCTION auth.roles() IS
    'The claim role of the authenticated token as an array: of one text, or of the texts that it is an array of; otherwise empty. NULL when nobody is authenticated.';

CREATE FUNCTION auth.require_user() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'require_user_wrapper';
-- Without support: hoisted, it could raise where the plain call would not have been reached.
COMMENT ON FUNCTION auth.require_user() IS
    'Like user_id, but raises not_authenticated where that is NULL.';

CREATE FUNCTION auth.require_recent(max_age interval, claim text DEFAULT 'auth_time') RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'require_recent_wrapper';
COMMENT ON FUNCTION auth.require_recent(interval, text) IS
    'Like require_user, but raises not_recent unless that claim of the token is a time that is not longer ago.';

CREATE FUNCTION auth.authenticate_request(OUT reason text, OUT explanation text) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'authenticate_request_wrapper';
COMMENT ON FUNCTION auth.authenticate_request() IS
    'Makes the bearer token in request.headers the identity of the transaction, or nobody where there is none; a refused one is answered with its reason code.';

-- The SQLSTATE is none that C code of ours could raise.
CREATE FUNCTION auth.refuse_request(reason text, explanation text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE SQLSTATE 'PT401' USING MESSAGE = explanation, DETAIL = reason;
END
$$;
COMMENT ON FUNCTION auth.refuse_request(text, text) IS
    'Refuses a request of PostgREST''s: called by pre_request.';

-- Parsed when it is created: the functions that it calls are these, whatever bears their names later.
CREATE FUNCTION auth.pre_request() RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT auth.refuse_request(r.reason, r.explanation) FROM auth.authenticate_request() AS r WHERE r.reason IS NOT NULL;
END;
COMMENT ON FUNCTION auth.pre_request() IS
    'For PostgREST''s db-pre-request: authenticates the request''s bearer token, or refuses it with SQLSTATE PT401 (HTTP 401) and the reason code as DETAIL.';

-- What an identity provider says -------------------------------------------------------------------

CREATE FUNCTION auth.receive_security_event(
    token text,
    OUT event text,
    OUT user_id text,
    OUT done boolean
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'receive_security_event_wrapper';
COMMENT ON FUNCTION auth.receive_security_event(text) IS
    'Takes a logout token (OpenID Connect Back-Channel Logout) or a security event token (RFC 8417; CAEP, RISC) of an issuer with security_events, and ends the sessions that it names. done: they were ended now, by this token.';

-- Access ------------------------------------------------------------------------------------------

-- As the extension's owner, since nobody else could grant. Whoever may call this can make anybody an administrator.
CREATE FUNCTION auth.grant_access(grantee regrole, profile text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    names name[] := CASE profile
        WHEN 'application' THEN ARRAY[
            'issue_jwt', 'refresh_jwt', 'revoke_jwt',
            'open_session', 'refresh_session', 'list_sessions', 'end_session',
            'issue_one_time_token', 'validate_one_time_token', 'consume_one_time_token',
            'issue_sso_token', 'exchange_sso_token', 'complete_sso',
            'create_api_key', 'verify_api_key', 'check_api_key', 'revoke_api_key',
            'session_version', 'bump_session_version', 'receive_security_event']
        WHEN 'listener' THEN ARRAY['invalidation_cursor', 'invalidations_since']
        WHEN 'monitoring' THEN ARRAY['health', 'statistics', 'activity']
        WHEN 'fetcher' THEN ARRAY['jwks_sources', 'refresh_jwks', 'invalidation_cursor', 'invalidations_since']
        WHEN 'administrator' THEN ARRAY[]::name[]
    END;
    command text;
BEGIN
    IF names IS NULL THEN
        RAISE invalid_parameter_value USING
            MESSAGE = 'unknown profile',
            HINT = 'There are application, listener, monitoring, fetcher and administrator.';
    ELSIF NOT EXISTS (SELECT FROM pg_authid AS r WHERE r.oid = grantee) OR grantee IS NULL THEN
        RAISE invalid_parameter_value USING MESSAGE = 'grantee is no role';
    END IF;
    FOR command IN
        SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', p.oid::regprocedure, grantee)
        FROM pg_extension AS e
        JOIN pg_depend AS d
            ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
        JOIN pg_proc AS p ON p.oid = d.objid
        WHERE e.extname = 'auth_ext'
          AND CASE
                  WHEN profile <> 'administrator' THEN p.proname = ANY (names)
                  -- What only PostgreSQL calls is nobody's to execute.
                  ELSE p.prorettype NOT IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype)
              END
        UNION ALL
        SELECT format('GRANT %s ON TABLE %s TO %s', v.privileges, c.oid::regclass, grantee)
        FROM pg_extension AS e
        JOIN pg_depend AS d
            ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
        JOIN pg_class AS c ON c.oid = d.objid
        JOIN (VALUES
            ('administrator', 'issuers'::name, 'SELECT, INSERT, UPDATE, DELETE'),
            ('monitoring', 'activity', 'SELECT')
        ) AS v (profile, relation, privileges) ON v.profile = grant_access.profile AND v.relation = c.relname
        WHERE e.extname = 'auth_ext' AND c.relkind IN ('r', 'v')
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;
COMMENT ON FUNCTION auth.grant_access(regrole, text) IS
    'Grants a role what a profile needs: application, listener, monitoring, fetcher or administrator. Call it again after an update, for what is new.';

-- The log of events --------------------------------------------------------------------------------

CREATE FUNCTION auth.invalidation_cursor() RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'invalidation_cursor_wrapper';
COMMENT ON FUNCTION auth.invalidation_cursor() IS
    'The place in the log of events behind all that is committed now. Opaque; for invalidations_since.';

CREATE FUNCTION auth.invalidations_since(
    cursor text,
    OUT event jsonb,
    OUT next_cursor text
) RETURNS SETOF record
    LANGUAGE c ROWS 10 AS 'MODULE_PATHNAME', 'invalidations_since_wrapper';
COMMENT ON FUNCTION auth.invalidations_since(text) IS
    'Every event committed since the cursor was taken, each once; one flush where that is not known any more. next_cursor is the same in all rows; no rows: keep the cursor.';

CREATE FUNCTION auth.health(
    OUT in_recovery boolean,
    OUT notify text,
    OUT notification_queue_usage double precision,
    OUT relay_available boolean,
    OUT relay_running boolean,
    OUT relay_pid integer,
    OUT relay_sent_at timestamptz,
    OUT relay_pending_events bigint,
    OUT relay_pending_age interval,
    OUT log_events bigint,
    OUT log_bytes bigint,
    OUT log_oldest_age interval,
    OUT log_retention interval,
    OUT users_table text,
    OUT users_table_intact boolean,
    OUT api_keys_table text,
    OUT api_keys_table_intact boolean,
    OUT verifying_keys bigint,
    OUT next_key_lapses_at timestamptz,
    OUT verified_cache_tokens bigint,
    OUT verified_cache_hits bigint,
    OUT verified_cache_misses bigint,
    OUT keys_without_secret bigint,
    OUT restore_lacks text[],
    OUT launcher_pid integer,
    OUT identities_table text,
    OUT identities_table_intact boolean,
    OUT jwks_oldest_age interval,
    OUT jwks_never_fetched bigint,
    OUT standby_staleness interval
) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'health_wrapper';
COMMENT ON FUNCTION auth.health() IS
    'One row for monitoring: notifications, relay, log, attached tables, keys, what a restore left out, how old a standby may be (NULL where nothing shows it), and the age of the oldest JWKS that refreshes itself. Events are counted up to 100,000, those that wait for the relay up to 10,000.';

CREATE FUNCTION auth.statistics(
    OUT name text,
    OUT reason text,
    OUT total bigint
) RETURNS SETOF record
    LANGUAGE c ROWS 70 AS 'MODULE_PATHNAME', 'statistics_wrapper';
COMMENT ON FUNCTION auth.statistics() IS
    'What happened in this database since the server''s start or reset_statistics(): verified, refused (by reason), api_key_verified, api_key_refused, issued, cache_hit, whether or not the transaction committed; bumped and event (by kind) when it did. Needs the preloaded library.';

CREATE FUNCTION auth.activity(
    OUT pid integer,
    OUT user_id text,
    OUT issuer text,
    OUT kind text,
    OUT scope text,
    OUT token_id text,
    OUT session_id text,
    OUT since timestamptz,
    OUT expires_at timestamptz
) RETURNS SETOF record
    LANGUAGE c ROWS 100 AS 'MODULE_PATHNAME', 'activity_wrapper';
COMMENT ON FUNCTION auth.activity() IS
    'What the view auth.activity shows.';

CREATE FUNCTION auth.end_connections(user_id text) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_connections_wrapper';
COMMENT ON FUNCTION auth.end_connections(text) IS
    'Terminates the connections of this database on which the user is authenticated, and says how many. Needs the preloaded library.';

CREATE FUNCTION auth.reset_statistics() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'reset_statistics_wrapper';
COMMENT ON FUNCTION auth.reset_statistics() IS
    'Counting begins anew with 0, for this database.';

CREATE FUNCTION auth.refuse_writer() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'refuse_writer_wrapper';
COMMENT ON FUNCTION auth.refuse_writer() IS
    'Trigger function: refuses whoever writes by pg_write_all_data only.';

CREATE FUNCTION auth.keep_out_replicated() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'keep_out_replicated_wrapper';
COMMENT ON FUNCTION auth.keep_out_replicated() IS
    'Trigger function of the log: rows of another server are dropped.';
