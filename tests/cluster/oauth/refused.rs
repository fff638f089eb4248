//! Tokens that let nobody in, and what is said of them.

use super::{Server, log_in, refused};
use auth_ext_tests::{Ask, Wire, json, seconds};

#[test]
fn a_token_that_does_not_verify_is_a_failed_login_whose_reason_only_the_log_has() {
    let Some(server) = Server::start("oauth_bad", &[]) else {
        return;
    };
    let mut site = server.site("bad");
    let now = seconds(&mut site.admin);
    let claims = [
        (json!({"exp": now - 10}), "expired"),
        (json!({"exp": null}), "missing_claim"),
        (json!({"nbf": now + 600}), "not_yet_valid"),
        (json!({"session_version": 1}), "session_version_mismatch"),
        (json!({"iss": "https://evil.example"}), "wrong_issuer"),
        (json!({"iss": null}), "missing_claim"),
        (json!({"aud": "elsewhere"}), "wrong_audience"),
        (json!({"sub": "991337"}), "unknown_user"),
        (json!({"sub": 41}), "invalid_claim"),
        (json!({"events": {}}), "wrong_purpose"),
    ];
    for (claims, reason) in claims {
        let token = site.token(&claims);
        site.refused("app", &token, reason);
    }
    let good = site.good();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let turned = format!("{first}{}", &signature[1..]);
    let long = format!("{}.{signed}", "x".repeat(20_000));
    for (token, reason) in [
        ("x", "malformed"),
        ("a.b.c", "malformed"),
        (signed, "malformed"),
        (&format!("{good}{good}"), "malformed"),
        (&format!("{good}="), "malformed"),
        (&format!("{signed}.{turned}"), "bad_signature"),
        (&long, "too_large"),
    ] {
        site.refused("app", token, reason);
    }
    // A key of the same kid that is not this database's.
    let other = server.site("bad_other").good();
    site.admin
        .run("SELECT auth.retire_signing_key('mint'), auth.import_signing_key('another-secret-0123456789abcdef-0', 'HS256', kid => 'mint2')");
    site.refused("app", &other, "unknown_key");
    site.refused("app", &good, "unknown_key");
}

#[test]
fn whatever_ends_a_token_ends_logging_in_with_it() {
    let Some(server) = Server::start("oauth_ended", &[]) else {
        return;
    };
    for (end, reason) in [
        (
            "SELECT auth.bump_session_version('41')",
            "session_version_mismatch",
        ),
        ("SELECT auth.revoke_jwt($1)", "revoked"),
        ("UPDATE users SET is_active = false", "inactive_user"),
        ("DELETE FROM users", "unknown_user"),
        (
            "UPDATE auth.issuers SET not_before = now()",
            "issued_before_cutoff",
        ),
        (
            "SELECT auth.retire_signing_key(kid) FROM auth.signing_keys",
            "unknown_key",
        ),
        (
            "SELECT auth.end_session(s.session_id) FROM auth.list_sessions('41') AS s",
            "session_ended",
        ),
        ("DELETE FROM auth.issuers", "no default issuer is set up"),
    ] {
        let mut site = server.site("ended");
        let open =
            "SELECT access_token FROM auth.open_session('41', claims => '{\"role\":\"app\"}')";
        let token: String = site.admin.one(open, &[]);
        let mut open = site.wire("app", &token);
        let sql = end.replace("$1", &format!("'{token}'"));
        site.admin.run(&sql);
        site.refused("app", &token, reason);
        assert_eq!(open.show("SELECT auth.user_id()"), "", "{end}");
    }
}

