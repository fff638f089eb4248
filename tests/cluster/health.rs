//! What an operator looks at.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, Cluster, shared};

/// One column of health(), as text; NULL is "null".
fn health(client: &mut Client, column: &str) -> String {
    client.one(
        &format!("SELECT coalesce(({column})::text, 'null') FROM auth.health()"),
        &[],
    )
}

#[test]
fn health_says_how_the_log_the_tables_and_the_keys_are() {
    let app = App::new(shared(), "health");
    let mut a = app.connect();
    a.run("DELETE FROM auth.invalidation_log");
    for (column, value) in [
        ("in_recovery", "false"),
        ("notify", "inline"),
        ("notification_queue_usage >= 0", "true"),
        ("relay_available", "false"),
        ("relay_running", "false"),
        ("relay_pid", "null"),
        ("relay_sent_at", "null"),
        ("relay_pending_events", "0"),
        ("relay_pending_age", "null"),
        ("log_events", "0"),
        ("log_oldest_age", "null"),
        ("log_retention", "01:00:00"),
        ("users_table", "public.users"),
        ("users_table_intact", "true"),
        ("api_keys_table", "null"),
        ("api_keys_table_intact", "null"),
        ("verifying_keys", "1"),
        ("next_key_lapses_at", "null"),
    ] {
        assert_eq!(health(&mut a, column), value, "{column}");
    }
    a.bump("41");
    a.run("SELECT auth.rotate_signing_key(overlap => '1 hour'); SET auth_ext.log_retention = '90 s';
           CREATE TABLE keys (id text PRIMARY KEY, user_id bigint); SELECT auth.attach_api_keys('keys')");
    a.run("UPDATE auth.invalidation_log SET created_at = now() - interval '1 min'");
    for (column, value) in [
        ("log_events > 1", "true"),
        ("log_bytes > 0", "true"),
        ("log_oldest_age BETWEEN '1 min' AND '2 min'", "true"),
        ("log_retention", "00:01:30"),
        ("verifying_keys", "2"),
        (
            "next_key_lapses_at BETWEEN now() AND now() + interval '1 hour'",
            "true",
        ),
        ("api_keys_table", "public.keys"),
        ("api_keys_table_intact", "true"),
    ] {
        assert_eq!(health(&mut a, column), value, "{column}");
    }
    a.run("ALTER TABLE users DISABLE TRIGGER ALL; DROP TABLE keys");
    assert_eq!(health(&mut a, "users_table_intact"), "false");
    assert_eq!(health(&mut a, "api_keys_table_intact"), "false");
    assert_eq!(a.rows("SELECT * FROM auth.health()", &[]).len(), 1);
}

#[test]
fn health_says_how_far_the_relay_is_and_can_be_read_on_a_standby_by_a_granted_role() {
    let primary = Cluster::with_config(
        "health_relay",
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("auth_ext.notify", "relay"),
        ],
    );
    let app = App::new(&primary, "relay");
    let (mut a, mut b) = (app.connect(), app.connect());
    a.run("CREATE ROLE monitor LOGIN; GRANT EXECUTE ON FUNCTION auth.health TO monitor");
    a.bump("41");
    let mut monitor = primary.connect_as(&app.db, "monitor");
    let deadline = Instant::now() + Duration::from_secs(30);
    while health(&mut monitor, "relay_pending_events = 0 AND relay_running") != "true" {
        assert!(Instant::now() < deadline, "the relay does nothing");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(health(&mut monitor, "notify"), "relay");
    assert_eq!(
        health(&mut monitor, "relay_pid > 0 AND relay_available"),
        "true"
    );
    assert_eq!(
        health(&mut monitor, "now() - relay_sent_at < '30 s'"),
        "true"
    );
    // It may not go on: that is seen.
    b.run("BEGIN");
    b.run("LOCK TABLE auth.relay_position IN SHARE MODE");
    a.bump("41");
    a.bump("42");
    assert_eq!(health(&mut monitor, "relay_pending_events"), "2");
    assert_eq!(health(&mut monitor, "relay_pending_age > '0 s'"), "true");

    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect_as(&app.db, "monitor");
    assert_eq!(health(&mut s, "in_recovery"), "true");
    assert_eq!(health(&mut s, "relay_running"), "false");
    assert_eq!(health(&mut s, "relay_pending_events"), "2");
    assert_eq!(health(&mut s, "users_table_intact"), "true");
    b.run("COMMIT");
}

#[test]
fn health_says_when_a_table_is_not_as_it_was_attached() {
    let app = App::new(shared(), "health_attached");
    let mut a = app.connect();
    assert_eq!(health(&mut a, "users_table_intact"), "true");
    // As pg_restore --disable-triggers leaves them.
    a.run("ALTER TABLE users DISABLE TRIGGER ALL; ALTER TABLE users ENABLE TRIGGER ALL");
    assert_eq!(health(&mut a, "users_table_intact"), "false");
    let token = a.issue("41");
    assert_eq!(a.verdict(&token), "valid", "nobody is locked out");
    a.run("SELECT auth.attach_users('users')");
    assert_eq!(health(&mut a, "users_table_intact"), "true");
    // Renamed, the binding goes with it; swapped, it is another table that bears the name.
    a.run("CREATE TABLE other (LIKE users INCLUDING ALL); ALTER TABLE users RENAME TO former");
    assert_eq!(health(&mut a, "users_table_intact"), "true");
    a.run("ALTER TABLE other RENAME TO users");
    assert_eq!(health(&mut a, "users_table_intact"), "false");
    assert_eq!(health(&mut a, "users_table"), "public.former");
}
