-- Tables of the application, and who may do what. Run by a superuser in an empty database.
CREATE EXTENSION auth_ext;

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email         text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    is_active     boolean NOT NULL DEFAULT true
);
CREATE TABLE api_keys (
    id         text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    user_id    bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name       text,
    is_active  boolean NOT NULL DEFAULT true,
    expires_at timestamptz
);
CREATE TABLE notes (
    id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner bigint NOT NULL DEFAULT auth.user_id_bigint() REFERENCES users ON DELETE CASCADE,
    text  text NOT NULL
);
CREATE INDEX ON notes (owner);
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = auth.user_id_bigint());

SELECT auth.attach_users('users', bump_on => '{password_hash}');
SELECT auth.attach_api_keys('api_keys');
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://notes.example', '{https://notes.example}');
SELECT auth.create_signing_key();

-- The roles of the two connections. Neither owns a table, so policies hold for both.
CREATE ROLE notes_app LOGIN;
CREATE ROLE notes_listener LOGIN;
SELECT auth.grant_access('notes_app', 'application'), auth.grant_access('notes_listener', 'listener');
-- Drizzle names every column that it knows, the generated ids too.
GRANT SELECT (id, email, password_hash) ON users TO notes_app;
GRANT INSERT (id, email, password_hash) ON users TO notes_app;
GRANT SELECT, INSERT (id, text), DELETE ON notes TO notes_app;
