-- A backend that verifies token after token, each another: what it grows by.
\set QUIET on
SET client_min_messages = warning;
CREATE PROCEDURE measure_memory(tokens int) LANGUAGE plpgsql AS
$$
DECLARE
    rss float8[];
BEGIN
    -- The first tokens fill the cache.
    FOR half IN 0..2 LOOP
        PERFORM count(auth.verify_jwt_claims(auth.issue_jwt('42', session_version => 0, issuer => 'https://HS256')))
        FROM generate_series(1, CASE half WHEN 0 THEN 10 ELSE tokens / 2 END);
        rss := rss || (SELECT substring(pg_read_file('/proc/self/status') FROM 'VmRSS:\s*(\d+)')::float8 / 1024);
    END LOOP;
    INSERT INTO measured VALUES ('memory first half', rss[2] - rss[1]), ('memory second half', rss[3] - rss[2]);
END
$$;
CALL measure_memory(:tokens);
