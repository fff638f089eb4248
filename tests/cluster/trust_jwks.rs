//! Keys from a provider's JWKS: upserted, withdrawn, skipped with a warning, and never a way back for a
//! retired kid.

use auth_ext_tests::{Ask, Client, Listener, Value, database_with_key, json, refused, shared};

/// A key pair that an issuer of another database holds: its JWK, and a token for user `s`.
fn provider(kid: &str) -> (Value, String) {
    let db = database_with_key(shared(), "provider");
    let mut provider = shared().connect(&db);
    provider.run(&format!(
        "UPDATE auth.issuers SET issuer = 'provider', audience = '{{}}', session_check = 'none';
         SELECT auth.create_signing_key(kid => '{kid}'); SELECT auth.activate_signing_key('{kid}')"
    ));
    let jwk = "SELECT public_jwk FROM auth.signing_keys WHERE kid = $1";
    let jwk = provider.one(jwk, &[&kid]);
    (jwk, provider.issue("s"))
}

/// A database that trusts the provider, but none of its keys yet.
fn relying() -> (String, Client) {
    let db = database_with_key(shared(), "relying");
    let mut client = shared().connect(&db);
    client.run("INSERT INTO auth.issuers (issuer, audience, session_check) VALUES ('provider', '{}', 'none')");
    (db, client)
}

fn import(client: &mut Client, keys: &[&Value]) -> Vec<String> {
    let sql = "SELECT auth.import_jwks($1, 'provider')";
    let rows = client.rows(sql, &[&json!({ "keys": keys })]);
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn keys_verify_once_imported_and_end_when_a_later_jwks_lacks_them() {
    let ((one, token_1), (two, token_2)) = (provider("one"), provider("two"));
    let (db, mut a) = relying();
    let mut b = shared().connect(&db);
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(b.verdict(&token_1), "unknown_key");
    assert_eq!(import(&mut a, &[&one]), ["one"]);
    assert_eq!(b.verdict(&token_1), "valid");
    assert_eq!(b.verdict(&token_2), "unknown_key");
    assert_eq!(import(&mut a, &[&one, &two]), ["one", "two"]);
    assert_eq!(b.verdict(&token_2), "valid");
    assert_eq!(import(&mut a, &[&two]), ["two"]);
    assert_eq!(b.verdict(&token_1), "unknown_key");
    assert_eq!(b.verdict(&token_2), "valid");
    // What the provider brings back is back.
    import(&mut a, &[&one, &two]);
    assert_eq!(b.verdict(&token_1), "valid");
    assert!(import(&mut a, &[]).is_empty());
    assert_eq!(b.verdict(&token_1), "unknown_key");
    assert_eq!(b.verdict(&token_2), "unknown_key");
    let own: i64 = a.one(
        "SELECT count(*) FROM auth.signing_keys WHERE status = 'active'",
        &[],
    );
    assert_eq!(own, 1, "another issuer's key");
}

#[test]
fn a_jwks_that_is_imported_in_an_older_snapshot_leaves_no_key_of_another_import() {
    let ((one, token_1), (two, token_2)) = (provider("one"), provider("two"));
    let (db, mut a) = relying();
    let mut b = shared().connect(&db);
    import(&mut a, &[&one]);
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let begin =
            format!("BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM auth.signing_keys");
        b.run(&begin);
        import(&mut a, &[&one, &two]);
        let sql = "SELECT auth.import_jwks($1, 'provider')";
        refused(b.query(sql, &[&json!({ "keys": [&one] })]), "40001", None);
        b.run("ROLLBACK");
        assert_eq!(a.verdict(&token_2), "valid");
        // Whoever retries succeeds.
        b.run(&begin);
        assert_eq!(import(&mut b, &[&one]), ["one"]);
        b.run("COMMIT");
        assert_eq!(a.verdict(&token_2), "unknown_key", "{level}");
        assert_eq!(a.verdict(&token_1), "valid", "{level}");
        a.run("DELETE FROM auth.signing_key_store WHERE kid = 'two'");
    }
}

#[test]
fn the_same_jwks_again_changes_nothing_and_tells_nobody() {
    let (one, token) = provider("one");
    let (db, mut a) = relying();
    import(&mut a, &[&one]);
    let mut listener = Listener::on(shared().connect(&db), "auth_invalidation");
    let before: Value = a.one("SELECT jsonb_agg(k) FROM auth.signing_keys k", &[]);
    import(&mut a, &[&one]);
    let after: Value = a.one("SELECT jsonb_agg(k) FROM auth.signing_keys k", &[]);
    assert_eq!(before, after);
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(listener.payloads(), Vec::<String>::new());
}

#[test]
fn a_kid_whose_key_was_replaced_verifies_by_the_new_key_only() {
    let ((old, old_token), (new, new_token)) = (provider("same"), provider("same"));
    let (_, mut a) = relying();
    import(&mut a, &[&old]);
    assert_eq!(a.verdict(&old_token), "valid");
    assert_eq!(a.verdict(&new_token), "bad_signature");
    import(&mut a, &[&new]);
    assert_eq!(a.verdict(&old_token), "bad_signature");
    assert_eq!(a.verdict(&new_token), "valid");
}

