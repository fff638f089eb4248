//! What an issuer's row may ask of its tokens, beyond what tests/sql/rows.sql shows.

use auth_ext_tests::{App, Ask, ISSUER, Mint, assert_reason, refused, seconds, shared};

#[test]
fn a_token_without_the_user_claim_is_nobodys_where_the_row_allows_it() {
    let app = App::new(shared(), "nobody");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let token = |members: &str| {
        let exp = now + 600;
        mint.sign(
            "JWT",
            &format!(
                r#"{{"iss":"{ISSUER}","aud":"app","iat":{now},"exp":{exp},"jti":"n"{members}}}"#
            ),
        )
    };
    let anonymous = token(r#","role":"anon""#);
    assert_eq!(a.verdict(&anonymous), "missing_claim");
    a.run("UPDATE auth.issuers SET require_user = false, require_session_version = true");
    let row = a
        .rows(
            "SELECT valid, user_id, claims ->> 'role' FROM auth.check_jwt($1)",
            &[&anonymous],
        )
        .remove(0);
    assert!(row.get::<_, bool>(0));
    assert_eq!(row.get::<_, Option<String>>(1), None);
    assert_eq!(row.get::<_, String>(2), "anon");

    a.run("BEGIN");
    a.execute("SELECT auth.authenticate($1)", &[&anonymous])
        .expect("authenticated");
    let row = a
        .rows("SELECT auth.user_id(), auth.role(), auth.jwt() ->> 'iss', auth.uid()::text, auth.user_id_bigint()::text", &[])
        .remove(0);
    assert_eq!(row.get::<_, Option<String>>(0), None);
    assert_eq!(row.get::<_, Option<String>>(1).as_deref(), Some("anon"));
    assert_eq!(row.get::<_, Option<String>>(2).as_deref(), Some(ISSUER));
    assert_eq!(row.get::<_, Option<String>>(3), None);
    assert_eq!(row.get::<_, Option<String>>(4), None);
    assert_reason(
        &mut a,
        "SELECT auth.require_user()",
        &[],
        "not_authenticated",
    );
    a.run("ROLLBACK");

    // One that has the claim is of its user as ever.
    assert_eq!(a.verdict(&token(r#","sub":null"#)), "invalid_claim");
    assert_eq!(a.verdict(&token(r#","sub":"""#)), "invalid_claim");
    assert_eq!(
        a.verdict(&token(r#","sub":"77","session_version":0"#)),
        "unknown_user"
    );
    assert_eq!(
        a.verdict(&token(r#","sub":"41""#)),
        "session_version_missing"
    );
    let known = token(r#","sub":"41","session_version":0"#);
    assert_eq!(a.verdict(&known), "valid");
    a.bump("41");
    assert_eq!(a.verdict(&known), "session_version_mismatch");
    assert_eq!(a.verdict(&anonymous), "valid");

    // It can be revoked, and not be taken for another's.
    assert_reason(
        &mut a,
        "SELECT auth.refresh_jwt($1)",
        &[&anonymous],
        "missing_claim",
    );
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&anonymous]));
    assert_eq!(a.verdict(&anonymous), "revoked");
    refused(
        a.query("SELECT auth.exchange_sso_token($1, 'app')", &[&anonymous]),
        "28000",
        "wrong_purpose",
    );
}

#[test]
fn one_row_is_the_issuer_of_every_tenant_and_each_tokens_own_iss_is_reported_and_revoked() {
    const TEMPLATE: &str = "https://login.example/{tid}/v2.0";
    let app = App::new(shared(), "tenants");
    let mut a = app.connect();
    a.run(&format!(
        "INSERT INTO auth.issuers (issuer, audience, refresh_grace) VALUES ('{TEMPLATE}', '{{my-app}}', '1 h')"
    ));
    let mint = Mint::of(&mut a, TEMPLATE);
    let now = seconds(&mut a);
    let token = |iss: &str, tid: &str, jti: &str| {
        let exp = now + 600;
        mint.sign(
            "JWT",
            &format!(
                r#"{{"iss":"{iss}","tid":{tid},"aud":"my-app","sub":"41","session_version":0,"iat":{now},"exp":{exp},"jti":"{jti}"}}"#
            ),
        )
    };
    let (one, two) = (
        "https://login.example/t-1/v2.0",
        "https://login.example/T_2.x/v2.0",
    );
    let first = token(one, r#""t-1""#, "j");
    let second = token(two, r#""T_2.x""#, "j");
    for (token, iss) in [(&first, one), (&second, two)] {
        let row = a.rows(
            "SELECT valid, issuer, claims ->> 'iss' FROM auth.check_jwt($1)",
            &[token],
        );
        assert!(row[0].get::<_, bool>(0));
        assert_eq!(row[0].get::<_, String>(1), iss);
        assert_eq!(row[0].get::<_, String>(2), iss);
        // Twice, as the cache of verified tokens has it.
        assert_eq!(a.verdict(token), "valid");
    }
    for (iss, tid) in [
        (one, r#""t-2""#),
        (one, "1"),
        (one, r#"["t-1"]"#),
        (one, "null"),
        ("https://login.example/t-1/v2.0/", r#""t-1""#),
        ("https://login.example//v2.0", r#""""#),
        ("https://login.example/a/b/v2.0", r#""a/b""#),
        ("https://login.example/é/v2.0", r#""é""#),
        (TEMPLATE, r#""{tid}""#),
        (TEMPLATE, r#""tid""#),
        ("HTTPS://login.example/t-1/v2.0", r#""t-1""#),
    ] {
        assert_eq!(
            a.verdict(&token(iss, tid, "x")),
            "wrong_issuer",
            "{iss} {tid}"
        );
    }
    // The same jti of another tenant is another token.
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&first]));
    assert_eq!(a.verdict(&first), "revoked");
    assert_eq!(a.verdict(&second), "valid");
    let revoked: String = a.one(
        "SELECT issuer FROM auth.revoked_tokens WHERE jti = 'j'",
        &[],
    );
    assert_eq!(revoked, one);

    // An exact row goes first, with its own keys and rules; and the template's row again when it is gone.
    a.run(&format!(
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('{two}', '{{my-app}}')"
    ));
    assert_eq!(a.verdict(&second), "unknown_key");
    a.run(&format!("DELETE FROM auth.issuers WHERE issuer = '{two}'"));
    assert_eq!(a.verdict(&second), "valid");
    a.bump("41");
    assert_eq!(a.verdict(&second), "session_version_mismatch");

    // Nothing is issued: whose tenant a token is of only the provider knows.
    for call in [
        format!("SELECT auth.issue_jwt('41', issuer => '{TEMPLATE}')"),
        format!("SELECT auth.issue_jwt('41', 1, issuer => '{TEMPLATE}')"),
        format!("SELECT auth.open_session('41', issuer => '{TEMPLATE}')"),
        format!("SELECT auth.issue_sso_token('41', '{TEMPLATE}')"),
    ] {
        refused(a.simple_query(&call), "22023", None);
    }
    a.run("UPDATE users SET session_version = 5 WHERE id = 42");
    let third = token(one, r#""t-1""#, "r");
    refused(
        a.query("SELECT auth.refresh_jwt($1)", &[&third]),
        "28000",
        "session_version_mismatch",
    );
    a.run(&format!(
        "UPDATE auth.issuers SET session_check = 'none' WHERE issuer = '{TEMPLATE}'"
    ));
    refused(
        a.query("SELECT auth.refresh_jwt($1)", &[&third]),
        "22023",
        None,
    );
}

#[test]
fn two_templates_that_could_name_one_iss_and_what_is_no_template_are_refused() {
    let app = App::new(shared(), "templates");
    let mut a = app.connect();
    let insert = |name: &str| {
        format!("INSERT INTO auth.issuers (issuer, audience) VALUES ('{name}', '{{a}}')")
    };
    for wrong in [
        "{",
        "a}",
        "{}",
        "{a}{b}",
        "{{a}}",
        "https://{iss}",
        "x{iss}/",
    ] {
        let error = refused(a.simple_query(&insert(wrong)), "23514", None);
        assert_eq!(
            error.constraint(),
            Some("issuers_issuer_template"),
            "{wrong}"
        );
    }
    a.run(&insert("https://l/{tid}/v2"));
    for fits in [
        "https://l/{tid}",
        "https://l/x/{tid}/v2",
        "https://m/{tid}/v2",
        "https://l/{tid}/v2/{tid",
    ] {
        let outcome = a.simple_query(&insert(fits));
        assert_eq!(outcome.is_ok(), !fits.ends_with("{tid"), "{fits}");
    }
    for overlaps in [
        "https://l/{org}/v2",
        "https://l/x{tid}/v2",
        "{t}https://l/x/v2",
        "https://l/{tid}/v3",
    ] {
        let outcome = a.simple_query(&insert(overlaps));
        let expected = ["https://l/{org}/v2", "https://l/x{tid}/v2"].contains(&overlaps);
        assert_eq!(outcome.is_err(), expected, "{overlaps}");
        if expected {
            refused(outcome, "22023", None);
        }
    }
    // A change of the name is judged, too; one of anything else is not in the way.
    refused(
        a.simple_query("UPDATE auth.issuers SET issuer = 'https://l/{o}/v2' WHERE issuer = 'https://m/{tid}/v2'"),
        "22023",
        None,
    );
    a.run("UPDATE auth.issuers SET leeway = '5 s'");
}
