//! A streaming standby checks tokens as its primary does, as soon as a change is replayed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{
    App, Ask, Client, Cluster, ISSUER, assert_reason, database_with_key, refused,
};

#[test]
fn a_standby_verifies_issues_and_sees_a_retirement_a_bump_and_a_new_key_after_replay() {
    let primary = Cluster::start("trust_primary");
    let db = database_with_key(&primary, "standby");
    let mut p = primary.connect(&db);
    p.run("CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users VALUES (41), (42); SELECT auth.attach_users('users')");
    let (ada, bob) = (p.issue("41"), p.issue("42"));
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&db);
    assert_eq!(s.verdict(&ada), "valid");
    let issued = s.issue("42");
    assert_eq!(p.verdict(&issued), "valid");
    refused(
        s.query("SELECT auth.bump_session_version('41')", &[]),
        "25006",
        None,
    );
    s.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(s.verdict(&ada), "valid");

    p.bump("41");
    standby.wait_replay(&primary);
    assert_eq!(s.verdict(&ada), "session_version_mismatch");
    assert_eq!(s.version("41"), Some(1));

    p.run("SELECT auth.rotate_signing_key()");
    let new = p.issue("42");
    standby.wait_replay(&primary);
    assert_eq!(s.verdict(&new), "valid");
    assert_eq!(s.verdict(&bob), "valid");

    p.run("SELECT auth.retire_signing_key(kid) FROM auth.signing_keys WHERE status = 'verifying'");
    standby.wait_replay(&primary);
    assert_eq!(s.verdict(&bob), "unknown_key");
    assert_eq!(s.verdict(&new), "valid");

    p.run(&format!(
        "UPDATE auth.issuers SET not_before = now() + interval '2 s' WHERE issuer = '{ISSUER}'"
    ));
    standby.wait_replay(&primary);
    assert_eq!(s.verdict(&new), "issued_before_cutoff");
    // The replay of DROP TABLE would wait for this transaction's lock.
    s.run("COMMIT");
    p.run("UPDATE auth.issuers SET not_before = NULL; DROP TABLE users");
    standby.wait_replay(&primary);
    refused(
        s.query("SELECT auth.verify_jwt($1)", &[&new]),
        "55000",
        None,
    );

    standby.promote();
    s.run("CREATE TABLE accounts (id int PRIMARY KEY); INSERT INTO accounts VALUES (42); SELECT auth.attach_users('accounts')");
    assert_eq!(s.verdict(&new), "valid");
    s.bump("42");
    assert_reason(
        &mut s,
        "SELECT auth.verify_jwt($1)",
        &[&new],
        "session_version_mismatch",
    );
}

/// Waits until the standby replays nothing more.
#[track_caller]
fn pause(standby: &mut Client) {
    standby.run("SELECT pg_wal_replay_pause()");
    wait_for(standby, "SELECT pg_get_wal_replay_pause_state() = 'paused'");
}

#[track_caller]
fn wait_for(client: &mut Client, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !client.one::<bool>(sql, &[]) {
        assert!(Instant::now() < deadline, "never: {sql}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_session_has_ended_on_the_standby_that_is_waited_for_when_its_commit_returns_whatever_was_set()
{
    const WAITS: &str = "SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    const RESUME: &str = "SELECT pg_wal_replay_resume()";
    let primary = Cluster::with_config("waited_for", &[("synchronous_commit", "remote_apply")]);
    let app = App::new(&primary, "waited_for");
    let (mut admin, mut a) = (app.connect(), app.connect());
    admin.run("CREATE TABLE other (n int)");
    let token = admin.issue(app.ada);
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&app.db);
    admin.run("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary.reload();
    // From when on commits wait: another process has to notice.
    pause(&mut s);
    let known = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !known.load(Ordering::Relaxed) {
                app.connect().run("INSERT INTO other VALUES (0)");
            }
        });
        wait_for(&mut admin, WAITS);
        known.store(true, Ordering::Relaxed);
        s.run(RESUME);
    });
    for level in ["off", "local", "remote_write", "on", "remote_apply"] {
        let token = admin.issue(app.ada);
        standby.wait_replay(&primary);
        assert_eq!(s.verdict(&token), "valid");
        pause(&mut s);
        a.run(&format!("SET synchronous_commit = {level}"));
        if level != "remote_apply" {
            a.run("INSERT INTO other VALUES (1)");
        }
        thread::scope(|scope| {
            let bump = scope.spawn(|| a.bump(app.ada));
            wait_for(&mut admin, WAITS);
            s.run(RESUME);
            bump.join().expect("a version");
        });
        assert_eq!(s.verdict(&token), "session_version_mismatch", "{level}");
        assert_eq!(a.one::<String>("SHOW synchronous_commit", &[]), level);
    }
    assert_eq!(s.verdict(&token), "session_version_mismatch");
    // Where the session began with less: as `on`.
    drop(standby);
    admin.run("ALTER SYSTEM SET synchronous_commit = off");
    primary.reload();
    let mut b = app.connect();
    assert_eq!(b.one::<String>("SHOW synchronous_commit", &[]), "off");
    b.run("INSERT INTO other VALUES (2)");
    thread::scope(|scope| {
        let bump = scope.spawn(|| b.bump(app.ada));
        wait_for(&mut admin, WAITS);
        admin.run("ALTER SYSTEM RESET synchronous_standby_names");
        primary.reload();
        bump.join().expect("a version");
    });
}
