//! A token taken for a new one, to the second; a token that is revoked. What it takes, who wins, who hears of it.

use auth_ext_tests::{
    App, Ask, Client, ISSUER, Listener, Mint, Value, attempt, json, no, race, second, seconds,
    shared,
};

const REFRESH: &str = "SELECT auth.refresh_jwt($1)";
const REVOKE: &str = "SELECT auth.revoke_jwt($1)::text";

fn yes() -> Option<String> {
    Some("true".to_owned())
}

fn claims(client: &mut Client, token: &str) -> Value {
    client.one("SELECT auth.verify_jwt($1)", &[&token])
}

/// The clock of the server in microseconds.
fn clock(client: &mut Client) -> i64 {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    client.one(sql, &[])
}

#[test]
fn a_token_is_refreshed_until_the_grace_after_exp_and_leeway_is_over_and_not_a_moment_longer() {
    let app = App::new(shared(), "grace");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    for (leeway, grace) in [(0, 300), (60, 300), (0, 0), (30, 0)] {
        a.run(&format!(
            "UPDATE auth.issuers SET leeway = '{leeway} s', refresh_grace = '{grace} s'"
        ));
        // Ends a little later than now, in the middle of a second: attempts go on until it is over.
        let end = clock(&mut a) + 300_000;
        let exp = end - (leeway + grace) * 1_000_000;
        let (whole, micros) = (exp.div_euclid(1_000_000), exp.rem_euclid(1_000_000));
        let now = seconds(&mut a);
        let payload = format!(
            r#"{{"iss":"{ISSUER}","aud":"app","sub":"{}","iat":{},"exp":{whole}.{micros:06},"jti":"x"}}"#,
            app.ada,
            now - 900
        );
        let token = mint.sign("JWT", &payload);
        assert_eq!(
            a.verdict(&token),
            if grace > 0 { "expired" } else { "valid" }
        );
        let mut refreshed = 0;
        loop {
            let before = clock(&mut a);
            a.run("BEGIN");
            let outcome = attempt(&mut a, REFRESH, &[&token]);
            a.run("ROLLBACK");
            let after = clock(&mut a);
            if outcome == no("expired") {
                assert!(after > end, "refused {} µs too early", end - after);
                break;
            }
            assert!(outcome.is_ok(), "{outcome:?}");
            assert!(before <= end, "refreshed {} µs too late", before - end);
            refreshed += 1;
        }
        assert!(refreshed > 0, "leeway {leeway}, grace {grace}");
    }
}

#[test]
fn a_refreshed_token_is_revoked_in_the_same_transaction_and_back_after_a_rollback() {
    let app = App::new(shared(), "transaction");
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    a.run("BEGIN; SAVEPOINT s");
    let new: String = a.one(REFRESH, &[&token]);
    assert_eq!(a.verdict(&token), "revoked");
    a.run("ROLLBACK TO s");
    assert_eq!(a.verdict(&token), "valid");
    let newer: String = a.one(REFRESH, &[&token]);
    assert_ne!(new, newer);
    assert_eq!(a.verdict(&token), "revoked");
    assert_eq!(a.verdict(&newer), "valid");
    assert_eq!(b.verdict(&token), "valid");
    a.run("ROLLBACK");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(
        a.one::<i64>("SELECT count(*) FROM auth.revoked_tokens", &[]),
        0
    );
    let new: String = a.one(REFRESH, &[&token]);
    assert_eq!(b.verdict(&token), "revoked");
    assert_eq!(b.verdict(&new), "valid");
    assert_eq!(attempt(&mut b, REFRESH, &[&token]), no("revoked"));
    let sql = "SELECT issuer || ' ' || user_id || ' ' || reason FROM auth.revoked_tokens";
    assert_eq!(
        a.one::<String>(sql, &[]),
        format!("{ISSUER} {} session_refresh", app.ada)
    );
}

#[test]
fn of_two_refreshes_of_one_token_the_second_waits_and_wins_only_if_the_first_rolls_back() {
    let app = App::new(shared(), "two");
    let mut a = app.connect();
    // The first round is also the first revocation of the issuer.
    for end in ["COMMIT", "ROLLBACK", "COMMIT"] {
        let token = a.issue(app.ada);
        a.run("BEGIN");
        let won: String = a.one(REFRESH, &[&token]);
        let outcome = second(&app, &mut a, end, |b| attempt(b, REFRESH, &[&token]));
        match end {
            "COMMIT" => assert_eq!(outcome, no("revoked")),
            _ => assert_eq!(a.verdict(outcome.unwrap().unwrap().as_str()), "valid"),
        }
        assert_eq!(a.verdict(&token), "revoked");
        assert_eq!(a.verdict(&won), "valid");
    }
}

