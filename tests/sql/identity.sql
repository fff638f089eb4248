-- Row-level security by auth.user_id(): who sees what, and the plans.
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app.test}');
SELECT auth.import_signing_key('auth-ext-regression-secret-0123456789abcdef', 'HS256', kid => 'hmac');
SET client_min_messages = warning;
CREATE TABLE users (id text PRIMARY KEY, is_active boolean DEFAULT true, session_version int DEFAULT 3);
INSERT INTO users VALUES ('alice', true), ('bob', true), ('ffffffff-0000-4000-8000-00000000000f', true);
SELECT auth.attach_users('users');
SELECT auth.issue_jwt('alice', claims => '{"role": "editor", "teams": [7, 8], "big": 123456789012345678901234567890, "yes": true}') AS alice,
    auth.issue_jwt('bob') AS bob, auth.issue_jwt('ffffffff-0000-4000-8000-00000000000f') AS uuid \gset

-- Nobody is authenticated.
SELECT auth.user_id(), auth.uid(), auth.jwt(), auth.claim('sub'), auth.role();
SELECT auth.require_user();
\echo :LAST_ERROR_SQLSTATE

BEGIN;
SELECT auth.authenticate(:'alice') - '{exp,iat,jti}'::text[] AS claims;
SELECT auth.user_id(), auth.uid(), auth.require_user(), auth.role(), auth.jwt() ->> 'sub' AS sub;
SELECT name, auth.claim(name) FROM unnest('{teams,big,yes,none,NULL,session_version}'::text[]) AS name;
SELECT auth.authenticate(:'uuid') ->> 'sub' AS sub, auth.uid();
SELECT auth.logout();
SELECT auth.user_id();
COMMIT;

-- A policy by its author, who knows one function.
CREATE ROLE regress_auth_reader;
CREATE TABLE docs (id int PRIMARY KEY, owner text NOT NULL, team int, body text);
CREATE TABLE members (team int, user_id text, PRIMARY KEY (team, user_id));
INSERT INTO docs SELECT n, CASE n % 100 WHEN 1 THEN 'alice' WHEN 2 THEN 'bob' ELSE 'user_' || n % 100 END, n % 50, 'x' FROM generate_series(1, 5000) AS n;
INSERT INTO members VALUES (7, 'alice'), (8, 'bob');
CREATE INDEX docs_owner ON docs (owner);
ALTER TABLE docs ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON docs USING (owner = auth.user_id());
GRANT ALL ON docs, members TO regress_auth_reader;
GRANT USAGE ON SCHEMA spec TO regress_auth_reader;
ANALYZE docs;

-- A plan in the words of every version: what the InitPlan returns is called $0 or (InitPlan 1).col1.
CREATE FUNCTION spec.plan(query text) RETURNS SETOF text LANGUAGE plpgsql AS
$$
DECLARE
    line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP
        RETURN NEXT regexp_replace(regexp_replace(line, '\(InitPlan (\d)\)\.col1|\$\d', '{identity}', 'g'), ' \(returns .*\)', '');
    END LOOP;
END
$$;

BEGIN;
SET LOCAL ROLE regress_auth_reader;
SELECT auth.authenticate(:'alice') ->> 'sub' AS sub;
SELECT owner, count(*) FROM docs GROUP BY 1;
-- One call a statement, used as an index condition; the same plan as the wrapped form.
SELECT * FROM spec.plan('SELECT * FROM docs');
RESET ROLE;
SELECT * FROM spec.plan('SELECT * FROM docs WHERE owner = auth.user_id()');
SELECT * FROM spec.plan('SELECT * FROM docs WHERE owner = (SELECT auth.user_id())');
-- Without an index.
SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexscan = off;
SELECT * FROM spec.plan('SELECT * FROM docs WHERE owner = auth.user_id()');
SELECT * FROM spec.plan('SELECT * FROM docs WHERE team = auth.claim(''team'')::int AND auth.role() = ''editor''');
-- In a parallel scan, evaluated by the leader.
SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL max_parallel_workers_per_gather = 2;
SELECT line FROM spec.plan('SELECT count(*) FROM docs WHERE owner = auth.user_id()') AS line WHERE line !~ 'Params Evaluated|Workers Planned';
SELECT count(*) FROM docs WHERE owner = auth.user_id();
SET LOCAL max_parallel_workers_per_gather = 0;
-- Where there is nothing to win, the plain call stays.
SELECT * FROM spec.plan('SELECT auth.user_id()');
SELECT * FROM spec.plan('SELECT * FROM docs WHERE body = auth.claim(owner)');
ROLLBACK;

