//! Keys that are rotated or ended while somebody verifies them.

use std::thread;
use std::time::Duration;

use super::hashed::{bcrypt, bcrypt_of_cost, fingerprint, insert_hashed, plain};
use super::{KEYS, VERIFY, used};
use auth_ext_tests::{App, Ask, attempt, no, refused, second, shared};

#[test]
fn a_key_that_is_rotated_while_it_is_verified_is_not_written_back() {
    let app = App::new(shared(), "rotated");
    let mut a = app.connect();
    a.run(KEYS);
    let (old, new) = (plain("rfs12345", 'a'), plain("rfs12345", 'b'));
    let (old_hash, new_hash) = (bcrypt(&old), bcrypt(&new));
    for found_by_fingerprint in [false, true] {
        a.run("DELETE FROM keys");
        insert_hashed(&mut a, "key", &old, &old_hash);
        if found_by_fingerprint {
            attempt(&mut a, VERIFY, &[&old]).unwrap();
            a.run("UPDATE keys SET last_used_at = NULL");
        }
        // A verification that waits here has found the key's row, and looks at its owner.
        a.run("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
        let rotate = "UPDATE keys SET key_hash = $1, key_fingerprint = NULL";
        a.execute(rotate, &[&new_hash]).unwrap();
        let outcome = second(&app, &mut a, "COMMIT", |b| attempt(b, VERIFY, &[&old]));
        assert_eq!(
            outcome,
            Ok(Some("key".to_owned())),
            "it held when it was found"
        );
        assert_eq!(fingerprint(&mut a, "key"), None, "{found_by_fingerprint}");
        assert_eq!(used(&mut a), None, "{found_by_fingerprint}");
        assert_eq!(attempt(&mut a, VERIFY, &[&old]), no("unknown_api_key"));
        let outcome = attempt(&mut a, VERIFY, &[&new]);
        assert_eq!(outcome, Ok(Some("key".to_owned())));
    }
}

#[test]
fn a_key_whose_fingerprint_is_replaced_while_it_is_verified_is_not_noted_as_used() {
    let app = App::new(shared(), "replaced");
    let mut a = app.connect();
    a.run(KEYS);
    let old: String = a.one("SELECT key FROM auth.create_api_key('41', 'x')", &[]);
    a.run(
        "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE;
         UPDATE keys SET key_fingerprint = auth.api_key_fingerprint('new')",
    );
    assert!(second(&app, &mut a, "COMMIT", |b| attempt(b, VERIFY, &[&old])).is_ok());
    assert_eq!(used(&mut a), None, "the old one's use is not the new one's");
    assert_eq!(attempt(&mut a, VERIFY, &[&old]), no("unknown_api_key"));
    assert!(attempt(&mut a, VERIFY, &[&"new"]).is_ok());
}

#[test]
fn a_key_that_is_newer_than_the_snapshot_is_not_left_when_it_is_revoked() {
    let app = App::new(shared(), "newer");
    let (mut a, mut b) = (app.connect(), app.connect());
    let revoke = "SELECT auth.revoke_api_key('key')";
    for (shape, level) in [
        (KEYS.to_owned(), "REPEATABLE READ"),
        (
            KEYS.replace("is_active boolean NOT NULL DEFAULT true, ", ""),
            "SERIALIZABLE",
        ),
    ] {
        a.run(&shape);
        b.run(&format!(
            "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM users"
        ));
        assert!(!b.one::<bool>(revoke, &[]), "there is none");
        a.run("INSERT INTO keys (id, user_id, key_fingerprint) VALUES ('key', 41, auth.api_key_fingerprint('k'))");
        refused(b.query(revoke, &[]), "40001", None);
        b.run("ROLLBACK");
        // Whoever retries succeeds.
        b.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        assert!(b.one::<bool>(revoke, &[]));
        assert!(!b.one::<bool>(revoke, &[]), "again");
        b.run("COMMIT");
        assert!(attempt(&mut a, VERIFY, &[&"k"]).is_err());
        a.run("SELECT auth.detach_api_keys(); DROP TABLE keys");
    }
}

#[test]
fn a_key_that_changes_during_its_bcrypt_is_judged_as_it_is_afterwards() {
    let app = App::new(shared(), "during");
    let mut a = app.connect();
    a.run(KEYS);
    let key = plain("rfs12345", 'a');
    // Half a second at least.
    let slow = bcrypt_of_cost(&key, 13);
    let other = bcrypt(&plain("rfs12345", 'b'));
    for (change, outcome) in [
        (
            format!("UPDATE keys SET key_hash = '{other}'"),
            no("unknown_api_key"),
        ),
        (
            "UPDATE keys SET is_active = false".to_owned(),
            no("inactive_api_key"),
        ),
        (
            "UPDATE keys SET key_fingerprint = auth.api_key_fingerprint('another')".to_owned(),
            no("unknown_api_key"),
        ),
        (
            format!("UPDATE keys SET key_fingerprint = auth.api_key_fingerprint('{key}')"),
            Ok(Some("key".to_owned())),
        ),
    ] {
        a.run("DELETE FROM keys");
        insert_hashed(&mut a, "key", &key, &slow);
        let mut b = app.connect();
        let pid = b.pid();
        thread::scope(|scope| {
            let verified = scope.spawn(|| attempt(&mut b, VERIFY, &[&key]));
            let busy = "SELECT state = 'active' AND query LIKE '%verify_api_key%' FROM pg_stat_activity WHERE pid = $1";
            while !a.one::<bool>(busy, &[&pid]) {
                thread::sleep(Duration::from_millis(2));
            }
            thread::sleep(Duration::from_millis(50));
            a.run(&change);
            assert_eq!(verified.join().unwrap(), outcome, "{change}");
        });
    }
}
