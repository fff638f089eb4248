//! Where secrets are kept, and who gets at them there: nobody but superusers.

use auth_ext_tests::{App, Ask, Client, refused, shared};

const SECRET: &str = "my-very-secret-hmac-key-0123456789";

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// A role with the predefined ones, and grants on all that can be granted in schema `auth` without a right to make keys.
fn role_with(admin: &mut Client, app: &App<'_>, grants: &str) -> (Client, String) {
    let role = format!("role_{}_{}", app.db, grants.len());
    admin.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT {grants} TO {role}"
    ));
    (shared().connect_as(&app.db, &role), role)
}

/// The text of every table of the database that a client can read, TOAST tables and catalogs included.
fn all_that_is_readable(client: &mut Client) -> String {
    let tables: Vec<String> = client
        .rows(
            "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c
             JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 't', 'm', 'v', 'p') AND n.nspname <> 'information_schema'",
            &[],
        )
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut text = String::new();
    for table in tables {
        let sql = format!("SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} AS t");
        if let Ok(rows) = client.query(&sql, &[]) {
            text.push_str(rows[0].get(0));
        }
    }
    text
}

#[test]
fn whoever_reads_all_data_reads_no_secret_in_a_table_its_toast_or_its_statistics() {
    let app = App::new(shared(), "at_rest");
    let mut admin = app.connect();
    let long = format!("{SECRET}{}", "x".repeat(4_900));
    admin.run(&format!(
        "SELECT auth.import_signing_key('{SECRET}', 'HS256', kid => 'short');
         SELECT auth.import_signing_key('{long}', 'HS512', kid => 'long');
         SELECT auth.create_signing_key(alg => 'RS256', kid => 'rsa');
         SELECT auth.create_signing_key(alg => a, kid => a || n) FROM generate_series(1, 20) AS n, unnest('{{HS256,ES256}}'::text[]) AS a;
         ANALYZE"
    ));
    admin.run("VACUUM ANALYZE auth.signing_secrets");
    let all = all_that_is_readable(&mut admin);
    assert!(all.contains(&hex(SECRET)), "a superuser reads the table");
    let rsa: String = admin.one(
        "SELECT substr(encode(secret, 'hex'), 200, 64) FROM auth.signing_secrets WHERE kid = 'rsa'",
        &[],
    );
    let (mut reader, _) = role_with(
        &mut admin,
        &app,
        "pg_read_all_data, pg_read_all_stats, pg_monitor",
    );
    let seen = all_that_is_readable(&mut reader);
    assert!(seen.contains("\"kid\""), "it reads keys");
    for secret in [SECRET, &hex(SECRET), &rsa] {
        assert!(!seen.contains(secret));
    }
    assert_eq!(
        reader.one::<i64>("SELECT count(*) FROM auth.signing_secrets", &[]),
        0
    );
    assert!(reader.one::<bool>("SELECT bool_and(has_secret) FROM auth.signing_keys", &[]));
    refused(
        reader.batch_execute("SET row_security = off; TABLE auth.signing_secrets"),
        "42501",
        None,
    );
    let kept =
        "SELECT count(*) FROM pg_statistic WHERE starelid = 'auth.signing_secrets'::regclass";
    assert_eq!(admin.one::<i64>(kept, &[]), 0);
}

