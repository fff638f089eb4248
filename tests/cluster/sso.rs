//! Single sign-on: three steps, each taken once, each looking at the user and the issuer as they are now.

use auth_ext_tests::{
    App, Ask, Client, Mint, Value, attempt, json, no, race, refused, second, shared,
};

const EXCHANGE: &str = "SELECT auth.exchange_sso_token($1, 'shop')";
const COMPLETE: &str = "SELECT token FROM auth.complete_sso($1)";

fn sso(client: &mut Client, user: &str) -> String {
    client.one("SELECT auth.issue_sso_token($1)", &[&user])
}

fn handoff(client: &mut Client, user: &str) -> String {
    let token = sso(client, user);
    client.one(EXCHANGE, &[&token])
}

#[test]
fn an_sso_token_of_five_minutes_becomes_a_hand_off_becomes_an_access_token() {
    for app in App::of_every_shape(shared(), "steps") {
        let mut a = app.connect();
        let token = sso(&mut a, app.ada);
        let decoded: Value = a.one("SELECT auth.decode_jwt($1)", &[&token]);
        let payload = &decoded["payload"];
        let lifetime = payload["exp"].as_i64().unwrap() - payload["iat"].as_i64().unwrap();
        assert_eq!(lifetime, 300);
        assert_eq!(payload["session_version"], 0);
        let sql = "SELECT auth.exchange_sso_token($1, 'shop', 'https://shop.example.com/?a=b')";
        let handoff: String = a.one(sql, &[&token]);
        let left = "SELECT extract(epoch FROM expires_at - clock_timestamp())::float8 FROM auth.sso_handoffs";
        let left: f64 = a.one(left, &[]);
        assert!((20.0..=30.0).contains(&left), "{left}");
        let sql = "SELECT token, user_id, target_app, return_url FROM auth.complete_sso($1, $2)";
        let device = json!({"user_agent": "x"});
        let row = &a.rows(sql, &[&handoff, &device])[0];
        let [token, user, target, url]: [String; 4] = std::array::from_fn(|n| row.get(n));
        assert_eq!(user, app.ada);
        assert_eq!(
            (target.as_str(), url.as_str()),
            ("shop", "https://shop.example.com/?a=b")
        );
        assert_eq!(a.verdict(&token), "valid");
        let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&token]);
        assert_eq!(claims["sub"], app.ada);
        assert!(claims["device_hash"].is_string());
        assert!(claims["jti"].is_string());
    }
}

#[test]
fn only_the_hash_of_a_hand_off_is_stored() {
    let app = App::new(shared(), "hash");
    let mut a = app.connect();
    let handoff = handoff(&mut a, app.ada);
    assert!(handoff.len() >= 43, "32 random octets");
    let sql = "SELECT s::text FROM auth.sso_handoffs AS s";
    let row: String = a.one(sql, &[]);
    assert!(!row.contains(&handoff), "{row}");
    assert!(row.contains(&a.one::<String>("SELECT auth.api_key_fingerprint($1)", &[&handoff])));
}

#[test]
fn each_step_is_taken_once_and_then_says_revoked() {
    let app = App::new(shared(), "once");
    let mut a = app.connect();
    let token = sso(&mut a, app.ada);
    let handoff: String = a.one(EXCHANGE, &[&token]);
    assert_eq!(attempt(&mut a, EXCHANGE, &[&token]), no("revoked"));
    assert!(attempt(&mut a, COMPLETE, &[&handoff]).is_ok());
    assert_eq!(attempt(&mut a, COMPLETE, &[&handoff]), no("revoked"));
    assert_eq!(attempt(&mut a, EXCHANGE, &[&token]), no("revoked"));
    for nobodys in ["", "x", &handoff[1..], "é", &"y".repeat(100_000)] {
        assert_eq!(attempt(&mut a, COMPLETE, &[&nobodys]), no("malformed"));
    }
    assert_eq!(attempt(&mut a, COMPLETE, &[&None::<&str>]), no("malformed"));
    assert_eq!(attempt(&mut a, EXCHANGE, &[&None::<&str>]), no("malformed"));
    let token = sso(&mut a, app.ada);
    refused(
        a.query("SELECT auth.exchange_sso_token($1, NULL)", &[&token]),
        "22023",
        None,
    );
    assert!(attempt(&mut a, EXCHANGE, &[&token]).is_ok());
}

