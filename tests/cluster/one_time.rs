//! One-time tokens: for one caller, one purpose, a while. Only their hashes are stored.

use auth_ext_tests::{
    App, Ask, Client, Listener, attempt, json, no, race, refused, second, shared,
};

mod deleted;

const CONSUME: &str = "SELECT auth.consume_one_time_token($1, 'password_reset')";
const VALIDATE: &str = "SELECT auth.validate_one_time_token($1, 'password_reset')";

fn reset(client: &mut Client, user: &str) -> String {
    let sql = "SELECT auth.issue_one_time_token($1, 'password_reset')";
    client.one(sql, &[&user])
}

fn asked(client: &mut Client, sql: &str, token: &str) -> Option<String> {
    client.one(sql, &[&token])
}

#[test]
fn a_token_is_43_url_safe_characters_and_only_its_hash_is_stored_with_address_and_agent() {
    let app = App::new(shared(), "stored");
    let mut a = app.connect();
    let sql = "SELECT auth.issue_one_time_token('41', 'password_reset', ip => '203.0.113.7', user_agent => 'Mozilla/5.0')";
    let token: String = a.one(sql, &[]);
    assert_eq!(token.len(), 43);
    assert!(
        token
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)),
        "{token}"
    );
    let row: String = a.one("SELECT t::text FROM auth.one_time_tokens AS t", &[]);
    assert!(!row.contains(&token), "{row}");
    let sql = "SELECT token_hash = encode(sha256(convert_to($1, 'UTF8')), 'hex') AND host(ip_address) = '203.0.113.7'
                   AND user_agent = 'Mozilla/5.0' AND user_id = '41' FROM auth.one_time_tokens";
    assert!(a.one::<bool>(sql, &[&token]));
    let dump = shared().dump(&app.db);
    assert!(dump.contains("one_time_tokens") && !dump.contains(&token));
}

#[test]
fn validate_looks_and_consume_takes() {
    for app in App::of_every_shape(shared(), "take") {
        let mut a = app.connect();
        let token = reset(&mut a, app.ada);
        for _ in 0..3 {
            assert_eq!(asked(&mut a, VALIDATE, &token).as_deref(), Some(app.ada));
        }
        assert_eq!(asked(&mut a, CONSUME, &token).as_deref(), Some(app.ada));
        assert_eq!(asked(&mut a, CONSUME, &token), None);
        assert_eq!(asked(&mut a, VALIDATE, &token), None);
    }
}

#[test]
fn of_fifty_callers_one_gets_the_user() {
    let app = App::new(shared(), "fifty");
    for _ in 0..3 {
        let token = reset(&mut app.connect(), app.ada);
        let got = race(&app, 50, |_, client| asked(client, CONSUME, &token));
        let won: Vec<_> = got.into_iter().flatten().collect();
        assert_eq!(won, [app.ada]);
    }
}

#[test]
fn who_waits_for_a_consumer_gets_the_user_only_if_that_one_rolls_back() {
    let app = App::new(shared(), "waits");
    let mut a = app.connect();
    for (end, left) in [("COMMIT", None), ("ROLLBACK", Some(app.ada))] {
        let token = reset(&mut a, app.ada);
        a.run("BEGIN");
        assert_eq!(asked(&mut a, CONSUME, &token).as_deref(), Some(app.ada));
        let got = second(&app, &mut a, end, |b| asked(b, CONSUME, &token));
        assert_eq!(got.as_deref(), left, "{end}");
    }
}

#[test]
fn a_newer_token_of_the_same_purpose_ends_the_older_one() {
    let app = App::new(shared(), "newer");
    let mut a = app.connect();
    let verify = "SELECT auth.issue_one_time_token($1, 'email_verification')";
    let (old, mail): (String, String) = (reset(&mut a, app.ada), a.one(verify, &[&app.ada]));
    let bobs = reset(&mut a, app.bob);
    let new = reset(&mut a, app.ada);
    assert_eq!(asked(&mut a, VALIDATE, &old), None);
    assert_eq!(asked(&mut a, CONSUME, &old), None);
    assert_eq!(asked(&mut a, CONSUME, &new).as_deref(), Some(app.ada));
    assert_eq!(asked(&mut a, CONSUME, &bobs).as_deref(), Some(app.bob));
    let consume = "SELECT auth.consume_one_time_token($1, 'email_verification')";
    assert_eq!(asked(&mut a, consume, &mail).as_deref(), Some(app.ada));
}

