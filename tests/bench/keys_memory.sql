-- The memory that a backend has for itself, of a database with :keys keys: one key met, all met. No token is remembered.
\set QUIET on
SET client_min_messages = warning;
SET auth_ext.verified_cache_size = 0;
PREPARE rss (text) AS
INSERT INTO measured SELECT $1, substring(pg_read_file('/proc/self/status') FROM 'RssAnon:\s*(\d+)')::float8 / 1024;
SELECT 'keys ' || :'keys' || ' memory ' AS name \gset
SELECT count(auth.verify_jwt(token)) FROM tokens AS t, generate_series(1, 1000) WHERE t.n = 1 \g /dev/null
EXECUTE rss(:'name' || 'one');
SELECT count(auth.verify_jwt(token)) FROM tokens \g /dev/null
EXECUTE rss(:'name' || 'all');
