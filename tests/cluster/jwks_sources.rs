//! Key sets that refresh themselves: `jwks_uri`, `jwks_sources`, `refresh_jwks`.

use std::thread;

use auth_ext_tests::{Ask, Client, Listener, Value, database_with_key, json, refused, shared};

const URI: &str = "https://idp.example/keys";

/// The JWK of a new key pair.
fn jwk(kid: &str) -> Value {
    let db = database_with_key(shared(), "publisher");
    let mut client = shared().connect(&db);
    client.run(&format!("SELECT auth.create_signing_key(kid => '{kid}')"));
    client.one(
        "SELECT public_jwk FROM auth.signing_keys WHERE kid = $1",
        &[&kid],
    )
}

/// A database that trusts `https://idp.example`, whose keys are published.
fn relying() -> (String, Client) {
    let db = database_with_key(shared(), "sources");
    let mut client = shared().connect(&db);
    client.run(&format!(
        "INSERT INTO auth.issuers (issuer, audience, jwks_uri) VALUES ('https://idp.example', '{{x}}', '{URI}')"
    ));
    (db, client)
}

fn refresh(client: &mut Client, keys: &[&Value]) -> Vec<String> {
    let sql = "SELECT auth.refresh_jwks('https://idp.example', $1)";
    let rows = client.rows(sql, &[&json!({ "keys": keys })]);
    rows.iter().map(|row| row.get(0)).collect()
}

/// Of the one source, as text.
fn source(client: &mut Client, column: &str) -> String {
    client.one(
        &format!("SELECT coalesce(({column})::text, 'null') FROM auth.jwks_sources()"),
        &[],
    )
}

#[test]
fn a_jwks_uri_is_an_https_url_or_http_of_a_loopback_host() {
    let db = database_with_key(shared(), "uris");
    let mut client = shared().connect(&db);
    for uri in [
        "https://idp.example",
        "https://idp.example/",
        "HTTPS://IDP.example:8443/realms/x/certs?p=1&q=a%20b",
        "https://10.0.0.7/keys",
        "https://[2001:db8::1]:443/keys",
        "https://login.example/common/discovery/v2.0/keys",
        "http://localhost:8080/keys",
        "http://127.0.0.1/keys",
        "http://127.1.2.3:9/keys",
        "http://[::1]:8080",
    ] {
        client.rows("UPDATE auth.issuers SET jwks_uri = $1", &[&uri]);
    }
    for uri in [
        "",
        "idp.example/keys",
        "http://idp.example/keys",
        "http://localhost.evil.example/keys",
        "http://127.0.0.1.evil.example/keys",
        "http://localhost@evil.example/keys",
        "https://user:secret@idp.example/keys",
        "https://idp.example/keys#fragment",
        "https://idp.example/k eys",
        "https://idp.example/keys\n",
        "\nhttps://idp.example/keys",
        "https://login.example/{tid}/keys",
        "https://",
        "https:///keys",
        "https://idp.example\\@evil.example/",
        "file:///etc/passwd",
        "ftp://idp.example/keys",
        "javascript:alert(1)",
    ] {
        let error = client
            .query("UPDATE auth.issuers SET jwks_uri = $1", &[&uri])
            .unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "23514", "{uri:?}");
        assert_eq!(
            error.constraint(),
            Some("issuers_jwks_uri_check"),
            "{uri:?}"
        );
    }
}

#[test]
fn what_is_fetched_is_taken_and_its_time_is_kept() {
    let (_, mut client) = relying();
    let (one, two) = (jwk("one"), jwk("two"));
    assert_eq!(source(&mut client, "issuer"), "https://idp.example");
    assert_eq!(source(&mut client, "jwks_uri"), URI);
    assert_eq!(source(&mut client, "fetched_at"), "null");
    assert_eq!(source(&mut client, "keys"), "0");
    assert_eq!(refresh(&mut client, &[&one, &two]), ["one", "two"]);
    assert_eq!(source(&mut client, "keys"), "2");
    assert_eq!(source(&mut client, "now() - fetched_at < '1 min'"), "true");
    assert_eq!(refresh(&mut client, &[&two]), ["two"]);
    assert_eq!(source(&mut client, "keys"), "1");
    // One that is no JWKS is no fetch.
    let before = source(&mut client, "fetched_at");
    refused(
        client.query("SELECT auth.refresh_jwks('https://idp.example', '[]')", &[]),
        "22023",
        None,
    );
    assert_eq!(source(&mut client, "fetched_at"), before);
    // It follows its issuer.
    client
        .run("UPDATE auth.issuers SET issuer = 'https://other.example' WHERE jwks_uri IS NOT NULL");
    assert_eq!(
        source(&mut client, "issuer || ' ' || (fetched_at IS NOT NULL)"),
        "https://other.example true"
    );
    client.run("DELETE FROM auth.issuers WHERE jwks_uri IS NOT NULL");
    let left: i64 = client.one("SELECT count(*) FROM auth.jwks_fetches", &[]);
    assert_eq!(left, 0);
}

