-- What the service needs, once, by the owner of the database. The service connects as the role `notes_service`.
CREATE EXTENSION auth_ext;

CREATE TABLE users (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE,
    password_salt bytea NOT NULL,
    password_hash bytea NOT NULL,
    is_active boolean NOT NULL DEFAULT true
);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    name text NOT NULL,
    is_active boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    last_used_at timestamptz
);

CREATE TABLE notes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner bigint NOT NULL DEFAULT auth.user_id_bigint() REFERENCES users ON DELETE CASCADE,
    body text NOT NULL
);

INSERT INTO auth.issuers (issuer, audience) VALUES ('https://notes.example', '{notes}');
SELECT auth.create_signing_key(alg => 'ES256');
SELECT auth.attach_users('users', bump_on => '{password_hash}');
SELECT auth.attach_api_keys('api_keys');

ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON notes USING (owner = auth.user_id_bigint());

DO $$ BEGIN CREATE ROLE notes_service LOGIN; EXCEPTION WHEN duplicate_object THEN END $$;
SELECT auth.grant_access('notes_service', 'application');
SELECT auth.grant_access('notes_service', 'listener');
GRANT SELECT, INSERT ON users TO notes_service;
GRANT SELECT, INSERT, DELETE ON notes TO notes_service;
