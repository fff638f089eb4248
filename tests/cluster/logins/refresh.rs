//! Refresh tokens: each is used once, and what a refused one says.

use super::{let_the_window_pass, open, open_with, refresh, refresh_on, sessions, why};
use auth_ext_tests::{App, Ask, Client, Reader, Value, json, refused, shared};

#[test]
fn a_used_token_gives_another_pair_within_the_window_and_ends_the_session_after_it() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let tabs: Vec<_> = (0..3)
        .map(|_| refresh(&mut a, &login.refresh).expect("within the window"))
        .collect();
    for tab in &tabs {
        assert_eq!(a.verdict(&tab.access), "valid");
        assert!(refresh(&mut a, &tab.refresh).is_ok());
    }
    let_the_window_pass(&mut a);
    let mut reader = Reader::now(&mut a);
    assert_eq!(why(refresh(&mut a, &login.refresh)), "revoked");
    assert_eq!(
        reader.catch_up(&mut a),
        [
            json!({"v": 1, "kind": "session", "sid": login.id, "user_id": "41", "reason": "refresh_reuse"})
        ]
    );
    for tab in &tabs {
        assert_eq!(a.verdict(&tab.access), "session_ended");
        assert_eq!(why(refresh(&mut a, &tab.refresh)), "session_ended");
    }
    assert_eq!(reader.catch_up(&mut a), [Value::Null; 0], "ended once");
}

#[test]
fn a_token_that_was_used_long_ago_is_known_still_and_one_that_was_damaged_is_nobodys() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let mut token = login.refresh.clone();
    for _ in 0..20 {
        token = refresh(&mut a, &token).expect("a pair").refresh;
        let_the_window_pass(&mut a);
    }
    let kept: i64 = a.one(
        "SELECT jsonb_array_length(refresh_tokens)::bigint FROM auth.sessions",
        &[],
    );
    assert!(kept <= 3, "{kept} tokens are kept");
    for damaged in [
        format!("{}A", &token[..42]),
        token[..42].to_owned(),
        "x".to_owned(),
        String::new(),
    ] {
        if damaged != token {
            assert_eq!(why(refresh(&mut a, &damaged)), "unknown_session");
        }
    }
    assert_eq!(
        a.one::<Option<String>>("SELECT reason FROM auth.refresh_session(NULL)", &[])
            .as_deref(),
        Some("unknown_session")
    );
    assert!(
        refresh(&mut a, &token).is_ok(),
        "nothing of that ended the session"
    );
    assert_eq!(
        why(refresh(&mut a, &login.refresh)),
        "revoked",
        "after 20 others"
    );
    assert_eq!(why(refresh(&mut a, &token)), "session_ended");
}

