//! From 0.1.0 to the version of today: `ALTER EXTENSION auth_ext UPDATE` on a database with data.

use auth_ext_tests::{Ask, Client, Cluster, ISSUER, shared};

const OLD: &str = "0.1.0";

/// A database at 0.1.0 with something of all that 0.1.0 keeps.
fn old_database(cluster: &Cluster) -> String {
    let db = cluster.empty_database("upgrade");
    let mut a = cluster.connect(&db);
    a.run(&format!("CREATE EXTENSION auth_ext VERSION '{OLD}'"));
    a.run(&format!(
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('{ISSUER}', '{{app.example.com}}');
         SELECT auth.create_signing_key(kid => 'first'), auth.rotate_signing_key();
         SELECT auth.import_signing_key('auth-ext-upgrade-secret-0123456789abcdef', 'HS256', kid => 'hmac');
         CREATE TABLE users (id bigint PRIMARY KEY, email text, is_active boolean NOT NULL DEFAULT true);
         INSERT INTO users VALUES (41), (42), (43);
         SELECT auth.attach_users('users', bump_on => '{{email}}');
         CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, is_active boolean NOT NULL DEFAULT true);
         SELECT auth.attach_api_keys('keys');
         SELECT auth.bump_session_version('42')"
    ));
    db
}

fn update(client: &mut Client) {
    client.run("ALTER EXTENSION auth_ext UPDATE");
}

/// The extension's objects as pg_dump writes them, with their privileges. Leaves the database without its extension.
fn objects(cluster: &Cluster, db: &str) -> Vec<String> {
    cluster
        .connect(db)
        .run(include_str!("../without-extension.sql"));
    let dump = cluster.dump_with(db, &["--schema-only"]);
    let mut lines: Vec<_> = dump
        .lines()
        // A random word since the minor releases of August 2025.
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(str::to_owned)
        .collect();
    lines.retain(|line| !line.is_empty());
    lines
}

#[test]
fn an_updated_database_has_the_objects_of_a_fresh_one() {
    let cluster = shared();
    let updated = cluster.empty_database("upgrade");
    cluster
        .connect(&updated)
        .run(&format!("CREATE EXTENSION auth_ext VERSION '{OLD}'"));
    update(&mut cluster.connect(&updated));
    let fresh = cluster.database("upgrade");
    let (updated, fresh) = (objects(cluster, &updated), objects(cluster, &fresh));
    assert!(fresh.len() > 500, "a dump that holds the objects");
    for (number, (updated, fresh)) in updated.iter().zip(&fresh).enumerate() {
        assert_eq!(updated, fresh, "line {number} of the dump");
    }
    assert_eq!(updated.len(), fresh.len());
}

#[test]
fn what_held_before_the_update_holds_afterwards() {
    let cluster = shared();
    let db = old_database(cluster);
    let mut a = cluster.connect(&db);
    let token = a.issue("41");
    a.run("SELECT auth.activate_signing_key('hmac')");
    let of_hmac = a.issue("43");
    let before_bump = a.issue("42");
    let ended = a.issue("41");
    a.run(&format!("SELECT auth.revoke_jwt('{ended}')"));
    a.bump("42");
    let key: String = a.one("SELECT key FROM auth.create_api_key('41', 'ci')", &[]);
    let mail: String = a.one(
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        &[],
    );
    let cursor: String = a.one("SELECT auth.invalidation_cursor()", &[]);
    a.bump("43");
    let verdicts = |a: &mut Client| {
        [&token, &of_hmac, &before_bump, &ended]
            .map(|token| a.verdict(token))
            .to_vec()
    };
    let expected = [
        "valid",
        "session_version_mismatch",
        "session_version_mismatch",
        "revoked",
    ];
    // The new library in front of the old tables.
    let mut b = cluster.connect(&db);
    assert_eq!(verdicts(&mut b), expected);
    update(&mut a);
    let mut c = cluster.connect(&db);
    for client in [&mut a, &mut b, &mut c] {
        assert_eq!(verdicts(client), expected);
    }
    let renewed = c.issue("43");
    assert_eq!(c.verdict(&renewed), "valid", "the key kept its secret");
    let used: String = c.one("SELECT user_id FROM auth.verify_api_key($1)", &[&key]);
    assert_eq!(used, "41");
    let user: String = c.one(
        "SELECT auth.consume_one_time_token($1, 'password_reset')",
        &[&mail],
    );
    assert_eq!(user, "41");
    let events: i64 = c.one(
        "SELECT count(*) FROM auth.invalidations_since($1) WHERE event ->> 'id' = '43'",
        &[&cursor],
    );
    assert_eq!(events, 1, "an event from before the update");
    c.run("DELETE FROM users WHERE id = 42; INSERT INTO users (id) VALUES (42)");
    assert_eq!(c.version("42"), Some(3), "the history of before the update");
}