#[test]
fn of_tokens_issued_at_once_one_is_left() {
    let app = App::new(shared(), "issued");
    let tokens = race(&app, 20, |_, client| reset(client, app.ada));
    let mut a = app.connect();
    let valid = tokens
        .iter()
        .filter(|token| asked(&mut a, VALIDATE, token).is_some());
    assert_eq!(valid.count(), 1);
}

#[test]
fn a_token_that_is_issued_while_the_older_is_being_consumed_is_good() {
    let app = App::new(shared(), "crossing");
    let mut a = app.connect();
    for end in ["COMMIT", "ROLLBACK"] {
        let old = reset(&mut a, app.ada);
        a.run("BEGIN");
        assert!(asked(&mut a, CONSUME, &old).is_some());
        let new = second(&app, &mut a, end, |b| reset(b, app.ada));
        assert_eq!(asked(&mut a, CONSUME, &old), None, "{end}");
        assert_eq!(
            asked(&mut a, CONSUME, &new).as_deref(),
            Some(app.ada),
            "{end}"
        );
        // And the other way round.
        let old = reset(&mut a, app.ada);
        a.run("BEGIN");
        let new = reset(&mut a, app.ada);
        let got = second(&app, &mut a, end, |b| asked(b, CONSUME, &old));
        let (old_is, new_is) = if end == "COMMIT" {
            (None, Some(app.ada))
        } else {
            (Some(app.ada), None)
        };
        assert_eq!(got.as_deref(), old_is, "{end}");
        assert_eq!(asked(&mut a, CONSUME, &new).as_deref(), new_is, "{end}");
    }
}

#[test]
fn a_token_is_for_its_purpose() {
    let app = App::new(shared(), "purpose");
    let mut a = app.connect();
    let token = reset(&mut a, app.ada);
    for purpose in [
        "email_verification",
        "PASSWORD_RESET",
        "",
        "password_reset ",
    ] {
        for function in ["validate", "consume"] {
            let sql = format!("SELECT auth.{function}_one_time_token($1, $2)");
            assert_eq!(
                a.one::<Option<String>>(&sql, &[&token, &purpose]),
                None,
                "{purpose}"
            );
        }
    }
    for nobodys in ["", "x", "é", &token[1..], &"x".repeat(100_000)] {
        assert_eq!(asked(&mut a, CONSUME, nobodys), None);
    }
    assert_eq!(
        a.one::<Option<String>>(
            "SELECT auth.consume_one_time_token(NULL, 'password_reset')",
            &[]
        ),
        None
    );
    assert_eq!(asked(&mut a, CONSUME, &token).as_deref(), Some(app.ada));
}

#[test]
fn a_token_lives_as_long_as_its_purpose_says_or_the_caller() {
    let app = App::new(shared(), "lives");
    let mut a = app.connect();
    for (arguments, seconds) in [
        ("'password_reset'", 3600.0),
        ("'email_verification'", 86400.0),
        ("'password_reset', '10 minutes'", 600.0),
        ("'invitation', '7 days'", 604_800.0),
    ] {
        a.run(&format!(
            "DELETE FROM auth.one_time_tokens; SELECT auth.issue_one_time_token('41', {arguments})"
        ));
        let sql = "SELECT abs(extract(epoch FROM expires_at - clock_timestamp())::float8 - $1) < 30 FROM auth.one_time_tokens";
        assert!(a.one::<bool>(sql, &[&seconds]), "{arguments}");
    }
    for arguments in [
        "'invitation'",
        "'password_reset', '0'",
        "'x', '-1 s'",
        "''",
        "NULL",
        "'', '1 h'",
    ] {
        let sql = format!("SELECT auth.issue_one_time_token('41', {arguments})");
        refused(a.query(&sql, &[]), "22023", None);
    }
    let token = reset(&mut a, app.ada);
    a.run("UPDATE auth.one_time_tokens SET expires_at = clock_timestamp()");
    assert_eq!(asked(&mut a, VALIDATE, &token), None);
    assert_eq!(asked(&mut a, CONSUME, &token), None);
}

