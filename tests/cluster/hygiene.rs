//! What every object of the extension has to keep to, whichever topic it belongs to.

use auth_ext_tests::postgres::types::ToSql;
use auth_ext_tests::{Client, Cluster, Value, assert_reason, json, shared};

/// What PUBLIC may call: what only reads its argument, or the caller's own identity.
const PUBLIC_FUNCTIONS: &[&str] = &[
    "api_key_fingerprint",
    "check_jwt",
    "decode_jwt",
    "jwks",
    "verify_jwt",
    "verify_jwt_claims",
];
const PUBLIC_IDENTITY_FUNCTIONS: &[&str] = &[
    "authenticate",
    "authenticate_api_key",
    "claim",
    "end_my_other_sessions",
    "end_my_session",
    "jwt",
    "logout",
    "my_sessions",
    "pre_request",
    "require_recent",
    "require_user",
    "role",
    "roles",
    "try_authenticate",
    "uid",
    "user_id",
    "user_id_bigint",
];

/// The extension's own objects: `class`, `object`, as pg_depend knows them.
const MEMBERS: &str = "
    SELECT d.classid, d.objid, pg_describe_object(d.classid, d.objid, 0) AS name
    FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'auth_ext'";

#[test]
fn every_function_relation_and_type_has_a_comment() {
    let mut admin = connect("comments");
    let sql = format!(
        "SELECT m.name FROM ({MEMBERS}) m
         WHERE m.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_type'::regclass)
           AND obj_description(m.objid, m.classid::regclass::name) IS NULL
           -- a table's row type, and arrays, are described by what they belong to
           AND NOT EXISTS (SELECT FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
                           WHERE m.classid = 'pg_type'::regclass AND t.oid = m.objid
                             AND (t.typcategory = 'A' OR c.relkind <> 'c'))
         ORDER BY 1"
    );
    assert_none("without a COMMENT", &strings(&mut admin, &sql, &[]));
}

#[test]
fn public_may_execute_only_what_reads_its_argument_or_its_own_identity() {
    let mut admin = connect("executable");
    let sql = format!(
        "SELECT DISTINCT p.proname::text FROM ({MEMBERS}) m JOIN pg_proc p ON p.oid = m.objid,
                LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) acl
         WHERE m.classid = 'pg_proc'::regclass AND acl.grantee = 0 ORDER BY 1"
    );
    let public = strings(&mut admin, &sql, &[]);
    let allowed = [PUBLIC_FUNCTIONS, PUBLIC_IDENTITY_FUNCTIONS].concat();
    let surplus: Vec<_> = public
        .iter()
        .filter(|name| !allowed.contains(&name.as_str()))
        .collect();
    assert_none("executable by PUBLIC", &surplus);

    let sql = format!(
        "SELECT DISTINCT p.proname::text FROM ({MEMBERS}) m JOIN pg_proc p ON p.oid = m.objid
         WHERE m.classid = 'pg_proc'::regclass"
    );
    let existing = strings(&mut admin, &sql, &[]);
    let missing: Vec<_> = PUBLIC_FUNCTIONS
        .iter()
        .chain(
            PUBLIC_IDENTITY_FUNCTIONS
                .iter()
                .filter(|name| existing.iter().any(|e| e == *name)),
        )
        .filter(|name| !public.iter().any(|p| p == *name))
        .collect();
    assert_none("not executable by PUBLIC", &missing);
}

