-- A key that comes while a connection is open: what importing it costs, beside :keys others, and what that connection's next verification costs.
\set QUIET on
SET client_min_messages = warning;
CREATE PROCEDURE measure_key_changes(name text, times int) LANGUAGE plpgsql AS
$$
DECLARE
    known text := (SELECT token FROM tokens WHERE n = 1);
    started timestamptz;
    imported timestamptz;
BEGIN
    PERFORM dblink_connect('other', format('host=%s dbname=%s user=postgres', current_setting('unix_socket_directories'), current_database()));
    -- The first is for the caches of both connections.
    FOR n IN 0..times LOOP
        PERFORM auth.verify_jwt(known);
        COMMIT;
        started := clock_timestamp();
        PERFORM * FROM dblink('other', format('SELECT auth.import_signing_key(%L, ''HS256'', kid => %L)', md5('new'), 'new')) AS imported (kid text);
        imported := clock_timestamp();
        PERFORM auth.verify_jwt(known);
        IF n > 0 THEN
            INSERT INTO measured VALUES
                (name || 'import', extract(epoch FROM imported - started) * 1000000),
                (name || 'next', extract(epoch FROM clock_timestamp() - imported) * 1000000);
        END IF;
        COMMIT;
        started := clock_timestamp();
        PERFORM * FROM dblink('other', 'SELECT auth.create_signing_key(alg => ''EdDSA'', kid => ''made'')') AS made (kid text);
        IF n > 0 THEN
            INSERT INTO measured VALUES (name || 'create', extract(epoch FROM clock_timestamp() - started) * 1000000);
        END IF;
        DELETE FROM auth.signing_key_store WHERE kid IN ('new', 'made');
        COMMIT;
    END LOOP;
    PERFORM dblink_disconnect('other');
END
$$;
CALL measure_key_changes('keys ' || :'keys' || ' ', :times);
DROP PROCEDURE measure_key_changes;
