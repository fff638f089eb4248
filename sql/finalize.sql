-- Trigger functions find the other tables by the schema of their own (TG_TABLE_SCHEMA): a schema that is called auth may be
-- somebody else's, after a rename.

-- At most one default issuer: the first row becomes it, and a row that is made the default takes the place
-- of the former one.
CREATE FUNCTION auth.keep_one_default_issuer() RETURNS trigger
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

CREATE TRIGGER keep_one_default BEFORE INSERT OR UPDATE OF is_default ON auth.issuers
    FOR EACH ROW EXECUTE FUNCTION auth.keep_one_default_issuer();

-- Whoever writes a revocation, the issuer is one whose tokens are looked up from then on.
CREATE FUNCTION auth.mark_revoking_issuer() RETURNS trigger
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

-- Whoever writes a session, the issuer is one whose sessions are looked up from then on.
CREATE FUNCTION auth.mark_session_issuer() RETURNS trigger
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

CREATE VIEW auth.activity AS
SELECT a.pid, a.user_id, a.issuer, a.kind, a.scope, a.token_id, a.session_id, a.since, a.expires_at
FROM auth.activity() AS a;
COMMENT ON VIEW auth.activity IS 'Who is authenticated on which connection of this database: at most one row each, the identity that user_id() answers for there. Ended ones are not listed. Needs the preloaded library.';

-- PostgreSQL gives a new partition the row triggers of its parent, but not those of TRUNCATE.
CREATE EVENT TRIGGER auth_ext_follow_tables ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE SCHEMA', 'ALTER TABLE')
    EXECUTE FUNCTION auth.follow_tables();
ALTER EVENT TRIGGER auth_ext_follow_tables ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER auth_ext_follow_tables IS 'Gives new partitions of attached tables the trigger for TRUNCATE, and warns when an attached table is renamed.';

-- The signal that makes every backend read its keys and bindings anew. ENABLE ALWAYS: also where the
-- change arrives by logical replication or under session_replication_role = replica.
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.issuers
    FOR EACH ROW EXECUTE FUNCTION auth.trust_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.issuers
    FOR EACH STATEMENT EXECUTE FUNCTION auth.trust_changed();
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.signing_key_store
    FOR EACH ROW EXECUTE FUNCTION auth.trust_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.signing_key_store
    FOR EACH STATEMENT EXECUTE FUNCTION auth.trust_changed();
-- Fires for rows that arrive by replication. What writes a secret here announces its key.
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.signing_secrets
    FOR EACH ROW EXECUTE FUNCTION auth.trust_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.signing_secrets
    FOR EACH STATEMENT EXECUTE FUNCTION auth.trust_changed();
-- The marks of a dump: with the last of them its keys verify.
CREATE TRIGGER announce_mark AFTER INSERT OR UPDATE ON auth.revoked_tokens
    FOR EACH ROW WHEN (NEW.issuer OPERATOR(pg_catalog.=) 'auth_ext:restored')
    EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_mark AFTER INSERT OR UPDATE ON auth.user_history
    FOR EACH ROW WHEN (pg_catalog.starts_with(NEW.user_id, 'auth_ext:restored '))
    EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.attached_tables
    FOR EACH ROW EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.attached_tables
    FOR EACH STATEMENT EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.user_floor
    FOR EACH ROW EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.user_floor
    FOR EACH STATEMENT EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.revoking_issuers
    FOR EACH ROW EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.revoking_issuers
    FOR EACH STATEMENT EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER mark_issuer AFTER INSERT OR UPDATE OF issuer ON auth.sessions
    FOR EACH ROW EXECUTE FUNCTION auth.mark_session_issuer();
CREATE TRIGGER announce_row AFTER INSERT OR UPDATE OR DELETE ON auth.session_issuers
    FOR EACH ROW EXECUTE FUNCTION auth.configuration_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.session_issuers
    FOR EACH STATEMENT EXECUTE FUNCTION auth.configuration_changed();
ALTER TABLE auth.sessions ENABLE ALWAYS TRIGGER mark_issuer;
ALTER TABLE auth.session_issuers ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.session_issuers ENABLE ALWAYS TRIGGER announce_truncate;
CREATE TRIGGER mark_issuer AFTER INSERT OR UPDATE ON auth.revoked_tokens
    FOR EACH ROW EXECUTE FUNCTION auth.mark_revoking_issuer();
ALTER TABLE auth.signing_secrets ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.signing_secrets ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.revoked_tokens ENABLE ALWAYS TRIGGER announce_mark;
ALTER TABLE auth.user_history ENABLE ALWAYS TRIGGER announce_mark;
ALTER TABLE auth.revoking_issuers ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.revoking_issuers ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.revoked_tokens ENABLE ALWAYS TRIGGER mark_issuer;
ALTER TABLE auth.user_floor ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.user_floor ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.issuers ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.issuers ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.signing_key_store ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.signing_key_store ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.attached_tables ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.attached_tables ENABLE ALWAYS TRIGGER announce_truncate;

-- What foreign keys would do, without their order of loading: keys, fetches, hand-offs and sessions follow their issuer, secrets their key.
-- Revocations stay as they are: a token names the issuer that it was signed for, and if an issuer of that name
-- comes back, what was revoked stays revoked.
CREATE FUNCTION auth.keys_follow_issuer() RETURNS trigger
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

CREATE FUNCTION auth.secrets_follow_key() RETURNS trigger
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