#[test]
fn an_ordinary_role_reaches_the_public_functions_and_no_table() {
    let cluster = shared();
    let db = cluster.database("ordinary");
    let role = format!("role_of_{db}");
    let mut admin = cluster.connect(&db);
    admin
        .batch_execute(&format!("CREATE ROLE {role} LOGIN"))
        .unwrap();

    // Relations: neither as a whole nor by column.
    let sql = format!(
        "SELECT m.name FROM ({MEMBERS}) m JOIN pg_class c ON c.oid = m.objid
         WHERE m.classid = 'pg_class'::regclass AND CASE
             WHEN c.relkind = 'S' THEN has_sequence_privilege($1, c.oid, 'USAGE, SELECT, UPDATE')
             WHEN c.relkind IN ('r', 'v', 'm', 'p', 'f') THEN
                 has_table_privilege($1, c.oid,
                     'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
                 OR has_any_column_privilege($1, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES')
             END
         ORDER BY 1"
    );
    assert_none("open to PUBLIC", &strings(&mut admin, &sql, &[&role]));

    let mut ordinary = cluster.connect_as(&db, &role);
    assert_reason(
        &mut ordinary,
        "SELECT auth.decode_jwt('x')",
        &[],
        "malformed",
    );
}

#[test]
fn security_definer_functions_have_a_search_path_that_ends_with_pg_temp() {
    let mut admin = connect("definer");
    let sql = format!(
        "SELECT m.name FROM ({MEMBERS}) m JOIN pg_proc p ON p.oid = m.objid
         WHERE m.classid = 'pg_proc'::regclass AND p.prosecdef AND NOT EXISTS (
             SELECT FROM unnest(p.proconfig) setting WHERE setting ~ '^search_path=(.*, *)?pg_temp$')
         ORDER BY 1"
    );
    assert_none(
        "SECURITY DEFINER without a safe search_path",
        &strings(&mut admin, &sql, &[]),
    );
}

#[test]
fn the_extension_can_be_dropped_and_created_again() {
    let mut admin = connect("again");
    admin.batch_execute("DROP EXTENSION auth_ext").unwrap();
    let left = strings(
        &mut admin,
        "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE probin LIKE '%auth_ext%'
         UNION SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
         WHERE nspname = 'auth'",
        &[],
    );
    assert_none("left by DROP EXTENSION", &left);
    admin.batch_execute("CREATE EXTENSION auth_ext").unwrap();
    let count: i64 = admin
        .query_one("SELECT count(*) FROM auth.issuers", &[])
        .unwrap()
        .get(0);
    assert_eq!(count, 0, "issuers of the dropped extension");
}

#[test]
fn a_restored_dump_keeps_issuers_keys_and_attached_tables() {
    let cluster = shared();
    let db = cluster.database("dumped");
    let mut before = cluster.connect(&db);
    before
        .batch_execute(
            "CREATE TABLE public.users (id bigint PRIMARY KEY, email text);
             INSERT INTO public.users VALUES (42, 'ada@example.com');
             SELECT auth.attach_users('public.users', bump_on => '{email}');
             INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example.com', '{api}');
             SELECT auth.create_signing_key();
             SELECT auth.import_signing_key('0123456789abcdef0123456789abcdef', 'HS256', kid => 'shared');",
        )
        .unwrap();
    let token = string(&mut before, "SELECT auth.issue_jwt('42')", &[]);

    let restored = restore(cluster, &db);
    let mut after = cluster.connect(&restored);
    for sql in [
        "SELECT auth.jwks()",
        "SELECT jsonb_agg(to_jsonb(k) - 'has_secret' ORDER BY kid) FROM auth.signing_keys k",
    ] {
        assert_eq!(
            value(&mut before, sql, &[]),
            value(&mut after, sql, &[]),
            "{sql}"
        );
    }
    let claims = value(&mut after, "SELECT auth.verify_jwt($1)", &[&token]);
    assert_eq!(claims["sub"], json!("42"));

    // The triggers are there, too: a watched column's change still ends the user's sessions.
    after
        .batch_execute("UPDATE public.users SET email = 'countess@example.com'")
        .unwrap();
    assert_reason(
        &mut after,
        "SELECT auth.verify_jwt($1)",
        &[&token],
        "session_version_mismatch",
    );
}

/// A new database with what pg_dump made of the old one.
fn restore(cluster: &Cluster, db: &str) -> String {
    let restored = cluster.empty_database("restored");
    cluster.psql(&restored, &cluster.dump(db));
    restored
}

fn connect(name: &str) -> Client {
    shared().connect(&shared().database(name))
}

fn strings(client: &mut Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Vec<String> {
    client
        .query(sql, params)
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect()
}

fn string(client: &mut Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> String {
    client.query_one(sql, params).unwrap().get(0)
}

fn value(client: &mut Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Value {
    client.query_one(sql, params).unwrap().get(0)
}

#[track_caller]
fn assert_none<T: std::fmt::Debug>(what: &str, found: &[T]) {
    assert!(found.is_empty(), "{what}: {found:#?}");
}