#[test]
fn of_fifty_refreshes_of_one_token_one_wins() {
    let app = App::new(shared(), "fifty");
    for _ in 0..3 {
        let token = app.connect().issue(app.ada);
        let outcomes = race(&app, 50, |_, client| attempt(client, REFRESH, &[&token]));
        let (won, lost): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        assert!(
            lost.iter().all(|outcome| *outcome == no("revoked")),
            "{lost:?}"
        );
    }
}

#[test]
fn a_refresh_and_a_logout_at_once_have_one_winner() {
    let app = App::new(shared(), "logout");
    for _ in 0..10 {
        let token = app.connect().issue(app.ada);
        let outcomes = race(&app, 2, |n, client| {
            attempt(client, [REFRESH, REVOKE][n], &[&token])
        });
        match (&outcomes[0], &outcomes[1]) {
            (Ok(_), Ok(revoked)) => assert_eq!(revoked.as_deref(), Some("false")),
            (Err(reason), revoked) => {
                assert_eq!(reason, "revoked");
                assert_eq!(*revoked, Ok(yes()));
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn tokens_of_one_issuer_are_revoked_without_waiting_for_each_other() {
    let app = App::new(shared(), "no_waiting");
    let (mut a, mut b) = (app.connect(), app.connect());
    let first = a.issue(app.ada);
    a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&first]);
    let (ada, bob) = (a.issue(app.ada), a.issue(app.ada));
    a.run("BEGIN");
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&ada]));
    b.run("SET lock_timeout = '2 s'");
    assert_eq!(attempt(&mut b, REVOKE, &[&bob]), Ok(yes()));
    a.run("COMMIT");
    assert_eq!(a.verdict(&bob), "revoked");
    assert_eq!(b.verdict(&ada), "revoked");
}

#[test]
fn the_first_logouts_of_an_issuer_do_not_wait_for_each_other() {
    let app = App::new(shared(), "first_logouts");
    let (mut a, mut b) = (app.connect(), app.connect());
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    a.run("BEGIN");
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&ada]));
    b.run("SET lock_timeout = '2 s'");
    assert_eq!(attempt(&mut b, REVOKE, &[&bob]), Ok(yes()));
    a.run("ROLLBACK");
    assert_eq!(a.verdict(&bob), "revoked");
    assert_eq!(b.verdict(&ada), "valid");
}

#[test]
fn revoke_says_true_once_and_tells_by_the_token_what_it_ended() {
    let app = App::new(shared(), "revoke");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let token = mint.token(
        &mut a,
        &json!({"sub": app.ada, "jti": "j\"1\"", "exp": 4_102_444_800.75}),
    );
    a.run("BEGIN");
    let sql = "SELECT auth.revoke_jwt($1, 'stolen')::text";
    assert_eq!(attempt(&mut a, sql, &[&token]), Ok(yes()));
    assert_eq!(listener.payloads(), Vec::<String>::new(), "before COMMIT");
    a.run("ROLLBACK");
    assert_eq!(listener.payloads(), Vec::<String>::new(), "after ROLLBACK");
    a.run("BEGIN");
    assert_eq!(attempt(&mut a, sql, &[&token]), Ok(yes()));
    a.run("COMMIT");
    let event = r#"{"v":1,"kind":"token","jti":"j\"1\"","user_id":"41","exp":4102444800}"#;
    assert_eq!(listener.payloads(), [event]);
    assert_eq!(a.verdict(&token), "revoked");
    assert_eq!(
        attempt(&mut a, sql, &[&token]),
        Ok(Some("false".to_owned()))
    );
    assert_eq!(attempt(&mut a, REFRESH, &[&token]), no("revoked"));
    assert_eq!(listener.payloads(), Vec::<String>::new());
    let sql = "SELECT string_agg(reason, ' ') FROM auth.revoked_tokens";
    assert_eq!(a.one::<String>(sql, &[]), "stolen");

    let token = a.issue(app.bob);
    let old = claims(&mut a, &token);
    let _: String = a.one(REFRESH, &[&token]);
    let (jti, exp) = (&old["jti"], &old["exp"]);
    let event = json!({"v": 1, "kind": "token", "jti": jti, "user_id": app.bob, "exp": exp});
    assert_eq!(listener.events(), [event]);
}

