-- The parameters: a superuser may SET them, an ordinary role may not.
LOAD 'auth_ext';
SELECT name, setting, unit, vartype, context, min_val, max_val, enumvals
FROM pg_settings WHERE name LIKE 'auth\_ext.%' ORDER BY 1;
SELECT name, short_desc FROM pg_settings WHERE name LIKE 'auth\_ext.%' ORDER BY 1;

-- One that is misspelt is an error, not a silent no-op.
SET auth_ext.max_tokens = 1;
\echo :LAST_ERROR_SQLSTATE
SET auth_ext.notify = 'sometimes';
\echo :LAST_ERROR_SQLSTATE
SET auth_ext.bulk_threshold = 0;
\echo :LAST_ERROR_SQLSTATE

CREATE ROLE regress_auth_app;
SET ROLE regress_auth_app;
SET auth_ext.notify = 'off';
\echo :LAST_ERROR_SQLSTATE
SET auth_ext.max_token_size = '16MB';
\echo :LAST_ERROR_SQLSTATE
SET auth_ext.bulk_threshold = 1;
\echo :LAST_ERROR_SQLSTATE
SET auth_ext.log_retention = '1 day';
\echo :LAST_ERROR_SQLSTATE
SET auth_ext.logical_messages = on;
\echo :LAST_ERROR_SQLSTATE
SELECT set_config('auth_ext.max_token_size', '1MB', true);
\echo :LAST_ERROR_SQLSTATE
ALTER ROLE regress_auth_app SET auth_ext.notify = 'off';
\echo :LAST_ERROR_SQLSTATE
SHOW auth_ext.notify;
RESET ROLE;
DROP ROLE regress_auth_app;

-- max_token_size: in octets, the limit itself included, and looked at before anything else.
SHOW auth_ext.max_token_size;
SELECT reason FROM auth.check_jwt(repeat('x', 16384));
SELECT reason FROM auth.check_jwt(repeat('x', 16385));
SELECT reason FROM auth.check_jwt(repeat(U&'\00e9', 8193));
SET auth_ext.max_token_size = '20kB';
SELECT reason FROM auth.check_jwt(repeat('x', 16385));
SELECT spec.outcome($$ SELECT auth.decode_jwt(repeat('x', 20481)) $$);
RESET auth_ext.max_token_size;
