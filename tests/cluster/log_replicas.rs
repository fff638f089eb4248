//! The log on standbys, across a promotion, on a subscriber of logical replication, and through a logical slot.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, Cluster, Listener, Reader, Value, database_with_key, json};

fn user(id: &str, version: i64) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": version, "reason": "logout_everywhere"})
}

fn flush() -> Value {
    json!({"v": 1, "kind": "flush"})
}

#[test]
fn a_standby_reads_the_log_and_its_promotion_flushes_the_cursors_of_before() {
    let primary = Cluster::start("log_primary");
    let app = App::new(&primary, "log");
    let (mut p, mut q) = (app.connect(), app.connect());
    let mut of_primary = Reader::now(&mut p);
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&app.db);
    let mut of_standby = Reader::now(&mut s);

    // A transaction that runs while cursors are taken on both, with subtransactions.
    q.run("BEGIN; SAVEPOINT a; SELECT auth.bump_session_version('42'); SAVEPOINT b; UPDATE users SET note = 'x' WHERE id = 42");
    p.bump("41");
    standby.wait_replay(&primary);
    assert_eq!(of_standby.catch_up(&mut s), [user("41", 1)]);
    let mut later = Reader::now(&mut s);
    q.run("COMMIT");
    standby.wait_replay(&primary);
    for reader in [&mut of_standby, &mut later] {
        assert_eq!(reader.catch_up(&mut s), [user("42", 1)]);
        assert!(reader.catch_up(&mut s).is_empty());
    }
    // One cursor, read here and there; a standby that lags does not move it backwards.
    s.run("SELECT pg_wal_replay_pause()");
    p.bump("41");
    assert_eq!(of_primary.catch_up(&mut p).len(), 3);
    assert!(of_primary.catch_up(&mut s).is_empty());
    s.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users");
    assert!(of_standby.catch_up(&mut s).is_empty());
    s.run("SELECT pg_wal_replay_resume()");
    standby.wait_replay(&primary);
    assert_eq!(of_standby.catch_up(&mut s), [user("41", 2)]);
    assert!(of_primary.catch_up(&mut s).is_empty());
    s.run("COMMIT");

    standby.promote();
    for reader in [&mut of_primary, &mut of_standby] {
        assert_eq!(reader.catch_up(&mut s), [flush()]);
        assert!(reader.catch_up(&mut s).is_empty());
    }
    s.bump("42");
    assert_eq!(of_standby.catch_up(&mut s), [user("42", 2)]);
    // The former primary, where it lives on, has not gone that way.
    assert_eq!(of_standby.catch_up(&mut p), [flush()]);
}

/// Waits until `sql` is true.
fn wait(client: &mut Client, sql: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !client.one::<bool>(sql, &[]) {
        assert!(Instant::now() < deadline, "never true: {sql}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn on_a_subscriber_the_attached_table_makes_events_of_its_own_and_none_arrives_twice() {
    let cluster = Cluster::with_config("logical", &[("wal_level", "logical")]);
    let app = App::new(&cluster, "publisher");
    let mut p = app.connect();
    let db = database_with_key(&cluster, "subscriber");
    let mut s = cluster.connect(&db);
    s.run("CREATE TABLE users (id bigint PRIMARY KEY, email text, note text, region text, is_active boolean);
           SELECT auth.attach_users('users', bump_on => '{email}');
           DELETE FROM auth.issuers; DELETE FROM auth.attached_tables");
    // Before the subscription: rows that its first copy would bring.
    p.bump("41");
    p.run("CREATE PUBLICATION everything FOR ALL TABLES");
    p.run("SELECT pg_create_logical_replication_slot('s', 'pgoutput')");
    let conninfo = cluster.conninfo(&app.db, "postgres");
    s.run(&format!(
        "CREATE SUBSCRIPTION s CONNECTION '{conninfo}' PUBLICATION everything WITH (create_slot = false, slot_name = 's')"
    ));
    wait(
        &mut s,
        "SELECT count(*) > 5 AND bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel",
    );
    s.run("SELECT auth.attach_users('users', bump_on => '{email}')");
    let mut reader = Reader::now(&mut s);
    let mut listener = Listener::on(cluster.connect(&db), "auth_invalidation");
    let before: i64 = s.one("SELECT count(*) FROM auth.invalidation_log", &[]);
    let pruned: String = s.one("SELECT p::text FROM auth.invalidation_pruned AS p", &[]);

    p.bump("41");
    p.run("UPDATE users SET note = 'irrelevant' WHERE id = 42; DELETE FROM users WHERE id = 42");
    p.run("SET auth_ext.log_retention = 1; UPDATE auth.invalidation_log SET created_at = now() - interval '1 h'; SELECT auth.prune()");
    p.run("INSERT INTO users (id) VALUES (77)");
    wait(&mut s, "SELECT EXISTS (SELECT FROM users WHERE id = 77)");
    let events = reader.catch_up(&mut s);
    let ids: Vec<_> = events
        .iter()
        .filter(|event| event["kind"] == "user")
        .map(|event| {
            (
                event["id"].as_str().unwrap(),
                event["session_version"].as_i64(),
            )
        })
        .collect();
    assert_eq!(ids, [("41", Some(2)), ("42", Some(1))], "{events:?}");
    assert_eq!(listener.events(), events);
    let after: i64 = s.one("SELECT count(*) FROM auth.invalidation_log", &[]);
    assert_eq!(usize::try_from(after - before), Ok(events.len()));
    let sql = "SELECT p::text FROM auth.invalidation_pruned AS p";
    assert_eq!(s.one::<String>(sql, &[]), pruned);
    s.run("ALTER SUBSCRIPTION s DISABLE");
    wait(
        &mut p,
        "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 's'",
    );
    s.run("DROP SUBSCRIPTION s");
}

#[test]
#[cfg_attr(without = "test_decoding", ignore = "no test_decoding")]
fn with_logical_messages_a_slot_delivers_the_events_of_committed_transactions() {
    let cluster = Cluster::with_config(
        "messages",
        &[
            ("wal_level", "logical"),
            ("auth_ext.logical_messages", "on"),
            ("max_prepared_transactions", "4"),
        ],
    );
    let app = App::new(&cluster, "messages");
    let mut a = app.connect();
    a.run("SELECT pg_create_logical_replication_slot('cdc', 'test_decoding')");
    a.bump("41");
    a.run("BEGIN; SELECT auth.bump_session_version('42'); ROLLBACK");
    a.run("BEGIN; SELECT auth.bump_session_version('42'); PREPARE TRANSACTION 'x'");
    a.run("SET auth_ext.logical_messages = off");
    a.bump("41");
    a.run("COMMIT PREPARED 'x'");
    let messages: Vec<String> = a
        .rows(
            "SELECT data FROM pg_logical_slot_get_changes('cdc', NULL, NULL) WHERE starts_with(data, 'message:')",
            &[],
        )
        .iter()
        .map(|row| row.get(0))
        .collect();
    let message = |version: i64, id: &str| {
        let event = format!(
            r#"{{"v":1,"kind":"user","id":"{id}","session_version":{version},"reason":"logout_everywhere"}}"#
        );
        format!(
            "message: transactional: 1 prefix: auth_ext, sz: {} content:{event}",
            event.len()
        )
    };
    assert_eq!(messages, [message(1, "41"), message(1, "42")]);
    a.run("SELECT pg_drop_replication_slot('cdc')");
}
