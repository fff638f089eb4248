//! `auth.activity`: who is authenticated on which connection, and `auth.end_connections`.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::postgres::error::SqlState;
use auth_ext_tests::{App, Ask, Client, Cluster, refused, shared};

fn cluster(name: &str) -> Cluster {
    Cluster::with_config(name, &[("shared_preload_libraries", "auth_ext")])
}

/// What is listed of a connection: `user scope`, or nothing.
fn listed(watcher: &mut Client, pid: i32) -> String {
    let rows = watcher.rows(
        "SELECT user_id || ' ' || scope FROM auth.activity WHERE pid = $1",
        &[&pid],
    );
    assert!(rows.len() <= 1);
    rows.first().map(|row| row.get(0)).unwrap_or_default()
}

#[test]
fn the_identity_of_user_id_is_listed_through_commit_rollback_savepoints_and_every_way_of_leaving() {
    let cluster = cluster("activity");
    let app = App::new(&cluster, "activity");
    let (mut w, mut a) = (app.connect(), app.connect());
    let (t41, t42) = (a.issue("41"), a.issue("42"));
    let pid = a.pid();
    let enter =
        |token: &str, scope: &str| format!("SELECT auth.authenticate('{token}', '{scope}')");
    let steps = [
        (enter(&t41, "session"), "41 session"),
        ("BEGIN".into(), "41 session"),
        (enter(&t42, "transaction"), "42 transaction"),
        ("SAVEPOINT s".into(), "42 transaction"),
        (enter(&t41, "transaction"), "41 transaction"),
        ("ROLLBACK TO s".into(), "42 transaction"),
        ("ROLLBACK".into(), "41 session"),
        ("BEGIN".into(), "41 session"),
        (enter(&t42, "session"), "42 session"),
        ("ROLLBACK".into(), "41 session"),
        ("BEGIN".into(), "41 session"),
        ("SELECT auth.try_authenticate('x')".into(), ""),
        ("COMMIT".into(), "41 session"),
        ("BEGIN".into(), "41 session"),
        ("SELECT auth.logout()".into(), ""),
        ("ROLLBACK".into(), "41 session"),
        ("RESET ALL".into(), "41 session"),
        ("DISCARD ALL".into(), ""),
        (enter(&t42, "session"), "42 session"),
        ("SELECT auth.logout()".into(), ""),
        (enter(&t41, "session"), "41 session"),
    ];
    for (sql, expected) in steps {
        a.run(&sql);
        assert_eq!(listed(&mut w, pid), expected, "{sql}");
        let user: Option<String> = a.one("SELECT auth.user_id()", &[]);
        assert_eq!(
            user.as_deref(),
            expected.split_once(' ').map(|(user, _)| user),
            "{sql}"
        );
    }
    // It ends: nothing is listed, though the connection says the same.
    w.bump("41");
    assert_eq!(listed(&mut w, pid), "");
    let again = w.issue("41");
    a.run(&enter(&again, "session"));
    assert_eq!(listed(&mut w, pid), "41 session");
    w.run("DELETE FROM users WHERE id = 41");
    assert_eq!(listed(&mut w, pid), "");
    a.run(&enter(&t42, "session"));
    let row = w.rows("SELECT * FROM auth.activity", &[]);
    assert_eq!(row.len(), 1);
    assert_eq!(row[0].get::<_, String>("issuer"), "https://api.example.com");
    assert_eq!(row[0].get::<_, String>("kind"), "token");
    assert!(row[0].get::<_, Option<String>>("token_id").is_some());
    w.rows("SELECT auth.revoke_jwt($1)", &[&t42]);
    assert_eq!(listed(&mut w, pid), "");
}

#[test]
fn whoever_leaves_is_listed_no_longer_and_only_the_connections_of_the_user_are_ended() {
    let cluster = cluster("activity_end");
    let (app, other) = (App::new(&cluster, "end"), App::new(&cluster, "other"));
    let mut w = app.connect();
    let (t41, t42) = (w.issue("41"), w.issue("42"));
    let enter = |token: &str| {
        let mut client = app.connect();
        client.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
        client
    };
    let mut kept: Vec<Client> = (0..20).map(|_| enter(&t42)).collect();
    let mut ended: Vec<Client> = (0..3).map(|_| enter(&t41)).collect();
    let count = "SELECT count(*) FROM auth.activity";
    assert_eq!(w.one::<i64>(count, &[]), 23);
    assert_eq!(other.connect().one::<i64>(count, &[]), 0);
    assert_eq!(w.one::<i64>("SELECT auth.end_connections('41')", &[]), 3);
    for client in &mut ended {
        // Told why, unless the socket was closed before it read that.
        let error = client.simple_query("SELECT 1").expect_err("terminated");
        let told = error
            .code()
            .is_none_or(|state| *state == SqlState::ADMIN_SHUTDOWN);
        assert!(told, "{error:?}");
    }
    for client in &mut kept {
        client.run("SELECT 1");
    }
    assert_eq!(w.one::<i64>("SELECT auth.end_connections('41')", &[]), 0);
    assert_eq!(
        w.one::<i64>("SELECT auth.end_connections('no such')", &[]),
        0
    );
    // In the middle of a transaction, by its own FATAL, by a closed socket.
    let mut dying = enter(&t42);
    dying.run("BEGIN");
    dying.run("SELECT auth.logout()");
    let _ = dying.simple_query("SELECT pg_terminate_backend(pg_backend_pid())");
    drop(dying);
    kept.truncate(5);
    let deadline = Instant::now() + Duration::from_secs(20);
    while w.one::<i64>(count, &[]) != 5 {
        assert!(Instant::now() < deadline, "{}", w.one::<i64>(count, &[]));
        thread::sleep(Duration::from_millis(20));
    }
    // Who takes their places is listed only once it is somebody.
    let mut fresh: Vec<Client> = (0..20).map(|_| app.connect()).collect();
    fresh
        .iter_mut()
        .for_each(|client| client.run("SELECT auth.user_id()"));
    assert_eq!(w.one::<i64>(count, &[]), 5);
}

