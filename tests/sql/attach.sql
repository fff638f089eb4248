-- Attaching the application's tables.
CREATE TABLE users (id text PRIMARY KEY, password_hash text, is_active boolean, name text);
INSERT INTO users VALUES ('alice', 'a', true, 'Alice'), ('bob', 'b', true, 'Bob');
SELECT auth.attach_users('users', bump_on => '{password_hash}');

-- The missing version column is there, and says 0.
SELECT attname, atttypid::regtype, attnotnull FROM pg_attribute WHERE attrelid = 'users'::regclass AND attname = 'session_version';
SELECT auth.session_version('alice'), auth.session_version('nobody') AS unknown, auth.session_version(NULL) AS of_null;
SELECT kind, relation, id_column, version_column, active_column, bump_on FROM auth.attached_tables;
-- Our triggers fire after all others, and also where logical replication applies a change.
SELECT DISTINCT tgname LIKE 'zzzz\_auth\_ext\_%' AS fires_last, tgenabled FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal;

-- The version rises with a bump_on column and with deactivation, whatever way the row changes; not with anything else.
CREATE VIEW versions AS SELECT id, session_version FROM users ORDER BY id;
UPDATE users SET name = 'A.', password_hash = 'a' WHERE id = 'alice';
TABLE versions;
UPDATE users SET password_hash = 'new' WHERE id = 'alice';
TABLE versions;
UPDATE users SET is_active = false WHERE id = 'alice';
TABLE versions;
UPDATE users SET is_active = true WHERE id = 'alice';
TABLE versions;
UPDATE users SET is_active = NULL WHERE id = 'alice';
TABLE versions;
UPDATE users SET password_hash = NULL, is_active = true WHERE id = 'alice';
TABLE versions;
-- It never goes down, and is raised once in an UPDATE.
UPDATE users SET session_version = 0;
TABLE versions;
UPDATE users SET session_version = 0, password_hash = 'again' WHERE id = 'alice';
TABLE versions;
UPDATE users SET session_version = 40, password_hash = 'again, but higher' WHERE id = 'alice';
TABLE versions;
INSERT INTO users VALUES ('bob', 'other') ON CONFLICT (id) DO UPDATE SET password_hash = excluded.password_hash;
TABLE versions;
-- Ending every session of a user, by hand.
SELECT auth.bump_session_version('alice'), auth.bump_session_version('bob', 'stolen laptop');
SELECT auth.bump_session_version('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.bump_session_version(NULL);
\echo :LAST_ERROR_SQLSTATE
BEGIN;
SELECT auth.bump_session_version('alice');
ROLLBACK;
TABLE versions;

-- Deleting a user and inserting the same id again starts above all that was.
DELETE FROM users WHERE id = 'alice';
SELECT auth.session_version('alice') IS NULL AS is_gone;
INSERT INTO users (id, is_active) VALUES ('alice', true);
TABLE versions;
-- A change of the id counts as deletion, and so does TRUNCATE.
UPDATE users SET id = 'alice b.' WHERE id = 'alice';
INSERT INTO users (id, is_active) VALUES ('alice', true);
TABLE versions;
TRUNCATE users;
INSERT INTO users (id, is_active) VALUES ('alice', true), ('alice b.', true), ('bob', true), ('carol', true);
TABLE versions;

-- Attaching once more changes the binding; another table is refused until this one is detached.
SELECT auth.attach_users('users', bump_on => '{name}');
UPDATE users SET password_hash = 'x' WHERE id = 'carol';
UPDATE users SET name = 'Carol' WHERE id = 'carol';
TABLE versions;
CREATE TABLE others (id int);
SELECT auth.attach_users('others');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.detach_users();
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'users'::regclass AND NOT tgisinternal;
TABLE versions;
SELECT auth.session_version('carol');
\echo :LAST_ERROR_SQLSTATE
SELECT auth.detach_users() AS again;
DROP VIEW versions;
DROP TABLE users;
-- Another application's users from here on: what the history says of these ids is of the former's.
DELETE FROM auth.user_history;

-- Every type of id; a text that does not convert is an unknown user, not an error.
SET client_min_messages = warning;
CREATE TABLE by_bigint (id bigint PRIMARY KEY);
INSERT INTO by_bigint VALUES (42), (-1);
SELECT auth.attach_users('by_bigint');
SELECT id, auth.session_version(id)
FROM (VALUES ('42'), ('-1'), ('43'), ('42x'), (''), ('4.2e1'), ('9223372036854775808'), ('99999999999999999999999')) AS ids(id);
SELECT auth.detach_users();
CREATE TABLE by_integer (id integer PRIMARY KEY);
INSERT INTO by_integer VALUES (42);
SELECT auth.attach_users('by_integer');
SELECT id, auth.session_version(id) FROM (VALUES ('42'), ('2147483648'), ('alice')) AS ids(id);
SELECT auth.detach_users();
CREATE TABLE by_uuid (id uuid PRIMARY KEY);
INSERT INTO by_uuid VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8');
SELECT auth.attach_users('by_uuid');
SELECT id, auth.session_version(id)
FROM (VALUES ('6ba7b810-9dad-11d1-80b4-00c04fd430c8'), ('6BA7B810-9DAD-11D1-80B4-00C04FD430C8'), ('6ba7b8109dad11d180b400c04fd430c8'),
    ('6ba7b810-9dad-11d1-80b4-00c04fd430c9'), ('6ba7b810'), ('6ba7b810-9dad-11d1-80b4-00c04fd430cg')) AS ids(id);
SELECT auth.detach_users();
CREATE TABLE by_varchar (id varchar(10) PRIMARY KEY);
INSERT INTO by_varchar VALUES ('alice');
SELECT auth.attach_users('by_varchar');
SELECT id, auth.session_version(id) FROM (VALUES ('alice'), ('alice '), ('ALICE'), ('longer than any')) AS ids(id);
SELECT auth.detach_users();

-- Odd names are names.
CREATE SCHEMA "My ""Schema";
CREATE TABLE "My ""Schema"."the users" ("the ""id" int PRIMARY KEY, "is it?" boolean DEFAULT true, "pass word" text);
INSERT INTO "My ""Schema"."the users" VALUES (1);
SELECT auth.attach_users('"My ""Schema"."the users"', 'the "id', 'Session Version', 'is it?', '{"pass word"}');
UPDATE "My ""Schema"."the users" SET "pass word" = 'x';
UPDATE "My ""Schema"."the users" SET "is it?" = false;
SELECT auth.session_version('1'), auth.bump_session_version('1');
SELECT auth.detach_users();
DROP TABLE "My ""Schema"."the users";
DROP SCHEMA "My ""Schema";

-- No id is too long to be bumped, whatever index its table has.
CREATE TABLE long_ids (id text);
INSERT INTO long_ids SELECT string_agg(md5(n::text), '') FROM generate_series(1, 200) AS n;
SELECT auth.attach_users('long_ids');
SELECT spec.outcome('SELECT auth.bump_session_version(id) FROM long_ids');
SELECT spec.outcome('DELETE FROM long_ids RETURNING ''deleted''');
SELECT auth.detach_users();
DROP TABLE long_ids;

-- What cannot be attached, and why.
CREATE TABLE odd (id int, computed int GENERATED ALWAYS AS (id + 1) STORED, j json, session_version text, yes int);
CREATE VIEW a_view AS SELECT 1 AS id;
CREATE TEMP TABLE passing (id int);
CREATE TABLE parted (id int) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted DEFAULT;
SELECT call, regexp_replace(spec.outcome(format('SELECT auth.attach_users(%s)', call)), 'pg_temp_\d+', 'pg_temp') AS outcome
FROM (VALUES
    ($$NULL$$), ($$'a_view'$$), ($$'passing'$$), ($$'part'$$), ($$'pg_class'$$), ($$'auth.issuers'$$), ($$0$$), ($$4294967295::oid$$),
    ($$'odd', 'nosuch'$$), ($$'odd', 'j'$$), ($$'odd', 'computed'$$), ($$'odd', NULL$$), ($$'odd', 'ctid'$$), ($$'odd'$$),
    ($$'others', active_column => 'nosuch'$$), ($$'odd', version_column => 'v', active_column => 'yes'$$),
    ($$'others', bump_on => '{nosuch}'$$), ($$'others', bump_on => '{NULL}'$$),
    ($$'others', bump_on => '{id}'$$), ($$'odd', version_column => 'v', bump_on => '{computed}'$$)
) AS calls(call);
-- One column cannot be two things.
CREATE TABLE narrow (id int, user_id text);
SELECT left(spec.outcome($$ SELECT auth.attach_users('narrow', version_column => 'id') $$), 5) AS users,
    left(spec.outcome($$ SELECT auth.attach_api_keys('narrow', version_column => 'id') $$), 5) AS version_is_id,
    left(spec.outcome($$ SELECT auth.attach_api_keys('narrow', fingerprint_column => 'user_id') $$), 5) AS fingerprint_is_user;
SELECT count(*) AS attached FROM auth.attached_tables;

-- API keys: the same, with what caches need.
CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, key_hash text, is_active boolean, expires_at timestamp);
INSERT INTO keys VALUES ('uak_1', 42, 'x', true);
SELECT auth.attach_api_keys('keys');
\x
SELECT * FROM auth.attached_tables;
\x
UPDATE keys SET session_version = -1, is_active = false;
SELECT * FROM keys;
SELECT call, spec.outcome(format('SELECT auth.attach_api_keys(%s)', call))
FROM (VALUES
    ($$NULL$$), ($$'a_view'$$), ($$'others'$$), ($$'keys', user_column => 'nosuch'$$), ($$'keys', hash_column => 'nosuch'$$),
    ($$'keys', fingerprint_column => 'is_active'$$), ($$'keys', version_column => 'id'$$), ($$'keys', expires_column => 'id'$$)
) AS calls(call);
SELECT auth.detach_api_keys();
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'keys'::regclass AND NOT tgisinternal;
DROP VIEW a_view;
DROP TABLE passing, keys, odd, others, narrow, parted, by_bigint, by_integer, by_uuid, by_varchar;
DELETE FROM auth.user_history;
