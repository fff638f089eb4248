-- Takes the extension's objects out of it, so that pg_dump shows them one by one.
DO $$
DECLARE
    command text;
BEGIN
    -- One after the other: since PostgreSQL 17, a table takes the type of its arrays with it.
    LOOP
        SELECT format('ALTER EXTENSION auth_ext DROP %s %s', o.type, o.identity)
        INTO command
        FROM pg_depend AS d, pg_identify_object(d.classid, d.objid, 0) AS o
        WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
          AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'auth_ext')
        ORDER BY d.classid = 'pg_type'::regclass LIMIT 1;
        EXIT WHEN NOT FOUND;
        EXECUTE command;
    END LOOP;
END
$$;