#[test]
fn a_refresh_that_brings_nothing_new_is_a_fetch_and_tells_nobody() {
    let (db, mut client) = relying();
    let one = jwk("one");
    refresh(&mut client, &[&one]);
    let before = source(&mut client, "fetched_at");
    let mut listener = Listener::on(shared().connect(&db), "auth_invalidation");
    let cursor: String = client.one("SELECT auth.invalidation_cursor()", &[]);
    assert_eq!(refresh(&mut client, &[&one]), ["one"]);
    assert_eq!(
        source(&mut client, &format!("fetched_at > '{before}'")),
        "true"
    );
    assert_eq!(listener.payloads(), Vec::<String>::new());
    assert!(
        client
            .rows("SELECT * FROM auth.invalidations_since($1)", &[&cursor])
            .is_empty()
    );
    refresh(&mut client, &[]);
    assert_eq!(
        listener.payloads(),
        [r#"{"v":1,"kind":"issuer","issuer":"https://idp.example"}"#]
    );
}

#[test]
fn an_issuer_that_signs_or_has_no_jwks_uri_is_not_refreshed() {
    let (db, mut client) = relying();
    let one = jwk("one");
    let document = json!({ "keys": [one] });
    let no = |client: &mut Client, issuer: Option<&str>| {
        refused(
            client.query("SELECT auth.refresh_jwks($1, $2)", &[&issuer, &document]),
            "22023",
            None,
        );
    };
    no(&mut client, None);
    no(&mut client, Some("https://unknown.example"));
    client
        .run("INSERT INTO auth.issuers (issuer, audience) VALUES ('https://plain.example', '{x}')");
    no(&mut client, Some("https://plain.example"));
    // One that was made here, its secret gone as a restore leaves it, and retired.
    client.run("SELECT auth.create_signing_key('https://idp.example', kid => 'own')");
    no(&mut client, Some("https://idp.example"));
    client.run("DELETE FROM auth.signing_secrets");
    no(&mut client, Some("https://idp.example"));
    client.run("SELECT auth.retire_signing_key('own', 'https://idp.example')");
    no(&mut client, Some("https://idp.example"));
    let kids: i64 = client.one(
        "SELECT count(*) FROM auth.signing_key_store WHERE kid = 'one'",
        &[],
    );
    assert_eq!(kids, 0);
    // A public key that the administrator imported does not sign.
    client.run("DELETE FROM auth.signing_key_store WHERE kid = 'own'");
    client.rows(
        "SELECT auth.import_signing_key($1, 'ES256', 'https://idp.example')",
        &[&jwk("two").to_string()],
    );
    assert_eq!(refresh(&mut client, &[&jwk("three")]), ["three"]);
    // An old snapshot does not hide a key that was made since.
    let mut old = shared().connect(&db);
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM auth.jwks_fetches");
    client.run("SELECT auth.create_signing_key('https://idp.example', kid => 'later')");
    no(&mut old, Some("https://idp.example"));
}

#[test]
fn of_a_key_made_and_a_key_set_fetched_at_once_either_comes_first_and_both_never_hold() {
    for _ in 0..5 {
        let (db, mut client) = relying();
        let one = jwk("one");
        let document = json!({ "keys": [one] });
        let (mut maker, mut fetcher) = (shared().connect(&db), shared().connect(&db));
        let outcomes = thread::scope(|scope| {
            let made = scope.spawn(|| {
                maker
                    .query("SELECT auth.create_signing_key('https://idp.example')", &[])
                    .is_ok()
            });
            let fetched = fetcher.query(
                "SELECT auth.refresh_jwks('https://idp.example', $1)",
                &[&document],
            );
            [made.join().unwrap(), fetched.is_ok()]
        });
        assert!(outcomes[0], "a key can always be made");
        let fetched: i64 = client.one("SELECT count(*) FROM auth.jwks_fetches", &[]);
        assert_eq!(fetched == 1, outcomes[1]);
        refused(
            client.query(
                "SELECT auth.refresh_jwks('https://idp.example', '{\"keys\":[]}')",
                &[],
            ),
            "22023",
            None,
        );
    }
}

#[test]
fn a_fetcher_may_do_its_work_and_no_more() {
    let (db, mut admin) = relying();
    let one = jwk("one");
    let role = format!("fetcher_{db}");
    admin.run(&format!("CREATE ROLE \"{role}\" LOGIN"));
    let mut fetcher = shared().connect_as(&db, &role);
    for call in ["auth.jwks_sources()", "auth.refresh_jwks('x', '{}')"] {
        refused(fetcher.query(&format!("SELECT {call}"), &[]), "42501", None);
    }
    admin.run(&format!(
        "SELECT auth.grant_access('\"{role}\"', 'fetcher')"
    ));
    assert_eq!(refresh(&mut fetcher, &[&one]), ["one"]);
    assert_eq!(source(&mut fetcher, "keys"), "1");
    let cursor: String = fetcher.one("SELECT auth.invalidation_cursor()", &[]);
    admin.run("UPDATE auth.issuers SET jwks_uri = issuer WHERE jwks_uri IS NOT NULL");
    let seen: Value = fetcher.one("SELECT event FROM auth.invalidations_since($1)", &[&cursor]);
    assert_eq!(seen["issuer"], "https://idp.example");
    for call in [
        "auth.import_jwks('{\"keys\":[]}', 'https://idp.example')",
        "auth.create_signing_key('https://idp.example')",
        "auth.health()",
    ] {
        refused(fetcher.query(&format!("SELECT {call}"), &[]), "42501", None);
    }
}

#[test]
fn health_says_how_old_the_oldest_is_and_how_many_were_never_fetched() {
    let (_, mut client) = relying();
    let one = jwk("one");
    let ask = "SELECT concat_ws(' ', jwks_oldest_age BETWEEN '1 day' AND '2 days', jwks_never_fetched) FROM auth.health()";
    let said: String = client.one(ask, &[]);
    assert_eq!(said, "1");
    client.run("INSERT INTO auth.issuers (issuer, audience, jwks_uri) VALUES ('https://late.example', '{x}', 'https://late.example')");
    refresh(&mut client, &[&one]);
    client.run("UPDATE auth.jwks_fetches SET fetched_at = now() - interval '30 hours'");
    client.run("SELECT auth.refresh_jwks('https://late.example', '{\"keys\":[]}')");
    let said: String = client.one(ask, &[]);
    assert_eq!(said, "t 0");
}