#[test]
fn what_is_no_token_at_all_does_not_come_as_far_as_the_extension() {
    let Some(server) = Server::start("oauth_none", &[]) else {
        return;
    };
    let mut site = server.site("none");
    let good = site.good();
    let db = site.app.db.clone();
    let startup = [("user", "app"), ("database", db.as_str())];
    let responses = [
        String::new(),
        "n,,".to_owned(),
        "n,,\x01auth=\x01\x01".to_owned(),
        "n,,\x01auth=Bearer \x01\x01".to_owned(),
        format!("n,,\x01auth=Basic {good}\x01\x01"),
        format!("n,,\x01auth={good}\x01\x01"),
        format!("n,,\x01auth=Bearer {good} x\x01\x01"),
        format!("n,,\x01auth=Bearer {good}\x01auth=Bearer {good}\x01\x01"),
        format!("n,,\x01auth=Bearer {good}\x01\x01\x01"),
        format!("n,a=postgres,\x01auth=Bearer {good}\x01\x01"),
        format!("y,,\x01auth=Bearer {good}\x01"),
        format!("p=tls-server-end-point,,\x01auth=Bearer {good}\x01\x01"),
        format!("n,,\x01auth=Bearer {}\x01\x01", "x".repeat(70_000)),
    ];
    for response in responses {
        let outcome = Wire::open(site.cluster, &startup, response.as_bytes(), &[]);
        let Err(failure) = outcome else {
            panic!("logged in with {response:?}")
        };
        assert!(
            ["28000", "08P01", "0A000", ""].contains(&failure.code()),
            "{failure:?}"
        );
    }
    assert!(!site.cluster.log().contains("auth_ext refused"));
    site.wire("app", &good);
}

#[test]
fn neither_token_nor_claims_nor_an_unverified_name_reach_the_log_whatever_is_logged() {
    let Some(server) = Server::start(
        "oauth_log",
        &[
            ("log_connections", "all"),
            ("log_disconnections", "on"),
            ("log_min_messages", "debug5"),
            ("log_min_error_statement", "debug5"),
            ("log_error_verbosity", "verbose"),
            ("log_statement", "all"),
            ("debug_print_plan", "on"),
            ("debug_print_parse", "on"),
        ],
    ) else {
        return;
    };
    let mut site = server.site("log");
    let now = seconds(&mut site.admin);
    let secret = "zq-unverified-77";
    let unverified = json!({"sub": secret, "role": "app", "note": secret, "jti": secret});
    let mut tokens = Vec::new();
    for more in [
        json!({"exp": now - 10}),
        json!({"iss": secret}),
        json!({"aud": secret}),
        json!({"session_version": secret}),
        json!({"sub": [secret]}),
        json!({"role": secret}),
        json!({}),
    ] {
        let mut claims = unverified.clone();
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        tokens.push(site.token(&claims));
    }
    let forged = tokens[6].rsplit_once('.').unwrap().0.to_owned() + ".AAAA";
    tokens.push(forged);
    let before = site.cluster.log().len();
    for token in &tokens {
        for role in ["app", "m_app"] {
            assert!(site.log_in(role, token).is_err());
        }
    }
    let log = site.cluster.log()[before..].to_owned();
    assert!(
        log.matches("auth_ext refused a login").count() >= 16,
        "{log}"
    );
    assert!(!log.contains(secret), "{secret}");
    for token in &tokens {
        for part in token.split('.').filter(|part| part.len() > 10) {
            let part = &part[part.len() / 2..];
            assert!(!log.contains(part), "{part}");
        }
    }
    // Of one that holds: who it is, and not the token.
    let good = site.token(&json!({"note": secret}));
    let before = site.cluster.log().len();
    drop(site.wire("app", &good));
    let log = site.cluster.log()[before..].to_owned();
    let identity = "connection authenticated: identity=\"41\" method=oauth";
    assert!(log.contains(identity), "{log}");
    assert!(!log.contains(secret) && !log.contains(good.rsplit_once('.').unwrap().1));
}

#[test]
fn a_login_waits_for_a_lock_no_longer_than_authentication_may_take() {
    let Some(server) = Server::start("oauth_lock", &[("authentication_timeout", "2s")]) else {
        return;
    };
    let mut site = server.site("lock");
    let token = site.good();
    let db = site.app.db.clone();
    site.admin
        .run("BEGIN; LOCK TABLE auth.issuers, users IN ACCESS EXCLUSIVE MODE");
    let started = std::time::Instant::now();
    refused(site.cluster, "app", "ERRCODE_QUERY_CANCELED", || {
        log_in(site.cluster, &db, "app", &token)
    });
    let waited = started.elapsed().as_secs();
    assert!((1..30).contains(&waited), "{waited} s");
    site.admin.run("ROLLBACK");
    let mut a = site.wire("app", &token);
    // The time-out is not the session's.
    assert_eq!(a.show("SELECT 1 FROM pg_sleep(3)"), "1");
}
