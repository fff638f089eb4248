//! A token is issued while its user is being deleted, and the other way round.

use super::{CONSUME, VALIDATE, asked, reset};
use auth_ext_tests::{App, Ask, attempt, no, refused, second, shared};

const ISSUE: &str = "SELECT auth.issue_one_time_token($1, 'password_reset')";

#[test]
fn who_deletes_a_user_waits_for_a_token_that_is_being_issued_and_ends_it() {
    for app in App::of_every_shape(shared(), "waits") {
        let mut a = app.connect();
        for end_of_user in [
            "DELETE FROM {users} WHERE {id} = {ada}",
            "DELETE FROM {users} WHERE {id} IN ({ada}, {eve})",
            "UPDATE {users} SET {id} = {bob} WHERE {id} = {ada}",
            "TRUNCATE {users}",
        ] {
            a.run(&app.sql("DELETE FROM {users}"));
            app.insert(&mut a, app.ada);
            a.run("BEGIN");
            let token = reset(&mut a, app.ada);
            second(&app, &mut a, "COMMIT", |b| b.run(&app.sql(end_of_user)));
            app.insert(&mut a, app.ada);
            assert_eq!(asked(&mut a, VALIDATE, &token), None, "{end_of_user}");
            assert_eq!(asked(&mut a, CONSUME, &token), None, "{end_of_user}");
        }
    }
}

#[test]
fn a_token_for_a_user_who_is_being_deleted_waits_for_what_becomes_of_the_user() {
    for app in App::of_every_shape(shared(), "being_deleted") {
        let mut a = app.connect();
        for (end, is_left) in [("ROLLBACK", true), ("COMMIT", false)] {
            a.run(&app.sql("BEGIN; DELETE FROM {users} WHERE {id} = {ada}"));
            let issued = second(&app, &mut a, end, |b| attempt(b, ISSUE, &[&app.ada]));
            match issued {
                Ok(token) if is_left => {
                    let user = asked(&mut a, VALIDATE, &token.unwrap());
                    assert_eq!(user.as_deref(), Some(app.ada));
                }
                outcome => assert_eq!((outcome, is_left), (no("unknown_user"), false)),
            }
        }
        // Of a user who was deleted and created anew it is the new one's token, or nobody's.
        app.insert(&mut a, app.ada);
        a.run(&app.sql("BEGIN; DELETE FROM {users} WHERE {id} = {ada}"));
        app.insert(&mut a, app.ada);
        let issued = second(&app, &mut a, "COMMIT", |b| attempt(b, ISSUE, &[&app.ada]));
        assert_eq!(issued, no("unknown_user"));
        reset(&mut a, app.ada);
    }
}

#[test]
fn who_deletes_in_an_older_snapshot_does_not_miss_a_token() {
    let app = App::new(shared(), "snapshot");
    let (mut a, mut b) = (app.connect(), app.connect());
    for level in ["REPEATABLE READ", "SERIALIZABLE"] {
        for end_of_user in [
            "DELETE FROM users WHERE id = 41",
            "UPDATE users SET id = 77 WHERE id = 41",
            "TRUNCATE users",
        ] {
            a.run("TRUNCATE auth.one_time_tokens; DELETE FROM users; INSERT INTO users (id) VALUES (41), (42)");
            // Of before the snapshot.
            reset(&mut a, "42");
            b.run(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT count(*) FROM users"
            ));
            let token = reset(&mut a, "41");
            refused(b.batch_execute(end_of_user), "40001", None);
            b.run("ROLLBACK");
            assert!(asked(&mut a, VALIDATE, &token).is_some());
            // Whoever retries succeeds.
            b.run(&format!("BEGIN ISOLATION LEVEL {level}"));
            b.run(end_of_user);
            b.run("COMMIT");
            a.run("INSERT INTO users (id) VALUES (41)");
            assert_eq!(
                asked(&mut a, VALIDATE, &token),
                None,
                "{level}: {end_of_user}"
            );
        }
    }
}

#[test]
fn in_an_older_snapshot_a_token_is_for_whoever_is_a_user_now() {
    let app = App::new(shared(), "now");
    let (mut a, mut b) = (app.connect(), app.connect());
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users");
    a.run("INSERT INTO users (id) VALUES (77); DELETE FROM users WHERE id = 42; UPDATE users SET note = 'new'");
    let (old, new) = (reset(&mut b, "41"), reset(&mut b, "77"));
    b.run("SAVEPOINT s");
    assert_eq!(attempt(&mut b, ISSUE, &[&"42"]), no("unknown_user"));
    b.run("ROLLBACK TO s; COMMIT");
    assert_eq!(asked(&mut a, VALIDATE, &old).as_deref(), Some("41"));
    assert_eq!(asked(&mut a, VALIDATE, &new).as_deref(), Some("77"));
}

#[test]
fn a_token_that_is_being_issued_stops_no_other_change_of_the_user() {
    for app in App::of_every_shape(shared(), "no_wait") {
        let (mut a, mut b) = (app.connect(), app.connect());
        b.run("SET lock_timeout = '2 s'");
        a.run("BEGIN");
        let token = reset(&mut a, app.ada);
        b.run(&app.sql("UPDATE {users} SET note = 'x' WHERE {id} = {ada}"));
        assert_eq!(b.bump(app.ada), 1);
        reset(&mut b, app.bob);
        b.run(&app.sql("CREATE INDEX ON {users} (note)"));
        b.run(&app.sql("UPDATE {users} SET {active} = false WHERE {id} = {ada}"));
        a.run("COMMIT");
        assert_eq!(asked(&mut a, CONSUME, &token), None, "the user is inactive");
        // And who changes a user stops no token.
        b.run(&app.sql("BEGIN; UPDATE {users} SET note = 'y' WHERE {id} = {bob}"));
        a.run("SET lock_timeout = '2 s'");
        let token = reset(&mut a, app.bob);
        b.run("COMMIT");
        assert_eq!(asked(&mut a, CONSUME, &token).as_deref(), Some(app.bob));
    }
}

#[test]
fn a_token_is_issued_whatever_row_security_says_by_who_has_no_right_on_the_table() {
    let app = App::new(shared(), "secured");
    let (owner, server) = (format!("owner_{}", app.db), format!("server_{}", app.db));
    let mut a = app.connect();
    a.run(&format!(
        "CREATE ROLE {owner}; CREATE ROLE {server} LOGIN; SELECT auth.grant_access('{server}', 'application');
         ALTER TABLE users OWNER TO {owner}; ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY"
    ));
    let mut b = shared().connect_as(&app.db, &server);
    let token = reset(&mut b, "41");
    assert_eq!(asked(&mut b, CONSUME, &token).as_deref(), Some("41"));
}