#[test]
fn a_kid_that_was_retired_here_is_not_revived_by_a_jwks() {
    let (one, token) = provider("one");
    let (db, mut a) = relying();
    import(&mut a, &[&one]);
    a.run("SELECT auth.retire_signing_key('one', 'provider')");
    assert_eq!(a.verdict(&token), "unknown_key");
    let (mut b, notices) = shared().connect_with_notices(&db);
    assert!(import(&mut b, &[&one]).is_empty());
    assert_eq!(notices.try_iter().count(), 1);
    assert_eq!(b.verdict(&token), "unknown_key");
    import(&mut b, &[]);
    import(&mut b, &[&one]);
    assert_eq!(b.verdict(&token), "unknown_key");
}

#[test]
fn a_key_that_was_retired_after_the_provider_withdrew_it_does_not_come_back() {
    let (one, token) = provider("one");
    let (_, mut a) = relying();
    import(&mut a, &[&one]);
    import(&mut a, &[]);
    a.run("SELECT auth.retire_signing_key('one', 'provider')");
    import(&mut a, &[&one]);
    assert_eq!(a.verdict(&token), "unknown_key");
}

#[test]
fn a_key_imported_here_is_neither_replaced_nor_ended_by_a_jwks() {
    let ((own, token), (foreign, foreign_token)) = (provider("mine"), provider("mine"));
    let (db, mut a) = relying();
    a.rows(
        "SELECT auth.import_signing_key($1, 'ES256', 'provider', 'mine')",
        &[&own.to_string()],
    );
    let (mut b, notices) = shared().connect_with_notices(&db);
    assert!(import(&mut b, &[&foreign]).is_empty());
    assert_eq!(notices.try_iter().count(), 1);
    assert_eq!(b.verdict(&token), "valid");
    assert_eq!(b.verdict(&foreign_token), "bad_signature");
    import(&mut b, &[]);
    assert_eq!(b.verdict(&token), "valid");
}

#[test]
fn members_that_cannot_be_used_are_skipped_with_a_warning_each_and_do_not_block_the_rest() {
    let (one, token) = provider("one");
    let (db, _) = relying();
    let (mut a, notices) = shared().connect_with_notices(&db);
    let with = |name: &str, value: Value| {
        let mut jwk = one.clone();
        jwk["kid"] = json!(format!("bad {name}"));
        jwk[name] = value;
        jwk
    };
    let bad = [
        json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "new type", "pub": "AAAA"}),
        json!({"kty": "oct", "k": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY", "alg": "HS256", "kid": "symmetric"}),
        json!({"kty": "RSA", "alg": "RS256", "n": "AQAB", "e": "AQAB", "kid": "weak"}),
        with("x", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")),
        with("d", json!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE")),
        with("use", json!("enc")),
        json!("not an object"),
        json!(null),
        json!({"kid": "twice", "kty": "?"}),
    ];
    let mut keys: Vec<&Value> = bad.iter().collect();
    keys.insert(3, &one);
    assert_eq!(import(&mut a, &keys), ["one"]);
    let warnings: Vec<_> = notices.try_iter().collect();
    // What is for encryption is left out without a word.
    assert_eq!(warnings.len(), bad.len() - 1, "{warnings:#?}");
    for warning in &warnings {
        assert_eq!(
            (warning.severity(), warning.code().code()),
            ("WARNING", "01000")
        );
        assert!(!format!("{warning:?}").contains("MDEyMzQ1"), "{warning:?}");
    }
    assert_eq!(a.verdict(&token), "valid");
    // Two keys that share a kid are both skipped, but one that is there twice counts once.
    let (two, _) = provider("one");
    let (other, _) = provider("other");
    assert_eq!(import(&mut a, &[&one, &two, &other]), ["other"]);
    assert_eq!(a.verdict(&token), "unknown_key");
    assert_eq!(import(&mut a, &[&one, &one, &other]), ["one", "other"]);
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn a_document_that_is_no_jwks_changes_nothing() {
    let (one, token) = provider("one");
    let (_, mut a) = relying();
    import(&mut a, &[&one]);
    for document in [
        "{}",
        "[]",
        "null",
        "1",
        "\"x\"",
        r#"{"keys":null}"#,
        r#"{"keys":{}}"#,
        r#"{"Keys":[]}"#,
        r#"{"keys":[{"kty":"?","kid":"new"}]}"#,
        r#"{"keys":[{"kty":"RSA","kid":"e","use":"enc","n":"AQAB","e":"AQAB"}]}"#,
    ] {
        let sql = format!("SELECT auth.import_jwks('{document}', 'provider')");
        refused(a.query(&sql, &[]), "22023", None);
        assert_eq!(a.verdict(&token), "valid", "{document}");
    }
    refused(
        a.query("SELECT auth.import_jwks(NULL, 'provider')", &[]),
        "22023",
        None,
    );
}
