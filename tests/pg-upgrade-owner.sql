-- Gives a database that tests/pg-upgrade-fill.sql has filled to the role keeper: all but the extension.
SELECT format('ALTER DATABASE %I OWNER TO keeper', current_database()) \gexec
ALTER SCHEMA public OWNER TO keeper;
SELECT format('ALTER TABLE %s OWNER TO keeper', oid::regclass)
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') \gexec