#[test]
fn of_fifty_callers_one_gets_each_step() {
    let app = App::new(shared(), "fifty");
    let mut a = app.connect();
    let token = sso(&mut a, app.ada);
    let mut given = token;
    for step in [EXCHANGE, COMPLETE] {
        let outcomes = race(&app, 50, |_, client| attempt(client, step, &[&given]));
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1, "{step}");
        assert!(
            lost.iter().all(|outcome| *outcome == no("revoked")),
            "{lost:?}"
        );
        given = won[0].clone().unwrap().unwrap();
    }
    assert_eq!(a.verdict(&given), "valid");
}

#[test]
fn a_step_that_is_rolled_back_can_be_taken_again_by_who_waited_for_it() {
    let app = App::new(shared(), "rollback");
    let mut a = app.connect();
    for end in ["ROLLBACK", "COMMIT"] {
        let mut given = sso(&mut a, app.ada);
        for step in [EXCHANGE, COMPLETE] {
            a.run("BEGIN");
            let first: String = a.one(step, &[&given]);
            let outcome = second(&app, &mut a, end, |b| attempt(b, step, &[&given]));
            given = if end == "COMMIT" {
                assert_eq!(outcome, no("revoked"), "{step}");
                first
            } else {
                outcome.unwrap().unwrap()
            };
        }
        assert_eq!(a.verdict(&given), "valid");
    }
}

#[test]
fn the_version_and_the_user_are_looked_at_in_each_step() {
    for app in App::of_every_shape(shared(), "version") {
        let mut a = app.connect();
        let (token, handoff) = (sso(&mut a, app.ada), handoff(&mut a, app.ada));
        a.bump(app.ada);
        assert_eq!(
            attempt(&mut a, EXCHANGE, &[&token]),
            no("session_version_mismatch")
        );
        assert_eq!(
            attempt(&mut a, COMPLETE, &[&handoff]),
            no("session_version_mismatch")
        );
    }
    for (end, reason) in [
        (
            "UPDATE users SET is_active = false WHERE id = 41",
            "inactive_user",
        ),
        (
            "UPDATE users SET is_active = NOT is_active WHERE id = 41; UPDATE users SET is_active = true",
            "session_version_mismatch",
        ),
        ("DELETE FROM users WHERE id = 41", "unknown_user"),
        (
            "DELETE FROM users WHERE id = 41; INSERT INTO users (id) VALUES (41)",
            "session_version_mismatch",
        ),
        (
            "UPDATE auth.issuers SET not_before = clock_timestamp() + interval '1 s'",
            "issued_before_cutoff",
        ),
    ] {
        let app = App::new(shared(), "between");
        let mut a = app.connect();
        let (token, handoff) = (sso(&mut a, app.ada), handoff(&mut a, app.ada));
        a.run(end);
        assert_eq!(attempt(&mut a, EXCHANGE, &[&token]), no(reason), "{end}");
        assert_eq!(attempt(&mut a, COMPLETE, &[&handoff]), no(reason), "{end}");
    }
}

#[test]
fn the_change_is_seen_by_a_step_in_a_transaction_that_began_before_it() {
    let app = App::new(shared(), "repeatable");
    let (mut a, mut b) = (app.connect(), app.connect());
    let (token, handoff) = (sso(&mut a, app.ada), handoff(&mut a, app.ada));
    for (step, given) in [(EXCHANGE, &token), (COMPLETE, &handoff)] {
        b.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users");
        a.bump(app.ada);
        assert_eq!(
            attempt(&mut b, step, &[given]),
            no("session_version_mismatch")
        );
        b.run("ROLLBACK");
    }
}

