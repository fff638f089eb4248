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

#[test]
fn prune_removes_all_that_is_over_in_one_call_and_costs_little_when_nothing_is() {
    let app = App::new(shared(), "batches");
    let mut a = app.connect();
    a.run(
        "INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
         SELECT 'i', n::text, '41', 'x', now() + make_interval(secs => n - 60000.5) FROM generate_series(1, 200000) AS n;
         INSERT INTO auth.one_time_tokens (token_hash, user_id, purpose, expires_at, used_at)
         SELECT n::text, n::text, 'p', now() - interval '1 day', CASE WHEN n > 10 THEN now() - interval '29 days' END
         FROM generate_series(1, 100000) AS n",
    );
    let removed: i64 = a.one("SELECT auth.prune()", &[]);
    assert!((60_010..60_100).contains(&removed), "{removed}");
    a.run("VACUUM auth.revoked_tokens, auth.one_time_tokens");
    let best = (0..10)
        .map(|_| {
            let start = std::time::Instant::now();
            let _: i64 = a.one("SELECT auth.prune()", &[]);
            start.elapsed()
        })
        .min();
    println!("an idle call: {best:?}");
    assert!(
        best < Some(std::time::Duration::from_millis(25)),
        "{best:?}"
    );
}

#[test]
fn prune_stops_when_its_time_is_over_and_says_so() {
    let app = App::new(shared(), "budget");
    let (mut a, notices) = shared().connect_with_notices(&app.db);
    a.run(
        "INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
         SELECT 'i', n::text, '41', 'x', now() - make_interval(secs => n) FROM generate_series(1, 12000) AS n;
         CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep(0.001); RETURN OLD; END $$;
         CREATE TRIGGER slow BEFORE DELETE ON auth.revoked_tokens FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 5000);
    assert!(
        notices
            .try_iter()
            .any(|notice| notice.message().contains("call it again"))
    );
    a.run("DROP TRIGGER slow ON auth.revoked_tokens");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 7000);
}

#[test]
fn an_event_ahead_of_the_clock_keeps_no_other_from_being_pruned() {
    let app = App::new(shared(), "ahead");
    let mut a = app.connect();
    prune_everything(&mut a);
    a.run("RESET auth_ext.log_retention");
    for _ in 0..4 {
        a.bump("41");
    }
    // The first and the third of four old ones, and a young one behind them.
    a.run(
        "UPDATE auth.invalidation_log AS l
         SET created_at = now() + CASE WHEN r.n IN (1, 3) THEN interval '1 year' ELSE interval '-1 year' END
         FROM (SELECT xid, row_number() OVER (ORDER BY xid) AS n FROM auth.invalidation_log) AS r WHERE r.xid = l.xid",
    );
    a.bump("42");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 4);
    assert_eq!(
        a.one::<i64>("SELECT count(*) FROM auth.invalidation_log", &[]),
        1
    );
    // Alone it stays, and nothing has a negative age.
    a.run("UPDATE auth.invalidation_log SET created_at = now() + interval '1 year'");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 0);
    assert!(a.one::<bool>("SELECT log_oldest_age = '0' FROM auth.health()", &[]));
}
