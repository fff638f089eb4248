//! `auth_ext.when_ended = hang_up`: what runs under an identity ends with it.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, Cluster, refused, shared};

fn cluster(name: &str) -> Cluster {
    Cluster::with_config(
        name,
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("auth_ext.when_ended", "hang_up"),
            ("max_connections", "1100"),
        ],
    )
}

/// A second is what is promised; tests run on busy machines.
const SOON: Duration = Duration::from_secs(6);

fn enter(app: &App<'_>, token: &str) -> Client {
    let mut client = app.connect();
    client.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
    client
}

/// Where nobody has asked for a worker, or it has to start again.
const LATER: Duration = Duration::from_secs(20);

/// Waits for the end of an idle connection, without speaking on it.
#[track_caller]
fn assert_closed(watcher: &mut Client, pid: i32, why: &str) {
    assert_closed_within(SOON, watcher, pid, why);
}

#[track_caller]
fn assert_closed_within(patience: Duration, watcher: &mut Client, pid: i32, why: &str) {
    let began = Instant::now();
    let is_there = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1";
    while watcher.one::<i64>(is_there, &[&pid]) > 0 {
        assert!(began.elapsed() < patience, "still connected: {why}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn hung_up(watcher: &mut Client) -> i64 {
    watcher.one(
        "SELECT total FROM auth.statistics() WHERE name = 'hung_up'",
        &[],
    )
}

#[test]
fn whatever_ends_a_session_identity_terminates_its_connection_and_no_other() {
    let cluster = cluster("hang_up");
    let app = App::new(&cluster, "hang_up");
    let mut w = app.connect();
    w.run(
        "CREATE TABLE keys (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint REFERENCES users, name text,
             is_active boolean NOT NULL DEFAULT true, expires_at timestamptz);
         SELECT auth.attach_api_keys('keys')",
    );
    let other = w.issue("42");
    let mut neighbour = enter(&app, &other);
    let restore = "UPDATE users SET is_active = true WHERE id = 41; UPDATE auth.issuers SET not_before = NULL";
    let endings = [
        "SELECT auth.bump_session_version('41')",
        "SELECT auth.revoke_jwt('{token}')",
        "UPDATE users SET is_active = false WHERE id = 41",
        "UPDATE auth.issuers SET session_check = 'issued_at'; UPDATE auth.issuers SET session_check = 'version';
         SELECT auth.bump_session_version('41', 'password')",
        "DELETE FROM keys; DELETE FROM users WHERE id = 41; INSERT INTO users (id) VALUES (41)",
    ];
    let mut expected = 0;
    for ending in endings {
        w.run(restore);
        let token = w.issue("41");
        let mut client = enter(&app, &token);
        let pid = client.pid();
        w.run(&ending.replace("{token}", &token));
        assert_closed(&mut w, pid, ending);
        expected += 1;
    }
    w.run(restore);
    // One login of many.
    let row = w.rows("SELECT * FROM auth.open_session('41')", &[]);
    let (sid, token): (String, String) = (row[0].get("session_id"), row[0].get("access_token"));
    let mut client = enter(&app, &token);
    let client_pid = client.pid();
    w.rows("SELECT auth.end_session($1)", &[&sid]);
    assert_closed(&mut w, client_pid, "the session was ended");
    // An API key, by its row, by the clock.
    for ending in [
        "UPDATE keys SET is_active = false",
        "UPDATE keys SET expires_at = clock_timestamp() + '1 s'",
        "UPDATE users SET is_active = false WHERE id = 41",
        "DELETE FROM keys",
    ] {
        w.run(restore);
        let key: String = w.one("SELECT key FROM auth.create_api_key('41', 'k')", &[]);
        let mut client = app.connect();
        client.rows("SELECT auth.authenticate_api_key($1, 'session')", &[&key]);
        let pid = client.pid();
        w.run(ending);
        assert_closed(&mut w, pid, ending);
        expected += 1;
    }
    // A token by its exp, with nobody committing anything.
    w.run(restore);
    let token: String = w.one("SELECT auth.issue_jwt('41', ttl => '2 s')", &[]);
    let mut client = enter(&app, &token);
    let client_pid = client.pid();
    assert_closed(&mut w, client_pid, "exp");
    assert_eq!(neighbour.one::<String>("SELECT auth.user_id()", &[]), "42");
    assert_eq!(hung_up(&mut w), expected + 2);
    // What ends all of an issuer's ends the neighbour, too.
    let neighbour_pid = neighbour.pid();
    w.run("SELECT auth.retire_signing_key(kid) FROM auth.signing_keys");
    assert_closed(&mut w, neighbour_pid, "its key was retired");
    w.run("SELECT auth.create_signing_key()");
    for ending in [
        "UPDATE auth.issuers SET not_before = now() + '1 s'",
        "DELETE FROM auth.issuers",
    ] {
        let token = w.issue("42");
        let mut client = enter(&app, &token);
        let pid = client.pid();
        w.run(ending);
        assert_closed(&mut w, pid, ending);
        w.run("UPDATE auth.issuers SET not_before = NULL");
    }
}

#[test]
fn a_connection_is_terminated_whatever_it_is_doing() {
    let cluster = cluster("hang_up_doing");
    let app = App::new(&cluster, "doing");
    let mut w = app.connect();
    w.run("CREATE TABLE t (x int)");
    for doing in [
        "SELECT pg_sleep(60)",
        "SELECT count(*) FROM generate_series(1, 100000000000)",
        "SELECT pg_advisory_lock(7)",
        "BEGIN; SELECT 1",
        "DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$",
        "COPY t FROM STDIN",
    ] {
        w.run("SELECT pg_advisory_lock(7)");
        let token = w.issue("41");
        let mut client = enter(&app, &token);
        let pid = client.pid();
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                if doing.starts_with("COPY") {
                    let mut copy = client.copy_in(doing).expect("COPY");
                    while copy.write_all(b"1\n").is_ok() && copy.flush().is_ok() {
                        thread::sleep(Duration::from_millis(50));
                    }
                } else {
                    let _ = client.simple_query(doing);
                }
            });
            thread::sleep(Duration::from_millis(300));
            w.bump("41");
            assert_closed(&mut w, pid, doing);
            running.join().expect("ended");
        });
        w.run("SELECT pg_advisory_unlock_all()");
    }
    assert_eq!(hung_up(&mut w), 6);
}