#[test]
fn a_token_or_hand_off_past_its_time_is_expired() {
    let app = App::new(shared(), "expired");
    let mut a = app.connect();
    let handoff = handoff(&mut a, app.ada);
    a.run("UPDATE auth.sso_handoffs SET expires_at = clock_timestamp()");
    assert_eq!(attempt(&mut a, COMPLETE, &[&handoff]), no("expired"));
    // And the token itself: there is no grace for it.
    let mint = Mint::new(&mut a);
    let now = auth_ext_tests::seconds(&mut a);
    let payload = |exp| {
        json!({"iss": auth_ext_tests::ISSUER, "aud": "app", "sub": "41", "iat": now - 300, "exp": exp, "jti": format!("{exp}")}).to_string()
    };
    let late = mint.sign("sso+jwt", &payload(now - 1));
    assert_eq!(attempt(&mut a, EXCHANGE, &[&late]), no("expired"));
    let in_time = mint.sign("sso+jwt", &payload(now + 60));
    assert!(attempt(&mut a, EXCHANGE, &[&in_time]).is_ok());
}

#[test]
fn a_token_of_one_purpose_is_refused_by_every_other() {
    let app = App::new(shared(), "purpose");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let access = a.issue(app.ada);
    let legacy = mint.token(&mut a, &json!({"sub": "41", "sso": true, "token_id": "t"}));
    let untyped = mint.token(
        &mut a,
        &json!({"sub": "41", "sso": true, "token_id": "t", "jti": null}),
    );
    let sso = sso(&mut a, app.ada);
    for token in [&sso, &legacy, &untyped] {
        for sql in [
            "SELECT auth.verify_jwt($1)::text",
            "SELECT auth.verify_jwt_claims($1)::text",
            "SELECT auth.refresh_jwt($1)",
            "SELECT auth.revoke_jwt($1)::text",
        ] {
            assert_eq!(attempt(&mut a, sql, &[token]), no("wrong_purpose"), "{sql}");
        }
        assert_eq!(a.verdict(token), "wrong_purpose");
    }
    for token in [&access, &legacy, &untyped] {
        assert_eq!(attempt(&mut a, EXCHANGE, &[token]), no("wrong_purpose"));
    }
    assert!(
        attempt(&mut a, EXCHANGE, &[&sso]).is_ok(),
        "no refusal has consumed it"
    );
    let ordinary = mint.token(&mut a, &json!({"sub": "41", "sso": false}));
    assert_eq!(a.verdict(&ordinary), "valid");
    let error = a.query(
        "SELECT auth.issue_jwt('41', claims => '{\"sso\":true}')",
        &[],
    );
    refused(error, "22023", None);
}

#[test]
fn an_sso_token_is_for_an_active_known_user() {
    let app = App::new(shared(), "who");
    let mut a = app.connect();
    a.run("UPDATE users SET is_active = false WHERE id = 42");
    let issue = "SELECT auth.issue_sso_token($1)";
    for (user, reason) in [
        (Some(app.bob), "inactive_user"),
        (Some("7"), "unknown_user"),
        (Some("x"), "unknown_user"),
        (Some(""), "unknown_user"),
        (None, "unknown_user"),
    ] {
        assert_eq!(attempt(&mut a, issue, &[&user]), no(reason));
    }
    refused(
        a.query("SELECT auth.issue_sso_token('41', 'nobody')", &[]),
        "22023",
        None,
    );
    assert!(
        attempt(
            &mut a,
            "SELECT auth.issue_sso_token('41', $1)",
            &[&auth_ext_tests::ISSUER]
        )
        .is_ok()
    );
}

#[test]
fn an_exchanged_token_tells_the_listeners_of_access_tokens_nothing() {
    let app = App::new(shared(), "silent");
    let mut a = app.connect();
    let mut listener = auth_ext_tests::Listener::on(app.connect(), "auth_invalidation");
    let handoff = handoff(&mut a, app.ada);
    assert!(attempt(&mut a, COMPLETE, &[&handoff]).is_ok());
    assert_eq!(listener.payloads(), Vec::<String>::new());
}

#[test]
fn prune_leaves_hand_offs_that_can_be_taken_and_removes_old_ones() {
    let app = App::new(shared(), "prune");
    let mut a = app.connect();
    let (open, _) = (handoff(&mut a, app.ada), handoff(&mut a, app.ada));
    let hash: String = a.one("SELECT auth.api_key_fingerprint($1)", &[&open]);
    let sql = "UPDATE auth.sso_handoffs SET expires_at = now() - interval '2 days' WHERE handoff_hash <> $1";
    a.execute(sql, &[&hash]).unwrap();
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 1);
    assert!(attempt(&mut a, COMPLETE, &[&open]).is_ok());
}
