//! Sessions that a person can see: one row a login, refresh tokens that are used once.

use std::collections::HashSet;
use std::thread;
use std::time::Duration;

use auth_ext_tests::{
    App, Ask, Client, ISSUER, Mint, Reader, Value, assert_reason, json, race, refused, second,
    seconds, shared,
};

/// What a login gets.
struct Login {
    id: String,
    access: String,
    refresh: String,
}

fn open(client: &mut Client, user: &str) -> Login {
    open_with(client, user, "")
}

/// With further arguments, by name.
fn open_with(client: &mut Client, user: &str, more: &str) -> Login {
    let sql =
        format!("SELECT session_id, access_token, refresh_token FROM auth.open_session($1{more})");
    let row = client.rows(&sql, &[&user]).remove(0);
    Login {
        id: row.get(0),
        access: row.get(1),
        refresh: row.get(2),
    }
}

/// The next pair, or the reason.
fn refresh(client: &mut Client, token: &str) -> Result<Login, String> {
    refresh_on(client, token, None)
}

fn refresh_on(client: &mut Client, token: &str, device: Option<Value>) -> Result<Login, String> {
    let sql =
        "SELECT valid, reason, session_id, access_token, refresh_token, expires_at IS NOT NULL
               FROM auth.refresh_session($1, $2)";
    let row = client.rows(sql, &[&token, &device]).remove(0);
    if row.get(0) {
        assert_eq!(row.get::<_, Option<String>>(1), None);
        assert!(row.get::<_, bool>(5));
        return Ok(Login {
            id: row.get(2),
            access: row.get(3),
            refresh: row.get(4),
        });
    }
    for column in 2..5 {
        assert_eq!(row.get::<_, Option<String>>(column), None);
    }
    Err(row.get(1))
}

fn why<T>(outcome: Result<T, String>) -> String {
    outcome.err().unwrap_or_else(|| "valid".to_owned())
}

fn sessions(client: &mut Client, user: &str) -> Vec<String> {
    let rows = client.rows("SELECT session_id FROM auth.list_sessions($1)", &[&user]);
    rows.iter().map(|row| row.get(0)).collect()
}

/// Later than the window in which a used token still gives a pair.
fn let_the_window_pass(client: &mut Client) {
    client.run(
        "UPDATE auth.sessions SET refresh_tokens = (
             SELECT coalesce(jsonb_agg(CASE WHEN t -> 1 = 'null' THEN t
                                            ELSE jsonb_build_array(t -> 0, (t ->> 1)::bigint - 11000000) END), '[]')
             FROM jsonb_array_elements(refresh_tokens) AS t)",
    );
}

#[test]
fn a_login_has_an_access_token_with_its_session_and_the_time_of_the_login() {
    for app in App::of_every_shape(shared(), "logins") {
        let mut a = app.connect();
        let before = seconds(&mut a);
        let login = open_with(
            &mut a,
            app.ada,
            r#", claims => '{"role":"editor","big":1e300}'"#,
        );
        let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&login.access]);
        assert_eq!(claims["sub"], app.ada);
        assert_eq!(claims["sid"], *login.id);
        assert_eq!(claims["role"], "editor");
        let auth_time = claims["auth_time"].as_i64().expect("whole seconds");
        assert!((before..=before + 60).contains(&auth_time));
        assert_eq!(login.refresh.len(), 43);

        let next = refresh(&mut a, &login.refresh).unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(next.id, login.id);
        assert_ne!(next.refresh, login.refresh);
        let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&next.access]);
        assert_eq!(claims["auth_time"], auth_time);
        assert_eq!(claims["role"], "editor", "kept for later tokens");
        assert_eq!(
            a.verdict(&login.access),
            "valid",
            "the former one until it expires"
        );
    }
}

