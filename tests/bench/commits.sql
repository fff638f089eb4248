-- Users to bump, and a plain table of the same shape.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION auth_ext;
CREATE TABLE plain (id bigint PRIMARY KEY, password_hash text, session_version bigint NOT NULL DEFAULT 0) WITH (fillfactor = 50);
INSERT INTO plain SELECT n, 'x' FROM generate_series(1, 100000) AS n;
CREATE TABLE users (LIKE plain INCLUDING ALL) WITH (fillfactor = 50);
INSERT INTO users TABLE plain;
SELECT auth.attach_users('users', bump_on => '{password_hash}') \g /dev/null
VACUUM ANALYZE;
