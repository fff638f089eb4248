//! What is no longer in the log, or too much: one flush, never silence.

use auth_ext_tests::{App, Ask, Client, Cluster, Reader, Value, json, shared};

fn user(id: &str, version: i64, reason: &str) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": version, "reason": reason})
}

fn flush() -> Value {
    json!({"v": 1, "kind": "flush"})
}

fn prune_everything(client: &mut Client) -> i64 {
    client.run("SET auth_ext.log_retention = 1; UPDATE auth.invalidation_log SET created_at = now() - interval '2 s'");
    client.one("SELECT auth.prune()", &[])
}

#[test]
fn a_cursor_that_has_not_seen_a_pruned_event_gets_one_flush_and_another_nothing() {
    // Of its own: what runs in other databases meanwhile may make a flush of nothing.
    let cluster = Cluster::with_config("old", &[("autovacuum", "off")]);
    let app = App::new(&cluster, "old");
    let (mut a, mut b) = (app.connect(), app.connect());
    let mut old = Reader::now(&mut a);
    b.run("BEGIN");
    b.bump("42");
    let mut during = Reader::now(&mut a);
    b.run("COMMIT");
    a.bump("41");
    let mut recent = Reader::now(&mut a);
    assert!(prune_everything(&mut a) >= 2);
    assert_eq!(prune_everything(&mut a), 0);
    for reader in [&mut old, &mut during] {
        assert_eq!(reader.catch_up(&mut a), [flush()]);
        assert!(reader.catch_up(&mut a).is_empty());
    }
    assert!(recent.catch_up(&mut a).is_empty());
    let version = a.bump("41");
    for reader in [&mut old, &mut during, &mut recent] {
        assert_eq!(
            reader.catch_up(&mut a),
            [user("41", version, "logout_everywhere")]
        );
    }
}

#[test]
fn a_transaction_that_was_running_at_the_cursor_is_not_missed_when_its_events_are_pruned_alone() {
    let cluster = Cluster::with_config("running", &[("autovacuum", "off")]);
    let app = App::new(&cluster, "running");
    let (mut a, mut b, mut c) = (app.connect(), app.connect(), app.connect());
    // Three run at the time of the cursor: one whose event is pruned, one that is rolled back, one that writes later.
    for client in [&mut a, &mut b] {
        client.run("BEGIN");
    }
    a.bump("41");
    b.bump("42");
    c.run("CREATE TABLE tick (); INSERT INTO tick DEFAULT VALUES");
    let mut reader = Reader::now(&mut c);
    let mut rolled_back = Reader::now(&mut c);
    b.run("ROLLBACK");
    a.run("COMMIT");
    let mut behind = Reader::now(&mut c);
    prune_everything(&mut c);
    assert_eq!(reader.catch_up(&mut c), [flush()]);
    assert_eq!(rolled_back.catch_up(&mut c), [flush()]);
    assert!(behind.catch_up(&mut c).is_empty());
}

#[test]
fn prune_keeps_what_is_younger_than_the_retention() {
    let app = App::new(shared(), "retention");
    let mut a = app.connect();
    prune_everything(&mut a);
    a.run("RESET auth_ext.log_retention");
    let mut reader = Reader::now(&mut a);
    a.bump("41");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 0);
    assert_eq!(reader.catch_up(&mut a).len(), 1);
    let mut b = app.connect();
    // Two at once do not wait for one another.
    b.run("SET lock_timeout = '1 s'");
    a.run("UPDATE auth.invalidation_log SET created_at = now() - interval '61 min'");
    a.run("BEGIN");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 1);
    assert_eq!(b.one::<i64>("SELECT auth.prune()", &[]), 0);
    a.run("ROLLBACK");
    assert_eq!(b.one::<i64>("SELECT auth.prune()", &[]), 1);
}

#[test]
fn more_than_ten_thousand_events_are_one_flush() {
    let app = App::new(shared(), "many");
    let mut a = app.connect();
    a.run(
        "INSERT INTO users SELECT n, 'old' FROM generate_series(1, 10000) AS n ON CONFLICT DO NOTHING;
         SET auth_ext.bulk_threshold = 100000; SET auth_ext.notify = off",
    );
    let mut reader = Reader::now(&mut a);
    a.run("UPDATE users SET email = 'x' WHERE id > 0");
    assert_eq!(reader.catch_up(&mut a).len(), 10_000);
    a.run("UPDATE users SET email = 'y'");
    assert_eq!(reader.catch_up(&mut a), [flush()]);
    assert!(reader.catch_up(&mut a).is_empty());
}
