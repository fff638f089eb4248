\echo Use "CREATE EXTENSION auth_ext" to load this file. \quit

-- Every name, operator, type and cast below is PostgreSQL's own, whatever stands in schema auth or in the installer's search_path.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);

-- Tokens are UTF-8 by their RFCs, and the extension hands their text to jsonb as it is.
-- The schema must be safe: whoever may create objects in it could stand in front of ours, and what is in it already is
-- somebody else's.
DO $$
DECLARE
    held text;
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION 'auth_ext needs a database with encoding UTF8'
            USING ERRCODE = 'feature_not_supported';
    END IF;
    IF EXISTS (
        SELECT FROM pg_namespace AS n
        JOIN pg_roles AS r ON r.oid = n.nspowner
        WHERE n.nspname = 'auth'
          AND (NOT r.rolsuper OR EXISTS (
              SELECT FROM aclexplode(n.nspacl) AS a
              LEFT JOIN pg_roles AS g ON g.oid = a.grantee
              WHERE a.privilege_type = 'CREATE' AND g.rolsuper IS NOT TRUE
          ))
    ) THEN
        RAISE EXCEPTION 'schema auth exists and others than superusers may create objects in it'
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'auth_ext cannot share a schema with another product. If schema auth is left over, drop it, or ALTER SCHEMA auth OWNER TO a superuser and REVOKE CREATE ON SCHEMA auth from every other role.';
    END IF;
    SELECT pg_describe_object(o.class, o.id, 0) INTO held
    FROM (
        SELECT 'pg_class'::regclass::oid AS class, oid AS id, relnamespace AS namespace FROM pg_class
        UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace FROM pg_proc
        UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace FROM pg_type
        UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace FROM pg_operator
        UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace FROM pg_opclass
        UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace FROM pg_opfamily
        UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace FROM pg_collation
        UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace FROM pg_conversion
        UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxnamespace FROM pg_statistic_ext
        UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace FROM pg_ts_config
        UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace FROM pg_ts_dict
        UNION ALL SELECT 'pg_ts_parser'::regclass, oid, prsnamespace FROM pg_ts_parser
        UNION ALL SELECT 'pg_ts_template'::regclass, oid, tmplnamespace FROM pg_ts_template
        UNION ALL SELECT 'pg_default_acl'::regclass, oid, defaclnamespace FROM pg_default_acl
    ) AS o
    JOIN pg_namespace AS n ON n.oid = o.namespace
    WHERE n.nspname = 'auth'
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'schema auth is not empty: it holds %', held
            USING ERRCODE = 'duplicate_object',
                  HINT = 'auth_ext needs the schema auth for itself, and cannot share it with another product.';
    END IF;
END
$$;

-- Trust ------------------------------------------------------------------------------------------

