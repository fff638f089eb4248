//! The rows of docs/providers.md, with tokens of the shape that each provider makes: its access token passes, and what else the same
//! keys sign does not.

use auth_ext_tests::{App, Ask, Mint, Value, json, readme_blocks, seconds, shared};

struct Case {
    issuer: &'static str,
    iss: &'static str,
    typ: &'static str,
    /// An access token's claims, but for its times.
    good: Value,
    /// What makes another token of it, and the reason why that is refused.
    bad: Vec<(Value, &'static str)>,
}

fn cases() -> Vec<Case> {
    let plain = |iss: &'static str, good: Value, bad: Vec<(Value, &'static str)>| Case {
        issuer: iss,
        iss,
        typ: "JWT",
        good,
        bad,
    };
    let tenant = "11111111-2222-3333-4444-555555555555";
    vec![
        plain(
            "https://TENANT.eu.auth0.com/",
            json!({"sub": "auth0|64a1", "aud": ["https://api.example.com", "https://TENANT.eu.auth0.com/userinfo"], "azp": "c",
                   "scope": "openid", "https://example.com/roles": ["editor"]}),
            vec![
                (json!({"aud": "c", "nonce": "n"}), "wrong_audience"),
                (
                    json!({"iss": "https://TENANT.eu.auth0.com"}),
                    "wrong_issuer",
                ),
                (json!({"sub": "auth0|other"}), "unknown_user"),
                (json!({"iat": null}), "issued_before_cutoff"),
                (
                    json!({"events": {"http://schemas.openid.net/event/backchannel-logout": {}}}),
                    "wrong_purpose",
                ),
            ],
        ),
        plain(
            "https://cognito-idp.eu-central-1.amazonaws.com/POOL",
            json!({"sub": "auth0|64a1", "client_id": "CLIENT_ID", "token_use": "access", "username": "ada",
                   "cognito:groups": ["editors"], "origin_jti": "o"}),
            vec![
                (json!({"client_id": "another"}), "wrong_audience"),
                (
                    json!({"token_use": "id", "aud": "CLIENT_ID"}),
                    "invalid_claim",
                ),
                (
                    json!({"token_use": "id", "aud": "CLIENT_ID", "client_id": null}),
                    "missing_claim",
                ),
            ],
        ),
        Case {
            issuer: "https://login.microsoftonline.com/{tid}/v2.0",
            iss: "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555/v2.0",
            typ: "JWT",
            good: json!({"oid": "auth0|64a1", "sub": "pairwise", "tid": tenant, "aud": "APPLICATION_ID", "ver": "2.0", "roles": ["editor"]}),
            bad: vec![
                (
                    json!({"tid": "66666666-7777-8888-9999-000000000000"}),
                    "wrong_issuer",
                ),
                (
                    json!({"iss": "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0",
                        "tid": "9188040d-6c67-4c5b-b112-36a304b66dad"}),
                    "invalid_claim",
                ),
                (
                    json!({"aud": "00000003-0000-0000-c000-000000000000"}),
                    "wrong_audience",
                ),
                (json!({"oid": null}), "missing_claim"),
            ],
        },
        plain(
            "https://keycloak.example.com/realms/REALM",
            json!({"sub": "auth0|64a1", "aud": ["my-api", "account"], "typ": "Bearer", "azp": "web", "sid": "s",
                   "realm_access": {"roles": ["editor"]}}),
            vec![
                (
                    json!({"typ": "Refresh", "aud": "https://keycloak.example.com/realms/REALM"}),
                    "wrong_audience",
                ),
                (json!({"typ": "ID", "aud": "my-api"}), "invalid_claim"),
                (json!({"typ": "Logout", "events": {}}), "wrong_purpose"),
                (json!({"aud": "account"}), "wrong_audience"),
            ],
        ),
        plain(
            "https://PROJECT.supabase.co/auth/v1",
            json!({"sub": "auth0|64a1", "aud": "authenticated", "role": "authenticated", "session_id": "s", "aal": "aal1"}),
            vec![
                (json!({"aud": "anon"}), "wrong_audience"),
                (json!({"sub": null}), "missing_claim"),
            ],
        ),
        plain(
            "https://securetoken.google.com/PROJECT",
            json!({"sub": "auth0|64a1", "user_id": "auth0|64a1", "aud": "PROJECT", "auth_time": 1, "firebase": {"identities": {}}}),
            vec![
                (json!({"aud": "ANOTHER"}), "wrong_audience"),
                (json!({"sub": ""}), "invalid_claim"),
            ],
        ),
    ]
}

#[test]
fn each_row_takes_its_providers_access_tokens_and_nothing_else_that_the_same_keys_sign() {
    let app = App::new(shared(), "providers");
    let mut a = app.connect();
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers.md");
    for block in readme_blocks(page) {
        a.run(&block.sql);
    }
    a.run("UPDATE users SET provider_id = 'auth0|64a1' WHERE id = 41");
    let mut last = String::new();
    for case in cases() {
        let mint = Mint::of(&mut a, case.issuer);
        let now = seconds(&mut a);
        let token = |change: &Value| {
            let mut all = case.good.clone();
            let all = all.as_object_mut().expect("an object");
            let usual = [
                ("iss", json!(case.iss)),
                ("iat", json!(now)),
                ("exp", json!(now + 600)),
                ("jti", json!("j")),
            ];
            all.extend(usual.map(|(name, value)| (name.to_owned(), value)));
            all.extend(change.as_object().expect("an object").clone());
            all.retain(|_, value| !value.is_null());
            mint.sign(case.typ, &Value::Object(all.clone()).to_string())
        };
        let good = token(&json!({}));
        let row = a.rows(
            "SELECT reason, user_id, issuer FROM auth.check_jwt($1)",
            &[&good],
        );
        assert_eq!(row[0].get::<_, Option<String>>(0), None, "{}", case.issuer);
        assert_eq!(row[0].get::<_, String>(1), "41", "the application's own id");
        assert_eq!(row[0].get::<_, String>(2), case.iss);
        last = good;
        for (change, reason) in &case.bad {
            assert_eq!(
                a.verdict(&token(change)),
                *reason,
                "{} {change}",
                case.issuer
            );
        }
        assert_eq!(
            a.verdict(
                &mint
                    .sign("logout+jwt", &format!("{{\"iss\":\"{}\"}}", case.iss))
                    .clone()
            ),
            match case.iss == case.issuer {
                true => "wrong_purpose",
                // Without its claim it is of no tenant.
                false => "wrong_issuer",
            }
        );
    }
    // The key that is a token, and the one that must never come from a client.
    let mint = Mint::of(&mut a, "supabase");
    let now = seconds(&mut a);
    let key = |role: &str| {
        mint.sign("JWT", &json!({"iss": "supabase", "ref": "PROJECT", "role": role, "iat": now, "exp": now + 600}).to_string())
    };
    assert_eq!(a.verdict(&key("anon")), "valid");
    assert_eq!(a.verdict(&key("service_role")), "invalid_claim");
    // Deactivated here, it is over everywhere.
    a.run("UPDATE users SET is_active = false WHERE id = 41");
    assert_eq!(a.verdict(&last), "inactive_user");
}
