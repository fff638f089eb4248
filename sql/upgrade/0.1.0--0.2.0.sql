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

-- @functions

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

-- @privileges

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
