-- decode_jwt shows header and payload, unverified. It asks for no issuer, no key and no table.
SELECT jsonb_pretty(auth.decode_jwt(
    'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcl8wMUFSWjNOREVLVFNWNFJSRkZRNjlHNUZBViIsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJpc3MiOiJhcGkucm9ib3N5c3RlbXMuYWkiLCJhdWQiOlsicm9ib3N5c3RlbXMuYWkiLCJyb2JvbGVkZ2VyLmFpIiwicm9ib2ludmVzdG9yLmFpIl19.LtM48bVYMxIq8aZVCvvCmnTo8tD7WQWoSn7w_RaQ3IA'));
SELECT auth.decode_jwt(NULL) IS NULL AS null_of_null;

-- The signature, the algorithm and the claims are not judged.
SELECT auth.decode_jwt(spec.token('{}', '{"alg":"none","typ":"logout+jwt"}'));
SELECT auth.decode_jwt(spec.token('{"exp":"never","iss":7}'));

-- Nothing is altered: numbers of any size, escapes, duplicates below the top level as jsonb takes them.
SELECT auth.decode_jwt(spec.token('{"n":123456789012345678901234567890.5,"s":"\u00e9\ud83d\ude00\/","o":{"a":1,"a":2}}'))->'payload';

-- What is no token under the contract's rules is not shown.
SELECT auth.decode_jwt('a.b.c');
\echo :LAST_ERROR_SQLSTATE
SELECT spec.outcome($$ SELECT auth.decode_jwt(spec.token('[]')) $$);
SELECT spec.outcome($$ SELECT auth.decode_jwt(spec.token('{}', '{"alg":"HS256","crit":["b64"]}')) $$);
SELECT spec.outcome($$ SELECT auth.decode_jwt('') $$);
