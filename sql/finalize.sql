-- At most one default issuer: the first row becomes it, and a row that is made the default takes the place
-- of the former one.
CREATE FUNCTION auth.keep_one_default_issuer() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    -- One at a time. Not by locking auth.issuers itself: two that have begun to insert would deadlock.
    LOCK TABLE auth.revoking_issuers IN SHARE ROW EXCLUSIVE MODE;
    IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT FROM auth.issuers AS i WHERE i.is_default) THEN
        NEW.is_default := true;
    ELSIF NEW.is_default AND (TG_OP = 'INSERT' OR NOT OLD.is_default) THEN
        UPDATE auth.issuers AS i SET is_default = false WHERE i.is_default AND i.issuer <> NEW.issuer;
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
    IF NOT EXISTS (SELECT FROM auth.revoking_issuers AS r WHERE r.issuer = NEW.issuer) THEN
        INSERT INTO auth.revoking_issuers (issuer) VALUES (NEW.issuer);
    END IF;
    RETURN NULL;
END
$$;
COMMENT ON FUNCTION auth.mark_revoking_issuer() IS 'Trigger function: remembers the issuers of which a token was ever revoked.';

-- PostgreSQL gives a new partition the row triggers of its parent, but not those of TRUNCATE.
CREATE FUNCTION auth.cover_partitions() RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    parent_trigger record;
BEGIN
    FOR parent_trigger IN
        SELECT p.relid::regclass AS partition, t.tgname AS name,
               replace(
                   pg_get_triggerdef(t.oid), format(' ON %s ', a.relation), format(' ON %s ', p.relid::regclass)
               ) AS definition
        FROM auth.attached_tables AS a
        JOIN pg_class AS c ON c.oid = a.relation AND c.relkind = 'p'
        JOIN pg_trigger AS t ON t.tgrelid = a.relation AND starts_with(t.tgname, 'zzzz_auth_ext_8_truncate')
        CROSS JOIN LATERAL pg_partition_tree(a.relation) AS p
        WHERE p.level > 0
          AND NOT EXISTS (SELECT FROM pg_trigger AS own WHERE own.tgrelid = p.relid AND own.tgname = t.tgname)
    LOOP
        EXECUTE parent_trigger.definition;
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', parent_trigger.partition, parent_trigger.name);
    END LOOP;
END
$$;
COMMENT ON FUNCTION auth.cover_partitions() IS 'Gives partitions of attached tables the trigger for TRUNCATE where they lack it.';

CREATE FUNCTION auth.cover_new_partitions() RETURNS event_trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM auth.cover_partitions();
END
$$;
COMMENT ON FUNCTION auth.cover_new_partitions() IS 'Event trigger function: calls cover_partitions.';

CREATE EVENT TRIGGER auth_ext_cover_new_partitions ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE')
    EXECUTE FUNCTION auth.cover_new_partitions();
ALTER EVENT TRIGGER auth_ext_cover_new_partitions ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER auth_ext_cover_new_partitions IS 'Gives new partitions of attached tables the trigger for TRUNCATE.';

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
CREATE TRIGGER mark_issuer AFTER INSERT OR UPDATE ON auth.revoked_tokens
    FOR EACH ROW EXECUTE FUNCTION auth.mark_revoking_issuer();
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

-- Where users and their history both arrive by logical replication, the users' own triggers have written it already:
-- the higher of the two holds.
CREATE FUNCTION auth.merge_history() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_trigger_depth() > 1 THEN
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' THEN
        NEW.bumped_at := greatest(OLD.bumped_at, NEW.bumped_at);
        NEW.next_version := greatest(OLD.next_version, NEW.next_version);
        RETURN NEW;
    ELSIF TG_TABLE_NAME = 'user_history' THEN
        UPDATE auth.user_history AS h
        SET bumped_at = greatest(h.bumped_at, NEW.bumped_at), next_version = greatest(h.next_version, NEW.next_version)
        WHERE h.user_id = NEW.user_id;
    ELSE
        UPDATE auth.user_floor AS f
        SET bumped_at = greatest(f.bumped_at, NEW.bumped_at), next_version = greatest(f.next_version, NEW.next_version);
    END IF;
    IF FOUND THEN
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
    auth.jwt(), auth.claim(text), auth.role(), auth.require_user(), auth.pre_request()
    TO PUBLIC;
