//! A streaming standby checks tokens as its primary does, as soon as a change is replayed.

use auth_ext_tests::{Ask, Cluster, ISSUER, assert_reason, database_with_key, refused};

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
