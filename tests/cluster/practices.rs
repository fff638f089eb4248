//! Rows of the checklist in docs/security.md, as a whole: what comes before what, and whose key may sign for whom.

use auth_ext_tests::{App, Ask, Mint, shared};
use serde_json::json;

#[test]
fn a_signature_is_judged_before_any_claim() {
    let app = App::new(shared(), "practice");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let good = mint.token(&mut a, &json!({"sub": "41"}));
    let (_, signature) = good.rsplit_once('.').expect("a signature");
    for (claims, reason) in [
        (json!({"sub": "41", "exp": 1}), "expired"),
        (json!({"sub": "41", "aud": "another"}), "wrong_audience"),
        (json!({"sub": "41", "exp": null}), "missing_claim"),
        (json!({"sub": "nobody"}), "unknown_user"),
    ] {
        let token = mint.token(&mut a, &claims);
        assert_eq!(a.verdict(&token), reason);
        let (unsigned, _) = token.rsplit_once('.').expect("a signature");
        let forged = format!("{unsigned}.{signature}");
        assert_eq!(a.verdict(&forged), "bad_signature", "{claims}");
        let told: Option<String> = a.one(
            "SELECT coalesce(claims::text, user_id, token_id, expires_at::text) FROM auth.check_jwt($1)",
            &[&forged],
        );
        assert_eq!(told, None, "{claims}");
    }
}

#[test]
fn a_key_signs_for_its_own_issuer_only() {
    let app = App::new(shared(), "practice");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    a.run(
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('other', '{app}'), ('third', '{app}')",
    );
    let of = |issuer: &str| json!({"sub": "41", "iss": issuer});
    let token = mint.token(&mut a, &of("other"));
    assert_eq!(a.verdict(&token), "unknown_key");
    // Of the same kid, and another secret.
    a.run("SELECT auth.import_signing_key(repeat('x', 32), 'HS256', 'other', 'mint')");
    assert_eq!(a.verdict(&token), "bad_signature");
    let third = mint.token(&mut a, &of("third"));
    assert_eq!(a.verdict(&third), "unknown_key");
    let own = mint.token(&mut a, &json!({"sub": "41"}));
    assert_eq!(a.verdict(&own), "valid");
}

#[test]
fn a_token_is_too_large_before_it_is_anything_else() {
    let app = App::new(shared(), "practice");
    let mut a = app.connect();
    a.run("SET auth_ext.max_token_size = 1024");
    for text in ["x", ".", "\u{e9}", "e30."] {
        let long = text.repeat(1024 / text.len());
        assert_eq!(a.verdict(&long), "malformed", "{text}");
        assert_eq!(a.verdict(&format!("{long}x")), "too_large", "{text}");
    }
}
