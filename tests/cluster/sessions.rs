//! Sessions over two and more connections: a bump is seen where, when and only once it is committed.

use std::thread;

use auth_ext_tests::{App, Ask, assert_reason, shared};

#[test]
fn a_bump_ends_the_sessions_of_its_user_in_every_other_session_with_the_next_statement() {
    for app in App::of_every_shape(shared(), "bump") {
        let (mut a, mut b) = (app.connect(), app.connect());
        let (ada, bob) = (b.issue(app.ada), b.issue(app.bob));
        assert_eq!(b.verdict(&ada), "valid");
        assert_eq!(a.bump(app.ada), 1);
        assert_eq!(b.verdict(&ada), "session_version_mismatch");
        assert_reason(
            &mut b,
            "SELECT auth.verify_jwt($1)",
            &[&ada],
            "session_version_mismatch",
        );
        assert_eq!(b.verdict(&bob), "valid");
        assert_eq!(b.version(app.ada), Some(1));
        assert_eq!(b.version(app.bob), Some(0));
        let again = b.issue(app.ada);
        assert_eq!(a.verdict(&again), "valid");

        let sql = "SELECT session_version, current_session_version, user_id FROM auth.check_jwt($1::text)";
        let row = &b.rows(sql, &[&ada])[0];
        let versions: (Option<i64>, Option<i64>) = (row.get(0), row.get(1));
        assert_eq!(versions, (Some(0), Some(1)));
        assert_eq!(row.get::<_, Option<String>>(2).as_deref(), Some(app.ada));
    }
}

#[test]
fn until_it_commits_only_the_own_transaction_sees_a_bump() {
    for app in App::of_every_shape(shared(), "open") {
        let (mut a, mut b) = (app.connect(), app.connect());
        let token = a.issue(app.ada);
        a.run("BEGIN");
        assert_eq!(a.bump(app.ada), 1);
        assert_eq!(a.verdict(&token), "session_version_mismatch");
        assert_eq!(a.version(app.ada), Some(1));
        let new = a.issue(app.ada);
        assert_eq!(a.verdict(&new), "valid");
        assert_eq!(b.verdict(&token), "valid");
        assert_eq!(b.verdict(&new), "session_version_mismatch");
        assert_eq!(b.version(app.ada), Some(0));
        a.run("COMMIT");
        assert_eq!(b.verdict(&token), "session_version_mismatch");
        assert_eq!(b.verdict(&new), "valid");
    }
}

#[test]
fn a_bump_that_is_rolled_back_ended_nothing() {
    for app in App::of_every_shape(shared(), "rollback") {
        let (mut a, mut b) = (app.connect(), app.connect());
        let token = a.issue(app.ada);
        a.run("BEGIN");
        a.bump(app.ada);
        a.run("ROLLBACK");
        assert_eq!(a.verdict(&token), "valid");
        assert_eq!(b.verdict(&token), "valid");
        assert_eq!(b.version(app.ada), Some(0));
    }
}

#[test]
fn a_rollback_to_a_savepoint_undoes_the_bumps_behind_it_and_no_others() {
    for app in App::of_every_shape(shared(), "savepoint") {
        let (mut a, mut b) = (app.connect(), app.connect());
        let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
        a.run("BEGIN");
        a.bump(app.bob);
        a.run("SAVEPOINT s");
        a.bump(app.ada);
        a.run("SAVEPOINT t");
        a.bump(app.ada);
        a.run("RELEASE t");
        assert_eq!(a.version(app.ada), Some(2));
        a.run("ROLLBACK TO s");
        assert_eq!(a.verdict(&ada), "valid");
        assert_eq!(a.verdict(&bob), "session_version_mismatch");
        a.run("COMMIT");
        assert_eq!(b.verdict(&ada), "valid");
        assert_eq!(b.verdict(&bob), "session_version_mismatch");
    }
}

#[test]
fn a_transaction_that_began_before_the_bump_sees_it_at_every_isolation_level() {
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for app in App::of_every_shape(shared(), "level") {
            let (mut a, mut b) = (app.connect(), app.connect());
            let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
            b.run(&format!("BEGIN ISOLATION LEVEL {level}"));
            assert_eq!(b.verdict(&ada), "valid");
            let users: i64 = b.one(&app.sql("SELECT count(*) FROM {users}"), &[]);
            assert_eq!(users, 3);
            a.bump(app.ada);
            assert_eq!(b.verdict(&ada), "session_version_mismatch");
            assert_eq!(b.version(app.ada), Some(1));
            let again = b.issue(app.ada);
            assert_eq!(b.verdict(&again), "valid");
            a.run(&app.sql("DELETE FROM {users} WHERE {id} = {bob}"));
            assert_eq!(b.verdict(&bob), "unknown_user");
            a.run(&app.sql("UPDATE {users} SET {active} = false WHERE {id} = {ada}"));
            assert_eq!(b.verdict(&again), "inactive_user");
            // The transaction's own queries still see what they saw.
            let users: i64 = b.one(&app.sql("SELECT count(*) FROM {users}"), &[]);
            assert_eq!(users, if level == "READ COMMITTED" { 2 } else { 3 });
            b.run("COMMIT");
        }
    }
}