#[test]
fn whoever_writes_all_data_makes_no_key_and_no_credential() {
    let app = App::new(shared(), "writer");
    let mut admin = app.connect();
    let (mut writer, role) = role_with(&mut admin, &app, "pg_write_all_data, pg_read_all_data");
    let jwk = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    let keys = admin.one::<i64>("SELECT count(*) FROM auth.signing_keys", &[]);
    for sql in [
        format!("INSERT INTO auth.signing_key_store (issuer, kid, alg, public_jwk)
                 SELECT issuer, 'mine', 'EdDSA', '{jwk}' FROM auth.issuers"),
        format!("UPDATE auth.signing_key_store SET alg = 'EdDSA', public_jwk = '{jwk}'"),
        "UPDATE auth.signing_key_store SET verify_until = NULL".to_owned(),
        "DELETE FROM auth.signing_key_store".to_owned(),
        "WITH x AS (INSERT INTO auth.signing_key_store (issuer, kid, alg, public_jwk) VALUES ('i', 'k', 'EdDSA', '{}')) SELECT".to_owned(),
        "INSERT INTO auth.signing_secrets SELECT issuer, kid, '\\x00' FROM auth.signing_key_store".to_owned(),
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('x', '{}')".to_owned(),
        "UPDATE auth.issuers SET session_check = 'none'".to_owned(),
        "INSERT INTO auth.sso_handoffs VALUES ('x', 'i', '41', 0, now(), 'a', NULL, now() + '1 day')".to_owned(),
        "INSERT INTO auth.one_time_tokens (token_hash, user_id, purpose, expires_at) VALUES ('x', '41', 'password_reset', now() + '1 day')".to_owned(),
        "INSERT INTO auth.sessions (session_id, issuer, user_id, family_hash, refresh_tokens, created_at, last_used_at, expires_at)
         VALUES ('s', 'i', '41', '\\x00', '[]', now(), now(), now() + '1 day')".to_owned(),
        "UPDATE auth.sessions SET user_id = '42'".to_owned(),
        "DELETE FROM auth.session_issuers".to_owned(),
        "DELETE FROM auth.revoked_tokens".to_owned(),
        "DELETE FROM auth.revoking_issuers".to_owned(),
        "UPDATE auth.attached_tables SET trigger_count = 0".to_owned(),
        "DELETE FROM auth.user_history".to_owned(),
        "INSERT INTO auth.user_floor (bumped_at, next_version) VALUES (now(), 1)".to_owned(),
        "UPDATE auth.installation SET origin = 'x'".to_owned(),
        "DELETE FROM auth.invalidation_log".to_owned(),
        "UPDATE auth.invalidation_pruned SET max_xid = '0'".to_owned(),
        "DELETE FROM auth.relay_position".to_owned(),
    ] {
        refused(writer.batch_execute(&sql), "42501", None);
    }
    let copy = ["-c", "\\copy auth.signing_key_store FROM '/dev/null'"];
    let complaint = shared().tool("psql", &app.db, &role, &copy).unwrap_err();
    assert!(complaint.contains("permission denied"), "{complaint}");
    // Of no row that it cannot see.
    writer
        .run("UPDATE auth.signing_secrets SET secret = '\\x00'; DELETE FROM auth.signing_secrets");
    assert_eq!(
        admin.one::<i64>(
            "SELECT count(*) FROM auth.signing_keys WHERE has_secret",
            &[]
        ),
        keys
    );
    let token = admin.issue("41");
    assert_eq!(admin.verdict(&token), "valid");
}

#[test]
fn a_grant_on_issuers_is_all_that_its_holder_needs() {
    let app = App::new(shared(), "granted");
    let mut admin = app.connect();
    let role = format!("issuers_{}", app.db);
    admin.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, DELETE ON auth.issuers TO {role};
         GRANT UPDATE (not_before, issuer) ON auth.issuers TO {role}"
    ));
    let mut client = shared().connect_as(&app.db, &role);
    client.run(
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('second', '{a}');
         UPDATE auth.issuers SET not_before = now() WHERE issuer = 'second'",
    );
    admin.run("SELECT auth.create_signing_key('second')");
    client.run("UPDATE auth.issuers SET issuer = 'renamed' WHERE issuer = 'second'");
    let kept = "SELECT count(*) FROM auth.signing_keys WHERE issuer = 'renamed' AND has_secret";
    assert_eq!(admin.one::<i64>(kept, &[]), 1);
    client.run("DELETE FROM auth.issuers WHERE issuer = 'renamed'");
    let left = "SELECT count(*) FROM auth.signing_secrets WHERE issuer IN ('second', 'renamed')";
    assert_eq!(admin.one::<i64>(left, &[]), 0);
}

#[test]
fn keys_and_secrets_follow_their_issuer_and_revocations_stay() {
    let app = App::new(shared(), "follow");
    let mut a = app.connect();
    let count = |a: &mut Client| {
        a.one::<i64>("SELECT (SELECT count(*) FROM auth.signing_key_store) * 10 + (SELECT count(*) FROM auth.signing_secrets)", &[])
    };
    let ended = a.issue("41");
    a.rows("SELECT auth.revoke_jwt($1)", &[&ended]);
    a.run("UPDATE auth.issuers SET issuer = 'other'");
    let token = a.issue("41");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.verdict(&ended), "wrong_issuer");
    a.run("UPDATE auth.issuers SET issuer = 'https://api.example.com'");
    assert_eq!(a.verdict(&ended), "revoked");
    assert_eq!(count(&mut a), 11);
    a.run("UPDATE auth.signing_key_store SET kid = 'renamed'");
    let renamed = a.issue("41");
    assert_eq!(a.verdict(&renamed), "valid");
    a.run("TRUNCATE auth.issuers");
    assert_eq!(count(&mut a), 0);
    refused(
        a.query("SELECT auth.verify_jwt($1)", &[&renamed]),
        "55000",
        None,
    );
}

