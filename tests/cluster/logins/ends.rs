//! Sessions as they are listed, ended and removed.

use super::{open, open_with, refresh, sessions, why};
use auth_ext_tests::{App, Ask, Client, Reader, Value, assert_reason, json, refused, shared};

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
fn ending_sessions_in_an_older_snapshot_misses_none_that_was_opened_since() {
    let app = App::new(shared(), "logins");
    let (mut a, mut b) = (app.connect(), app.connect());
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        let (desk, phone) = (open(&mut a, app.ada), open(&mut a, app.ada));
        let begin = |b: &mut Client| {
            b.run(&format!("BEGIN ISOLATION LEVEL {level}"));
            b.execute("SELECT auth.authenticate($1)", &[&desk.access])
                .expect("authenticated");
            b.run("SELECT count(*) FROM users");
        };
        begin(&mut b);
        let new = open(&mut a, app.ada);
        for sql in [
            "SELECT auth.end_my_other_sessions()".to_owned(),
            format!("SELECT auth.end_my_session('{}')", new.id),
            format!("SELECT auth.end_session('{}')", new.id),
        ] {
            b.run("SAVEPOINT s");
            refused(b.batch_execute(&sql), "40001", None);
            b.run("ROLLBACK TO s");
        }
        // What the snapshot shows ends as ever, and what is no session is none.
        assert!(b.one::<bool>("SELECT auth.end_my_session($1)", &[&phone.id]));
        assert!(!b.one::<bool>("SELECT auth.end_my_session($1)", &[&phone.id]));
        assert!(!b.one::<bool>("SELECT auth.end_session('x')", &[]));
        b.run("ROLLBACK");
        // Whoever retries succeeds.
        begin(&mut b);
        let ended: i64 = b.one("SELECT auth.end_my_other_sessions()", &[]);
        assert_eq!(ended, 2, "{level}");
        b.run("COMMIT");
        assert_eq!(a.verdict(&new.access), "session_ended", "{level}");
        assert_eq!(a.verdict(&desk.access), "valid", "{level}");
        assert!(a.one::<bool>("SELECT auth.end_session($1)", &[&desk.id]));
    }
}
