//! Keys with their secrets leave a database and come into another, under a passphrase.

use auth_ext_tests::{App, Ask, Client, refused, shared};

const PASSPHRASE: &str = "correct horse battery staple";
const SECRET: &str = "my-very-secret-hmac-key-0123456789";

fn export(client: &mut Client) -> String {
    client.one("SELECT auth.export_keys($1)", &[&PASSPHRASE])
}

fn import(client: &mut Client, bundle: &str) -> Vec<String> {
    let sql = "SELECT auth.import_keys($1, $2)";
    let rows = client.rows(sql, &[&bundle, &PASSPHRASE]);
    let mut kids: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    kids.sort();
    kids
}

fn keys(client: &mut Client) -> Vec<String> {
    let sql = "SELECT concat_ws(' ', issuer, kid, alg, status, has_secret, verify_until IS NOT NULL, public_jwk)
               FROM auth.signing_keys ORDER BY issuer, kid";
    client.rows(sql, &[]).iter().map(|row| row.get(0)).collect()
}

/// A database with keys of every kind, of two issuers.
fn with_keys(name: &str) -> App<'static> {
    let app = App::new(shared(), name);
    app.connect().run(&format!(
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('second', '{{b}}');
         SELECT auth.import_signing_key('{SECRET}', 'HS256', kid => 'hmac');
         SELECT auth.create_signing_key(alg => alg, kid => alg) FROM unnest('{{HS512,RS256,PS384,ES384,EdDSA}}'::text[]) AS alg;
         SELECT auth.create_signing_key('second', 'ES256', 'of second');
         SELECT auth.activate_signing_key('HS512', overlap => '1 hour');
         SELECT auth.create_signing_key(kid => 'gone'), auth.retire_signing_key('gone')"
    ));
    app
}

#[test]
fn a_bundle_gives_a_restored_database_its_secrets_back() {
    let app = with_keys("bundle");
    let mut a = app.connect();
    let before = keys(&mut a);
    let token = a.issue("41");
    let bundle = export(&mut a);
    let copy = shared().empty_database("restored");
    shared().psql(&copy, &shared().dump(&app.db));
    let mut b = shared().connect(&copy);
    refused(
        b.query("SELECT auth.verify_jwt($1)", &[&token]),
        "55000",
        None,
    );
    let kids = import(&mut b, &bundle);
    assert_eq!(kids.len(), 8, "{kids:?}");
    assert!(!kids.contains(&"gone".to_owned()));
    let retired = |keys: Vec<String>| -> Vec<String> {
        keys.into_iter()
            .filter(|key| !key.contains(" gone "))
            .collect()
    };
    assert_eq!(retired(keys(&mut b)), retired(before));
    assert_eq!(b.verdict(&token), "valid");
    let issued = b.issue("41");
    assert_eq!(a.verdict(&issued), "valid", "signed with the same key");
    assert_eq!(import(&mut b, &bundle), kids, "again, nothing is another");
    let first: String = b.one(
        "SELECT kid FROM auth.signing_keys WHERE verify_until > now()",
        &[],
    );
    b.rows("SELECT auth.activate_signing_key($1)", &[&first]);
}

#[test]
fn keys_that_are_not_here_are_made_as_verifying_and_end_when_they_would() {
    let app = with_keys("moved");
    let mut a = app.connect();
    let bundle: String = a.one(
        "SELECT auth.export_keys($1, 'https://api.example.com')",
        &[&PASSPHRASE],
    );
    let lapses = "SELECT date_trunc('second', verify_until)::text FROM auth.signing_keys WHERE verify_until > now()";
    let ends: String = a.one(lapses, &[]);
    let token = a.issue("41");
    let other = App::new(shared(), "taking");
    let mut b = other.connect();
    let kids = import(&mut b, &bundle);
    assert_eq!(kids.len(), 7);
    let active = "SELECT count(*) FROM auth.signing_keys WHERE status = 'active'";
    assert_eq!(b.one::<i64>(active, &[]), 1, "its own");
    assert_eq!(b.one::<String>(lapses, &[]), ends);
    assert_eq!(b.verdict(&token), "valid");
    b.run("SELECT auth.activate_signing_key('HS512')");
    let issued = b.issue("41");
    assert_eq!(a.verdict(&issued), "valid");
}

