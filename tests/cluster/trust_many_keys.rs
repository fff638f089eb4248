//! Many keys: each backend reads those that it meets, by the index, and judges them as it would the only one.

use auth_ext_tests::{App, Ask, Client, refused, shared};
use jose::{Algorithm, KeyMaterial, sign_compact};

/// So many keys, of two algorithms, whose kids another collation than C sorts otherwise.
const KEYS: i32 = 300;

/// Former versions of a row, which the index still names.
const MORE: i64 = 8;

fn fill(client: &mut Client) {
    client.run(&format!(
        "SELECT auth.create_signing_key(alg => CASE WHEN n % 4 < 2 THEN 'HS256' ELSE 'EdDSA' END,
             kid => CASE WHEN n % 2 = 0 THEN 'key-' ELSE 'OTHER_' END || n)
         FROM generate_series(1, {KEYS}) AS n"
    ));
}

/// A token that this key signs.
fn issue_by(client: &mut Client, kid: &str) -> String {
    client.run(&format!(
        "SELECT auth.activate_signing_key('{kid}', overlap => '1 day')"
    ));
    client.issue("41")
}

/// How many rows of the table of keys the open transaction has read: by sequential scans, and by its index.
fn rows_read(client: &mut Client) -> (i64, i64) {
    let row = client.rows(
        "SELECT pg_stat_get_xact_tuples_returned('auth.signing_key_store'::regclass),
                pg_stat_get_xact_tuples_returned('auth.signing_key_store_pkey'::regclass)",
        &[],
    );
    (row[0].get(0), row[0].get(1))
}

#[test]
fn a_backend_reads_the_one_key_that_a_token_names() {
    let app = App::new(shared(), "many_keys");
    let mut admin = app.connect();
    fill(&mut admin);
    for kid in ["key-2", "OTHER_151", "OTHER_299", "key-300"] {
        let token = issue_by(&mut admin, kid);
        let mut session = app.connect();
        session.run("BEGIN");
        assert_eq!(session.verdict(&token), "valid", "{kid}");
        let read = rows_read(&mut session);
        assert!(
            read.0 == 0 && (1..=MORE).contains(&read.1),
            "{kid}: {read:?}"
        );
        assert_eq!(session.verdict(&token), "valid", "{kid}");
        assert_eq!(rows_read(&mut session), read, "{kid}");
    }
}

#[test]
fn one_of_many_keys_ends_alone_and_at_once() {
    let app = App::new(shared(), "many_keys_end");
    let (mut admin, mut session) = (app.connect(), app.connect());
    fill(&mut admin);
    let [ends, loses, stays] =
        ["key-150", "OTHER_149", "OTHER_151"].map(|kid| issue_by(&mut admin, kid));
    for token in [&ends, &loses, &stays] {
        assert_eq!(session.verdict(token), "valid");
    }
    admin.run("SELECT auth.retire_signing_key('key-150')");
    assert_eq!(session.verdict(&ends), "unknown_key");
    assert_eq!(session.verdict(&stays), "valid");
    // That is an HMAC key: without its secret nobody can tell.
    admin.run("DELETE FROM auth.signing_secrets WHERE kid = 'OTHER_149'");
    refused(
        session.query("SELECT auth.verify_jwt($1)", &[&loses]),
        "55000",
        None,
    );
    assert_eq!(session.verdict(&stays), "valid");
    // A key that comes is known at once, and one that was rolled back never.
    admin.run("BEGIN; SELECT auth.create_signing_key(kid => 'new')");
    let new = issue_by(&mut admin, "new");
    assert_eq!(admin.verdict(&new), "valid");
    assert_eq!(session.verdict(&new), "unknown_key");
    admin.run("COMMIT; BEGIN; SELECT auth.create_signing_key(kid => 'ghost')");
    let ghost = issue_by(&mut admin, "ghost");
    assert_eq!(admin.verdict(&ghost), "valid");
    admin.run("ROLLBACK");
    assert_eq!(session.verdict(&new), "valid");
    assert_eq!(admin.verdict(&ghost), "unknown_key");
}

#[test]
fn a_token_without_kid_is_tried_with_every_key_of_its_issuer() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let app = App::new(shared(), "many_keys_no_kid");
    let mut admin = app.connect();
    fill(&mut admin);
    admin.rows(
        "SELECT auth.import_signing_key($1, 'HS256', kid => 'OTHER_m')",
        &[&SECRET],
    );
    let key = |secret| {
        KeyMaterial::import(secret, Algorithm::HS256)
            .unwrap()
            .signing_key()
            .unwrap()
            .unwrap()
    };
    let payload: String = admin.one(
        "SELECT (auth.decode_jwt(auth.issue_jwt('41'))->'payload')::text",
        &[],
    );
    let token = |secret| sign_compact(&key(secret), None, "JWT", &payload).unwrap();
    let mut session = app.connect();
    session.run("BEGIN");
    assert_eq!(session.verdict(&token(SECRET)), "valid");
    assert_eq!(
        session.verdict(&token("another-secret-of-the-same-length")),
        "bad_signature"
    );
    let keys = admin.one::<i64>("SELECT count(*) FROM auth.signing_key_store", &[]);
    let read = rows_read(&mut session);
    assert!(
        read.0 == 0 && (keys..=keys + MORE).contains(&read.1),
        "{read:?}"
    );
}

#[test]
fn keys_are_found_in_the_order_of_any_collation() {
    let cluster = shared();
    let db = cluster.empty_database("many_keys_collation");
    let mut admin = cluster.connect("postgres");
    if !admin.one::<bool>(
        "SELECT count(*) > 9 FROM pg_collation WHERE collprovider = 'i'",
        &[],
    ) {
        println!("skipped: this server was built without ICU");
        return;
    }
    admin.run(&format!(r#"DROP DATABASE "{db}""#));
    admin.run(&format!(
        r#"CREATE DATABASE "{db}" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"#
    ));
    let mut admin = cluster.connect(&db);
    admin.run(
        "CREATE EXTENSION auth_ext;
         INSERT INTO auth.issuers (issuer, audience) VALUES ('https://issuer.test', '{app}');
         CREATE TABLE users (id bigint PRIMARY KEY);
         INSERT INTO users VALUES (41);
         SELECT auth.attach_users('users')",
    );
    assert!(admin.one::<bool>("SELECT 'key' < 'OTHER'", &[]), "unlike C");
    fill(&mut admin);
    for kid in [
        "key-2",
        "OTHER_1",
        "OTHER_151",
        "key-150",
        "OTHER_299",
        "key-300",
    ] {
        let token = issue_by(&mut admin, kid);
        let mut session = cluster.connect(&db);
        session.run("BEGIN");
        assert_eq!(session.verdict(&token), "valid", "{kid}");
        assert_eq!(rows_read(&mut session).0, 0, "{kid}");
    }
}