#[test]
fn the_reasons_come_in_the_order_of_the_contract() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open_with(&mut a, app.ada, r#", device => '{"user_agent":"A"}'"#);
    refresh(&mut a, &login.refresh).expect("a pair");
    let_the_window_pass(&mut a);
    let other = || Some(json!({"user_agent": "B"}));
    // From the last to the first: each change makes an earlier reason apply. A reason that ends nothing but `revoked`.
    let mut expect = |change: &str, reason: &str| {
        a.run("BEGIN");
        a.run(change);
        assert_eq!(why(refresh_on(&mut a, &login.refresh, other())), reason);
        a.run("ROLLBACK");
    };
    expect("", "revoked");
    expect(
        "SELECT auth.bump_session_version('41')",
        "session_version_mismatch",
    );
    expect(
        "SELECT auth.bump_session_version('41'); UPDATE users SET is_active = false",
        "inactive_user",
    );
    expect("DELETE FROM users", "unknown_user");
    expect(
        "DELETE FROM users; UPDATE auth.issuers SET not_before = clock_timestamp()",
        "issued_before_cutoff",
    );
    let over = "UPDATE auth.issuers SET not_before = clock_timestamp();
                UPDATE auth.sessions SET expires_at = clock_timestamp() - interval '1 s'";
    expect(over, "expired");
    expect(
        "UPDATE auth.sessions SET ended_at = now(), expires_at = now() - interval '1 s'",
        "session_ended",
    );
    expect("DELETE FROM auth.sessions", "unknown_session");
    let fresh = open_with(&mut a, app.ada, r#", device => '{"user_agent":"A"}'"#);
    assert_eq!(
        why(refresh_on(&mut a, &fresh.refresh, other())),
        "device_mismatch"
    );
    assert!(refresh_on(&mut a, &fresh.refresh, Some(json!({"user_agent": "A"}))).is_ok());
    assert!(
        refresh(&mut a, &fresh.refresh).is_ok(),
        "no device is named"
    );
}

#[test]
fn a_device_that_is_named_binds_a_session_that_has_none() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let phone = json!({"user_agent": "phone"});
    let next = refresh_on(&mut a, &login.refresh, Some(phone.clone())).expect("a pair");
    let listed: Value = a.one("SELECT device FROM auth.list_sessions('41')", &[]);
    assert_eq!(listed, phone);
    assert_eq!(
        why(refresh_on(
            &mut a,
            &next.refresh,
            Some(json!({"user_agent": "desk"}))
        )),
        "device_mismatch"
    );
    let mismatch: String = a.one(
        r#"SELECT reason FROM auth.check_jwt($1, '{"user_agent":"desk"}')"#,
        &[&next.access],
    );
    assert_eq!(
        mismatch, "device_mismatch",
        "the access token is bound, too"
    );
    assert!(refresh_on(&mut a, &next.refresh, Some(phone)).is_ok());
}

#[test]
fn a_refresh_that_is_rolled_back_leaves_the_token_usable_and_an_old_snapshot_is_40001() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    a.run("BEGIN");
    let undone = refresh(&mut a, &login.refresh).expect("a pair");
    a.run("ROLLBACK");
    assert_eq!(
        why(refresh(&mut a, &undone.refresh)),
        "revoked",
        "a token that was never given out"
    );
    let login = open(&mut a, app.ada);
    let mut b = app.connect();
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 FROM users");
    refresh(&mut a, &login.refresh).expect("a pair");
    let sql = "SELECT auth.refresh_session($1)";
    refused(b.query(sql, &[&login.refresh]), "40001", None);
    b.run("ROLLBACK");
}

#[test]
fn a_refresh_is_one_probe_and_a_hot_update() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    a.run("INSERT INTO auth.sessions (session_id, issuer, user_id, family_hash, refresh_tokens, created_at, last_used_at, expires_at)
           SELECT 's' || n, 'https://api.example.com', (n % 1000)::text, sha256(n::text::bytea), '[]', now(), now(), now() + interval '1 day'
           FROM generate_series(1, 20000) AS n;
           ANALYZE auth.sessions");
    // As refreshes come that are further apart than the window.
    a.run("UPDATE auth.issuers SET refresh_reuse = '0'");
    let mut login = open(&mut a, app.ada);
    let count = |a: &mut Client, column: &str| -> i64 {
        a.run("SELECT pg_stat_force_next_flush()");
        a.one(&format!("SELECT {column}::bigint FROM pg_stat_all_tables WHERE relid = 'auth.sessions'::regclass"), &[])
    };
    let (scans, updates, hot) = (
        count(&mut a, "seq_scan"),
        count(&mut a, "n_tup_upd"),
        count(&mut a, "n_tup_hot_upd"),
    );
    for _ in 0..50 {
        login = refresh(&mut a, &login.refresh).expect("a pair");
        sessions(&mut a, app.ada);
    }
    a.one::<bool>("SELECT auth.end_session($1)", &[&login.id]);
    assert_eq!(count(&mut a, "seq_scan"), scans, "no scan of the table");
    assert_eq!(count(&mut a, "n_tup_upd") - updates, 51);
    let hot = count(&mut a, "n_tup_hot_upd") - hot;
    assert!(hot >= 45, "{hot} of 50 refreshes touch no index");
}