#[test]
fn the_statement_under_a_transactions_identity_is_cancelled_and_the_connection_stays() {
    let cluster = cluster("hang_up_cancel");
    let app = App::new(&cluster, "cancel");
    let (mut w, mut a) = (app.connect(), app.connect());
    for catches in [false, true] {
        let token = w.issue("41");
        a.run("BEGIN");
        a.run(&format!("SELECT auth.authenticate('{token}')"));
        a.run("DECLARE c CURSOR FOR SELECT auth.user_id(), i FROM generate_series(1, 9) AS i");
        let fetched: String = a.one("FETCH c", &[]);
        assert_eq!(fetched, "41");
        a.run("SAVEPOINT s");
        let statement = if catches {
            "DO $$ BEGIN FOR i IN 1..9 LOOP BEGIN PERFORM pg_sleep(60); EXCEPTION WHEN query_canceled THEN NULL; END;
             END LOOP; RAISE query_canceled; END $$"
        } else {
            "SELECT pg_sleep(60)"
        };
        let began = Instant::now();
        thread::scope(|scope| {
            let running = scope.spawn(|| refused(a.simple_query(statement), "57014", None));
            thread::sleep(Duration::from_millis(200));
            w.bump("41");
            running.join().expect("cancelled");
        });
        assert!(began.elapsed() < SOON);
        // What the cursor holds is of before the end: nobody fetches it any more.
        a.run("ROLLBACK TO s");
        refused(a.query("FETCH c", &[]), "57014", None);
        a.run("ROLLBACK");
        a.run("SELECT pg_sleep(0.5)");
        assert_eq!(a.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
    }
    assert_eq!(hung_up(&mut w), 2);
    // Between two statements there is nothing to cancel, but what follows is refused until the transaction ends.
    let token = w.issue("41");
    a.run("BEGIN");
    a.run(&format!("SELECT auth.authenticate('{token}')"));
    w.bump("41");
    let began = Instant::now();
    while hung_up(&mut w) < 3 {
        assert!(began.elapsed() < SOON);
        thread::sleep(Duration::from_millis(20));
    }
    refused(a.query("SELECT 1", &[]), "57014", None);
    a.run("ROLLBACK");
    let token = w.issue("41");
    a.run("BEGIN");
    a.run(&format!("SELECT auth.authenticate('{token}')"));
    a.run("SELECT pg_sleep(0.6)");
    a.run("COMMIT");
}

#[test]
fn of_many_sessions_one_bump_ends_one() {
    // A thousand take their time to connect.
    let last = if std::env::var_os("AUTH_EXT_LONG").is_some() {
        2000
    } else {
        1200
    };
    let cluster = cluster("hang_up_many");
    let app = App::new(&cluster, "many");
    let mut w = app.connect();
    w.run(&format!(
        "INSERT INTO users (id) SELECT g FROM generate_series(1000, {last}) AS g"
    ));
    let mut clients: Vec<Client> = (1000..last)
        .map(|id| {
            let token = w.issue(&id.to_string());
            enter(&app, &token)
        })
        .collect();
    let mut chosen = clients.swap_remove(77);
    let chosen_pid = chosen.pid();
    w.bump("1077");
    assert_closed(&mut w, chosen_pid, "one of many");
    thread::sleep(Duration::from_millis(600));
    for client in &mut clients {
        client.run("SELECT 1");
    }
    assert_eq!(hung_up(&mut w), 1);
}

#[test]
fn nothing_is_lost_while_the_worker_is_away() {
    let cluster = cluster("hang_up_worker");
    let app = App::new(&cluster, "worker");
    let mut w = app.connect();
    let workers = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE backend_type IN ('auth_ext relay', 'auth_ext relay launcher')";
    for _ in 0..3 {
        let token = w.issue("41");
        let mut client = enter(&app, &token);
        let pid = client.pid();
        w.run(workers);
        w.bump("41");
        assert_closed_within(LATER, &mut w, pid, "the worker was terminated");
    }
}

#[test]
fn it_is_as_the_setting_of_the_connection_says_and_that_is_the_superusers() {
    let cluster = Cluster::with_config("hang_up_set", &[("shared_preload_libraries", "auth_ext")]);
    let app = App::new(&cluster, "setting");
    let mut w = app.connect();
    w.run("CREATE ROLE plain LOGIN");
    let mut plain = cluster.connect_as(&app.db, "plain");
    plain.run("SELECT auth.user_id()");
    refused(
        plain.simple_query("SET auth_ext.when_ended = 'hang_up'"),
        "42501",
        None,
    );
    let token = w.issue("41");
    let (mut hidden, mut told) = (enter(&app, &token), enter(&app, &token));
    // Nobody asked for a worker then: the launcher looks itself.
    told.run("SET auth_ext.when_ended = 'hang_up'");
    let told_pid = told.pid();
    w.bump("41");
    assert_closed_within(LATER, &mut w, told_pid, "it was set afterwards");
    assert_eq!(
        hidden.one::<Option<String>>("SELECT auth.user_id()", &[]),
        None
    );
    // Too long to be listed, so nobody could tell that it has ended.
    w.run("UPDATE auth.issuers SET session_check = 'none'");
    let token = w.issue(&"x".repeat(3000));
    hidden.run("SET auth_ext.when_ended = 'hang_up'");
    refused(
        hidden.query("SELECT auth.authenticate($1, 'session')", &[&token]),
        "28000",
        "too_large",
    );
    let row = hidden.rows(
        "SELECT reason FROM auth.try_authenticate($1, 'session')",
        &[&token],
    );
    assert_eq!(row[0].get::<_, String>(0), "too_large");
}

#[test]
fn without_the_preloaded_library_it_cannot_be_set_and_the_hint_says_why() {
    let app = App::new(shared(), "hang_up_none");
    let mut a = app.connect();
    a.run("SELECT auth.user_id()");
    for sql in [
        "SET auth_ext.when_ended = 'hang_up'",
        "ALTER SYSTEM SET auth_ext.prune_interval = '1 min'",
        "ALTER SYSTEM SET auth_ext.max_workers = 5",
    ] {
        let error = refused(a.simple_query(sql), "22023", None);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("shared_preload_libraries")),
            "{sql}"
        );
    }
}