#[test]
fn a_prepared_statement_in_an_open_transaction_sees_the_bump() {
    let app = App::new(shared(), "prepared");
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    let check = b
        .prepare("SELECT valid FROM auth.check_jwt($1::text)")
        .unwrap();
    let mut open = b.transaction().unwrap();
    for _ in 0..10 {
        assert!(open.query_one(&check, &[&token]).unwrap().get::<_, bool>(0));
    }
    a.bump(app.ada);
    assert!(!open.query_one(&check, &[&token]).unwrap().get::<_, bool>(0));
}

#[test]
fn one_statement_that_verifies_after_it_bumped_refuses() {
    let app = App::new(shared(), "one_statement");
    let mut a = app.connect();
    let token = a.issue(app.ada);
    let sql = "SELECT auth.bump_session_version($1), reason FROM auth.check_jwt($2::text)";
    let reason: Option<String> = a.rows(sql, &[&app.ada, &token])[0].get(1);
    assert_eq!(reason, None, "FROM comes first");
    let token = a.issue(app.ada);
    a.run(
        "CREATE FUNCTION logout_and_look(id text, token text) RETURNS text LANGUAGE plpgsql AS $$
         BEGIN
             PERFORM auth.bump_session_version(id);
             RETURN (SELECT reason FROM auth.check_jwt(token));
         END $$",
    );
    let reason: String = a.one("SELECT logout_and_look($1, $2)", &[&app.ada, &token]);
    assert_eq!(reason, "session_version_mismatch");
}

#[test]
fn fifty_concurrent_bumps_of_one_user_lose_none() {
    for app in App::of_every_shape(shared(), "fifty") {
        let token = app.connect().issue(app.ada);
        let mut versions: Vec<i64> = thread::scope(|scope| {
            let bumps: Vec<_> = (0..50)
                .map(|_| scope.spawn(|| app.connect().bump(app.ada)))
                .collect();
            bumps.into_iter().map(|bump| bump.join().unwrap()).collect()
        });
        versions.sort_unstable();
        assert_eq!(versions, (1..=50).collect::<Vec<i64>>());
        let mut client = app.connect();
        assert_eq!(client.version(app.ada), Some(50));
        assert_eq!(client.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn concurrent_bumps_by_function_and_by_update_lose_none() {
    let app = App::new(shared(), "mixed");
    thread::scope(|scope| {
        for n in 0..20 {
            let app = &app;
            scope.spawn(move || match n % 2 {
                0 => drop(app.connect().bump(app.ada)),
                _ => app.connect().run(&app.sql(&format!(
                    "UPDATE {{users}} SET {{email}} = '{n}' WHERE {{id}} = {{ada}}"
                ))),
            });
        }
    });
    assert_eq!(app.connect().version(app.ada), Some(20));
}

#[test]
fn an_unknown_user_has_no_version_and_cannot_be_bumped() {
    for app in App::of_every_shape(shared(), "unknown") {
        let mut a = app.connect();
        let strangers = [
            "",
            " ",
            "nobody",
            "1e3",
            "99",
            "9999999999999999999999",
            "' OR true --",
            "4_1",
        ];
        for stranger in strangers {
            assert_eq!(a.version(stranger), None, "{stranger:?}");
            let sql = "SELECT auth.bump_session_version($1)";
            assert_reason(&mut a, sql, &[&stranger], "unknown_user");
            let sql = "SELECT auth.issue_jwt($1)";
            assert_reason(&mut a, sql, &[&stranger], "unknown_user");
        }
        let sql = "SELECT auth.bump_session_version(NULL)";
        assert_reason(&mut a, sql, &[], "unknown_user");
    }
}

#[test]
fn a_session_check_by_time_refuses_what_was_issued_before_the_last_bump() {
    for app in App::of_every_shape(shared(), "issued_at") {
        let (mut a, mut b) = (app.connect(), app.connect());
        a.run("UPDATE auth.issuers SET session_check = 'issued_at'");
        let early = a.issue(app.ada);
        let other = a.issue(app.bob);
        assert_eq!(b.verdict(&early), "valid");
        a.bump(app.ada);
        assert_eq!(b.verdict(&early), "issued_before_cutoff");
        assert_eq!(b.verdict(&other), "valid");
        // A token from the second after the bump; those within it are refused, as they may be older.
        let late = loop {
            let token = a.issue(app.ada);
            if b.verdict(&token) == "valid" {
                break token;
            }
            thread::sleep(std::time::Duration::from_millis(50));
        };
        a.run(&app.sql("UPDATE {users} SET {active} = false WHERE {id} = {ada}"));
        assert_eq!(b.verdict(&late), "inactive_user");
        a.run(&app.sql("UPDATE {users} SET {active} = true WHERE {id} = {ada}"));
        assert_eq!(b.verdict(&late), "issued_before_cutoff");
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {bob}"));
        assert_eq!(b.verdict(&other), "unknown_user");
        app.insert(&mut a, app.bob);
        assert_eq!(b.verdict(&other), "issued_before_cutoff");
    }
}

#[test]
fn a_session_check_of_none_reads_no_users_row() {
    let app = App::new(shared(), "none");
    let mut a = app.connect();
    a.run("UPDATE auth.issuers SET session_check = 'none'");
    let token = a.issue("a service");
    assert_eq!(a.verdict(&token), "valid");
    a.run("DROP TABLE users");
    assert_eq!(a.verdict(&token), "valid");
}
