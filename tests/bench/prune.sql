-- prune() of all that :relation holds, in batches of :batch rows, until nothing is left (of events, what is older than :retention seconds): its time, whether a batch scans the table,
-- and what is left to vacuum.
\set QUIET on
SET client_min_messages = warning;
SET auth_ext.log_retention = :retention;
SELECT pg_sleep(1.1) \g /dev/null
VACUUM ANALYZE auth.:relation;
CREATE PROCEDURE measure_prune(name text, batch int) LANGUAGE plpgsql AS
$$
DECLARE
    removed bigint := 0;
    gone bigint;
    started timestamptz := clock_timestamp();
    us float8;
BEGIN
    LOOP
        gone := auth.prune();
        removed := removed + gone;
        COMMIT;
        EXIT WHEN gone = 0;
    END LOOP;
    us := extract(epoch FROM clock_timestamp() - started) * 1000000;
    started := clock_timestamp();
    PERFORM auth.prune();
    INSERT INTO measured VALUES (name || 'rows', removed), (name || 'all', us), (name || 'batch', us * batch / removed),
        (name || 'idle', extract(epoch FROM clock_timestamp() - started) * 1000000);
END
$$;
SELECT 'prune ' || :'relation' || ' ' AS name, seq_scan AS scans
FROM pg_stat_force_next_flush(), pg_stat_all_tables WHERE schemaname = 'auth' AND relname = :'relation' \gset
CALL measure_prune(:'name', :batch);
SELECT pg_stat_force_next_flush() \g /dev/null
INSERT INTO measured
SELECT :'name' || f.what, f.figure
FROM pg_stat_all_tables AS s, LATERAL (VALUES ('scans', s.seq_scan - :scans), ('dead', s.n_dead_tup)) AS f (what, figure)
WHERE s.schemaname = 'auth' AND s.relname = :'relation';
DROP PROCEDURE measure_prune;
