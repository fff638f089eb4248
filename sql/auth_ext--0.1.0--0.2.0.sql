-- Made by `make generated` from sql/upgrade/0.1.0--0.2.0.sql and the functions of a fresh install. Do not edit.
\echo Use "ALTER EXTENSION auth_ext UPDATE" to load this file. \quit

-- Every name, operator, type and cast below is PostgreSQL's own, whatever stands in schema auth.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- The extension's tables, views and functions, for this script only.
CREATE FUNCTION auth.update_objects(OUT kind text, OUT name text, OUT id oid, OUT acl aclitem[], OUT owner oid) RETURNS SETOF record
    LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'TABLE', format('%I.%I', n.nspname, c.relname), c.oid, coalesce(c.relacl, acldefault('r', c.relowner)), c.relowner
    FROM pg_extension AS e
    JOIN pg_depend AS d
        ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_class'::regclass
    JOIN pg_class AS c ON c.oid = d.objid
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE e.extname = 'auth_ext' AND c.relkind IN ('r', 'v')
    UNION ALL
    SELECT 'FUNCTION', format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), p.oid,
           coalesce(p.proacl, acldefault('f', p.proowner)), p.proowner
    FROM pg_extension AS e
    JOIN pg_depend AS d
        ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e' AND d.classid = 'pg_proc'::regclass
    JOIN pg_proc AS p ON p.oid = d.objid
    JOIN pg_namespace AS n ON n.oid = p.pronamespace
    WHERE e.extname = 'auth_ext'
$$;

-- What an administrator granted stays granted: noted here, put back at the end. The setting is this transaction's own.
SELECT pg_catalog.set_config('auth_ext_update.privileges', (
    SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', o.name, 'id', o.id, 'acl', o.acl::pg_catalog.text))::pg_catalog.text
    FROM auth.update_objects() AS o
), true);

-- Tables, views, triggers and data: what a fresh install has and 0.1.0 had not. See README.md beside this file.

-- Secrets leave the table of keys for one of their own, and no foreign key is among what is dumped. The UPDATE frees the TOAST table of
-- them, and CLUSTER writes the table anew without the dropped column.

-- Not dumped. Row security without policies: neither pg_read_all_data nor pg_write_all_data gets at a row. PLAIN keeps
-- the octets out of a TOAST table, which has no row security, and STATISTICS 0 out of pg_statistic. They are written
-- and read without a plan, since PostgreSQL can print a plan with its parameters.
CREATE TABLE auth.signing_secrets (
    issuer text NOT NULL,
    kid    text NOT NULL,
    secret bytea NOT NULL,
    PRIMARY KEY (issuer, kid)
);
ALTER TABLE auth.signing_secrets
    ALTER COLUMN issuer SET STORAGE PLAIN,
    ALTER COLUMN kid SET STORAGE PLAIN,
    ALTER COLUMN secret SET STORAGE PLAIN,
    ALTER COLUMN issuer SET STATISTICS 0,
    ALTER COLUMN kid SET STATISTICS 0,
    ALTER COLUMN secret SET STATISTICS 0,
    ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE auth.signing_secrets IS 'Private keys and HMAC secrets. For the owner and other superusers only, and in no dump.';

-- Not dumped: a restored database is another installation.
CREATE TABLE auth.installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    origin    text NOT NULL DEFAULT pg_catalog.gen_random_uuid()::pg_catalog.text
);
COMMENT ON TABLE auth.installation IS 'Which installation of the extension this is. A signing key keeps the one in which it was added.';
INSERT INTO auth.installation DEFAULT VALUES;

INSERT INTO auth.signing_secrets (issuer, kid, secret)
SELECT k.issuer, k.kid,
       -- HMAC itself takes the hash of a key that is longer than a block (RFC 2104 section 3).
       CASE
           WHEN pg_catalog.octet_length(k.secret) OPERATOR(pg_catalog.<=) 5000 THEN k.secret
           WHEN k.alg OPERATOR(pg_catalog.=) 'HS256' THEN pg_catalog.sha256(k.secret)
           WHEN k.alg OPERATOR(pg_catalog.=) 'HS384' THEN pg_catalog.sha384(k.secret)
           WHEN k.alg OPERATOR(pg_catalog.=) 'HS512' THEN pg_catalog.sha512(k.secret)
       END
FROM auth.signing_key_store AS k WHERE k.secret IS NOT NULL;

ALTER TABLE auth.signing_key_store
    DROP CONSTRAINT signing_key_store_issuer_fkey,
    DROP CONSTRAINT signing_key_store_check,
    DROP CONSTRAINT signing_key_store_check1,
    ADD COLUMN signs boolean NOT NULL DEFAULT false,
    ADD COLUMN origin text;
UPDATE auth.signing_key_store AS k SET signs = k.secret IS NOT NULL, secret = NULL, origin = i.origin
FROM auth.installation AS i;
ALTER TABLE auth.signing_key_store DROP COLUMN secret;
CLUSTER auth.signing_key_store USING signing_key_store_pkey;
ALTER TABLE auth.signing_key_store
    SET WITHOUT CLUSTER,
    ADD CONSTRAINT signing_key_store_is_a_key CHECK (public_jwk IS NOT NULL OR signs),
    ADD CONSTRAINT signing_key_store_active_signs CHECK (NOT active OR signs);
COMMENT ON TABLE auth.signing_key_store IS 'Signing and verification keys, without their secrets. See the view auth.signing_keys.';
COMMENT ON COLUMN auth.signing_key_store.signs IS 'True: made or imported with its secret. auth.signing_secrets holds it, unless a restore has left it out.';
COMMENT ON COLUMN auth.signing_key_store.origin IS 'The installation (auth.installation) in which the key was added. A key of another one came with a dump: it verifies nothing until all of that dump is here that can end a token.';

CREATE OR REPLACE VIEW auth.signing_keys WITH (security_barrier) AS
SELECT
    k.kid,
    k.issuer,
    k.alg,
    CASE
        WHEN k.verify_until <= pg_catalog.clock_timestamp() THEN 'retired'
        WHEN k.active THEN 'active'
        ELSE 'verifying'
    END AS status,
    k.created_at,
    k.verify_until,
    k.public_jwk || pg_catalog.jsonb_build_object('kid', k.kid, 'alg', k.alg, 'use', 'sig') AS public_jwk,
    EXISTS (
        SELECT FROM auth.signing_secrets AS s
        WHERE s.issuer OPERATOR(pg_catalog.=) k.issuer AND s.kid OPERATOR(pg_catalog.=) k.kid
    ) AS has_secret
FROM auth.signing_key_store AS k;

COMMENT ON VIEW auth.signing_keys IS 'Keys without their secrets. status: active signs and verifies, verifying verifies until verify_until, retired does neither. has_secret: the private half or HMAC secret is here; no dump has it.';

ALTER TABLE auth.revoked_tokens DROP CONSTRAINT revoked_tokens_issuer_fkey;
COMMENT ON TABLE auth.revoked_tokens IS 'Single tokens that were revoked, refreshed or, for SSO, exchanged. Kept until none of them could be verified or refreshed any more, also when their issuer is deleted or renamed. A jti over 1024 bytes is kept as its SHA-256. Under auth_ext:event and the issuer: events that were received. Under auth_ext:sid and the issuer: sessions that the issuer has ended.';
ALTER TABLE auth.revoking_issuers DROP CONSTRAINT revoking_issuers_issuer_fkey;
ALTER TABLE auth.sso_handoffs DROP CONSTRAINT sso_handoffs_issuer_fkey;

