//! What the use of an API key writes down, where it doesn't, and whom it never makes wait.

mod hashed;
mod rotated;

use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, attempt, no, race, second, shared};

const VERIFY: &str = "SELECT id FROM auth.verify_api_key($1)";
const KEYS: &str =
    "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, key_hash text, prefix text,
     is_active boolean NOT NULL DEFAULT true, last_used_at timestamptz, expires_at timestamptz);
     SELECT auth.attach_api_keys('keys')";

fn create(client: &mut Client) -> String {
    client.one("SELECT key FROM auth.create_api_key('41', 'x')", &[])
}

fn used(client: &mut Client) -> Option<String> {
    client.one("SELECT last_used_at::text FROM keys", &[])
}

#[test]
fn the_use_of_a_key_is_written_down_at_most_once_a_minute() {
    let app = App::new(shared(), "minute");
    let mut a = app.connect();
    a.run(KEYS);
    let key = create(&mut a);
    assert_eq!(used(&mut a), None);
    attempt(&mut a, VERIFY, &[&key]).unwrap();
    let first = used(&mut a);
    assert!(first.is_some());
    let place = "SELECT ctid::text FROM keys";
    let row: String = a.one(place, &[]);
    for _ in 0..100 {
        attempt(&mut a, VERIFY, &[&key]).unwrap();
    }
    assert_eq!(used(&mut a), first);
    assert_eq!(
        a.one::<String>(place, &[]),
        row,
        "the row was not even written"
    );
    for (age, written) in [("50 s", false), ("61 s", true)] {
        a.run(&format!(
            "UPDATE keys SET last_used_at = clock_timestamp() - interval '{age}'"
        ));
        let before = used(&mut a);
        attempt(&mut a, VERIFY, &[&key]).unwrap();
        assert_eq!(used(&mut a) != before, written, "{age}");
    }
    a.run("UPDATE keys SET last_used_at = NULL");
    let checked: bool = a.one("SELECT valid FROM auth.check_api_key($1)", &[&key]);
    assert!(checked);
    assert_eq!(used(&mut a), None, "check never writes");
    a.run("BEGIN");
    attempt(&mut a, VERIFY, &[&key]).unwrap();
    assert!(used(&mut a).is_some());
    a.run("ROLLBACK");
    assert_eq!(used(&mut a), None);
}

#[test]
fn where_a_write_would_fail_or_make_the_caller_fail_the_use_is_not_written_down() {
    let app = App::new(shared(), "skipped");
    let mut a = app.connect();
    a.run(KEYS);
    let key = create(&mut a);
    for begin in [
        "BEGIN READ ONLY",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
    ] {
        a.run(begin);
        attempt(&mut a, VERIFY, &[&key]).unwrap();
        a.run("COMMIT");
        assert_eq!(used(&mut a), None, "{begin}");
    }
    a.run("UPDATE keys SET key_fingerprint = NULL");
    a.run("BEGIN READ ONLY");
    attempt(&mut a, VERIFY, &[&key]).unwrap();
    a.run("COMMIT");
    assert_eq!(
        a.one::<i64>("SELECT count(key_fingerprint) FROM keys", &[]),
        0
    );
    attempt(&mut a, VERIFY, &[&key]).unwrap();
    assert_eq!(
        a.one::<i64>("SELECT count(key_fingerprint) FROM keys", &[]),
        1
    );
    assert!(used(&mut a).is_some());
}

#[test]
fn a_key_whose_row_somebody_else_has_locked_is_verified_without_waiting() {
    let app = App::new(shared(), "locked");
    let (mut a, mut b) = (app.connect(), app.connect());
    a.run(KEYS);
    let key = create(&mut a);
    b.run("SET lock_timeout = '5 s'");
    for lock in [
        "SELECT FROM keys FOR UPDATE",
        "UPDATE keys SET last_used_at = clock_timestamp() - interval '1 hour'",
        "UPDATE keys SET is_active = false",
        "SELECT FROM auth.verify_api_key((SELECT key FROM k))",
    ] {
        a.run("UPDATE keys SET last_used_at = NULL, is_active = true");
        a.run("BEGIN");
        a.run(&format!(
            "CREATE TEMP TABLE k ON COMMIT DROP AS SELECT '{key}'::text AS key"
        ));
        a.run(lock);
        let started = Instant::now();
        assert!(attempt(&mut b, VERIFY, &[&key]).is_ok(), "{lock}");
        assert!(started.elapsed() < Duration::from_secs(4), "{lock}");
        a.run("ROLLBACK");
    }
    // Nobody deadlocks or is refused, also when the key was never used before.
    a.run("UPDATE keys SET last_used_at = NULL");
    let outcomes = race(&app, 20, |_, client| attempt(client, VERIFY, &[&key]));
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert!(used(&mut a).is_some());
}

#[test]
fn a_key_that_is_deactivated_while_it_is_being_used_does_not_stay_active() {
    let app = App::new(shared(), "lost_update");
    let mut a = app.connect();
    a.run(KEYS);
    let key = create(&mut a);
    a.run("BEGIN");
    attempt(&mut a, VERIFY, &[&key]).unwrap();
    let off = second(&app, &mut a, "COMMIT", |b| {
        b.execute("UPDATE keys SET is_active = false", &[]).unwrap()
    });
    assert_eq!(off, 1);
    assert_eq!(attempt(&mut a, VERIFY, &[&key]), no("inactive_api_key"));
}
