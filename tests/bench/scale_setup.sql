-- A database whose tables grow (tests/bench/scale): users with tokens, revocations, sessions, events.
\set QUIET on
SET client_min_messages = warning;
CREATE EXTENSION auth_ext;
\ir measured.sql
CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, session_version bigint NOT NULL DEFAULT 0) WITH (fillfactor = 90);
SELECT auth.attach_users('users') \g /dev/null
INSERT INTO auth.issuers (issuer, audience) VALUES ('https://scale.test', '{bench}');
SELECT auth.import_signing_key('0123456789abcdef0123456789abcdef', 'HS256', 'https://scale.test') \g /dev/null
CREATE TABLE tokens (n int PRIMARY KEY, user_id text, token text NOT NULL);
CREATE TABLE opened (n int PRIMARY KEY, user_id text, session_id text, refresh_token text) WITH (fillfactor = 50);

-- A thousand places all over the table: the even ones have tokens, the odd ones are for bumps and sessions.
CREATE FUNCTION user_at(n bigint) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT (1 + n % 1000 * greatest(u.last / 1000, 1))::text FROM (SELECT max(id) AS last FROM users) AS u $$;

-- fill_users, fill_revocations, fill_sessions, fill_log: until there are so many.
CREATE PROCEDURE fill_users(size bigint) LANGUAGE plpgsql AS
$$
DECLARE
    next bigint := coalesce((SELECT max(id) FROM users), 0) + 1;
BEGIN
    -- In pieces, since the trigger remembers the new rows of a statement.
    WHILE next <= size LOOP
        INSERT INTO users SELECT n, 'user' || n || '@example.com' FROM generate_series(next, least(next + 999999, size)) AS n;
        COMMIT;
        next := next + 1000000;
    END LOOP;
    TRUNCATE tokens;
    INSERT INTO tokens SELECT n, user_at(2 * n), auth.issue_jwt(user_at(2 * n), issuer => 'https://scale.test', ttl => '1 day')
    FROM generate_series(1, 400) AS n;
END
$$;
-- Over already: what nobody has pruned is looked up all the same.
CREATE PROCEDURE fill_revocations(size bigint) LANGUAGE sql AS
$$
    SELECT auth.revoke_jwt(auth.issue_jwt(user_at(0), issuer => 'https://scale.test'));
    INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
    SELECT 'https://scale.test', md5(n::text), n::text, 'logout', now() - make_interval(secs => n / 100.0)
    FROM generate_series(2 + (SELECT count(*) FROM auth.revoked_tokens), size + 1) AS n;
$$;
-- Nobody has their tokens; everything else is as open_session writes it.
CREATE PROCEDURE fill_sessions(size bigint) LANGUAGE sql AS
$$
    SELECT auth.open_session(user_at(0), issuer => 'https://scale.test');
    INSERT INTO auth.sessions (session_id, issuer, user_id, session_version, family_hash, refresh_tokens, label, created_at, last_used_at,
        expires_at)
    SELECT md5('session' || n), 'https://scale.test', (n % u.last + 1)::text, 0, sha256(n::text::bytea),
        jsonb_build_array(jsonb_build_array(md5(n::text) || md5(n::text), NULL)), 'Laptop', now(), now(), now() + '30 days'
    FROM (SELECT max(id) AS last FROM users) AS u, generate_series(1 + (SELECT count(*) FROM auth.sessions), size) AS n;
$$;
-- Old enough to be pruned, a hundred in a transaction; those of before are gone.
CREATE PROCEDURE fill_log(size bigint) LANGUAGE plpgsql AS
$$
BEGIN
    PERFORM pg_sleep(1.1), set_config('auth_ext.log_retention', '1', true);
    PERFORM auth.prune();
    COMMIT;
    FOR turn IN 1..size / 100 LOOP
        INSERT INTO auth.invalidation_log (xid, n, event, relayed, created_at)
        SELECT pg_current_xact_id(), n, format('{"v":1,"kind":"user","id":"%s","session_version":3,"reason":"logout_everywhere"}', n),
            false, now() - interval '2 hours'
        FROM generate_series(1, 100) AS n;
        COMMIT;
    END LOOP;
END
$$;