CREATE TABLE auth.issuers (
    issuer                  text PRIMARY KEY CHECK (pg_catalog.octet_length(issuer) <= 1024),
    audience                text[] NOT NULL CHECK (pg_catalog.array_position(audience, NULL) IS NULL
                                                   AND '' <> ALL (audience)),
    user_claim              text NOT NULL DEFAULT 'sub'
                            CHECK (user_claim <> '' AND user_claim NOT IN ('iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'device_hash')),
    version_claim           text NOT NULL DEFAULT 'session_version'
                            CHECK (version_claim <> '' AND version_claim NOT IN ('iss', 'aud', 'exp', 'nbf', 'iat', 'jti', 'device_hash')),
    require_session_version boolean NOT NULL DEFAULT false,
    leeway                  interval NOT NULL DEFAULT '0' CHECK (extract(epoch FROM leeway) BETWEEN 0 AND 86400),
    token_ttl               interval NOT NULL DEFAULT '30 minutes' CHECK (extract(epoch FROM token_ttl) > 0 AND token_ttl <= '100 years'),
    refresh_grace           interval NOT NULL DEFAULT '5 minutes' CHECK (extract(epoch FROM refresh_grace) >= 0 AND refresh_grace <= '100 years'),
    not_before              timestamptz,
    session_check           text NOT NULL DEFAULT 'version' CHECK (session_check IN ('version', 'issued_at', 'none')),
    is_default              boolean NOT NULL DEFAULT false,
    session_lifetime        interval NOT NULL DEFAULT '30 days' CHECK (extract(epoch FROM session_lifetime) > 0 AND session_lifetime <= '100 years'),
    refresh_reuse           interval NOT NULL DEFAULT '10 seconds' CHECK (extract(epoch FROM refresh_reuse) >= 0 AND refresh_reuse <= '1 day'),
    audience_claim          text NOT NULL DEFAULT 'aud' CHECK (audience_claim <> '' AND audience_claim !~ '^/.*~([^01]|$)'
                            AND audience_claim NOT IN ('iss', 'exp', 'nbf', 'iat', 'jti', 'device_hash')),
    required_claims         jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(required_claims) = 'object'
                            AND NOT pg_catalog.jsonb_path_exists(required_claims, '$.keyvalue() ? (@.key == "" || @.key like_regex "^/.*~([^01]|$)")')),
    token_types             text[] NOT NULL DEFAULT '{"",JWT,at+jwt}' CHECK (pg_catalog.cardinality(token_types) > 0 AND pg_catalog.array_position(token_types, NULL) IS NULL
                            AND NOT pg_catalog.replace(pg_catalog.lower(token_types::text), 'application/', '')::text[] && '{sso+jwt,logout+jwt,secevent+jwt,dpop+jwt,kb+jwt,token-introspection+jwt,oauth-authz-req+jwt,entity-statement+jwt}'),
    role_claim              text NOT NULL DEFAULT 'role' CHECK (role_claim <> '' AND role_claim !~ '^/.*~([^01]|$)'),
    numeric_subject         boolean NOT NULL DEFAULT false,
    require_user            boolean NOT NULL DEFAULT true,
    user_column             text CHECK (user_column <> ''),
    identity_provider       text CHECK (identity_provider <> ''),
    jwks_uri                text CHECK (pg_catalog.octet_length(jwks_uri) <= 2048
                            AND jwks_uri ~* '^(https://([a-z0-9._-]+|[[][0-9a-f:.]+[]])|http://(localhost|127([.][0-9]{1,3}){3}|[[]::1[]]))(:[0-9]{1,5})?([/?][!-~]*)?$'
                            AND jwks_uri !~ '[#{}<>"^`|\\]'),
    security_events         boolean NOT NULL DEFAULT false,
    event_audience          text[] CHECK (pg_catalog.cardinality(event_audience) > 0 AND pg_catalog.array_position(event_audience, NULL) IS NULL
                            AND '' <> ALL (event_audience)),
    CHECK (user_claim <> version_claim),
    CONSTRAINT issuers_user_claim_pointer CHECK (user_claim !~ '^/.*~([^01]|$)'),
    CONSTRAINT issuers_version_claim_pointer CHECK (version_claim !~ '^/.*~([^01]|$)'),
    CONSTRAINT issuers_user_column_session_check CHECK (user_column IS NULL OR session_check <> 'none'),
    CONSTRAINT issuers_identity_provider_session_check CHECK (identity_provider IS NULL OR session_check <> 'none'),
    CONSTRAINT issuers_identity_provider_user_column CHECK (identity_provider IS NULL OR user_column IS NULL),
    CONSTRAINT issuers_issuer_template CHECK (issuer !~ '[{}]' OR issuer ~ '^[^{}]*[{][^{}]+[}][^{}]*$' AND pg_catalog.strpos(issuer, '{iss}') = 0)
);
CREATE UNIQUE INDEX issuers_one_default ON auth.issuers (is_default) WHERE is_default;

COMMENT ON TABLE auth.issuers IS 'Issuers whose tokens are trusted, with the rules for their claims. Ordinary INSERT, UPDATE and DELETE.';
COMMENT ON COLUMN auth.issuers.issuer IS 'The iss claim, compared exactly. Empty: the issuer of tokens without iss. With one {claim} in it: a template, and the token''s own claim stands in the place in its iss.';
COMMENT ON COLUMN auth.issuers.audience IS 'Accepted aud values; any overlap passes. Empty: tokens of this issuer carry no aud, and one that does is refused.';
COMMENT ON COLUMN auth.issuers.user_claim IS 'The claim that holds the user''s id: a name, or a JSON Pointer that begins with /.';
COMMENT ON COLUMN auth.issuers.version_claim IS 'The claim that holds the session version: a name, or a JSON Pointer that begins with /.';
COMMENT ON COLUMN auth.issuers.require_session_version IS 'False: a token without the version claim counts as version 0. True: it is refused.';
COMMENT ON COLUMN auth.issuers.leeway IS 'Clock skew that exp, nbf and iat forgive.';
COMMENT ON COLUMN auth.issuers.token_ttl IS 'Lifetime of tokens issued here.';
COMMENT ON COLUMN auth.issuers.refresh_grace IS 'How long after exp a token can still be refreshed.';
COMMENT ON COLUMN auth.issuers.not_before IS 'Kill switch: tokens issued before it, or without iat, are refused.';
COMMENT ON COLUMN auth.issuers.session_check IS 'version: the session_version must match the user''s row. issued_at: the token must be younger than the user''s last bump. none: no users row is read.';
COMMENT ON COLUMN auth.issuers.is_default IS 'The issuer used where a function''s issuer argument is NULL; at most one.';
COMMENT ON COLUMN auth.issuers.session_lifetime IS 'How long a session that open_session begins lasts at most. Refreshing does not lengthen it.';
COMMENT ON COLUMN auth.issuers.refresh_reuse IS 'How long after its first use a refresh token still gives another pair: two tabs refresh at once. One that comes later ends the session.';
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

-- Dumped, so without secrets. No foreign key to auth.issuers: a restore loads the two in any order. Triggers make
-- the keys follow their issuer.
CREATE TABLE auth.signing_key_store (
    issuer       text NOT NULL,
    kid          text NOT NULL CHECK (pg_catalog.octet_length(kid) BETWEEN 1 AND 512),
    alg          text NOT NULL,
    public_jwk   jsonb,
    active       boolean NOT NULL DEFAULT false,
    verify_until timestamptz,
    retired      boolean NOT NULL DEFAULT false,
    from_jwks    boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    signs        boolean NOT NULL DEFAULT false,
    origin       text,
    PRIMARY KEY (issuer, kid),
    CONSTRAINT signing_key_store_is_a_key CHECK (public_jwk IS NOT NULL OR signs),
    CONSTRAINT signing_key_store_active_signs CHECK (NOT active OR signs)
);
CREATE UNIQUE INDEX signing_key_store_one_active ON auth.signing_key_store (issuer) WHERE active;

COMMENT ON TABLE auth.signing_key_store IS 'Signing and verification keys, without their secrets. See the view auth.signing_keys.';
COMMENT ON COLUMN auth.signing_key_store.signs IS 'True: made or imported with its secret. auth.signing_secrets holds it, unless a restore has left it out.';
COMMENT ON COLUMN auth.signing_key_store.origin IS 'The installation (auth.installation) in which the key was added. A key of another one came with a dump: it verifies nothing until all of that dump is here that can end a token.';

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

CREATE VIEW auth.signing_keys WITH (security_barrier) AS
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

-- Not dumped: a restored database is another installation.
CREATE TABLE auth.installation (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    origin    text NOT NULL DEFAULT pg_catalog.gen_random_uuid()::pg_catalog.text
);
COMMENT ON TABLE auth.installation IS 'Which installation of the extension this is. A signing key keeps the one in which it was added.';
INSERT INTO auth.installation DEFAULT VALUES;

-- Not dumped: a restored database fetches anew. Beside auth.issuers, so that a fetch which brings nothing new is no change of trust.
CREATE TABLE auth.jwks_fetches (
    issuer     text PRIMARY KEY,
    fetched_at timestamptz NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE auth.jwks_fetches IS 'When refresh_jwks last took an issuer''s JWKS, whether or not anything was new in it.';

-- Accounts ---------------------------------------------------------------------------------------

CREATE TABLE auth.attached_tables (
    kind               text PRIMARY KEY CHECK (kind IN ('users', 'api_keys', 'identities')),
    relation           regclass NOT NULL,
    id_column          text,
    version_column     text,
    active_column      text,
    bump_on            text[] NOT NULL DEFAULT '{}',
    user_column        text,
    fingerprint_column text,
    hash_column        text,
    prefix_column      text,
    expires_column     text,
    last_used_column   text,
    trigger_count      integer NOT NULL,
    table_name         text,
    provider_column    text,
    subject_column     text,
    CONSTRAINT attached_tables_columns CHECK (CASE kind
        WHEN 'identities' THEN user_column IS NOT NULL AND provider_column IS NOT NULL AND subject_column IS NOT NULL
        ELSE id_column IS NOT NULL AND version_column IS NOT NULL
    END)
);
COMMENT ON TABLE auth.attached_tables IS 'The application''s tables, as attach_users, attach_api_keys and attach_identities bound them.';
COMMENT ON COLUMN auth.attached_tables.trigger_count IS 'How many triggers keep the table right; with fewer, nothing is verified.';
COMMENT ON COLUMN auth.attached_tables.table_name IS 'What the table was called when it was attached; NULL before 0.2.0.';

CREATE TABLE auth.user_history (
    user_id      text COLLATE "C" PRIMARY KEY,
    bumped_at    timestamptz NOT NULL,
    next_version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);
COMMENT ON TABLE auth.user_history IS 'What must outlive a user''s row: when the sessions were last ended, and what version a new row of that id starts at. An id over 1024 bytes is kept as its SHA-256.';

CREATE TABLE auth.user_floor (
    singleton     boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    bumped_at     timestamptz NOT NULL,
    next_version  bigint NOT NULL DEFAULT 0
);
COMMENT ON TABLE auth.user_floor IS 'The same for more users than auth_ext.bulk_threshold at once: any user may have been bumped at that time, and no new row starts lower.';

-- Not dumped: no identity outlives its connection.
CREATE TABLE auth.unlinked_accounts (
    account uuid PRIMARY KEY,
    mark    bigint NOT NULL
) WITH (fillfactor = 80);
COMMENT ON TABLE auth.unlinked_accounts IS 'Accounts at providers that were unlinked from a user, by 128 bits of the SHA-256 of provider and subject, with a random mark of the last time: an identity of before is over, though the account may be linked again. The nil UUID stands for all accounts.';

-- What ends before its time, or can be used once ---------------------------------------------------

CREATE TABLE auth.revoked_tokens (
    issuer     text NOT NULL,
    jti        text COLLATE "C" NOT NULL,
    user_id    text NOT NULL,
    reason     text NOT NULL,
    revoked_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    keep_until timestamptz NOT NULL,
    PRIMARY KEY (issuer, jti)
);
CREATE INDEX revoked_tokens_keep_until ON auth.revoked_tokens (keep_until);
COMMENT ON TABLE auth.revoked_tokens IS 'Single tokens that were revoked, refreshed or, for SSO, exchanged. Kept until none of them could be verified or refreshed any more, also when their issuer is deleted or renamed. A jti over 1024 bytes is kept as its SHA-256. Under auth_ext:event and the issuer: events that were received. Under auth_ext:sid and the issuer: sessions that the issuer has ended.';

-- Without a unique key: the first revocations of an issuer must not wait for one another, and a restore may
-- bring the row twice. One or several say the same.
CREATE TABLE auth.revoking_issuers (
    issuer text NOT NULL
);
ALTER TABLE auth.revoking_issuers REPLICA IDENTITY FULL;
COMMENT ON TABLE auth.revoking_issuers IS 'Issuers of which a token was ever revoked: of the others none is looked up.';

CREATE TABLE auth.sso_handoffs (
    handoff_hash    text COLLATE "C" PRIMARY KEY,
    issuer          text NOT NULL,
    user_id         text NOT NULL,
    session_version bigint,
    issued_at       timestamptz NOT NULL,
    target_app      text NOT NULL,
    return_url      text,
    expires_at      timestamptz NOT NULL,
    used_at         timestamptz
);
CREATE INDEX sso_handoffs_expires_at ON auth.sso_handoffs (expires_at);
COMMENT ON TABLE auth.sso_handoffs IS 'Hand-offs of single sign-on, by the SHA-256 of their id.';

CREATE TABLE auth.one_time_tokens (
    token_hash text COLLATE "C" PRIMARY KEY,
    user_id    text COLLATE "C" NOT NULL,
    purpose    text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz,
    ip_address inet,
    user_agent text
);
-- A newer token takes the place of an unused older one.
CREATE UNIQUE INDEX one_time_tokens_unused ON auth.one_time_tokens (pg_catalog.md5(user_id), purpose) WHERE used_at IS NULL;
CREATE INDEX one_time_tokens_expires_at ON auth.one_time_tokens (expires_at) WHERE used_at IS NULL;
CREATE INDEX one_time_tokens_used_at ON auth.one_time_tokens (used_at) WHERE used_at IS NOT NULL;
COMMENT ON TABLE auth.one_time_tokens IS 'One-time tokens for e-mail verification, password reset and the like, by their SHA-256.';

-- Sessions that a person can see --------------------------------------------------------------------
-- One row a login. Refreshing touches no indexed column, and leaves room for the row's next version on its page.

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

-- The log of events --------------------------------------------------------------------------------
-- Not dumped, none of it: cursors of another cluster or database start anew.

CREATE TABLE auth.invalidation_log (
    xid        xid8 NOT NULL,
    n          bigint NOT NULL,
    event      text NOT NULL,
    relayed    boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (xid, n)
);
COMMENT ON TABLE auth.invalidation_log IS 'Every event, written by the transaction that it is about. Read it by auth.invalidations_since.';
COMMENT ON COLUMN auth.invalidation_log.xid IS 'The transaction, by which a cursor knows whether it has seen it.';
COMMENT ON COLUMN auth.invalidation_log.n IS 'The order within the transaction.';
COMMENT ON COLUMN auth.invalidation_log.relayed IS 'True: the relay sends it. False: the transaction itself did, or nobody was to.';

CREATE TABLE auth.invalidation_pruned (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    began     xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    max_xid   xid8 NOT NULL DEFAULT '0'
);
COMMENT ON TABLE auth.invalidation_pruned IS 'What the log does not hold any more: cursors that have not seen it are too old.';
COMMENT ON COLUMN auth.invalidation_pruned.began IS 'The transaction that made the log.';
COMMENT ON COLUMN auth.invalidation_pruned.max_xid IS 'The last transaction whose events were pruned.';
INSERT INTO auth.invalidation_pruned DEFAULT VALUES;

CREATE TABLE auth.relay_position (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    cursor    text NOT NULL,
    sent_at   timestamptz
) WITH (fillfactor = 20);
COMMENT ON TABLE auth.relay_position IS 'How far the relay is.';
COMMENT ON COLUMN auth.relay_position.cursor IS 'The events before it are sent.';

-- Dumped with the database: without them no token would verify after a restore, and deleted users'
-- tokens would come back to life.
SELECT pg_catalog.pg_extension_config_dump('auth.issuers', '');
SELECT pg_catalog.pg_extension_config_dump('auth.signing_key_store', '');
SELECT pg_catalog.pg_extension_config_dump('auth.attached_tables', '');
SELECT pg_catalog.pg_extension_config_dump('auth.user_floor', '');
SELECT pg_catalog.pg_extension_config_dump('auth.sso_handoffs', '');
SELECT pg_catalog.pg_extension_config_dump('auth.one_time_tokens', '');
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
SELECT pg_catalog.pg_extension_config_dump('auth.sessions', '');
SELECT pg_catalog.pg_extension_config_dump('auth.session_issuers',
    'UNION ALL SELECT ''auth_ext:restored '' || i.origin || '' '' || md5(pg_current_snapshot()::text || current_database())
         FROM auth.installation AS i');