#[test]
fn what_open_session_is_not_told_rightly_is_refused() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    for (arguments, sqlstate) in [
        ("'41', lifetime => '0'", "22023"),
        ("'41', lifetime => '-1 s'", "22023"),
        ("'41', lifetime => '300000 years'", "22023"),
        ("'41', claims => '{\"sid\":\"x\"}'", "22023"),
        ("'41', claims => '{\"auth_time\":1}'", "22023"),
        ("'41', claims => '{\"exp\":1}'", "22023"),
        ("'41', claims => '[]'", "22023"),
        ("'41', device => '7'", "22023"),
        ("'41', issuer => 'nobody'", "22023"),
        ("'77'", "28000"),
        ("NULL", "28000"),
    ] {
        let sql = format!("SELECT auth.open_session({arguments})");
        refused(a.query(&sql, &[]), sqlstate, None);
    }
    assert_reason(
        &mut a,
        "SELECT auth.open_session('77')",
        &[],
        "unknown_user",
    );
    a.run("UPDATE users SET is_active = false WHERE id = 42");
    assert_reason(
        &mut a,
        "SELECT auth.open_session('42')",
        &[],
        "inactive_user",
    );
    // The members of a session's token are another's to give elsewhere.
    let token: String = a.one(
        r#"SELECT auth.issue_jwt('41', claims => '{"auth_time":1}')"#,
        &[],
    );
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn a_session_ends_when_its_lifetime_is_over_and_no_token_of_it_is_longer() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open_with(&mut a, app.ada, ", lifetime => '10 minutes'");
    let next = refresh(&mut a, &login.refresh).expect("a pair");
    let renewed: String = a.one("SELECT auth.refresh_jwt($1)", &[&next.access]);
    for token in [&login.access, &next.access, &renewed] {
        let early: bool = a.one(
            "SELECT c.expires_at <= s.expires_at AND c.expires_at > s.expires_at - interval '2 s'
             FROM auth.check_jwt($1) AS c, auth.sessions AS s",
            &[token],
        );
        assert!(early);
    }
    let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&renewed]);
    assert_eq!(claims["sid"], *login.id, "refresh_jwt keeps the session");
    // A token that by itself would hold longer: the issuer's lifetime of sessions is cut afterwards.
    a.run("UPDATE auth.sessions SET expires_at = clock_timestamp() + interval '300 ms'");
    assert_eq!(a.verdict(&login.access), "valid");
    assert!(
        a.query("SELECT auth.verify_jwt($1)", &[&login.access])
            .is_ok()
    );
    thread::sleep(Duration::from_millis(400));
    assert_eq!(a.verdict(&login.access), "session_ended");
    assert_reason(
        &mut a,
        "SELECT auth.verify_jwt($1)",
        &[&login.access],
        "session_ended",
    );
    assert_eq!(why(refresh(&mut a, &next.refresh)), "expired");
    assert_eq!(sessions(&mut a, app.ada), [""; 0]);
}

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
fn the_check_of_issued_at_and_of_no_users_apply_to_the_opening_of_the_session() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    a.run("UPDATE auth.issuers SET session_check = 'issued_at'");
    let login = open(&mut a, app.ada);
    let next = refresh(&mut a, &login.refresh).expect("a pair");
    a.bump("41");
    assert_eq!(why(refresh(&mut a, &next.refresh)), "issued_before_cutoff");
    a.run("UPDATE auth.issuers SET session_check = 'none'");
    let service = open(&mut a, "a service");
    let next = refresh(&mut a, &service.refresh).expect("a pair");
    assert_eq!(a.verdict(&next.access), "valid");
    assert_eq!(sessions(&mut a, "a service"), [service.id.as_str()]);
    assert!(a.one::<bool>("SELECT auth.end_session($1)", &[&service.id]));
    assert_eq!(a.verdict(&next.access), "session_ended");
}