#[test]
fn a_token_is_for_an_active_user_when_issued_and_when_consumed() {
    let app = App::new(shared(), "active");
    let mut a = app.connect();
    let issue = "SELECT auth.issue_one_time_token($1, 'password_reset')";
    let token = reset(&mut a, app.ada);
    a.run("UPDATE users SET is_active = false WHERE id = 41");
    assert_eq!(attempt(&mut a, issue, &[&"41"]), no("inactive_user"));
    assert_eq!(attempt(&mut a, issue, &[&"7"]), no("unknown_user"));
    assert_eq!(attempt(&mut a, issue, &[&None::<&str>]), no("unknown_user"));
    assert_eq!(asked(&mut a, VALIDATE, &token), None);
    assert_eq!(asked(&mut a, CONSUME, &token), None);
    let token = reset(&mut a, app.bob);
    a.run("DELETE FROM users WHERE id = 42");
    assert_eq!(asked(&mut a, VALIDATE, &token), None);
    assert_eq!(asked(&mut a, CONSUME, &token), None);
}

#[test]
fn the_token_of_a_deleted_user_is_not_the_next_ones_of_that_id() {
    let app = App::new(shared(), "reborn");
    let mut a = app.connect();
    let token = reset(&mut a, app.ada);
    a.run("DELETE FROM users WHERE id = 41; INSERT INTO users (id) VALUES (41)");
    assert_eq!(asked(&mut a, VALIDATE, &token), None);
    assert_eq!(asked(&mut a, CONSUME, &token), None);
}

#[test]
fn consuming_a_password_reset_leaves_the_version_to_the_change_of_the_password() {
    // The e-mail column stands for the password: it is in `bump_on`.
    let app = App::new(shared(), "pair");
    let mut a = app.connect();
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let session = a.issue(app.ada);
    let token = reset(&mut a, app.ada);
    assert_eq!(asked(&mut a, CONSUME, &token).as_deref(), Some(app.ada));
    assert_eq!(a.version(app.ada), Some(0));
    assert_eq!(a.verdict(&session), "valid");
    assert_eq!(listener.payloads(), Vec::<String>::new());
    a.run("UPDATE users SET email = 'new hash' WHERE id = 41");
    assert_eq!(a.version(app.ada), Some(1));
    assert_eq!(a.verdict(&session), "session_version_mismatch");
    let event =
        json!({"v": 1, "kind": "user", "id": "41", "session_version": 1, "reason": "updated"});
    assert_eq!(listener.events(), [event]);
    // Both in one transaction, as the application does it: all or nothing.
    let session = a.issue(app.ada);
    let token = reset(&mut a, app.ada);
    for (end, verdict) in [
        ("ROLLBACK", "valid"),
        ("COMMIT", "session_version_mismatch"),
    ] {
        a.run("BEGIN");
        assert_eq!(asked(&mut a, CONSUME, &token).as_deref(), Some(app.ada));
        a.run(&format!(
            "UPDATE users SET email = 'newer hash' WHERE id = 41; {end}"
        ));
        assert_eq!(a.verdict(&session), verdict);
    }
}

#[test]
fn prune_removes_expired_unused_tokens_and_those_used_30_days_ago() {
    let app = App::new(shared(), "prune");
    let mut a = app.connect();
    a.run(
        "INSERT INTO auth.one_time_tokens (token_hash, user_id, purpose, expires_at, used_at) VALUES
         ('expired unused', '1', 'p', now() - interval '1 s', NULL),
         ('open', '2', 'p', now() + interval '1 h', NULL),
         ('used 29 days ago', '3', 'p', now() - interval '29 days', now() - interval '29 days'),
         ('used 31 days ago', '4', 'p', now() - interval '31 days', now() - interval '31 days'),
         ('used, not expired', '5', 'p', now() + interval '1 h', now() - interval '1 h')",
    );
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 2);
    let left = "SELECT string_agg(token_hash, ', ' ORDER BY user_id) FROM auth.one_time_tokens";
    assert_eq!(
        a.one::<String>(left, &[]),
        "open, used 29 days ago, used, not expired"
    );
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 0);
}

#[test]
fn prune_passes_over_what_another_transaction_has_locked() {
    let app = App::new(shared(), "beside");
    let (mut a, mut b) = (app.connect(), app.connect());
    a.run(
        "INSERT INTO auth.one_time_tokens (token_hash, user_id, purpose, expires_at)
             SELECT n, n, 'p', now() - interval '1 s' FROM generate_series(1, 100) AS n",
    );
    a.run("BEGIN; SELECT FROM auth.one_time_tokens WHERE user_id = '7' FOR UPDATE");
    b.run("SET lock_timeout = '5 s'");
    assert_eq!(b.one::<i64>("SELECT auth.prune()", &[]), 99);
    a.run("COMMIT");
    let pruned = race(&app, 4, |_, client| {
        client.one::<i64>("SELECT auth.prune()", &[])
    });
    assert_eq!(pruned.iter().sum::<i64>(), 1);
}
