-- The fingerprint of an API key: lower-case hex SHA-256, by which caches find and evict it.
SELECT auth.api_key_fingerprint('rfs' || repeat('a', 64));
SELECT auth.api_key_fingerprint('');
SELECT auth.api_key_fingerprint(NULL) IS NULL AS null_of_null;

-- It is that of the UTF-8 octets, whatever they are.
SELECT auth.api_key_fingerprint(key) = encode(sha256(convert_to(key, 'UTF8')), 'hex') AS same
FROM (VALUES ('rfs'), (U&'\00e9\+01f600'), (repeat('k', 100000))) AS keys(key);

-- IMMUTABLE: it can be indexed, and generated from a column that is there already.
CREATE TABLE keys (key text, fingerprint text GENERATED ALWAYS AS (auth.api_key_fingerprint(key)) STORED);
CREATE INDEX ON keys (auth.api_key_fingerprint(key));
INSERT INTO keys VALUES ('a');
SELECT * FROM keys;
DROP TABLE keys;
