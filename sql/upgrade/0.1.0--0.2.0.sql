-- Tables, views, triggers and data: what a fresh install has and 0.1.0 had not. See README.md beside this file.

-- Functions whose result or arguments have changed: dropped here, made anew below.

-- One row is a value, and no set any more.
UPDATE pg_catalog.pg_proc AS p
SET proretset = false, prorows = 0
WHERE p.oid OPERATOR(pg_catalog.=) ANY (ARRAY[
    'auth.check_jwt(text, jsonb)', 'auth.complete_sso(text, jsonb)', 'auth.create_api_key(text, text, timestamptz, text)',
    'auth.verify_api_key(text)', 'auth.check_api_key(text)', 'auth.authenticate_request()', 'auth.health()'
]::pg_catalog.regprocedure[]);

-- @functions

-- What needs the new functions: triggers, views.

