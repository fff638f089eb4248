-- What every call costs once :grows has :size rows.
\set QUIET on
SET client_min_messages = warning;
SET jit = off;
SET max_parallel_workers_per_gather = 0;
\set name 'scale|' :grows '|' :size '|'
\set all_tokens 'tokens CROSS JOIN generate_series(1, %s / 400) AS g'
-- Nothing is remembered: each token is another user's.
SET auth_ext.verified_cache_size = 0;
CALL measure(:'name' || 'verify_jwt, the first time', 'auth.verify_jwt(token)', :times / 10, :'all_tokens');
RESET auth_ext.verified_cache_size;
SELECT count(auth.verify_jwt(token)) FROM tokens \g /dev/null
CALL measure(:'name' || 'verify_jwt, seen before', 'auth.verify_jwt(token)', :times, :'all_tokens');
-- A transaction that has written looks at the user's row each time.
CALL measure(:'name' || 'verify_jwt, seen before, in a transaction that writes',
    'CASE WHEN pg_current_xact_id() IS NOT NULL THEN auth.verify_jwt(token) END', :times, :'all_tokens');
CALL measure(:'name' || 'authenticate, seen before', 'auth.authenticate(token)', :times, :'all_tokens');
CALL measure_each(:'name' || 'bump_session_version', 'SELECT auth.bump_session_version(user_at(2 * $1 + 1))', :times / 100);
SELECT auth.invalidation_cursor() AS cursor \gset
CALL measure_each(:'name' || 'invalidations_since, at the end', format('SELECT count(*) FROM auth.invalidations_since(%L)', :'cursor'), :times / 100);
SELECT auth.bump_session_version(user_at(1)) FROM generate_series(1, 1) \g /dev/null
CALL measure_each(:'name' || 'invalidations_since, one event', format('SELECT count(*) FROM auth.invalidations_since(%L)', :'cursor'), :times / 100);
TRUNCATE opened;
CALL measure_each(:'name' || 'open_session',
    'INSERT INTO opened SELECT $1, u, s.session_id, s.refresh_token
     FROM user_at(2 * $1 + 1) AS u, auth.open_session(u, issuer => ''https://scale.test'') AS s', :times / 100);
CALL measure_each(:'name' || 'refresh_session',
    'SELECT s.valid FROM opened AS o, auth.refresh_session(o.refresh_token) AS s WHERE o.n = $1', :times / 100);
CALL measure_each(:'name' || 'list_sessions', 'SELECT count(*) FROM opened AS o, auth.list_sessions(o.user_id) WHERE o.n = $1', :times / 100);
CALL measure_each(:'name' || 'end_session', 'SELECT auth.end_session(o.session_id) FROM opened AS o WHERE o.n = $1', :times / 100);
CALL measure_each(:'name' || 'issue_jwt and revoke_jwt',
    'SELECT auth.revoke_jwt(auth.issue_jwt(user_at(2 * $1), issuer => ''https://scale.test''))', :times / 100);
CALL measure_each(:'name' || 'create_signing_key', 'SELECT auth.create_signing_key(alg => ''EdDSA'', issuer => ''https://scale.test'')', 10);
CALL measure_each(:'name' || 'health', 'SELECT auth.health()', 20);
