CREATE EXTENSION auth_ext;
CREATE TABLE users (id bigint PRIMARY KEY, email text, is_active boolean NOT NULL DEFAULT true);
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example', '{api}');
SELECT auth.create_signing_key(alg => 'HS256');
SELECT auth.attach_users('users', bump_on => '{email}');
INSERT INTO users (id) SELECT generate_series(1, 100);

CREATE ROLE app LOGIN IN ROLE pg_monitor;
SELECT auth.grant_access('app', 'application');
SELECT auth.grant_access('app', 'listener');
GRANT SELECT ON users TO app;
