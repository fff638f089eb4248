-- The bars of the picture: microseconds of one call.
SELECT label || '|' || median(what) FROM (VALUES
    (1, 'auth_ext: verify_jwt, warm', 'warm HS256'),
    (2, 'a look-up by primary key, in the executor', 'P'),
    (3, 'auth_ext: authenticate, warm', 'authenticate'),
    (4, 'auth_ext: verify_jwt, warm, beside commits', 'busy warm HS256'),
    (5, 'auth_ext: verify_jwt, cold HS256', 'cold HS256'),
    (6, 'auth_ext: verify_jwt, cold RS256', 'cold RS256'),
    (7, 'auth_ext: verify_jwt, cold ES256', 'cold ES256'),
    (8, 'by hand with pgcrypto, HS256, no session', 'H')
) AS bars (n, label, what) ORDER BY n;