-- Right answers in every place where a query can call it.
BEGIN;
SELECT auth.authenticate(:'alice') ->> 'sub' AS sub;
SELECT count(*) FILTER (WHERE owner = auth.user_id()) AS filtered, max(auth.user_id()) AS who FROM docs;
SELECT auth.user_id() AS who, count(*) FROM docs WHERE id < 10 GROUP BY auth.user_id() HAVING max(auth.user_id()) = auth.user_id() ORDER BY auth.user_id();
SELECT id, count(*) OVER (PARTITION BY auth.user_id()) FROM docs WHERE owner = auth.user_id() ORDER BY id LIMIT length(auth.user_id()) - 3;
SELECT x FROM (VALUES (1, auth.user_id()), (2, 'z' || auth.user_id())) AS v(n, x) ORDER BY n;
SELECT count(*) FROM docs AS d WHERE EXISTS (SELECT FROM members AS m WHERE m.team = d.team AND m.user_id = auth.user_id());
SELECT u FROM unnest(ARRAY[auth.user_id(), auth.user_id()]) AS u, generate_series(1, length(auth.user_id()) - 4) AS n;
SELECT owner FROM docs WHERE owner = auth.user_id() UNION SELECT auth.user_id() || '!' FROM docs ORDER BY 1;
WITH d AS MATERIALIZED (SELECT auth.user_id() AS who FROM docs WHERE id = 1) SELECT who, auth.user_id() = who AS same FROM d;
SELECT CASE WHEN id > 0 THEN auth.user_id() ELSE auth.require_user() END AS who FROM docs WHERE id = 3;
SELECT d.id, l.who FROM docs AS d, LATERAL (SELECT auth.user_id() || d.id AS who OFFSET 0) AS l WHERE d.id = 2;
UPDATE docs SET body = auth.user_id() WHERE id = 1 AND owner = auth.user_id() RETURNING body, auth.user_id() AS who;
DELETE FROM docs WHERE id = 1 AND owner = auth.user_id() RETURNING owner = auth.user_id() AS mine;
MERGE INTO docs AS d USING (SELECT auth.user_id() AS who FROM members LIMIT 1) AS s ON d.owner = s.who AND d.id = 101
    WHEN MATCHED AND auth.user_id() = 'alice' THEN UPDATE SET body = 'merged by ' || auth.user_id();
SELECT body FROM docs WHERE id = 101;
CREATE TABLE made (id int, who text DEFAULT auth.user_id(), CHECK (who = auth.user_id()));
INSERT INTO made (id) SELECT n FROM generate_series(1, 2) AS n RETURNING *;
INSERT INTO made VALUES (3, auth.user_id()), (4, auth.user_id()) RETURNING who;
SAVEPOINT s;
INSERT INTO made VALUES (5, 'bob');
ROLLBACK TO s;
CREATE VIEW mine WITH (security_barrier) AS SELECT id FROM docs WHERE owner = auth.user_id();
SELECT min(id) FROM mine;
CREATE FUNCTION spec.mine(who text DEFAULT auth.user_id()) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM docs WHERE owner = who';
SELECT count(*) FROM spec.mine();
SELECT count(*) FROM docs WHERE id IN (SELECT spec.mine());
-- Beside EXISTS that stays one, and in GROUPING SETS, the plain call stays: the planner would not take the sub-select there.
SELECT count(*) FROM docs AS d WHERE d.id < 5 OR EXISTS (SELECT FROM members AS m WHERE m.team = d.team AND m.user_id = auth.user_id());
SELECT d.id, EXISTS (SELECT FROM members AS m WHERE m.team = d.team AND m.user_id = auth.user_id()) AS member, auth.user_id() AS who FROM docs AS d WHERE d.id IN (7, 8) ORDER BY 1;
SELECT count(*) FROM docs AS d WHERE NOT (d.owner = auth.user_id() OR NOT EXISTS (SELECT FROM members AS m WHERE m.team = d.team AND m.user_id = auth.user_id() LIMIT 1));
SELECT CASE WHEN EXISTS (SELECT FROM members AS m WHERE m.user_id = auth.user_id()) THEN 'yes' END AS any_team FROM docs WHERE id = 2 UNION ALL SELECT auth.user_id() FROM docs WHERE id = 3;
SELECT auth.user_id() AS who, count(*) FROM docs GROUP BY GROUPING SETS ((auth.user_id()), ()) ORDER BY 1;
DROP POLICY own ON docs;
CREATE POLICY member ON docs USING (owner = auth.user_id() OR EXISTS (SELECT FROM members AS m WHERE m.team = docs.team AND m.user_id = auth.user_id()));
SET LOCAL ROLE regress_auth_reader;
SELECT count(*), count(*) FILTER (WHERE owner = auth.user_id()) AS own FROM docs;
UPDATE docs SET body = 'seen' WHERE id IN (7, 8);
SELECT body FROM docs WHERE id IN (7, 8);
RESET ROLE;
CREATE TABLE parts (owner text, n int) PARTITION BY LIST (owner);
CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('alice');
CREATE TABLE parts_b PARTITION OF parts FOR VALUES IN ('bob');
INSERT INTO parts VALUES ('alice', 1), ('bob', 2);
SELECT * FROM parts WHERE owner = auth.user_id();
ROLLBACK;

-- Declared as they are.
SELECT proname, provolatile, proparallel, proleakproof, proisstrict FROM pg_proc
WHERE prosupport = 'auth.identity_support'::regproc ORDER BY 1;

RESET client_min_messages;
SELECT auth.detach_users();
DROP TABLE docs, members, users;
REVOKE USAGE ON SCHEMA spec FROM regress_auth_reader;
DROP ROLE regress_auth_reader;
DELETE FROM auth.issuers;
DELETE FROM auth.user_history;