#[test]
fn sessions_are_listed_by_their_latest_use_and_ended_one_by_one_or_all_others() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let phone = open_with(
        &mut a,
        app.ada,
        r#", label => 'phone', device => '{"os":"x"}'"#,
    );
    let desk = open_with(&mut a, app.ada, ", label => 'desk'");
    let pad = open(&mut a, app.ada);
    let bobs = open(&mut a, app.bob);
    assert_eq!(sessions(&mut a, app.ada), [&*pad.id, &*desk.id, &*phone.id]);
    refresh(&mut a, &phone.refresh).expect("a pair");
    assert_eq!(sessions(&mut a, app.ada), [&*phone.id, &*pad.id, &*desk.id]);

    let mut user = app.connect();
    user.run(&format!(
        "CREATE ROLE \"{db}\"; GRANT CONNECT ON DATABASE \"{db}\" TO \"{db}\"; SET ROLE \"{db}\"",
        db = app.db
    ));
    for function in [
        "auth.my_sessions()",
        "auth.end_my_session()",
        "auth.end_my_other_sessions()",
    ] {
        assert_reason(
            &mut user,
            &format!("SELECT {function}"),
            &[],
            "not_authenticated",
        );
    }
    for function in [
        "auth.list_sessions('41')",
        "auth.end_session('x')",
        "auth.refresh_session('x')",
        "auth.open_session('41')",
    ] {
        refused(
            user.query(&format!("SELECT {function}"), &[]),
            "42501",
            None,
        );
    }
    user.execute("SELECT auth.authenticate($1, 'session')", &[&desk.access])
        .expect("authenticated");
    let mine = user.rows(
        "SELECT session_id, label, is_current FROM auth.my_sessions()",
        &[],
    );
    let mine: Vec<(String, Option<String>, bool)> = mine
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let label = |text: &str| Some(text.to_owned());
    assert_eq!(
        mine,
        [
            (phone.id.clone(), label("phone"), false),
            (pad.id.clone(), None, false),
            (desk.id.clone(), label("desk"), true),
        ]
    );
    let mut reader = Reader::now(&mut a);
    assert!(
        !user.one::<bool>("SELECT auth.end_my_session($1)", &[&bobs.id]),
        "another user's"
    );
    assert!(user.one::<bool>("SELECT auth.end_my_session($1)", &[&phone.id]));
    assert!(
        !user.one::<bool>("SELECT auth.end_my_session($1)", &[&phone.id]),
        "again"
    );
    assert_eq!(
        reader.catch_up(&mut a),
        [json!({"v": 1, "kind": "session", "sid": phone.id, "user_id": "41", "reason": "logout"})]
    );
    assert_eq!(
        user.one::<i64>("SELECT auth.end_my_other_sessions()", &[]),
        1
    );
    assert_eq!(a.verdict(&pad.access), "session_ended");
    assert_eq!(a.verdict(&desk.access), "valid");
    assert_eq!(a.verdict(&bobs.access), "valid");
    assert!(user.one::<bool>("SELECT auth.end_my_session()", &[]));
    let nobody: Option<String> = user.one("SELECT auth.user_id()", &[]);
    assert_eq!(nobody, None, "the next statement has no identity");
    assert!(a.one::<bool>("SELECT auth.end_session($1, 'stolen')", &[&bobs.id]));
    assert!(!a.one::<bool>("SELECT auth.end_session('x')", &[]));
    assert!(!a.one::<bool>("SELECT auth.end_session(NULL)", &[]));
    user.run("RESET ROLE");
}

#[test]
fn a_bump_ends_every_session_with_one_event_and_a_rollback_none() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let logins: Vec<_> = (0..3).map(|_| open(&mut a, app.ada)).collect();
    let mut reader = Reader::now(&mut a);
    a.run("BEGIN");
    a.bump("41");
    a.one::<bool>("SELECT auth.end_session($1)", &[&logins[0].id]);
    a.run("ROLLBACK");
    assert_eq!(reader.catch_up(&mut a), [Value::Null; 0]);
    assert_eq!(a.verdict(&logins[0].access), "valid");
    a.bump("41");
    let events = reader.catch_up(&mut a);
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["kind"], "user");
    for login in &logins {
        assert_eq!(a.verdict(&login.access), "session_version_mismatch");
        assert_eq!(
            why(refresh(&mut a, &login.refresh)),
            "session_version_mismatch"
        );
    }
    assert_eq!(sessions(&mut a, app.ada), [""; 0]);
}

#[test]
fn sid_means_something_for_issuers_with_sessions_only() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let token = |user: &str, sid: &str| {
        mint.sign(
            "JWT",
            &format!(
                r#"{{"iss":"{ISSUER}","aud":"app","sub":"{user}","iat":{now},"exp":{},"sid":{sid}}}"#,
                now + 600
            ),
        )
    };
    for sid in ["7", "\"x\"", "null"] {
        assert_eq!(a.verdict(&token("41", sid)), "valid");
    }
    let login = open(&mut a, app.ada);
    for (user, sid, verdict) in [
        ("41", "7".to_owned(), "invalid_claim"),
        ("41", "null".to_owned(), "invalid_claim"),
        ("41", "\"x\"".to_owned(), "session_ended"),
        ("41", "\"\"".to_owned(), "session_ended"),
        ("41", format!("\"{}\"", login.id), "valid"),
        ("42", format!("\"{}\"", login.id), "session_ended"),
    ] {
        let token = token(user, &sid);
        assert_eq!(a.verdict(&token), verdict, "{user} {sid}");
        let claims = a.query("SELECT auth.verify_jwt_claims($1)", &[&token]);
        assert!(claims.is_ok(), "verify_jwt_claims does not look");
    }
    // Also when every session is gone.
    a.run("DELETE FROM auth.sessions");
    assert_eq!(a.verdict(&token("41", "\"x\"")), "session_ended");
}

