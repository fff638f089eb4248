-- What is measured goes here; tests/bench/report.sql makes the tables of it.
CREATE TABLE measured (what text, us float8);

-- Runs `expression` (of the number g) `times` times, and notes the microseconds of one, without the cost of the loop around it.
CREATE PROCEDURE measure(what text, expression text, times int, source text DEFAULT 'generate_series(1, %s) AS g') LANGUAGE plpgsql AS
$$
DECLARE
    started timestamptz;
    loop_us float8;
    us float8;
BEGIN
    started := clock_timestamp();
    EXECUTE format('SELECT count(g) FROM generate_series(1, %s) AS g', times);
    loop_us := extract(epoch FROM clock_timestamp() - started) * 1000000;
    started := clock_timestamp();
    EXECUTE format('SELECT count(' || expression || ') FROM ' || source, times);
    us := extract(epoch FROM clock_timestamp() - started) * 1000000;
    INSERT INTO measured VALUES (what, greatest(us - loop_us, 0) / times);
    COMMIT;
END
$$;

-- Runs `statement` (of the number $1) `times` times, each in a transaction of its own, and notes the microseconds of one.
CREATE PROCEDURE measure_each(what text, statement text, times int) LANGUAGE plpgsql AS
$$
DECLARE
    started timestamptz := clock_timestamp();
BEGIN
    FOR g IN 1..times LOOP
        EXECUTE statement USING g;
        COMMIT;
    END LOOP;
    INSERT INTO measured VALUES (what, extract(epoch FROM clock_timestamp() - started) * 1000000 / times);
    COMMIT;
END
$$;
