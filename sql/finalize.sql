-- At most one default issuer: the first row becomes it, and a row that is made the default takes the place
-- of the former one.
CREATE FUNCTION auth.keep_one_default_issuer() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
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
    FOR EACH ROW EXECUTE FUNCTION auth.attached_tables_changed();
CREATE TRIGGER announce_truncate AFTER TRUNCATE ON auth.attached_tables
    FOR EACH STATEMENT EXECUTE FUNCTION auth.attached_tables_changed();
ALTER TABLE auth.issuers ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.issuers ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.signing_key_store ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.signing_key_store ENABLE ALWAYS TRIGGER announce_truncate;
ALTER TABLE auth.attached_tables ENABLE ALWAYS TRIGGER announce_row;
ALTER TABLE auth.attached_tables ENABLE ALWAYS TRIGGER announce_truncate;

-- Privileges -------------------------------------------------------------------------------------

GRANT USAGE ON SCHEMA auth TO PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA auth FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA auth FROM PUBLIC;

-- What only reads its argument, or publishes what is public.
GRANT EXECUTE ON FUNCTION auth.verify_jwt(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.check_jwt(text, jsonb) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.verify_jwt_claims(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.decode_jwt(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.api_key_fingerprint(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION auth.jwks(text) TO PUBLIC;