#[test]
fn an_ended_session_is_refused_by_the_next_statement_of_every_connection() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let mut b = app.connect();
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    b.execute("SELECT auth.authenticate($1)", &[&login.access])
        .expect("authenticated");
    assert_eq!(
        b.one::<Option<String>>("SELECT auth.user_id()", &[])
            .as_deref(),
        Some("41")
    );
    for _ in 0..3 {
        assert_eq!(b.verdict(&login.access), "valid");
    }
    a.one::<bool>("SELECT auth.end_session($1)", &[&login.id]);
    assert_eq!(b.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
    assert_eq!(b.verdict(&login.access), "session_ended");
    b.run("ROLLBACK");
}

#[test]
fn fifty_tabs_that_refresh_at_once_all_get_a_working_pair() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let pairs = race(&app, 50, |_, client| refresh(client, &login.refresh));
    let mut tokens = HashSet::new();
    for pair in pairs {
        let pair = pair.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(a.verdict(&pair.access), "valid");
        assert!(tokens.insert(pair.refresh));
    }
    let again = race(&app, 50, |n, client| {
        let token = tokens.iter().nth(n).expect("a token of its own");
        refresh(client, token)
    });
    assert!(again.iter().all(Result::is_ok));
}

#[test]
fn fifty_that_come_too_late_are_all_refused_and_the_session_ends_once() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    refresh(&mut a, &login.refresh).expect("a pair");
    let_the_window_pass(&mut a);
    let mut reader = Reader::now(&mut a);
    let mut outcomes: Vec<_> = race(&app, 50, |_, client| why(refresh(client, &login.refresh)));
    outcomes.sort();
    assert_eq!(outcomes[0], "revoked");
    assert!(
        outcomes[1..].iter().all(|why| why == "session_ended"),
        "{outcomes:?}"
    );
    assert_eq!(reader.catch_up(&mut a).len(), 1);
}

#[test]
fn a_refresh_waits_for_what_ends_the_session_and_obeys_it() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    a.run("BEGIN");
    a.one::<bool>("SELECT auth.end_session($1)", &[&login.id]);
    let outcome = second(&app, &mut a, "COMMIT", |b| why(refresh(b, &login.refresh)));
    assert_eq!(outcome, "session_ended");
    let login = open(&mut a, app.ada);
    a.run("BEGIN");
    a.one::<bool>("SELECT auth.end_session($1)", &[&login.id]);
    let outcome = second(&app, &mut a, "ROLLBACK", |b| {
        why(refresh(b, &login.refresh))
    });
    assert_eq!(outcome, "valid");
    // Against a bump and a deletion: whoever comes later loses.
    for end in [
        "SELECT auth.bump_session_version('41')",
        "DELETE FROM users WHERE id = 41",
    ] {
        let login = open(&mut a, app.ada);
        let pairs = race(&app, 8, |n, client| {
            if n == 0 {
                client.run(end);
                return None;
            }
            refresh(client, &login.refresh).ok()
        });
        for pair in pairs.into_iter().flatten() {
            assert_ne!(a.verdict(&pair.access), "valid", "after {end}");
            assert!(refresh(&mut a, &pair.refresh).is_err());
        }
    }
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
fn only_hashes_of_refresh_tokens_are_stored_and_prune_removes_what_is_over() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let next = refresh(&mut a, &login.refresh).expect("a pair");
    let stored: String = a.one("SELECT s::text FROM auth.sessions AS s", &[]);
    for token in [&login, &next] {
        assert!(!stored.contains(&token.refresh) && !stored.contains(&token.access));
    }
    let past = open(&mut a, app.ada);
    let ended = open(&mut a, app.ada);
    a.execute(
        "UPDATE auth.sessions SET expires_at = now() - interval '1 s' WHERE session_id = $1",
        &[&past.id],
    )
    .expect("an update");
    a.one::<bool>("SELECT auth.end_session($1)", &[&ended.id]);
    a.run("SELECT auth.prune()");
    let left: Vec<String> = a
        .rows("SELECT session_id FROM auth.sessions", &[])
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(left, [login.id]);
    assert_eq!(a.verdict(&ended.access), "session_ended", "as before");
    assert_eq!(why(refresh(&mut a, &ended.refresh)), "unknown_session");
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