#[test]
fn a_token_id_of_any_length_can_be_revoked_and_is_taken_for_no_other() {
    let app = App::new(shared(), "long");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let long = "j".repeat(9000);
    let ids = [
        long.as_str(),
        &long[1..],
        &long[..1025],
        &long[..1024],
        "é",
        "",
    ];
    let tokens: Vec<String> = ids
        .iter()
        .map(|jti| mint.token(&mut a, &json!({"sub": app.ada, "jti": jti})))
        .collect();
    for (n, token) in tokens.iter().enumerate() {
        assert_eq!(a.verdict(token), "valid", "{n}");
        assert_eq!(attempt(&mut a, REVOKE, &[token]), Ok(yes()), "{n}");
        assert_eq!(a.verdict(token), "revoked", "{n}");
    }
    // The one that does not fit into a notification is a flush.
    let kinds: Vec<Value> = listener
        .events()
        .iter()
        .map(|event| event["kind"].clone())
        .collect();
    assert_eq!(kinds[0], "flush");
    assert_eq!(kinds[2..], ["token", "token", "token", "token"]);
}

#[test]
fn a_revocation_is_by_issuer_and_token_id() {
    let app = App::new(shared(), "issuers");
    let mut a = app.connect();
    a.run("INSERT INTO auth.issuers (issuer, audience) VALUES ('other', '{app}')");
    let (here, there) = (Mint::new(&mut a), Mint::of(&mut a, "other"));
    let claims = json!({"sub": app.ada, "jti": "same"});
    let (ours, theirs) = (here.token(&mut a, &claims), there.token(&mut a, &claims));
    assert_eq!(attempt(&mut a, REVOKE, &[&ours]), Ok(yes()));
    assert_eq!(a.verdict(&ours), "revoked");
    assert_eq!(a.verdict(&theirs), "valid");
    assert_eq!(attempt(&mut a, REVOKE, &[&theirs]), Ok(yes()));
    assert_eq!(a.verdict(&theirs), "revoked");
}

#[test]
fn without_a_token_id_a_token_is_neither_revoked_nor_refreshed_but_valid() {
    let app = App::new(shared(), "no_jti");
    let mut a = app.connect();
    let token = Mint::new(&mut a).token(&mut a, &json!({"sub": app.ada, "jti": null}));
    assert_eq!(
        attempt(&mut a, REVOKE, &[&token]),
        Ok(Some("false".to_owned()))
    );
    assert_eq!(attempt(&mut a, REFRESH, &[&token]), no("missing_claim"));
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn an_expired_token_can_be_revoked_and_one_that_is_not_ours_cannot() {
    let app = App::new(shared(), "not_ours");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let old = mint.token(
        &mut a,
        &json!({"sub": app.ada, "iat": 1, "exp": now - 10_000}),
    );
    assert_eq!(attempt(&mut a, REVOKE, &[&old]), Ok(yes()));
    let token = mint.token(&mut a, &json!({"sub": app.ada}));
    let forged = format!("{}A", &token[..token.len() - 2]);
    for (sql, token, reason) in [
        (REVOKE, forged.as_str(), "malformed"),
        (REFRESH, forged.as_str(), "malformed"),
        (REVOKE, "", "malformed"),
        (REFRESH, "a.b.c", "malformed"),
    ] {
        let outcome = attempt(&mut a, sql, &[&token]);
        assert!(
            outcome == no(reason) || outcome == no("bad_signature"),
            "{outcome:?}"
        );
    }
    assert_eq!(attempt(&mut a, REFRESH, &[&None::<&str>]), no("malformed"));
    assert_eq!(attempt(&mut a, REVOKE, &[&None::<&str>]), no("malformed"));
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn a_revocation_is_kept_until_the_grace_after_exp_is_over() {
    let app = App::new(shared(), "kept");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    a.run("UPDATE auth.issuers SET leeway = '10 s', refresh_grace = '5 minutes'");
    let now = seconds(&mut a);
    // In its grace; over; and not even expired.
    for (exp, kept) in [(now - 240, true), (now - 312, false), (now + 600, true)] {
        let token = mint.token(&mut a, &json!({"sub": app.ada, "iat": 1, "exp": exp}));
        assert_eq!(attempt(&mut a, REVOKE, &[&token]), Ok(yes()));
        let sql = "SELECT bool_and(keep_until >= to_timestamp($1::bigint + 310)
                       AND keep_until <= to_timestamp($1::bigint + 311)) FROM auth.revoked_tokens";
        assert!(a.one::<bool>(sql, &[&exp]));
        let pruned: i64 = a.one("SELECT auth.prune()", &[]);
        assert_eq!(pruned, i64::from(!kept), "exp {}", exp - now);
        let reason = if kept { "revoked" } else { "expired" };
        assert_eq!(attempt(&mut a, REFRESH, &[&token]), no(reason));
        a.run("DELETE FROM auth.revoked_tokens");
    }
}