#[test]
fn a_key_whose_secret_is_missing_gets_it_back_and_stays_what_it_is() {
    let app = App::new(shared(), "missing");
    let mut a = app.connect();
    a.run(&format!(
        "SELECT auth.import_signing_key('{SECRET}', 'HS256', kid => 'hmac');
         SELECT auth.activate_signing_key('hmac')"
    ));
    let token = a.issue("41");
    a.run("TRUNCATE auth.signing_secrets");
    let states = "SELECT string_agg(kid || status || has_secret, ' ' ORDER BY status) FROM auth.signing_keys WHERE kid = 'hmac'";
    assert_eq!(a.one::<String>(states, &[]), "hmacactivefalse");
    for sql in [
        "SELECT auth.issue_jwt('41')",
        "SELECT auth.activate_signing_key('hmac')",
    ] {
        let error = refused(a.batch_execute(sql), "55000", None);
        assert!(
            error.hint().unwrap().contains("auth.import_signing_key"),
            "{error:?}"
        );
    }
    for sql in [
        "SELECT auth.verify_jwt($1)",
        "SELECT auth.check_jwt($1)",
        "SELECT auth.authenticate($1)",
    ] {
        refused(a.query(sql, &[&token]), "55000", None);
    }
    let missing = "SELECT keys_without_secret FROM auth.health()";
    assert_eq!(a.one::<i64>(missing, &[]), 2);
    // A new one is no import.
    refused(
        a.batch_execute("SELECT auth.create_signing_key(alg => 'HS256', kid => 'hmac')"),
        "22023",
        None,
    );
    // Another algorithm, another kind: another key.
    for (key, alg) in [
        (SECRET.repeat(2), "HS512"),
        (
            include_str!("bad_input.rs").get(..40).unwrap().to_owned(),
            "HS384",
        ),
    ] {
        refused(
            a.query(
                "SELECT auth.import_signing_key($1, $2, kid => 'hmac')",
                &[&key, &alg],
            ),
            "22023",
            None,
        );
    }
    a.rows(
        "SELECT auth.import_signing_key($1, 'HS256', kid => 'hmac')",
        &[&SECRET],
    );
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.one::<String>(states, &[]), "hmacactivetrue");
    let again = a.issue("41");
    assert_eq!(a.verdict(&again), "valid");
    refused(
        a.query(
            "SELECT auth.import_signing_key($1, 'HS256', kid => 'hmac')",
            &[&SECRET],
        ),
        "22023",
        None,
    );
    // Without the secret of the active key, a rotation goes on with another.
    a.run("TRUNCATE auth.signing_secrets; SELECT auth.rotate_signing_key()");
    let rotated = a.issue("41");
    assert_eq!(a.verdict(&rotated), "valid");
}

#[test]
fn a_public_key_is_not_one_whose_secret_is_missing() {
    let app = App::new(shared(), "public");
    let mut a = app.connect();
    a.run("SELECT auth.create_signing_key(alg => 'EdDSA', kid => 'here')");
    let jwk: String = a.one(
        "SELECT (public_jwk - 'kid' - 'alg' - 'use')::text FROM auth.signing_keys WHERE kid = 'here'",
        &[],
    );
    a.rows(
        "SELECT auth.import_signing_key($1, 'EdDSA', kid => 'public')",
        &[&jwk],
    );
    refused(
        a.query(
            "SELECT auth.import_signing_key($1, 'EdDSA', kid => 'public')",
            &[&jwk],
        ),
        "22023",
        None,
    );
    refused(
        a.batch_execute("SELECT auth.activate_signing_key('public')"),
        "22023",
        None,
    );
    assert_eq!(
        a.one::<i64>("SELECT keys_without_secret FROM auth.health()", &[]),
        0
    );
}

#[test]
fn functions_that_write_trust_serve_no_triggers_of_other_tables() {
    let app = App::new(shared(), "other_tables");
    let mut admin = app.connect();
    let role = format!("granted_{}", app.db);
    admin.run(&format!(
        "CREATE ROLE {role} LOGIN; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO {role};
         CREATE SCHEMA mine AUTHORIZATION {role}"
    ));
    let mut client = shared().connect_as(&app.db, &role);
    client.run(
        "CREATE TABLE mine.t (issuer text, kid text, is_default boolean);
         INSERT INTO mine.t VALUES ('https://api.example.com', 'x', false)",
    );
    for function in [
        "keys_follow_issuer",
        "secrets_follow_key",
        "keep_one_default_issuer",
    ] {
        client.run(&format!(
            "CREATE TRIGGER evil BEFORE UPDATE OR DELETE ON mine.t FOR EACH ROW EXECUTE FUNCTION auth.{function}()"
        ));
        for sql in [
            "DELETE FROM mine.t",
            "UPDATE mine.t SET issuer = 'y', is_default = true",
        ] {
            refused(client.batch_execute(sql), "42501", None);
        }
        client.run("DROP TRIGGER evil ON mine.t");
    }
    let token = admin.issue("41");
    assert_eq!(admin.verdict(&token), "valid");
}
