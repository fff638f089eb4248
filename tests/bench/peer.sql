-- What PostgREST serves: notes without a policy, so that all requests run the same query.
\set QUIET on
CREATE ROLE web;
CREATE ROLE authenticator LOGIN NOINHERIT;
GRANT web TO authenticator;
CREATE SCHEMA peer;
CREATE TABLE peer.notes (id bigint PRIMARY KEY, body text);
INSERT INTO peer.notes SELECT n, 'x' FROM generate_series(1, 1000) AS n;
GRANT USAGE ON SCHEMA peer TO web;
GRANT SELECT ON peer.notes TO web;
SELECT auth.grant_access('web', 'application') \g /dev/null
