//! A transaction ends sessions when it commits: what others made while it ran ends with the rest.

use std::thread;
use std::time::Duration;

use auth_ext_tests::{App, Ask, Client, Cluster, Mint, PLAIN, QUOTED, json, second, shared};

/// `ends` in a transaction that stays open into the next second, in which somebody else gets a token.
fn token_of_meanwhile(a: &mut Client, b: &mut Client, ends: &str, user: &str) -> String {
    a.run("BEGIN");
    a.run(ends);
    thread::sleep(Duration::from_millis(1100));
    let token = b.issue(user);
    assert_eq!(b.verdict(&token), "valid");
    token
}

#[test]
fn a_token_that_is_issued_before_the_commit_of_a_bump_is_older_than_it() {
    let cluster = Cluster::with_config("moments", &[("max_prepared_transactions", "4")]);
    for shape in [&PLAIN, &QUOTED] {
        let app = App::of_shape(&cluster, "moments", shape);
        let (mut a, mut b) = (app.connect(), app.connect());
        a.run("UPDATE auth.issuers SET session_check = 'issued_at'");
        let bump = format!("SELECT auth.bump_session_version({})", app.sql("{ada}"));
        let token = token_of_meanwhile(&mut a, &mut b, &bump, app.ada);
        let other = b.issue(app.bob);
        a.run("COMMIT");
        assert_eq!(b.verdict(&token), "issued_before_cutoff");
        assert_eq!(b.verdict(&other), "valid");
        // As if it had never been.
        let undone = format!("SAVEPOINT s; {bump}; ROLLBACK TO s");
        thread::sleep(Duration::from_millis(1100));
        let token = token_of_meanwhile(&mut a, &mut b, &undone, app.ada);
        a.run("COMMIT");
        assert_eq!(b.verdict(&token), "valid");
        // The time of a prepared transaction's end is not known.
        let token = token_of_meanwhile(&mut a, &mut b, &bump, app.ada);
        a.run("PREPARE TRANSACTION 'moments'");
        a.run("COMMIT PREPARED 'moments'");
        assert_eq!(b.verdict(&token), "issued_before_cutoff");
        // The next user of that id.
        let delete = app.sql("DELETE FROM {users} WHERE {id} = {bob}");
        let token = token_of_meanwhile(&mut a, &mut b, &delete, app.bob);
        a.run("COMMIT");
        app.insert(&mut a, app.bob);
        assert_eq!(b.verdict(&token), "issued_before_cutoff");
    }
}

#[test]
fn also_where_the_transaction_has_so_many_events_that_they_become_a_flush() {
    let app = App::new(shared(), "moments");
    let (mut a, mut b) = (app.connect(), app.connect());
    a.run("UPDATE auth.issuers SET session_check = 'issued_at'; SET auth_ext.bulk_threshold = 1");
    for ends in [
        "SELECT auth.revoke_jwt(auth.issue_jwt('42')); SELECT auth.bump_session_version('41')",
        "UPDATE users SET email = random()",
    ] {
        let token = token_of_meanwhile(&mut a, &mut b, ends, app.ada);
        a.run("COMMIT");
        assert_eq!(b.verdict(&token), "issued_before_cutoff", "{ends}");
        thread::sleep(Duration::from_millis(1100));
    }
}

#[test]
fn a_truncate_that_is_committed_later_ends_what_a_provider_issued_meanwhile() {
    for threshold in [1000, 1] {
        let app = App::new(shared(), "moments");
        let mut a = app.connect();
        let mint = Mint::new(&mut a);
        a.run(&format!(
            "UPDATE auth.issuers SET session_check = 'issued_at'; SET auth_ext.bulk_threshold = {threshold};
             BEGIN; TRUNCATE users"
        ));
        thread::sleep(Duration::from_millis(1100));
        let token = mint.token(&mut a, &json!({"sub": "41"}));
        a.run("COMMIT; INSERT INTO users (id) VALUES (41)");
        assert_eq!(a.verdict(&token), "issued_before_cutoff", "{threshold}");
    }
}