#[test]
fn what_cannot_be_taken_in_changes_nothing() {
    let app = with_keys("refused");
    let mut a = app.connect();
    let bundle = export(&mut a);
    let other = App::new(shared(), "refusing");
    let mut b = other.connect();
    let before = keys(&mut b);
    let sql = "SELECT auth.import_keys($1, $2)";
    // An issuer that is not here.
    let error = refused(b.query(sql, &[&bundle, &PASSPHRASE]), "55000", None);
    assert!(error.hint().is_some());
    b.run("INSERT INTO auth.issuers (issuer, audience) VALUES ('second', '{b}')");
    let mut changed = bundle.clone();
    let at = changed.len() - 30;
    let replaced = if changed.get(at..=at) == Some("A") {
        "B"
    } else {
        "A"
    };
    changed.replace_range(at..=at, replaced);
    for (bundle, passphrase) in [
        (bundle.as_str(), "correct horse battery stapl3"),
        (&bundle, "short"),
        (&bundle, ""),
        (&changed, PASSPHRASE),
        ("", PASSPHRASE),
        ("a.b.c.d.e", PASSPHRASE),
        (&"x".repeat(1_000_000), PASSPHRASE),
    ] {
        refused(b.query(sql, &[&bundle, &passphrase]), "22023", None);
    }
    refused(b.query(sql, &[&None::<&str>, &PASSPHRASE]), "22023", None);
    refused(b.query(sql, &[&bundle, &None::<&str>]), "22023", None);
    // Another key under a kid of the bundle: HMAC and not.
    for (alg, kid) in [("HS512", "HS512"), ("ES384", "ES384"), ("RS256", "PS384")] {
        b.run("BEGIN");
        b.rows(
            "SELECT auth.create_signing_key(alg => $1, kid => $2)",
            &[&alg, &kid],
        );
        refused(b.query(sql, &[&bundle, &PASSPHRASE]), "22023", None);
        b.run("ROLLBACK");
    }
    assert_eq!(keys(&mut b), before);
    for passphrase in ["elevenchars", "", "éééééééééé"] {
        refused(
            a.query("SELECT auth.export_keys($1)", &[&passphrase]),
            "22023",
            None,
        );
    }
    refused(
        a.query("SELECT auth.export_keys($1, 'nowhere')", &[&PASSPHRASE]),
        "22023",
        None,
    );
    refused(
        a.batch_execute("SELECT auth.export_keys(NULL)"),
        "22023",
        None,
    );
    let empty = shared().database("empty");
    refused(
        shared()
            .connect(&empty)
            .query("SELECT auth.export_keys($1)", &[&PASSPHRASE]),
        "55000",
        None,
    );
}

#[test]
fn a_bundle_is_a_jwe_of_the_promised_form_and_shows_nothing() {
    let app = with_keys("form");
    let mut a = app.connect();
    let bundle = export(&mut a);
    let parts: Vec<&str> = bundle.split('.').collect();
    assert_eq!(parts.len(), 5);
    let header: String = a.one(
        "SELECT convert_from(decode(rpad(translate($1, '-_', '+/'), (length($1) + 3) / 4 * 4, '='), 'base64'), 'UTF8')",
        &[&parts[0]],
    );
    let header: auth_ext_tests::Value = auth_ext_tests::serde_json::from_str(&header).unwrap();
    assert_eq!(header["alg"], "PBES2-HS512+A256KW");
    assert_eq!(header["enc"], "A256GCM");
    assert_eq!(header["cty"], "jwk-set+json");
    assert!((210_000..=300_000).contains(&header["p2c"].as_i64().unwrap()));
    assert_ne!(export(&mut a), bundle);
    // For those who may make keys only.
    let role = format!("nobody_{}", app.db);
    a.run(&format!("CREATE ROLE {role}; SET ROLE {role}"));
    for sql in [
        "SELECT auth.export_keys('x')",
        "SELECT auth.import_keys('x', 'y')",
    ] {
        refused(a.batch_execute(sql), "42501", None);
    }
}