#[test]
fn without_the_preloaded_library_nobody_is_listed_and_the_hint_says_why() {
    let app = App::new(shared(), "activity_none");
    let mut a = app.connect();
    for call in [
        "SELECT * FROM auth.activity",
        "SELECT auth.end_connections('41')",
    ] {
        let error = refused(a.simple_query(call), "55000", None);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("shared_preload_libraries"))
        );
    }
}

#[test]
fn an_id_that_is_too_long_is_cut_visibly_and_still_found_whole() {
    let cluster = cluster("activity_long");
    let app = App::new(&cluster, "long");
    let mut a = app.connect();
    a.run("UPDATE auth.issuers SET session_check = 'none'");
    let (long, near) = ("x".repeat(3000), "x".repeat(3001));
    let token = a.issue(&long);
    let mut b = app.connect();
    b.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
    let shown: String = a.one("SELECT user_id FROM auth.activity", &[]);
    assert!(shown.ends_with('…') && shown.len() < 300);
    for (user, ended) in [(&shown, 0), (&near, 0), (&long, 1)] {
        assert_eq!(
            a.one::<i64>("SELECT auth.end_connections($1)", &[user]),
            ended
        );
    }
}

#[test]
fn after_the_crash_of_one_connection_nobody_is_listed_who_is_not_there() {
    let cluster = cluster("activity_crash");
    let app = App::new(&cluster, "crash");
    let mut w = app.connect();
    let token = w.issue("41");
    let enter = format!("SELECT auth.authenticate('{token}', 'session')");
    let mut a = app.connect();
    a.run(&enter);
    let killed = Command::new("kill")
        .args(["-9", &a.pid().to_string()])
        .status();
    assert!(killed.is_ok_and(|status| status.success()));
    // The server ends every connection, and starts again by itself.
    while w.simple_query("SELECT pg_sleep(0.05)").is_ok() {}
    cluster.wait_until_it_answers();
    let (mut w, mut b) = (app.connect(), app.connect());
    assert_eq!(w.one::<i64>("SELECT count(*) FROM auth.activity", &[]), 0);
    b.run(&enter);
    let pid = b.pid();
    assert_eq!(listed(&mut w, pid), "41 session");
}

#[test]
fn an_api_key_a_retired_key_and_the_cutoff_of_an_issuer_end_what_is_listed() {
    let cluster = cluster("activity_ends");
    let app = App::new(&cluster, "ends");
    let (mut w, mut a) = (app.connect(), app.connect());
    w.run(
        "CREATE TABLE keys (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint REFERENCES users, name text,
             is_active boolean NOT NULL DEFAULT true, expires_at timestamptz);
         SELECT auth.attach_api_keys('keys')",
    );
    let pid = a.pid();
    let key: String = w.one("SELECT key FROM auth.create_api_key('41', 'k')", &[]);
    a.rows("SELECT auth.authenticate_api_key($1, 'session')", &[&key]);
    assert_eq!(listed(&mut w, pid), "41 session");
    let kind = "SELECT kind FROM auth.activity";
    assert_eq!(w.one::<String>(kind, &[]), "api_key");
    w.run("UPDATE keys SET is_active = false");
    assert_eq!(listed(&mut w, pid), "");
    for end in [
        "UPDATE auth.issuers SET not_before = now() + '1 s'",
        "UPDATE auth.issuers SET not_before = NULL; SELECT auth.rotate_signing_key();
         SELECT auth.retire_signing_key(kid) FROM auth.signing_keys WHERE status = 'verifying'",
    ] {
        w.run("UPDATE auth.issuers SET not_before = NULL");
        let token = w.issue("41");
        a.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
        assert_eq!(listed(&mut w, pid), "41 session");
        w.run(end);
        assert_eq!(listed(&mut w, pid), "", "{end}");
        assert_eq!(a.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
    }
}
