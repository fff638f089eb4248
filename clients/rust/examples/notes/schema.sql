-- The tables of the sample application, and what its role may do. Run by the owner of the database.
CREATE EXTENSION auth_ext;

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email         text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    is_active     boolean NOT NULL DEFAULT true
);
SELECT auth.attach_users('users', bump_on => '{password_hash}');

CREATE TABLE api_keys (
    id           text PRIMARY KEY,
    user_id      bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name         text,
    is_active    boolean NOT NULL DEFAULT true,
    expires_at   timestamptz,
    last_used_at timestamptz
);
SELECT auth.attach_api_keys('api_keys');

INSERT INTO auth.issuers (issuer, audience) VALUES ('https://notes.example', '{notes}');
SELECT auth.create_signing_key();

CREATE TABLE notes (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner bigint NOT NULL DEFAULT auth.user_id_bigint() REFERENCES users ON DELETE CASCADE,
    title text NOT NULL
);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = auth.user_id_bigint());

CREATE ROLE web LOGIN;
SELECT auth.grant_access('web', 'application');
SELECT auth.grant_access('web', 'listener');
GRANT SELECT (id, email, password_hash), INSERT (email, password_hash) ON users TO web;
GRANT SELECT, INSERT (title) ON notes TO web;