#[test]
fn what_ends_in_the_transaction_that_drops_the_extension_needs_no_time() {
    for threshold in [1000, 1] {
        for ends in [
            "SELECT auth.bump_session_version('41')",
            "DELETE FROM users",
            "TRUNCATE users",
        ] {
            let app = App::new(shared(), "moments");
            let mut a = app.connect();
            a.run(&format!(
                "SET auth_ext.bulk_threshold = {threshold}; BEGIN; {ends}; SELECT pg_sleep(1.1);
                 DROP EXTENSION auth_ext CASCADE; COMMIT"
            ));
        }
    }
}

#[test]
fn a_clock_that_goes_back_revives_no_token() {
    let app = App::new(shared(), "moments");
    let mut a = app.connect();
    let all_at_once = "SET auth_ext.bulk_threshold = 1; UPDATE users SET email = random(); RESET auth_ext.bulk_threshold";
    a.run(all_at_once);
    a.bump("41");
    // So it was when the clock was an hour ahead.
    for table in ["user_history", "user_floor"] {
        a.run(&format!(
            "UPDATE auth.{table} SET bumped_at = now() + interval '1 h'"
        ));
    }
    a.run(all_at_once);
    a.bump("41");
    let ahead: bool = a.one(
        "SELECT h.bumped_at > now() AND f.bumped_at > now() FROM auth.user_history AS h, auth.user_floor AS f
         WHERE h.user_id = '41'",
        &[],
    );
    assert!(ahead);
}

#[test]
fn a_session_of_another_version_or_of_before_the_kill_switch_has_no_tokens() {
    let app = App::new(shared(), "moments");
    let mut a = app.connect();
    for check in ["version", "issued_at"] {
        a.run(&format!(
            "UPDATE auth.issuers SET session_check = '{check}'"
        ));
        for (change, back) in [
            (
                "UPDATE auth.sessions SET session_version = session_version + 1",
                "UPDATE auth.sessions SET session_version = session_version - 1",
            ),
            (
                "UPDATE auth.sessions SET created_at = created_at - interval '1 h';
                 UPDATE auth.issuers SET not_before = now() - interval '30 min'",
                "UPDATE auth.issuers SET not_before = NULL",
            ),
        ] {
            a.run("DELETE FROM auth.sessions");
            let row = a
                .rows(
                    "SELECT access_token, refresh_token FROM auth.open_session('41')",
                    &[],
                )
                .remove(0);
            let (token, refresh): (String, String) = (row.get(0), row.get(1));
            assert_eq!(a.verdict(&token), "valid");
            a.run(change);
            assert_eq!(a.verdict(&token), "session_ended", "{change}");
            // Whoever is told so gets no further token, and sees no such session.
            let (valid, listed): (bool, i64) = {
                let sql = "SELECT (auth.refresh_session($1)).valid, (SELECT count(*) FROM auth.list_sessions('41'))";
                let row = a.rows(sql, &[&refresh]).remove(0);
                (row.get(0), row.get(1))
            };
            assert!(!valid, "{change}");
            assert_eq!(listed, 0, "{change}");
            a.run(back);
            assert_eq!(a.verdict(&token), "valid");
        }
    }
}

#[test]
fn a_new_user_waits_for_a_deletion_of_many_that_is_being_committed() {
    let app = App::new(shared(), "moments");
    let mut a = app.connect();
    // The lock of the last step of such a transaction, before its commit can be seen.
    a.run("BEGIN; LOCK TABLE auth.user_floor IN EXCLUSIVE MODE");
    let started = second(&app, &mut a, "COMMIT", |b| {
        b.run("INSERT INTO users (id) VALUES (77)");
        b.version("77")
    });
    assert_eq!(started, Some(0));
    // And does not stand in the way of the next.
    let mut b = app.connect();
    b.run("BEGIN; INSERT INTO users (id) VALUES (78)");
    a.run("SET auth_ext.bulk_threshold = 1; DELETE FROM users WHERE id < 77");
    b.run("COMMIT");
    assert_eq!(b.version("78"), Some(0));
    b.run("INSERT INTO users (id) VALUES (41)");
    assert_eq!(b.version("41"), Some(1));
}