#[test]
fn what_the_administrator_granted_stays_granted_and_is_in_a_dump() {
    let cluster = shared();
    let db = old_database(cluster);
    let mut a = cluster.connect(&db);
    a.run(
        "CREATE ROLE upgraded_app;
         GRANT EXECUTE ON FUNCTION auth.verify_api_key(text), auth.issue_jwt, auth.health() TO upgraded_app;
         REVOKE EXECUTE ON FUNCTION auth.decode_jwt(text), auth.check_jwt(text, jsonb) FROM PUBLIC;
         GRANT SELECT ON auth.issuers TO upgraded_app",
    );
    update(&mut a);
    for (what, expected) in [
        (
            "has_function_privilege('upgraded_app', 'auth.verify_api_key(text)', 'EXECUTE')",
            true,
        ),
        (
            "has_function_privilege('upgraded_app', 'auth.health()', 'EXECUTE')",
            true,
        ),
        (
            "has_function_privilege('upgraded_app', 'auth.check_jwt(text, jsonb)', 'EXECUTE')",
            false,
        ),
        (
            "has_function_privilege('upgraded_app', 'auth.decode_jwt(text)', 'EXECUTE')",
            false,
        ),
        (
            "has_function_privilege('upgraded_app', 'auth.verify_jwt(text)', 'EXECUTE')",
            true,
        ),
        (
            "has_table_privilege('upgraded_app', 'auth.issuers', 'SELECT')",
            true,
        ),
        (
            "has_table_privilege('upgraded_app', 'auth.issuers', 'INSERT')",
            false,
        ),
    ] {
        let has: bool = a.one(&format!("SELECT {what}"), &[]);
        assert_eq!(has, expected, "{what}");
    }
    let dump = cluster.dump(&db);
    for granted in ["auth.verify_api_key(", "auth.health("] {
        assert!(
            dump.lines().any(|line| line.starts_with("GRANT")
                && line.contains(granted)
                && line.contains("upgraded_app")),
            "{granted} in the dump"
        );
    }
}

#[test]
fn a_dump_of_the_old_version_is_restored_into_it_and_updated() {
    let cluster = shared();
    let db = old_database(cluster);
    let mut a = cluster.connect(&db);
    let [token, ended] = ["41", "41"].map(|user| a.issue(user));
    a.run(&format!("SELECT auth.revoke_jwt('{ended}')"));
    let health: Option<i64> = a.one("SELECT verifying_keys FROM auth.health()", &[]);
    assert_eq!(
        health,
        Some(3),
        "the new library in front of the old tables"
    );
    a.run(
        r#"SELECT auth.import_jwks('{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"jwks","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}');
         SELECT auth.retire_signing_key('jwks'), auth.jwks()"#,
    );
    let dump = cluster.dump(&db);
    let back = cluster.empty_database("upgrade");
    let mut b = cluster.connect(&back);
    b.run(&format!("CREATE EXTENSION auth_ext VERSION '{OLD}'"));
    let schema = dump
        .lines()
        .filter(|line| !line.starts_with("CREATE SCHEMA auth"))
        .collect::<Vec<_>>();
    cluster.psql(&back, &schema.join("\n"));
    update(&mut b);
    let mut c = cluster.connect(&back);
    assert_eq!(c.verdict(&token), "valid");
    assert_eq!(c.verdict(&ended), "revoked");
    let renewed = c.issue("41");
    assert_eq!(c.verdict(&renewed), "valid", "the old dump has the secrets");
    let old = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'auth.signing_key_store'::regclass AND attname = 'secret'";
    assert_eq!(c.one::<i64>(old, &[]), 0);
}

#[test]
fn no_secret_is_left_where_it_was() {
    let cluster = shared();
    let db = old_database(cluster);
    let mut a = cluster.connect(&db);
    a.run("SELECT auth.create_signing_key(alg => 'RS256') FROM generate_series(1, 3); ANALYZE auth.signing_key_store");
    let toast = "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'auth.signing_key_store'::regclass";
    update(&mut a);
    let toast: String = a.one(toast, &[]);
    let left = format!("SELECT count(*) FROM {toast} WHERE chunk_data IS NOT NULL");
    assert_eq!(a.one::<i64>(&left, &[]), 0);
    let statistics = "SELECT count(*) FROM pg_statistic AS s JOIN pg_attribute AS t ON t.attrelid = s.starelid AND t.attnum = s.staattnum
                      WHERE s.starelid = 'auth.signing_key_store'::regclass AND t.attisdropped";
    assert_eq!(a.one::<i64>(statistics, &[]), 0);
    assert_eq!(
        a.one::<i64>("SELECT count(*) FROM auth.signing_secrets", &[]),
        6
    );
}
