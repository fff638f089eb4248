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
