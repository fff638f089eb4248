//! `auth_ext.max_standby_staleness`: a standby verifies nothing that it cannot show to be young enough.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, Cluster, assert_reason, refused};

const PATIENCE: Duration = Duration::from_secs(30);
/// Both ends speak every second where nothing happens.
const TALKATIVE: [(&str, &str); 2] = [
    ("wal_sender_timeout", "2s"),
    ("wal_receiver_status_interval", "0"),
];

fn primary(name: &str, settings: &[(&str, &str)]) -> Cluster {
    Cluster::with_config(name, &[&TALKATIVE[..], settings].concat())
}

/// A session with this bound.
#[track_caller]
fn session(standby: &Cluster, db: &str, bound: &str) -> Client {
    let mut session = standby.connect(db);
    session.run(&format!("SET auth_ext.max_standby_staleness = '{bound}'"));
    session
}

/// The standby connects to `upstream` with this at the end of its connection string.
fn connect_with(standby: &Cluster, upstream: &Cluster, option: &str) {
    let mut s = standby.connect("postgres");
    s.run(&format!(
        "ALTER SYSTEM SET primary_conninfo = '{} {option}'",
        upstream.conninfo("replication", "postgres")
    ));
    s.run("SELECT pg_reload_conf()");
}

#[track_caller]
fn wait_verdict(s: &mut Client, token: &str, verdict: &str) {
    let deadline = Instant::now() + PATIENCE;
    while s.verdict(token) != verdict {
        assert!(Instant::now() < deadline, "never {verdict}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// It is the same for so long.
#[track_caller]
fn stays(s: &mut Client, token: &str, verdict: &str, how_long: Duration) {
    let end = Instant::now() + how_long;
    while Instant::now() < end {
        assert_eq!(s.verdict(token), verdict);
        thread::sleep(Duration::from_millis(25));
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_bound_that_the_idle_primary_speaks_within_is_met_by_a_standby_that_follows_it() {
    let primary = primary("idle", &[]);
    let app = App::new(&primary, "idle");
    let token = app.connect().issue("41");
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    // It might be another standby that speaks: that is asked.
    let mut plain = session(&standby, &app.db, "4s");
    wait_verdict(&mut plain, &token, "valid");
    stays(&mut plain, &token, "valid", seconds(6));
    drop(plain);
    let mut off = standby.connect(&app.db);
    assert_eq!(off.verdict(&token), "valid");
    let bound: String = off.one("SHOW auth_ext.max_standby_staleness", &[]);
    assert_eq!(bound, "-1");
    for option in [
        "target_session_attrs=primary",
        "target_session_attrs=read-write",
    ] {
        connect_with(&standby, &primary, option);
        let mut s = session(&standby, &app.db, "4s");
        wait_verdict(&mut s, &token, "valid");
        stays(&mut s, &token, "valid", seconds(6));
        // A session that has seen nothing before.
        wait_verdict(&mut session(&standby, &app.db, "4s"), &token, "valid");
    }
    assert_eq!(off.verdict(&token), "valid");
    // Nobody speaks as often as that.
    let mut short = session(&standby, &app.db, "100ms");
    wait_verdict(&mut short, &token, "stale_standby");
    // The primary itself is never old.
    let mut p = session(&primary, &app.db, "0");
    assert_eq!(p.verdict(&token), "valid");
    assert!(p.one::<bool>("SELECT standby_staleness IS NULL FROM auth.health()", &[]));

    // Gone without a word: what begins to connect again and again says nothing of the primary.
    off.run("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'");
    off.run("SELECT pg_reload_conf()");
    let mut s = session(&standby, &app.db, "4s");
    wait_verdict(&mut s, &token, "valid");
    drop((p, short));
    primary.kill_9();
    wait_verdict(&mut s, &token, "stale_standby");
    stays(&mut s, &token, "stale_standby", seconds(4));
    let mut other = session(&standby, &app.db, "4s");
    stays(&mut other, &token, "stale_standby", seconds(2));
    assert!(s.one::<bool>(
        "SELECT coalesce(standby_staleness > '4 s', true) FROM auth.health()",
        &[]
    ));
    assert_eq!(off.verdict(&token), "valid");
    primary.launch();
    wait_verdict(&mut other, &token, "valid");

    // No standby any more.
    let mut zero = session(&standby, &app.db, "0");
    assert_eq!(zero.verdict(&token), "stale_standby");
    standby.promote();
    assert_eq!(zero.verdict(&token), "valid");
}

#[test]
fn commits_of_a_busy_primary_show_how_old_a_standby_is_and_its_heartbeat_stands_for_them() {
    // Without the heartbeat it speaks every half minute.
    let primary = Cluster::with_config(
        "heart",
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("auth_ext.standby_heartbeat", "100ms"),
        ],
    );
    let app = App::new(&primary, "heart");
    let mut p = app.connect();
    let token = p.issue("41");
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = session(&standby, &app.db, "2s");
    stays(&mut s, &token, "valid", seconds(5));
    let age = "SELECT standby_staleness BETWEEN '0' AND '2 s' FROM auth.health()";
    assert!(s.one::<bool>(age, &[]));
    // It holds up nobody.
    p.run("CREATE DATABASE passing");
    p.run("DROP DATABASE passing");
    p.run("ALTER SYSTEM SET auth_ext.standby_heartbeat = 0");
    p.run("SELECT pg_reload_conf()");
    wait_verdict(&mut s, &token, "stale_standby");
    p.run("CREATE TABLE busy (n int)");
    let end = Instant::now() + seconds(4);
    while Instant::now() < end {
        p.run("INSERT INTO busy VALUES (1)");
        thread::sleep(Duration::from_millis(100));
        wait_verdict(&mut s, &token, "valid");
    }
    wait_verdict(&mut s, &token, "stale_standby");
    p.run("ALTER SYSTEM RESET auth_ext.standby_heartbeat");
    p.run("SELECT pg_reload_conf()");
    wait_verdict(&mut s, &token, "valid");
}

#[test]
fn the_heartbeat_without_the_preloaded_library_is_refused_with_a_hint() {
    let app = App::new(auth_ext_tests::shared(), "no_heart");
    let mut a = app.connect();
    a.issue("41");
    let set = a.batch_execute("ALTER SYSTEM SET auth_ext.standby_heartbeat = '1s'");
    let error = set.expect_err("a refusal");
    let error = error.as_db_error().expect("the server's");
    assert_eq!(error.code().code(), "22023");
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("shared_preload_libraries"))
    );
    a.run("CREATE ROLE nobody_stale");
    refused(
        a.batch_execute("SET ROLE nobody_stale; SET auth_ext.max_standby_staleness = '1s'"),
        "42501",
        None,
    );
    a.run("RESET ROLE; DROP ROLE nobody_stale");
}

#[test]
fn while_replay_is_paused_a_standby_refuses_every_credential_and_hides_identities() {
    let primary = primary("paused", &[]);
    let app = App::new(&primary, "paused");
    let mut p = app.connect();
    p.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, key_hash text, prefix text, is_active boolean,
                            last_used_at timestamp, expires_at timestamp);
         SELECT auth.attach_api_keys('keys')",
    );
    let token = p.issue("41");
    let key: String = p.one("SELECT key FROM auth.create_api_key('41', 'x')", &[]);
    let once: String = p.one(
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        &[],
    );
    let standby = Cluster::start_standby(&primary);
    connect_with(&standby, &primary, "target_session_attrs=primary");
    standby.wait_replay(&primary);
    let mut s = session(&standby, &app.db, "3s");
    let mut by_key = session(&standby, &app.db, "3s");
    wait_verdict(&mut s, &token, "valid");
    s.one::<serde_json::Value>("SELECT auth.authenticate($1, 'session')", &[&token]);
    by_key.one::<serde_json::Value>("SELECT auth.authenticate_api_key($1, 'session')", &[&key]);
    let accepted = |s: &mut Client, by_key: &mut Client| {
        assert_eq!(s.one::<String>("SELECT auth.require_user()", &[]), "41");
        assert_eq!(
            by_key.one::<String>("SELECT auth.require_user()", &[]),
            "41"
        );
        s.one::<serde_json::Value>("SELECT auth.verify_jwt($1)", &[&token]);
        s.one::<serde_json::Value>("SELECT auth.verify_jwt_claims($1)", &[&token]);
        assert!(s.one::<bool>("SELECT valid FROM auth.check_api_key($1)", &[&key]));
        assert!(s.one::<bool>("SELECT valid FROM auth.try_authenticate($1)", &[&token]));
        assert_eq!(
            s.one::<String>(
                "SELECT auth.validate_one_time_token($1, 'password_reset')",
                &[&once]
            ),
            "41"
        );
    };
    accepted(&mut s, &mut by_key);

    s.run("SELECT pg_wal_replay_pause()");
    p.run("UPDATE users SET note = 'something' WHERE id = 42");
    wait_verdict(&mut s, &token, "stale_standby");
    for sql in [
        "SELECT auth.verify_jwt($1)",
        "SELECT auth.verify_jwt_claims($1)",
        "SELECT auth.authenticate($1)",
        "SELECT auth.authenticate($1, 'session')",
    ] {
        assert_reason(&mut s, sql, &[&token], "stale_standby");
    }
    for sql in [
        "SELECT FROM auth.verify_api_key($1)",
        "SELECT auth.authenticate_api_key($1)",
    ] {
        assert_reason(&mut s, sql, &[&key], "stale_standby");
    }
    let once_sql = "SELECT auth.validate_one_time_token($1, 'password_reset')";
    assert_reason(&mut s, once_sql, &[&once], "stale_standby");
    for (sql, given) in [
        ("SELECT reason FROM auth.try_authenticate($1)", &token),
        ("SELECT reason FROM auth.check_api_key($1)", &key),
        ("SELECT reason FROM auth.check_jwt($1)", &token),
    ] {
        assert_eq!(s.one::<String>(sql, &[given]), "stale_standby");
    }
    s.run("BEGIN");
    s.run(&format!(
        r#"SET LOCAL request.headers = '{{"authorization": "Bearer {token}"}}'"#
    ));
    let request = s
        .batch_execute("SELECT auth.pre_request()")
        .expect_err("a refusal");
    assert_eq!(
        request
            .as_db_error()
            .and_then(|error| error.code().code().get(..2)),
        Some("PT")
    );
    s.run("ROLLBACK");
    for s in [&mut s, &mut by_key] {
        assert_eq!(s.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
        assert!(s.one::<bool>(
            "SELECT auth.jwt() IS NULL AND auth.claim('sub') IS NULL",
            &[]
        ));
        assert_reason(s, "SELECT auth.require_user()", &[], "not_authenticated");
    }
    // It is the same one when the standby is young again.
    s.run("SELECT pg_wal_replay_resume()");
    wait_verdict(&mut s, &token, "valid");
    wait_verdict(&mut by_key, &token, "valid");
    accepted(&mut s, &mut by_key);

    // A delay is a pause of its own.
    s.run("ALTER SYSTEM SET recovery_min_apply_delay = '10 min'");
    s.run("SELECT pg_reload_conf()");
    thread::sleep(seconds(1));
    p.run("UPDATE users SET note = 'something else' WHERE id = 42");
    wait_verdict(&mut s, &token, "stale_standby");
    stays(&mut s, &token, "stale_standby", seconds(2));
    assert_eq!(session(&standby, &app.db, "-1").verdict(&token), "valid");
}

#[test]
fn a_cascading_standby_asks_about_the_primary_and_not_about_the_standby_that_speaks_to_it() {
    let primary = primary("cascade", &[]);
    let app = App::new(&primary, "cascade");
    let mut p = app.connect();
    let token = p.issue("41");
    let near = Cluster::start_standby(&primary);
    near.wait_replay(&primary);
    let far = Cluster::start_standby(&near);
    far.wait_replay(&primary);
    let mut s = session(&far, &app.db, "3s");
    let mut patient = session(&far, &app.db, "1h");
    let end = Instant::now() + seconds(4);
    while Instant::now() < end {
        p.run("UPDATE users SET note = 'busy' WHERE id = 42");
        thread::sleep(Duration::from_millis(100));
        wait_verdict(&mut s, &token, "valid");
    }
    drop(p);
    primary.kill_9();
    wait_verdict(&mut s, &token, "stale_standby");
    // The near one goes on speaking.
    stays(&mut s, &token, "stale_standby", seconds(3));
    assert!(s.one::<bool>(
        "SELECT last_msg_receipt_time > now() - interval '3 s' FROM pg_stat_wal_receiver",
        &[]
    ));
    // Nor does it help to say that it were the primary: then there is no connection.
    connect_with(&far, &near, "target_session_attrs=primary");
    stays(&mut s, &token, "stale_standby", seconds(3));
    assert_eq!(patient.verdict(&token), "valid");
    // It is one now.
    near.promote();
    near.connect(&app.db)
        .run("UPDATE users SET note = 'new' WHERE id = 42");
    wait_verdict(&mut s, &token, "valid");
    stays(&mut s, &token, "valid", seconds(5));
}

#[test]
fn a_standby_that_reads_an_archive_only_is_as_old_as_the_last_commit_in_it() {
    let primary = primary(
        "archive",
        &[("archive_mode", "on"), ("archive_command", "false")],
    );
    let archive = primary.scratch("wal");
    let archive = archive.display();
    let app = App::new(&primary, "archive");
    let mut p = app.connect();
    let token = p.issue("41");
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut admin = standby.connect("postgres");
    for setting in [
        "primary_conninfo = ''".to_owned(),
        "wal_retrieve_retry_interval = '200ms'".to_owned(),
        format!("restore_command = 'cp {archive}/%f %p'"),
    ] {
        admin.run(&format!("ALTER SYSTEM SET {setting}"));
    }
    admin.run("SELECT pg_reload_conf()");
    p.run(&format!(
        "ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'"
    ));
    p.run("SELECT pg_reload_conf()");
    let mut s = session(&standby, &app.db, "4s");
    for _ in 0..2 {
        wait_verdict(&mut s, &token, "stale_standby");
        // What is not archived yet is not shown.
        p.run("UPDATE users SET note = note || 'x' WHERE id = 42");
        stays(&mut s, &token, "stale_standby", seconds(1));
        p.run("UPDATE users SET note = 'y' WHERE id = 42; SELECT pg_switch_wal()");
        wait_verdict(&mut s, &token, "valid");
    }
    assert_eq!(session(&standby, &app.db, "1h").verdict(&token), "valid");
}