-- A key that arrives by replication is as good as one that was added here.
CREATE FUNCTION auth.take_in_key() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    NEW.origin := NULL;
    RETURN NEW;
END
$$;
COMMENT ON FUNCTION auth.take_in_key() IS 'Trigger function: a replicated key did not come with a dump.';

CREATE TRIGGER take_in_replicated BEFORE INSERT OR UPDATE ON auth.signing_key_store
    FOR EACH ROW EXECUTE FUNCTION auth.take_in_key();
ALTER TABLE auth.signing_key_store ENABLE REPLICA TRIGGER take_in_replicated;
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.installation
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
ALTER TABLE auth.installation ENABLE REPLICA TRIGGER keep_out_replicated;

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

-- Where users and their history both arrive by logical replication, the users' own triggers have written it already:
-- the higher of the two holds.
CREATE FUNCTION auth.merge_history() RETURNS trigger
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

CREATE TRIGGER merge_replicated BEFORE INSERT OR UPDATE ON auth.user_history
    FOR EACH ROW EXECUTE FUNCTION auth.merge_history();
CREATE TRIGGER merge_replicated BEFORE INSERT OR UPDATE ON auth.user_floor
    FOR EACH ROW EXECUTE FUNCTION auth.merge_history();
ALTER TABLE auth.user_history ENABLE REPLICA TRIGGER merge_replicated;
ALTER TABLE auth.user_floor ENABLE REPLICA TRIGGER merge_replicated;

-- The log is this server's own. ENABLE REPLICA: where a publication FOR ALL TABLES brings another's.
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.invalidation_log
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.invalidation_pruned
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.relay_position
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
ALTER TABLE auth.relay_position ENABLE REPLICA TRIGGER keep_out_replicated;
ALTER TABLE auth.invalidation_log ENABLE REPLICA TRIGGER keep_out_replicated;
ALTER TABLE auth.invalidation_pruned ENABLE REPLICA TRIGGER keep_out_replicated;
-- So are the marks of unlinked accounts: the identities table's own triggers leave them here.
CREATE TRIGGER keep_out_replicated BEFORE INSERT OR UPDATE OR DELETE ON auth.unlinked_accounts
    FOR EACH ROW EXECUTE FUNCTION auth.keep_out_replicated();
ALTER TABLE auth.unlinked_accounts ENABLE REPLICA TRIGGER keep_out_replicated;

INSERT INTO auth.relay_position (cursor) VALUES (auth.invalidation_cursor());

-- Privileges -------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA auth TO PUBLIC;

-- From everybody: PUBLIC, and whoever the database's default privileges would let in.
DO $$
DECLARE
    command text;
BEGIN
    FOR command IN
        SELECT pg_catalog.format(
                   'REVOKE ALL ON %s %s FROM %s',
                   o.kind,
                   o.name,
                   CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::pg_catalog.regrole::text END)
        FROM pg_catalog.pg_extension AS e
        JOIN pg_catalog.pg_depend AS d
            ON d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.refobjid = e.oid
            AND d.deptype = 'e'
        CROSS JOIN LATERAL (
            SELECT 'TABLE' AS kind, c.oid::pg_catalog.regclass::text AS name, c.relacl AS acl, c.relowner AS owner
            FROM pg_catalog.pg_class AS c
            WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = d.objid
              AND c.relkind IN ('r', 'v')
            UNION ALL
            SELECT 'FUNCTION', p.oid::pg_catalog.regprocedure::text,
                   coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner)), p.proowner
            FROM pg_catalog.pg_proc AS p
            WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.objid
        ) AS o
        CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) AS a
        WHERE e.extname = 'auth_ext' AND a.grantee <> o.owner
        GROUP BY o.kind, o.name, a.grantee
    LOOP
        EXECUTE command;
    END LOOP;
END
$$;

-- What only reads its argument, or publishes what is public.
GRANT EXECUTE ON FUNCTION auth.verify_jwt(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.check_jwt(text, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.verify_jwt_claims(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.decode_jwt(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.api_key_fingerprint(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.jwks(text) TO PUBLIC;
-- The caller's own identity.
GRANT EXECUTE ON FUNCTION
    auth.authenticate(text, text), auth.authenticate_api_key(text, text), auth.logout(), auth.user_id(), auth.uid(),
    auth.jwt(), auth.claim(text), auth.role(), auth.require_user(), auth.pre_request(),
    auth.my_sessions(), auth.end_my_session(text), auth.end_my_other_sessions(),
    auth.user_id_bigint(), auth.roles(), auth.try_authenticate(text, text), auth.require_recent(interval, text)
    TO PUBLIC;

-- Whoever watches the server watches this, too: what profile monitoring of grant_access has.
GRANT EXECUTE ON FUNCTION auth.health(), auth.statistics(), auth.activity() TO pg_monitor;
GRANT SELECT ON TABLE auth.activity TO pg_monitor;

-- pg_dump reads what is dumped as whoever runs it, and locks the rest: the owner of the database needs no more than this.
GRANT SELECT ON TABLE
    auth.issuers, auth.signing_key_store, auth.attached_tables, auth.user_history, auth.user_floor, auth.revoked_tokens,
    auth.revoking_issuers, auth.sso_handoffs, auth.one_time_tokens, auth.sessions, auth.session_issuers,
    auth.installation
    TO pg_database_owner;