-- No order of loading is sure, and a key that is there before the revocations would verify what was revoked. So each table
-- that can end a token is dumped with one row more, which names the installation and the dump (pg_dump
-- appends this text to its SELECT; its columns are all of the table's). A key of another installation verifies once one
-- dump's rows are in all of these tables: COPY loads a table's rows together or not at all. auth.user_floor has no place for one: the time that it
-- must have reached is in the row of auth.user_history.
SELECT pg_catalog.pg_extension_config_dump('auth.revoking_issuers',
    'UNION ALL SELECT ''auth_ext:restored '' || i.origin || '' '' || md5(pg_current_snapshot()::text || current_database())
         FROM auth.installation AS i');
SELECT pg_catalog.pg_extension_config_dump('auth.revoked_tokens',
    'UNION ALL SELECT ''auth_ext:restored'', i.origin || '' '' || md5(pg_current_snapshot()::text || current_database()),
         '''', ''restored'', now(), ''infinity'' FROM auth.installation AS i');
SELECT pg_catalog.pg_extension_config_dump('auth.user_history',
    'UNION ALL SELECT ''auth_ext:restored '' || i.origin || '' '' || md5(pg_current_snapshot()::text || current_database()),
         coalesce(f.bumped_at, ''-infinity''), 0 FROM auth.installation AS i LEFT JOIN auth.user_floor AS f ON true');

GRANT SELECT ON TABLE
    auth.issuers, auth.signing_key_store, auth.attached_tables, auth.user_history, auth.user_floor, auth.revoked_tokens,
    auth.revoking_issuers, auth.sso_handoffs, auth.one_time_tokens
    TO pg_database_owner;

-- Sessions.

ALTER TABLE auth.issuers
    ADD COLUMN session_lifetime interval NOT NULL DEFAULT '30 days' CHECK (extract(epoch FROM session_lifetime) > 0 AND session_lifetime <= '100 years'),
    ADD COLUMN refresh_reuse interval NOT NULL DEFAULT '10 seconds' CHECK (extract(epoch FROM refresh_reuse) >= 0 AND refresh_reuse <= '1 day');
COMMENT ON COLUMN auth.issuers.session_lifetime IS 'How long a session that open_session begins lasts at most. Refreshing does not lengthen it.';
COMMENT ON COLUMN auth.issuers.refresh_reuse IS 'How long after its first use a refresh token still gives another pair: two tabs refresh at once. One that comes later ends the session.';

-- What a row may ask of its tokens.

ALTER TABLE auth.issuers
    DROP CONSTRAINT issuers_issuer_check,
    ADD CONSTRAINT issuers_issuer_check CHECK (pg_catalog.octet_length(issuer) <= 1024),
    ADD CONSTRAINT issuers_user_claim_pointer CHECK (user_claim !~ '^/.*~([^01]|$)'),
    ADD CONSTRAINT issuers_version_claim_pointer CHECK (version_claim !~ '^/.*~([^01]|$)'),
    ADD CONSTRAINT issuers_issuer_template CHECK (issuer !~ '[{}]' OR issuer ~ '^[^{}]*[{][^{}]+[}][^{}]*$' AND pg_catalog.strpos(issuer, '{iss}') = 0),
    ADD COLUMN audience_claim text NOT NULL DEFAULT 'aud' CHECK (audience_claim <> '' AND audience_claim !~ '^/.*~([^01]|$)'
                            AND audience_claim NOT IN ('iss', 'exp', 'nbf', 'iat', 'jti', 'device_hash')),
    ADD COLUMN required_claims jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(required_claims) = 'object'
                            AND NOT pg_catalog.jsonb_path_exists(required_claims, '$.keyvalue() ? (@.key == "" || @.key like_regex "^/.*~([^01]|$)")')),
    ADD COLUMN token_types text[] NOT NULL DEFAULT '{"",JWT,at+jwt}' CHECK (pg_catalog.cardinality(token_types) > 0 AND pg_catalog.array_position(token_types, NULL) IS NULL
                            AND NOT pg_catalog.replace(pg_catalog.lower(token_types::text), 'application/', '')::text[] && '{sso+jwt,logout+jwt,secevent+jwt,dpop+jwt,kb+jwt,token-introspection+jwt,oauth-authz-req+jwt,entity-statement+jwt}'),
    ADD COLUMN role_claim text NOT NULL DEFAULT 'role' CHECK (role_claim <> '' AND role_claim !~ '^/.*~([^01]|$)'),
    ADD COLUMN numeric_subject boolean NOT NULL DEFAULT false,
    ADD COLUMN require_user boolean NOT NULL DEFAULT true,
    ADD COLUMN user_column text CHECK (user_column <> ''),
    ADD COLUMN identity_provider text CHECK (identity_provider <> ''),
    ADD COLUMN jwks_uri text CHECK (pg_catalog.octet_length(jwks_uri) <= 2048
                            AND jwks_uri ~* '^(https://([a-z0-9._-]+|[[][0-9a-f:.]+[]])|http://(localhost|127([.][0-9]{1,3}){3}|[[]::1[]]))(:[0-9]{1,5})?([/?][!-~]*)?$'
                            AND jwks_uri !~ '[#{}<>"^`|\\]'),
    ADD COLUMN security_events boolean NOT NULL DEFAULT false,
    ADD COLUMN event_audience text[] CHECK (pg_catalog.cardinality(event_audience) > 0 AND pg_catalog.array_position(event_audience, NULL) IS NULL
                            AND '' <> ALL (event_audience)),
    ADD CONSTRAINT issuers_user_column_session_check CHECK (user_column IS NULL OR session_check <> 'none'),
    ADD CONSTRAINT issuers_identity_provider_session_check CHECK (identity_provider IS NULL OR session_check <> 'none'),
    ADD CONSTRAINT issuers_identity_provider_user_column CHECK (identity_provider IS NULL OR user_column IS NULL);
COMMENT ON COLUMN auth.issuers.issuer IS 'The iss claim, compared exactly. Empty: the issuer of tokens without iss. With one {claim} in it: a template, and the token''s own claim stands in the place in its iss.';
COMMENT ON COLUMN auth.issuers.user_claim IS 'The claim that holds the user''s id: a name, or a JSON Pointer that begins with /.';
COMMENT ON COLUMN auth.issuers.version_claim IS 'The claim that holds the session version: a name, or a JSON Pointer that begins with /.';
COMMENT ON COLUMN auth.issuers.audience_claim IS 'The claim that is compared with audience: a name, or a JSON Pointer that begins with /.';
COMMENT ON COLUMN auth.issuers.required_claims IS 'Claims that an access token must have, each with a value, or one of an array of values.';
COMMENT ON COLUMN auth.issuers.token_types IS 'The typ of an access token''s header, in any case; an empty text is an absent one.';
COMMENT ON COLUMN auth.issuers.role_claim IS 'What auth.role() and auth.roles() read: a name, or a JSON Pointer that begins with /.';
COMMENT ON COLUMN auth.issuers.require_user IS 'False: a token without the user claim verifies as nobody''s: no session is checked, and user_id() is NULL.';
COMMENT ON COLUMN auth.issuers.numeric_subject IS 'True: sub may be a JSON integer, too.';
COMMENT ON COLUMN auth.issuers.identity_provider IS 'The provider under which the user claim is looked up in the attached identities table. NULL: it is not.';
COMMENT ON COLUMN auth.issuers.user_column IS 'The column of the users table in which the user claim is looked up, with a unique index on it alone. NULL: the id column.';
COMMENT ON COLUMN auth.issuers.jwks_uri IS 'Where the issuer''s JWKS is published: an https URL (http for loopback hosts), or the issuer''s own URL, when OpenID Connect Discovery is to find it. The server never fetches; see auth.jwks_sources and auth.refresh_jwks.';
COMMENT ON COLUMN auth.issuers.security_events IS 'True: receive_security_event obeys this issuer.';
COMMENT ON COLUMN auth.issuers.event_audience IS 'The aud of its logout and event tokens: the client id, say. NULL: audience.';

-- Not dumped: a restored database fetches anew. Beside auth.issuers, so that a fetch which brings nothing new is no change of trust.
CREATE TABLE auth.jwks_fetches (
    issuer     text PRIMARY KEY,
    fetched_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE auth.jwks_fetches IS 'When refresh_jwks last took an issuer''s JWKS, whether or not anything was new in it.';

CREATE TABLE auth.sessions (
    session_id      text COLLATE "C" PRIMARY KEY,
    issuer          text NOT NULL,
    user_id         text COLLATE "C" NOT NULL,
    session_version bigint,
    family_hash     bytea NOT NULL UNIQUE,
    refresh_tokens  jsonb NOT NULL,
    device          jsonb,
    device_hash     text,
    label           text,
    claims          jsonb NOT NULL DEFAULT '{}',
    created_at      timestamptz NOT NULL,
    last_used_at    timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    ended_at        timestamptz,
    ended_reason    text
) WITH (fillfactor = 70);
-- An id can be longer than an index entry.
CREATE INDEX sessions_user ON auth.sessions (pg_catalog."left"(user_id, 200));
CREATE INDEX sessions_expires_at ON auth.sessions (expires_at);
CREATE INDEX sessions_ended_at ON auth.sessions (ended_at) WHERE ended_at IS NOT NULL;
COMMENT ON TABLE auth.sessions IS 'One row a login: a device or browser with its own refresh token. See auth.open_session and auth.list_sessions.';
COMMENT ON COLUMN auth.sessions.session_version IS 'The user''s version when the session was opened; NULL where the issuer reads no users row.';
COMMENT ON COLUMN auth.sessions.family_hash IS 'The SHA-256 of what the refresh tokens of the session have in common, by which a token finds its session.';
COMMENT ON COLUMN auth.sessions.refresh_tokens IS 'The tokens that give another pair: SHA-256, and when it was used first (microseconds of the Unix epoch), null before.';
COMMENT ON COLUMN auth.sessions.claims IS 'Further claims of its access tokens.';

-- Without a unique key, as revoking_issuers.
CREATE TABLE auth.session_issuers (
    issuer text NOT NULL
);
ALTER TABLE auth.session_issuers REPLICA IDENTITY FULL;
COMMENT ON TABLE auth.session_issuers IS 'Issuers under which a session was ever opened: of the others the claim sid means nothing here.';

SELECT pg_catalog.pg_extension_config_dump('auth.sessions', '');
SELECT pg_catalog.pg_extension_config_dump('auth.session_issuers',
    'UNION ALL SELECT ''auth_ext:restored '' || i.origin || '' '' || md5(pg_current_snapshot()::text || current_database())
         FROM auth.installation AS i');

-- Attached tables: what a table was called when it was attached, and one event trigger for all that happens to tables.

ALTER TABLE auth.attached_tables
    ADD COLUMN table_name text,
    ADD COLUMN provider_column text,
    ADD COLUMN subject_column text,
    ALTER COLUMN id_column DROP NOT NULL,
    ALTER COLUMN version_column DROP NOT NULL,
    DROP CONSTRAINT attached_tables_kind_check,
    ADD CONSTRAINT attached_tables_kind_check CHECK (kind IN ('users', 'api_keys', 'identities')),
    ADD CONSTRAINT attached_tables_columns CHECK (CASE kind
        WHEN 'identities' THEN user_column IS NOT NULL AND provider_column IS NOT NULL AND subject_column IS NOT NULL
        ELSE id_column IS NOT NULL AND version_column IS NOT NULL
    END);
COMMENT ON TABLE auth.attached_tables IS 'The application''s tables, as attach_users, attach_api_keys and attach_identities bound them.';
-- Not dumped: no identity outlives its connection.
CREATE TABLE auth.unlinked_accounts (
    account uuid PRIMARY KEY,
    mark    bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE auth.unlinked_accounts IS 'Accounts at providers that were unlinked from a user, by 128 bits of the SHA-256 of provider and subject, with a random mark of the last time: an identity of before is over, though the account may be linked again. The nil UUID stands for all accounts.';
COMMENT ON COLUMN auth.attached_tables.table_name IS 'What the table was called when it was attached; NULL before 0.2.0.';
DROP EVENT TRIGGER auth_ext_cover_new_partitions;
DROP FUNCTION auth.cover_new_partitions();
DROP FUNCTION auth.cover_partitions();

-- Functions whose result or arguments have changed: dropped here, made anew below.
DROP FUNCTION auth.health();

-- One row is a value, and no set any more.
UPDATE pg_catalog.pg_proc AS p
SET proretset = false, prorows = 0
WHERE p.oid OPERATOR(pg_catalog.=) ANY (ARRAY[
    'auth.check_jwt(text, jsonb)', 'auth.complete_sso(text, jsonb)', 'auth.create_api_key(text, text, timestamptz, text)',
    'auth.verify_api_key(text)', 'auth.check_api_key(text)', 'auth.authenticate_request()'
]::pg_catalog.regprocedure[]);

-- prune() looks for unused and for used ones by an index each.
DROP INDEX auth.one_time_tokens_expires_at;
CREATE INDEX one_time_tokens_expires_at ON auth.one_time_tokens (expires_at) WHERE used_at IS NULL;
CREATE INDEX one_time_tokens_used_at ON auth.one_time_tokens (used_at) WHERE used_at IS NOT NULL;

-- Tokens -----------------------------------------------------------------------------------------
-- VOLATILE and PARALLEL UNSAFE where the answer is what is committed at the moment of the call.

CREATE OR REPLACE FUNCTION auth.verify_jwt(token text) RETURNS jsonb
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'verify_jwt_wrapper';
COMMENT ON FUNCTION auth.verify_jwt(text) IS
    'The claims of a token whose signature, claims and session hold now; otherwise SQLSTATE 28000 with a reason code as DETAIL.';

CREATE OR REPLACE FUNCTION auth.check_jwt(
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

CREATE OR REPLACE FUNCTION auth.verify_jwt_claims(token text) RETURNS jsonb
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'verify_jwt_claims_wrapper';
COMMENT ON FUNCTION auth.verify_jwt_claims(text) IS
    'The claims of a token whose signature and claims hold; neither the users table nor revocations are read.';

CREATE OR REPLACE FUNCTION auth.decode_jwt(token text) RETURNS jsonb
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'decode_jwt_wrapper';
COMMENT ON FUNCTION auth.decode_jwt(text) IS
    'Header and payload of a token, UNVERIFIED: for inspection only.';

CREATE OR REPLACE FUNCTION auth.issue_jwt(
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

CREATE OR REPLACE FUNCTION auth.refresh_jwt(token text, device jsonb DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'refresh_jwt_wrapper';
COMMENT ON FUNCTION auth.refresh_jwt(text, jsonb) IS
    'A new token for one that is valid, or expired no longer than refresh_grace ago; the old one is revoked in the same transaction.';

CREATE OR REPLACE FUNCTION auth.revoke_jwt(token text, reason text DEFAULT 'logout') RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'revoke_jwt_wrapper';
COMMENT ON FUNCTION auth.revoke_jwt(text, text) IS
    'Revokes one token by its issuer and jti. False for a token without jti, or one that was revoked before.';

-- Single sign-on and one-time tokens -----------------------------------------------------------------

CREATE OR REPLACE FUNCTION auth.issue_sso_token(user_id text, issuer text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'issue_sso_token_wrapper';
COMMENT ON FUNCTION auth.issue_sso_token(text, text) IS
    'Step 1 of single sign-on: a token of 5 minutes that another application of the family can exchange once.';

CREATE OR REPLACE FUNCTION auth.exchange_sso_token(token text, target_app text, return_url text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'exchange_sso_token_wrapper';
COMMENT ON FUNCTION auth.exchange_sso_token(text, text, text) IS
    'Step 2 of single sign-on: takes the SSO token, once, for a hand-off of 30 seconds.';

CREATE OR REPLACE FUNCTION auth.complete_sso(
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

CREATE OR REPLACE FUNCTION auth.issue_one_time_token(
    user_id text,
    purpose text,
    ttl interval DEFAULT NULL,
    ip inet DEFAULT NULL,
    user_agent text DEFAULT NULL
) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'issue_one_time_token_wrapper';
COMMENT ON FUNCTION auth.issue_one_time_token(text, text, interval, inet, text) IS
    'A token that can be consumed once: email_verification (24 h), password_reset (1 h), or any purpose with a ttl. Ends the user''s earlier unused one of that purpose.';

CREATE OR REPLACE FUNCTION auth.validate_one_time_token(token text, purpose text) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'validate_one_time_token_wrapper';
COMMENT ON FUNCTION auth.validate_one_time_token(text, text) IS
    'The user of a one-time token that could be consumed now, or NULL. Consumes nothing.';

CREATE OR REPLACE FUNCTION auth.consume_one_time_token(token text, purpose text) RETURNS text
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'consume_one_time_token_wrapper';
COMMENT ON FUNCTION auth.consume_one_time_token(text, text) IS
    'The user of a one-time token, for exactly one caller ever; NULL for every other.';

CREATE OR REPLACE FUNCTION auth.prune() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'prune_wrapper';
COMMENT ON FUNCTION auth.prune() IS
    'Removes what can no longer matter (events older than auth_ext.log_retention, revocations, sessions, hand-offs, one-time tokens), in batches, until all is gone or five seconds are over, and answers how many. Safe at any time.';

-- Trust ------------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION auth.create_signing_key(issuer text DEFAULT NULL, alg text DEFAULT 'ES256', kid text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'create_signing_key_wrapper';
COMMENT ON FUNCTION auth.create_signing_key(text, text, text) IS
    'Makes a key for the issuer and returns its kid. The first key that can sign becomes active.';

CREATE OR REPLACE FUNCTION auth.import_signing_key(key text, alg text, issuer text DEFAULT NULL, kid text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'import_signing_key_wrapper';
COMMENT ON FUNCTION auth.import_signing_key(text, text, text, text) IS
    'Imports an HMAC secret, a PEM or a JWK for the issuer and returns its kid. Pass the key as a bind parameter.';

CREATE OR REPLACE FUNCTION auth.import_jwks(jwks jsonb, issuer text DEFAULT NULL) RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'import_jwks_wrapper';
COMMENT ON FUNCTION auth.import_jwks(jsonb, text) IS
    'Makes a provider''s JWKS the issuer''s verification keys: upserts its members, ends those of an earlier JWKS that are gone.';

CREATE OR REPLACE FUNCTION auth.refresh_jwks(issuer text, jwks jsonb) RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'refresh_jwks_wrapper';
COMMENT ON FUNCTION auth.refresh_jwks(text, jsonb) IS
    'As import_jwks, for whoever fetches: only for an issuer with a jwks_uri, and never for one that has a key which was made or imported to sign.';

CREATE OR REPLACE FUNCTION auth.jwks_sources(
    OUT issuer text,
    OUT jwks_uri text,
    OUT fetched_at timestamptz,
    OUT keys bigint
) RETURNS SETOF record
    LANGUAGE c ROWS 10 AS 'MODULE_PATHNAME', 'jwks_sources_wrapper';
COMMENT ON FUNCTION auth.jwks_sources() IS
    'The issuers with a jwks_uri: what to fetch, when refresh_jwks last took it, and how many of the issuer''s keys verify now.';

CREATE OR REPLACE FUNCTION auth.activate_signing_key(kid text, issuer text DEFAULT NULL, overlap interval DEFAULT NULL) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'activate_signing_key_wrapper';
COMMENT ON FUNCTION auth.activate_signing_key(text, text, interval) IS
    'Signs with this key from now on; the former active key verifies for overlap (default: token_ttl + refresh_grace).';

CREATE OR REPLACE FUNCTION auth.rotate_signing_key(issuer text DEFAULT NULL, overlap interval DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'rotate_signing_key_wrapper';
COMMENT ON FUNCTION auth.rotate_signing_key(text, interval) IS
    'Makes a key of the active key''s algorithm, activates it and returns its kid.';

CREATE OR REPLACE FUNCTION auth.retire_signing_key(kid text, issuer text DEFAULT NULL, at timestamptz DEFAULT pg_catalog.now()) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'retire_signing_key_wrapper';
COMMENT ON FUNCTION auth.retire_signing_key(text, text, timestamptz) IS
    'From that moment on the key verifies nothing, in every session. False when there is no such key, or it had ended before.';

CREATE OR REPLACE FUNCTION auth.export_keys(passphrase text, issuer text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'export_keys_wrapper';
COMMENT ON FUNCTION auth.export_keys(text, text) IS
    'The keys of an issuer, or of all, with their secrets, as a compact JWE under a passphrase of 12 characters or more. Pass it as a bind parameter.';

CREATE OR REPLACE FUNCTION auth.import_keys(bundle text, passphrase text) RETURNS SETOF text
    LANGUAGE c AS 'MODULE_PATHNAME', 'import_keys_wrapper';
COMMENT ON FUNCTION auth.import_keys(text, text) IS
    'Takes in what export_keys made, all or nothing: the kids that have their secret now. Keys that are not here are made as verifying ones.';

CREATE OR REPLACE FUNCTION auth.jwks(issuer text DEFAULT NULL) RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'jwks_wrapper';
COMMENT ON FUNCTION auth.jwks(text) IS
    'The public keys of an issuer that verify now, as a JWKS (RFC 7517). Never an HMAC secret.';

CREATE OR REPLACE FUNCTION auth.trust_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'trust_changed_wrapper';
COMMENT ON FUNCTION auth.trust_changed() IS
    'Trigger function: makes every session read issuers and keys anew when the change commits, and sends an issuer event.';

-- Accounts ---------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION auth.attach_users(
    users regclass,
    id_column name DEFAULT NULL,
    version_column name DEFAULT NULL,
    active_column name DEFAULT NULL,
    bump_on name[] DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'attach_users_wrapper';
COMMENT ON FUNCTION auth.attach_users(regclass, name, name, name, name[]) IS
    'Binds the application''s users table: adds a missing version column and the triggers that keep versions and events right. For the table''s owner.';

CREATE OR REPLACE FUNCTION auth.detach_users() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'detach_users_wrapper';
COMMENT ON FUNCTION auth.detach_users() IS
    'Removes the triggers from the users table; its columns and data stay.';

CREATE OR REPLACE FUNCTION auth.attach_api_keys(
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

CREATE OR REPLACE FUNCTION auth.detach_api_keys() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'detach_api_keys_wrapper';
COMMENT ON FUNCTION auth.detach_api_keys() IS
    'Removes the triggers from the API-key table; its columns and data stay.';

CREATE OR REPLACE FUNCTION auth.attach_identities(
    identities regclass,
    user_column name DEFAULT NULL,
    provider_column name DEFAULT NULL,
    subject_column name DEFAULT NULL
) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'attach_identities_wrapper';
COMMENT ON FUNCTION auth.attach_identities(regclass, name, name, name) IS
    'Binds the application''s table of accounts at providers, of which (provider, subject) is unique: issuers with an identity_provider find their users by it. For the table''s owner.';

CREATE OR REPLACE FUNCTION auth.detach_identities() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'detach_identities_wrapper';
COMMENT ON FUNCTION auth.detach_identities() IS
    'Removes the triggers from the identities table; its columns and data stay.';

CREATE OR REPLACE FUNCTION auth.session_version(user_id text) RETURNS bigint
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'session_version_wrapper';
COMMENT ON FUNCTION auth.session_version(text) IS
    'The user''s session version as committed now; NULL for an unknown user.';

CREATE OR REPLACE FUNCTION auth.bump_session_version(user_id text, reason text DEFAULT 'logout_everywhere') RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'bump_session_version_wrapper';
COMMENT ON FUNCTION auth.bump_session_version(text, text) IS
    'Ends every session of a user: raises the version by one and returns it. The reason travels in the event.';

CREATE OR REPLACE FUNCTION auth.configuration_changed() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'configuration_changed_wrapper';
COMMENT ON FUNCTION auth.configuration_changed() IS
    'Trigger function: makes every session read the bindings anew when the change commits.';

CREATE OR REPLACE FUNCTION auth.follow_tables() RETURNS event_trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'follow_tables_wrapper';
COMMENT ON FUNCTION auth.follow_tables() IS
    'Event trigger function: gives new partitions of attached tables the trigger for TRUNCATE, and warns when an attached table is renamed.';

CREATE OR REPLACE FUNCTION auth.users_before_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'users_before_row_wrapper';
COMMENT ON FUNCTION auth.users_before_row() IS
    'Trigger function of the attached users table: the version that a new or changed row must have.';

CREATE OR REPLACE FUNCTION auth.users_after_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'users_after_row_wrapper';
COMMENT ON FUNCTION auth.users_after_row() IS
    'Trigger function of the attached users table: history and events.';

CREATE OR REPLACE FUNCTION auth.users_before_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'users_before_truncate_wrapper';
COMMENT ON FUNCTION auth.users_before_truncate() IS
    'Trigger function of the attached users table: TRUNCATE counts as the deletion of every user.';

CREATE OR REPLACE FUNCTION auth.api_keys_before_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'api_keys_before_row_wrapper';
COMMENT ON FUNCTION auth.api_keys_before_row() IS
    'Trigger function of the attached API-key table: the version that a changed row must have.';

CREATE OR REPLACE FUNCTION auth.api_keys_after_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'api_keys_after_row_wrapper';
COMMENT ON FUNCTION auth.api_keys_after_row() IS
    'Trigger function of the attached API-key table: events.';

CREATE OR REPLACE FUNCTION auth.api_keys_after_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'api_keys_after_truncate_wrapper';
COMMENT ON FUNCTION auth.api_keys_after_truncate() IS
    'Trigger function of the attached API-key table: TRUNCATE sends a flush.';

CREATE OR REPLACE FUNCTION auth.identities_after_row() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'identities_after_row_wrapper';
COMMENT ON FUNCTION auth.identities_after_row() IS
    'Trigger function of the attached identities table: an account that is unlinked from its user leaves a mark and an event.';

CREATE OR REPLACE FUNCTION auth.identities_after_truncate() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'identities_after_truncate_wrapper';
COMMENT ON FUNCTION auth.identities_after_truncate() IS
    'Trigger function of the attached identities table: TRUNCATE unlinks every account.';

-- Sessions ---------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION auth.open_session(
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

CREATE OR REPLACE FUNCTION auth.refresh_session(
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

CREATE OR REPLACE FUNCTION auth.list_sessions(
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

CREATE OR REPLACE FUNCTION auth.my_sessions(
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

CREATE OR REPLACE FUNCTION auth.end_session(session_id text, reason text DEFAULT 'logout') RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_session_wrapper';
COMMENT ON FUNCTION auth.end_session(text, text) IS
    'Ends a session; false when there is none, or it was over. The reason travels in the event.';

CREATE OR REPLACE FUNCTION auth.end_my_session(session_id text DEFAULT NULL) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_my_session_wrapper';
COMMENT ON FUNCTION auth.end_my_session(text) IS
    'Ends a session of the authenticated user; NULL is the one of the identity. False when it is none of theirs.';

CREATE OR REPLACE FUNCTION auth.end_my_other_sessions() RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_my_other_sessions_wrapper';
COMMENT ON FUNCTION auth.end_my_other_sessions() IS
    'Ends every session of the authenticated user but the one of the identity; how many that were.';

-- API keys ---------------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION auth.api_key_fingerprint(key text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'api_key_fingerprint_wrapper';
COMMENT ON FUNCTION auth.api_key_fingerprint(text) IS
    'Lower-case hex SHA-256 of an API key: an identifier to find and evict it by, not a way to store passwords.';

CREATE OR REPLACE FUNCTION auth.create_api_key(
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

CREATE OR REPLACE FUNCTION auth.verify_api_key(
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

CREATE OR REPLACE FUNCTION auth.check_api_key(
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

CREATE OR REPLACE FUNCTION auth.revoke_api_key(id text) RETURNS boolean
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'revoke_api_key_wrapper';
COMMENT ON FUNCTION auth.revoke_api_key(text) IS
    'Deactivates an API key (deletes it where the table has no active column). False when there is none, or it was inactive.';

-- Identity ---------------------------------------------------------------------------------------
-- STABLE: the answer is one for a statement. LEAKPROOF: whether and what they answer says nothing of a row.

CREATE OR REPLACE FUNCTION auth.authenticate(token text, scope text DEFAULT 'transaction') RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'authenticate_wrapper';
COMMENT ON FUNCTION auth.authenticate(text, text) IS
    'Verifies a token and makes it the identity of the transaction, or of the session. Answers its claims.';

CREATE OR REPLACE FUNCTION auth.try_authenticate(
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

CREATE OR REPLACE FUNCTION auth.authenticate_api_key(key text, scope text DEFAULT 'transaction') RETURNS jsonb
    LANGUAGE c AS 'MODULE_PATHNAME', 'authenticate_api_key_wrapper';
COMMENT ON FUNCTION auth.authenticate_api_key(text, text) IS
    'Verifies an API key and makes its owner the identity of the transaction, or of the session. Answers the key''s row.';

CREATE OR REPLACE FUNCTION auth.logout() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'logout_wrapper';
COMMENT ON FUNCTION auth.logout() IS
    'Nobody is authenticated any more, neither in this transaction nor in the session.';

CREATE OR REPLACE FUNCTION auth.identity_support(internal) RETURNS internal
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'identity_support_wrapper';
COMMENT ON FUNCTION auth.identity_support(internal) IS
    'Planner support of the identity functions: called once a statement, not once a row.';

CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'user_id_wrapper';
COMMENT ON FUNCTION auth.user_id() IS
    'The id of the authenticated user, as the id column prints it; NULL when nobody is authenticated.';

CREATE OR REPLACE FUNCTION auth.uid() RETURNS uuid
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'uid_wrapper';
COMMENT ON FUNCTION auth.uid() IS
    'The id of the authenticated user as a uuid; NULL when it is none.';

CREATE OR REPLACE FUNCTION auth.user_id_bigint() RETURNS bigint
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'user_id_bigint_wrapper';
COMMENT ON FUNCTION auth.user_id_bigint() IS
    'The id of the authenticated user as a bigint; NULL when it is none.';

CREATE OR REPLACE FUNCTION auth.jwt() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'jwt_wrapper';
COMMENT ON FUNCTION auth.jwt() IS
    'The claims of the authenticated token, or the row of the authenticated API key.';

CREATE OR REPLACE FUNCTION auth.claim(name text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'claim_wrapper';
COMMENT ON FUNCTION auth.claim(text) IS
    'One claim of the authenticated token as text, as ->> gives it.';

CREATE OR REPLACE FUNCTION auth.role() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'role_wrapper';
COMMENT ON FUNCTION auth.role() IS
    'The claim role of the authenticated token as text; NULL when it is an array.';

CREATE OR REPLACE FUNCTION auth.roles() RETURNS text[]
    LANGUAGE c STABLE PARALLEL SAFE LEAKPROOF SUPPORT auth.identity_support AS 'MODULE_PATHNAME', 'roles_wrapper';
COMMENT ON FUNCTION auth.roles() IS
    'The claim role of the authenticated token as an array: of one text, or of the texts that it is an array of; otherwise empty. NULL when nobody is authenticated.';

CREATE OR REPLACE FUNCTION auth.require_user() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'require_user_wrapper';
-- Without support: hoisted, it could raise where the plain call would not have been reached.
COMMENT ON FUNCTION auth.require_user() IS
    'Like user_id, but raises not_authenticated where that is NULL.';

CREATE OR REPLACE FUNCTION auth.require_recent(max_age interval, claim text DEFAULT 'auth_time') RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'require_recent_wrapper';
COMMENT ON FUNCTION auth.require_recent(interval, text) IS
    'Like require_user, but raises not_recent unless that claim of the token is a time that is not longer ago.';

CREATE OR REPLACE FUNCTION auth.authenticate_request(OUT reason text, OUT explanation text) RETURNS record
    LANGUAGE c AS 'MODULE_PATHNAME', 'authenticate_request_wrapper';
COMMENT ON FUNCTION auth.authenticate_request() IS
    'Makes the bearer token in request.headers the identity of the transaction, or nobody where there is none; a refused one is answered with its reason code.';

-- The SQLSTATE is none that C code of ours could raise.
CREATE OR REPLACE FUNCTION auth.refuse_request(reason text, explanation text) RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE SQLSTATE 'PT401' USING MESSAGE = explanation, DETAIL = reason;
END
$$;
COMMENT ON FUNCTION auth.refuse_request(text, text) IS
    'Refuses a request of PostgREST''s: called by pre_request.';

-- Parsed when it is created: the functions that it calls are these, whatever bears their names later.
CREATE OR REPLACE FUNCTION auth.pre_request() RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
    SELECT auth.refuse_request(r.reason, r.explanation) FROM auth.authenticate_request() AS r WHERE r.reason IS NOT NULL;
END;
COMMENT ON FUNCTION auth.pre_request() IS
    'For PostgREST''s db-pre-request: authenticates the request''s bearer token, or refuses it with SQLSTATE PT401 (HTTP 401) and the reason code as DETAIL.';

-- What an identity provider says -------------------------------------------------------------------

CREATE OR REPLACE FUNCTION auth.receive_security_event(
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
CREATE OR REPLACE FUNCTION auth.grant_access(grantee regrole, profile text) RETURNS void
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

CREATE OR REPLACE FUNCTION auth.invalidation_cursor() RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'invalidation_cursor_wrapper';
COMMENT ON FUNCTION auth.invalidation_cursor() IS
    'The place in the log of events behind all that is committed now. Opaque; for invalidations_since.';

CREATE OR REPLACE FUNCTION auth.invalidations_since(
    cursor text,
    OUT event jsonb,
    OUT next_cursor text
) RETURNS SETOF record
    LANGUAGE c ROWS 10 AS 'MODULE_PATHNAME', 'invalidations_since_wrapper';
COMMENT ON FUNCTION auth.invalidations_since(text) IS
    'Every event committed since the cursor was taken, each once; one flush where that is not known any more. next_cursor is the same in all rows; no rows: keep the cursor.';

CREATE OR REPLACE FUNCTION auth.health(
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

CREATE OR REPLACE FUNCTION auth.statistics(
    OUT name text,
    OUT reason text,
    OUT total bigint
) RETURNS SETOF record
    LANGUAGE c ROWS 70 AS 'MODULE_PATHNAME', 'statistics_wrapper';
COMMENT ON FUNCTION auth.statistics() IS
    'What happened in this database since the server''s start or reset_statistics(): verified, refused (by reason), api_key_verified, api_key_refused, issued, cache_hit, whether or not the transaction committed; bumped and event (by kind) when it did. Needs the preloaded library.';

CREATE OR REPLACE FUNCTION auth.activity(
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

CREATE OR REPLACE FUNCTION auth.end_connections(user_id text) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'end_connections_wrapper';
COMMENT ON FUNCTION auth.end_connections(text) IS
    'Terminates the connections of this database on which the user is authenticated, and says how many. Needs the preloaded library.';

CREATE OR REPLACE FUNCTION auth.reset_statistics() RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'reset_statistics_wrapper';
COMMENT ON FUNCTION auth.reset_statistics() IS
    'Counting begins anew with 0, for this database.';

CREATE OR REPLACE FUNCTION auth.refuse_writer() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'refuse_writer_wrapper';
COMMENT ON FUNCTION auth.refuse_writer() IS
    'Trigger function: refuses whoever writes by pg_write_all_data only.';

CREATE OR REPLACE FUNCTION auth.keep_out_replicated() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'keep_out_replicated_wrapper';
COMMENT ON FUNCTION auth.keep_out_replicated() IS
    'Trigger function of the log: rows of another server are dropped.';

CREATE OR REPLACE FUNCTION auth.keep_one_default_issuer() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    is_there boolean;
    has_default boolean;
BEGIN
    -- On a table of somebody else's its owner would choose what is written, and by which triggers.
    IF NOT EXISTS (
        SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'auth_ext'
        WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = 'this trigger function is for the tables of auth_ext only';
    END IF;
    -- One at a time. Not by locking auth.issuers itself: two that have begun to insert would deadlock.
    EXECUTE format('LOCK TABLE %I.revoking_issuers IN SHARE ROW EXCLUSIVE MODE', TG_TABLE_SCHEMA);
    IF TG_OP = 'INSERT' THEN
        EXECUTE format(
            'SELECT coalesce(bool_or(i.issuer = $1), false), coalesce(bool_or(i.is_default), false) FROM %I.issuers AS i',
            TG_TABLE_SCHEMA) INTO is_there, has_default USING NEW.issuer;
        IF is_there THEN
            -- ON CONFLICT: nothing is inserted, and the UPDATE comes back here if there is one.
            RETURN NEW;
        ELSIF NOT has_default THEN
            NEW.is_default := true;
            RETURN NEW;
        END IF;
    END IF;
    IF NEW.is_default AND (TG_OP = 'INSERT' OR NOT OLD.is_default) THEN
        EXECUTE format('UPDATE %I.issuers AS i SET is_default = false WHERE i.is_default AND i.issuer <> $1', TG_TABLE_SCHEMA)
        USING NEW.issuer;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION auth.keep_one_default_issuer() IS 'Trigger function: at most one default issuer, the first row being it.';

CREATE OR REPLACE FUNCTION auth.mark_revoking_issuer() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO %1$I.revoking_issuers (issuer) SELECT $1 WHERE NOT EXISTS (SELECT FROM %1$I.revoking_issuers AS i WHERE i.issuer = $1)',
        TG_TABLE_SCHEMA) USING NEW.issuer;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION auth.mark_revoking_issuer() IS 'Trigger function: remembers the issuers of which a token was ever revoked.';

CREATE OR REPLACE FUNCTION auth.mark_session_issuer() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    EXECUTE format(
        'INSERT INTO %1$I.session_issuers (issuer) SELECT $1 WHERE NOT EXISTS (SELECT FROM %1$I.session_issuers AS i WHERE i.issuer = $1)',
        TG_TABLE_SCHEMA) USING NEW.issuer;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION auth.mark_session_issuer() IS 'Trigger function: remembers the issuers under which a session was ever opened.';

CREATE OR REPLACE FUNCTION auth.keys_follow_issuer() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    follower text;
BEGIN
    -- On a table of somebody else's its owner would choose what is written, and by which triggers.
    IF NOT EXISTS (
        SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'auth_ext'
        WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = 'this trigger function is for the tables of auth_ext only';
    END IF;
    FOREACH follower IN ARRAY ARRAY['signing_key_store', 'jwks_fetches', 'sso_handoffs', 'sessions'] LOOP
        IF TG_OP = 'TRUNCATE' THEN
            EXECUTE format('DELETE FROM %I.%I', TG_TABLE_SCHEMA, follower);
        ELSIF TG_OP = 'DELETE' THEN
            EXECUTE format('DELETE FROM %I.%I AS f WHERE f.issuer = $1', TG_TABLE_SCHEMA, follower) USING OLD.issuer;
        ELSE
            EXECUTE format('UPDATE %I.%I AS f SET issuer = $2 WHERE f.issuer = $1', TG_TABLE_SCHEMA, follower)
            USING OLD.issuer, NEW.issuer;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION auth.keys_follow_issuer() IS 'Trigger function: renames and deletes the keys, fetches, hand-offs and sessions of an issuer with it.';

CREATE OR REPLACE FUNCTION auth.secrets_follow_key() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- On a table of somebody else's its owner would choose what is written, and by which triggers.
    IF NOT EXISTS (
        SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'auth_ext'
        WHERE d.classid = 'pg_class'::regclass AND d.objid = TG_RELID AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = 'this trigger function is for the tables of auth_ext only';
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('DELETE FROM %I.signing_secrets', TG_TABLE_SCHEMA);
    ELSIF TG_OP = 'DELETE' THEN
        EXECUTE format('DELETE FROM %I.signing_secrets AS s WHERE s.issuer = $1 AND s.kid = $2', TG_TABLE_SCHEMA)
        USING OLD.issuer, OLD.kid;
    ELSE
        EXECUTE format('UPDATE %I.signing_secrets AS s SET issuer = $3, kid = $4 WHERE s.issuer = $1 AND s.kid = $2', TG_TABLE_SCHEMA)
        USING OLD.issuer, OLD.kid, NEW.issuer, NEW.kid;
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION auth.secrets_follow_key() IS 'Trigger function: renames and deletes the secret of a key with it.';

CREATE OR REPLACE FUNCTION auth.take_in_key() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.origin := NULL;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION auth.take_in_key() IS 'Trigger function: a replicated key did not come with a dump.';

CREATE OR REPLACE FUNCTION auth.merge_history() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    merged bigint;
    merge constant text := 'UPDATE %I.%I AS h
        SET bumped_at = greatest(h.bumped_at, $1), next_version = greatest(h.next_version, $2)';
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' THEN
        NEW.bumped_at := greatest(OLD.bumped_at, NEW.bumped_at);
        NEW.next_version := greatest(OLD.next_version, NEW.next_version);
        RETURN NEW;
    ELSIF TG_TABLE_NAME = 'user_history' THEN
        EXECUTE format(merge || ' WHERE h.user_id = $3', TG_TABLE_SCHEMA, TG_TABLE_NAME)
        USING NEW.bumped_at, NEW.next_version, NEW.user_id;
    ELSE
        EXECUTE format(merge, TG_TABLE_SCHEMA, TG_TABLE_NAME) USING NEW.bumped_at, NEW.next_version;
    END IF;
    GET DIAGNOSTICS merged = ROW_COUNT;
    IF merged > 0 THEN
        RETURN NULL;
    END IF;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION auth.merge_history() IS 'Trigger function: of what is known here and what arrives by replication, the higher version holds.';

-- What needs the new functions: triggers, views.

-- Secrets and their keys; what foreign keys did; the marks of a dump; who may write.
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.signing_secrets
    FOR EACH ROW EXECUTE FUNCTION auth.trust_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.signing_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION auth.trust_changed();
CREATE TRIGGER announce_mark AFTER INSERT OR UPDATE ON auth.revoked_tokens
    FOR EACH ROW WHEN (NEW.issuer OPERATOR(pg_catalog.=) 'auth_ext:restored')
    EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_mark AFTER INSERT OR UPDATE ON auth.user_history
    FOR EACH ROW WHEN (pg_catalog.starts_with(NEW.user_id, 'auth_ext:restored '))
    EXECUTE FUNCTION auth.configuration_changed();
ALTER TABLE auth.signing_secrets ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.signing_secrets ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.revoked_tokens ENABLE ALWAYS TRIGGER announce_mark;
ALTER TABLE auth.user_history ENABLE ALWAYS TRIGGER announce_mark;
CREATE TRIGGER follow_delete AFTER DELETE ON auth.issuers
    FOR EACH ROW EXECUTE FUNCTION auth.keys_follow_issuer();
CREATE TRIGGER follow_rename AFTER UPDATE ON auth.issuers
    FOR EACH ROW WHEN (OLD.issuer OPERATOR(pg_catalog.<>) NEW.issuer) EXECUTE FUNCTION auth.keys_follow_issuer();
CREATE TRIGGER follow_truncate AFTER TRUNCATE ON auth.issuers
    FOR EACH STATEMENT EXECUTE FUNCTION auth.keys_follow_issuer();
CREATE TRIGGER follow_delete AFTER DELETE ON auth.signing_key_store
    FOR EACH ROW EXECUTE FUNCTION auth.secrets_follow_key();
CREATE TRIGGER follow_rename AFTER UPDATE ON auth.signing_key_store
    FOR EACH ROW WHEN (OLD.issuer OPERATOR(pg_catalog.<>) NEW.issuer OR OLD.kid OPERATOR(pg_catalog.<>) NEW.kid)
    EXECUTE FUNCTION auth.secrets_follow_key();
CREATE TRIGGER follow_truncate AFTER TRUNCATE ON auth.signing_key_store
    FOR EACH STATEMENT EXECUTE FUNCTION auth.secrets_follow_key();
CREATE TRIGGER take_in_replicated BEFORE INSERT OR UPDATE ON auth.signing_key_store
    FOR EACH ROW EXECUTE FUNCTION auth.take_in_key();
ALTER TABLE auth.signing_key_store ENABLE REPLICA TRIGGER take_in_replicated;
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.installation
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
ALTER TABLE auth.installation ENABLE REPLICA TRIGGER keep_out_replicated;

-- The marks of unlinked accounts are this server's own.
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.unlinked_accounts
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
ALTER TABLE auth.unlinked_accounts ENABLE REPLICA TRIGGER keep_out_replicated;

CREATE TRIGGER mark_issuer AFTER INSERT OR UPDATE OF issuer ON auth.sessions
    FOR EACH ROW EXECUTE FUNCTION auth.mark_session_issuer();
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.session_issuers
    FOR EACH ROW EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.session_issuers
    FOR EACH STATEMENT EXECUTE FUNCTION auth.configuration_changed();
ALTER TABLE auth.sessions ENABLE ALWAYS TRIGGER mark_issuer;
ALTER TABLE auth.session_issuers ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.session_issuers ENABLE ALWAYS TRIGGER announce_truncate;
-- pg_write_all_data writes whatever table it likes. Rows from which trust follows are written by our functions, and by roles
-- that were granted just that.
DO $$
DECLARE
    written name;
BEGIN
    FOREACH written IN ARRAY ARRAY[
        'issuers', 'signing_key_store', 'attached_tables', 'user_history', 'user_floor', 'unlinked_accounts', 'revoked_tokens', 'revoking_issuers',
        'sso_handoffs', 'one_time_tokens', 'sessions', 'session_issuers', 'installation', 'invalidation_log', 'invalidation_pruned', 'relay_position'
    ] LOOP
        EXECUTE format('CREATE TRIGGER a_refuse_writer BEFORE INSERT OR UPDATE OR DELETE ON auth.%I
            FOR EACH STATEMENT EXECUTE FUNCTION auth.refuse_writer()', written);
        EXECUTE format('ALTER TABLE auth.%I ENABLE ALWAYS TRIGGER a_refuse_writer', written);
    END LOOP;
END
$$;

CREATE VIEW auth.activity AS
SELECT a.pid, a.user_id, a.issuer, a.kind, a.scope, a.token_id, a.session_id, a.since, a.expires_at
FROM auth.activity() AS a;
COMMENT ON VIEW auth.activity IS 'Who is authenticated on which connection of this database: at most one row each, the identity that user_id() answers for there. Ended ones are not listed. Needs the preloaded library.';

-- Privileges -------------------------------------------------------------------------------------

CREATE FUNCTION auth.update_privileges() RETURNS void
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    before constant jsonb := current_setting('auth_ext_update.privileges');
    fresh_install constant jsonb := '[["auth.verify_jwt(text)", "EXECUTE", "PUBLIC"], ["auth.check_jwt(text, jsonb)", "EXECUTE", "PUBLIC"], ["auth.verify_jwt_claims(text)", "EXECUTE", "PUBLIC"], ["auth.decode_jwt(text)", "EXECUTE", "PUBLIC"], ["auth.api_key_fingerprint(text)", "EXECUTE", "PUBLIC"], ["auth.jwks(text)", "EXECUTE", "PUBLIC"], ["auth.authenticate(text, text)", "EXECUTE", "PUBLIC"], ["auth.authenticate_api_key(text, text)", "EXECUTE", "PUBLIC"], ["auth.logout()", "EXECUTE", "PUBLIC"], ["auth.user_id()", "EXECUTE", "PUBLIC"], ["auth.uid()", "EXECUTE", "PUBLIC"], ["auth.jwt()", "EXECUTE", "PUBLIC"], ["auth.claim(text)", "EXECUTE", "PUBLIC"], ["auth.role()", "EXECUTE", "PUBLIC"], ["auth.require_user()", "EXECUTE", "PUBLIC"], ["auth.pre_request()", "EXECUTE", "PUBLIC"], ["auth.my_sessions()", "EXECUTE", "PUBLIC"], ["auth.end_my_session(text)", "EXECUTE", "PUBLIC"], ["auth.end_my_other_sessions()", "EXECUTE", "PUBLIC"], ["auth.user_id_bigint()", "EXECUTE", "PUBLIC"], ["auth.roles()", "EXECUTE", "PUBLIC"], ["auth.try_authenticate(text, text)", "EXECUTE", "PUBLIC"], ["auth.require_recent(interval, text)", "EXECUTE", "PUBLIC"], ["auth.health()", "EXECUTE", "pg_monitor"], ["auth.statistics()", "EXECUTE", "pg_monitor"], ["auth.activity()", "EXECUTE", "pg_monitor"], ["auth.activity", "SELECT", "pg_monitor"], ["auth.issuers", "SELECT", "pg_database_owner"], ["auth.signing_key_store", "SELECT", "pg_database_owner"], ["auth.attached_tables", "SELECT", "pg_database_owner"], ["auth.user_history", "SELECT", "pg_database_owner"], ["auth.user_floor", "SELECT", "pg_database_owner"], ["auth.revoked_tokens", "SELECT", "pg_database_owner"], ["auth.revoking_issuers", "SELECT", "pg_database_owner"], ["auth.sso_handoffs", "SELECT", "pg_database_owner"], ["auth.one_time_tokens", "SELECT", "pg_database_owner"], ["auth.sessions", "SELECT", "pg_database_owner"], ["auth.session_issuers", "SELECT", "pg_database_owner"], ["auth.installation", "SELECT", "pg_database_owner"]]';
    object record;
    command text;
    initial aclitem[];
BEGIN
    FOR object IN
        SELECT o.*, '%s ON ' || o.kind || ' ' || o.name AS what, (b.value ->> 'acl')::aclitem[] AS acl_before
        FROM auth.update_objects() AS o
        LEFT JOIN jsonb_array_elements(before) AS b ON b.value ->> 'name' = o.name
        WHERE b.value ->> 'id' IS DISTINCT FROM o.id::text
    LOOP
        FOR command IN
            SELECT format('REVOKE ' || object.what || ' FROM %s', 'ALL', CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END)
            FROM aclexplode(object.acl) AS a
            WHERE a.grantee <> object.owner
            UNION ALL
            SELECT format('GRANT ' || object.what || ' TO %s', g.value ->> 1, g.value ->> 2)
            FROM jsonb_array_elements(fresh_install) AS g
            WHERE g.value ->> 0 = object.name
        LOOP
            EXECUTE command;
        END LOOP;
        CONTINUE WHEN object.acl_before IS NULL;
        SELECT i.initprivs INTO initial FROM pg_init_privs AS i WHERE i.objoid = object.id;
        FOR command IN
            SELECT format('REVOKE ' || object.what || ' FROM %s', 'ALL', g.value ->> 2)
            FROM jsonb_array_elements(fresh_install) AS g
            WHERE g.value ->> 0 = object.name
            UNION ALL
            SELECT format(
                'GRANT ' || object.what || ' TO %s%s', a.privilege_type,
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END,
                CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
            FROM aclexplode(object.acl_before) AS a
            WHERE a.grantee <> object.owner
        LOOP
            EXECUTE command;
        END LOOP;
        UPDATE pg_init_privs AS i SET initprivs = initial WHERE i.objoid = object.id AND initial IS NOT NULL;
    END LOOP;
END
$$;
SELECT auth.update_privileges();
DROP FUNCTION auth.update_privileges();
DROP FUNCTION auth.update_objects();

-- health() keeps what the administrator granted on it. Only this grant counts as the extension's own, which pg_dump leaves out.
DO $$
DECLARE
    initial aclitem[] := (
        SELECT i.initprivs FROM pg_catalog.pg_init_privs AS i
        WHERE i.objoid OPERATOR(pg_catalog.=) 'auth.health()'::pg_catalog.regprocedure
          AND i.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass);
BEGIN
    GRANT EXECUTE ON FUNCTION auth.health() TO pg_monitor;
    UPDATE pg_catalog.pg_init_privs AS i
    SET initprivs = pg_catalog.array_append(
        initial,
        (SELECT pg_catalog.makeaclitem('pg_monitor'::pg_catalog.regrole, p.proowner, 'EXECUTE', false)
         FROM pg_catalog.pg_proc AS p WHERE p.oid OPERATOR(pg_catalog.=) i.objoid))
    WHERE i.objoid OPERATOR(pg_catalog.=) 'auth.health()'::pg_catalog.regprocedure
      AND i.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND initial IS NOT NULL;
END
$$;

CREATE EVENT TRIGGER auth_ext_follow_tables ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE SCHEMA', 'ALTER TABLE')
    EXECUTE FUNCTION auth.follow_tables();
ALTER EVENT TRIGGER auth_ext_follow_tables ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER auth_ext_follow_tables IS 'Gives new partitions of attached tables the trigger for TRUNCATE, and warns when an attached table is renamed.';
