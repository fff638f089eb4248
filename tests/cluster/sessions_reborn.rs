//! Deleting a user and inserting the same id again never revives a token, whatever deletes and inserts.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, PARTITIONED, refused, shared};

/// Waits until somebody waits for a lock in this database.
fn wait_for_a_waiter(client: &mut Client) {
    let sql = "SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + Duration::from_secs(30);
    while client.one::<i64>(sql, &[]) == 0 {
        assert!(Instant::now() < deadline, "nobody waits");
        thread::sleep(Duration::from_millis(5));
    }
}

/// The token of a user who was deleted and is there again.
#[track_caller]
fn stays_dead(client: &mut Client, token: &str, user: &str) {
    assert_eq!(client.verdict(token), "session_version_mismatch");
    let new = client.issue(user);
    assert_eq!(client.verdict(&new), "valid");
}

#[test]
fn a_deleted_user_is_unknown_and_one_inserted_again_starts_above_the_old_version() {
    for app in App::of_every_shape(shared(), "again") {
        let (mut a, mut b) = (app.connect(), app.connect());
        a.bump(app.ada);
        let token = a.issue(app.ada);
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {ada}"));
        assert_eq!(b.verdict(&token), "unknown_user");
        app.insert(&mut b, app.ada);
        stays_dead(&mut a, &token, app.ada);
        assert_eq!(a.version(app.ada), Some(2));
        // And so each time.
        for version in 3..6 {
            let token = a.issue(app.ada);
            a.run(&app.sql("DELETE FROM {users} WHERE {id} = {ada}"));
            app.insert(&mut a, app.ada);
            stays_dead(&mut b, &token, app.ada);
            assert_eq!(b.version(app.ada), Some(version));
        }
    }
}

#[test]
fn in_one_transaction_or_one_statement_it_is_the_same() {
    for app in App::of_every_shape(shared(), "at_once") {
        let mut a = app.connect();
        let (ada, bob, eve) = (a.issue(app.ada), a.issue(app.bob), a.issue(app.eve));
        a.run("BEGIN");
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {ada}"));
        app.insert(&mut a, app.ada);
        stays_dead(&mut a, &ada, app.ada);
        a.run("COMMIT");
        stays_dead(&mut a, &ada, app.ada);
        a.run(&app.sql(
            "WITH gone AS (DELETE FROM {users} WHERE {id} = {bob} RETURNING *)
             INSERT INTO {users} ({id}) SELECT {id} FROM gone",
        ));
        stays_dead(&mut a, &bob, app.bob);
        // With its old version, too.
        a.run(&app.sql(
            "WITH gone AS (DELETE FROM {users} WHERE {id} = {eve} RETURNING *)
             INSERT INTO {users} ({id}, {version}) SELECT {id}, {version} FROM gone",
        ));
        stays_dead(&mut a, &eve, app.eve);
    }
}

#[test]
fn a_deletion_that_is_rolled_back_leaves_the_sessions_alone() {
    for app in App::of_every_shape(shared(), "undone") {
        let mut a = app.connect();
        let token = a.issue(app.ada);
        a.run(&app.sql("BEGIN; DELETE FROM {users} WHERE {id} = {ada}; ROLLBACK"));
        assert_eq!(a.verdict(&token), "valid");
        a.run(&app.sql(
            "BEGIN; SAVEPOINT s; DELETE FROM {users} WHERE {id} = {ada}; ROLLBACK TO s; COMMIT",
        ));
        assert_eq!(a.verdict(&token), "valid");
        a.run(&app.sql("UPDATE {users} SET note = 'x' WHERE {id} = {ada}"));
        assert_eq!(a.verdict(&token), "valid");
    }
}

#[test]
fn an_insert_that_waits_for_the_deletion_to_commit_starts_above_it() {
    for app in App::of_every_shape(shared(), "waits") {
        let mut a = app.connect();
        let token = a.issue(app.ada);
        a.run("BEGIN");
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {ada}"));
        thread::scope(|scope| {
            let inserts = scope.spawn(|| {
                let mut b = app.connect();
                b.run("BEGIN");
                app.insert(&mut b, app.ada);
                let verdict = b.verdict(&token);
                b.run("COMMIT");
                verdict
            });
            wait_for_a_waiter(&mut app.connect());
            a.run("COMMIT");
            assert_eq!(inserts.join().unwrap(), "session_version_mismatch");
        });
        stays_dead(&mut a, &token, app.ada);
    }
}

#[test]
fn an_insert_that_waits_in_repeatable_read_is_above_it_or_a_serialization_failure() {
    let app = App::new(shared(), "waits_rr");
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    let insert = app.sql("INSERT INTO {users} ({id}) VALUES ({ada})");
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT");
    a.run("BEGIN");
    a.run(&app.sql("DELETE FROM {users} WHERE {id} = {ada}"));
    thread::scope(|scope| {
        let inserts = scope.spawn(|| b.batch_execute(&insert));
        wait_for_a_waiter(&mut app.connect());
        a.run("COMMIT");
        if let Err(error) = inserts.join().unwrap() {
            refused(Err::<(), _>(error), "40001", None);
        }
    });
    b.run("COMMIT");
    // Whoever retries succeeds.
    b.run(&format!("{insert} ON CONFLICT DO NOTHING"));
    stays_dead(&mut a, &token, app.ada);
}

#[test]
fn an_insert_that_waits_for_a_bulk_deletion_starts_above_it() {
    for app in App::of_every_shape(shared(), "waits_bulk") {
        let mut a = app.connect();
        let token = a.issue(app.ada);
        a.run("SET auth_ext.bulk_threshold = 1; BEGIN");
        a.run(&app.sql("DELETE FROM {users}"));
        thread::scope(|scope| {
            let inserts = scope.spawn(|| app.insert(&mut app.connect(), app.ada));
            wait_for_a_waiter(&mut app.connect());
            a.run("COMMIT");
            inserts.join().unwrap();
        });
        stays_dead(&mut a, &token, app.ada);
    }
}

#[test]
fn a_change_of_the_id_is_the_deletion_of_the_old_one() {
    for app in App::of_every_shape(shared(), "id_change") {
        let mut a = app.connect();
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {bob}"));
        a.bump(app.ada);
        let token = a.issue(app.ada);
        a.run(&app.sql("UPDATE {users} SET {id} = {bob} WHERE {id} = {ada}"));
        assert_eq!(a.verdict(&token), "unknown_user");
        app.insert(&mut a, app.ada);
        stays_dead(&mut a, &token, app.ada);
    }
}

#[test]
fn an_id_taken_over_from_another_user_does_not_revive_that_users_tokens() {
    for app in App::of_every_shape(shared(), "taken_over") {
        let mut a = app.connect();
        a.bump(app.bob);
        let token = a.issue(app.bob);
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {bob}"));
        a.run(&app.sql("UPDATE {users} SET {id} = {bob}, {version} = 1 WHERE {id} = {ada}"));
        stays_dead(&mut a, &token, app.bob);
    }
}

#[test]
fn truncate_counts_as_the_deletion_of_every_user() {
    for app in App::of_every_shape(shared(), "truncate") {
        for threshold in [1000, 1] {
            let mut a = app.connect();
            a.bump(app.ada);
            let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
            a.run(&format!("SET auth_ext.bulk_threshold = {threshold}"));
            a.run(&app.sql("BEGIN; TRUNCATE {users}; ROLLBACK"));
            assert_eq!(a.verdict(&ada), "valid");
            a.run(&app.sql("TRUNCATE {users}"));
            assert_eq!(a.verdict(&ada), "unknown_user");
            for id in [app.ada, app.bob, app.eve] {
                app.insert(&mut a, id);
            }
            stays_dead(&mut a, &ada, app.ada);
            stays_dead(&mut a, &bob, app.bob);
            // In one transaction with the insertion, too.
            let ada = a.issue(app.ada);
            a.run("BEGIN");
            a.run(&app.sql("TRUNCATE {users}"));
            for id in [app.ada, app.bob, app.eve] {
                app.insert(&mut a, id);
            }
            stays_dead(&mut a, &ada, app.ada);
            a.run("COMMIT");
            stays_dead(&mut a, &ada, app.ada);
        }
    }
}

#[test]
fn beyond_the_bulk_threshold_deleted_users_stay_dead_too() {
    for app in App::of_every_shape(shared(), "bulk") {
        let (mut a, mut b) = (app.connect(), app.connect());
        a.bump(app.ada);
        let (ada, eve) = (a.issue(app.ada), a.issue(app.eve));
        a.run("SET auth_ext.bulk_threshold = 1");
        let reinsert = |client: &mut Client| {
            for id in [app.ada, app.bob, app.eve] {
                app.insert(client, id);
            }
        };
        // Undone, it leaves no mark.
        a.run(&app.sql("BEGIN; DELETE FROM {users}; ROLLBACK"));
        a.run(&app.sql("BEGIN; SAVEPOINT s; DELETE FROM {users}; ROLLBACK TO s; COMMIT"));
        assert_eq!(a.verdict(&ada), "valid");
        // In another transaction, and in the own.
        a.run(&app.sql("DELETE FROM {users}"));
        reinsert(&mut b);
        stays_dead(&mut b, &ada, app.ada);
        stays_dead(&mut b, &eve, app.eve);
        let (ada, eve) = (a.issue(app.ada), a.issue(app.eve));
        a.run("BEGIN");
        a.run(&app.sql("DELETE FROM {users}"));
        reinsert(&mut a);
        stays_dead(&mut a, &ada, app.ada);
        a.run("COMMIT");
        stays_dead(&mut b, &ada, app.ada);
        stays_dead(&mut b, &eve, app.eve);
    }
}

#[test]
fn beyond_the_bulk_threshold_a_changed_id_is_dead_too() {
    let app = App::new(shared(), "bulk_ids");
    let mut a = app.connect();
    // In the order of the rows, and in a bulk, which remembers no user by himself.
    a.run("SET auth_ext.bulk_threshold = 1; UPDATE users SET session_version = CASE id WHEN 41 THEN 5 WHEN 42 THEN 6 ELSE 7 END");
    let tokens = [app.ada, app.bob, app.eve].map(|id| (id, a.issue(id)));
    a.run("UPDATE users SET id = id + 1000");
    for (id, token) in tokens {
        assert_eq!(a.verdict(&token), "unknown_user");
        app.insert(&mut a, id);
        assert_eq!(a.verdict(&token), "session_version_mismatch", "{id}");
    }
    assert!(a.version(app.eve) > Some(7), "where the old one ended");
}

#[test]
fn a_bulk_that_was_rolled_back_to_a_savepoint_does_not_lose_the_one_before_it() {
    let app = App::new(shared(), "bulk_savepoint");
    let mut a = app.connect();
    a.run("SET auth_ext.bulk_threshold = 1");
    a.run(&app.sql("UPDATE {users} SET {version} = 7 WHERE {id} = {eve}"));
    let (ada, eve) = (a.issue(app.ada), a.issue(app.eve));
    a.run(&app.sql("BEGIN; DELETE FROM {users} WHERE {id} <> {eve}"));
    a.run(&app.sql("SAVEPOINT s; DELETE FROM {users}; ROLLBACK TO s; COMMIT"));
    assert_eq!(a.verdict(&eve), "valid");
    app.insert(&mut a, app.ada);
    stays_dead(&mut a, &ada, app.ada);
}

#[test]
fn a_bulk_of_bumps_ends_what_was_issued_before_it_where_only_the_time_tells() {
    let app = App::new(shared(), "bulk_bumps");
    let mut a = app.connect();
    a.run("UPDATE auth.issuers SET session_check = 'issued_at'; SET auth_ext.bulk_threshold = 1");
    let token = a.issue(app.ada);
    assert_eq!(a.verdict(&token), "valid");
    a.run(&app.sql("UPDATE {users} SET {email} = 'new'"));
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
}

#[test]
fn attached_again_the_table_still_knows_whom_it_has_lost() {
    for threshold in [1000, 1] {
        let app = App::new(shared(), "reattached");
        let mut a = app.connect();
        let token = a.issue(app.eve);
        a.run(&format!("SET auth_ext.bulk_threshold = {threshold}"));
        a.run(&app.sql("DELETE FROM {users}"));
        app.attach(&mut a);
        a.run("SELECT auth.detach_users()");
        app.attach(&mut a);
        app.insert(&mut a, app.eve);
        let verdict = a.verdict(&token);
        assert_eq!(verdict, "session_version_mismatch", "threshold {threshold}");
    }
}

// --- partitions ---

#[test]
fn a_row_that_moves_to_another_partition_keeps_its_sessions() {
    let app = App::of_shape(shared(), "moves", &PARTITIONED);
    let mut a = app.connect();
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    a.run("UPDATE users SET region = 'us'");
    assert_eq!(a.verdict(&ada), "valid");
    assert_eq!(a.verdict(&bob), "valid");
    a.run("BEGIN; UPDATE users SET region = 'eu' WHERE id = 41; UPDATE users SET region = 'us' WHERE id = 41; COMMIT");
    a.run("MERGE INTO users u USING (VALUES (41), (42)) AS n (id) ON u.id = n.id WHEN MATCHED THEN UPDATE SET region = 'eu'");
    assert_eq!(a.verdict(&ada), "valid");
    assert_eq!(a.version(app.ada), Some(0));
    // Rolled back, and then deleted in earnest.
    a.run("BEGIN; SAVEPOINT s; UPDATE users SET region = 'us'; ROLLBACK TO s; DELETE FROM users WHERE id = 41; COMMIT");
    app.insert(&mut a, app.ada);
    stays_dead(&mut a, &ada, app.ada);
    // Moved, and then deleted in the same transaction.
    a.run("BEGIN; UPDATE users SET region = 'us' WHERE id = 42; DELETE FROM users WHERE id = 42; COMMIT");
    app.insert(&mut a, app.bob);
    stays_dead(&mut a, &bob, app.bob);
}

#[test]
fn a_row_that_moves_and_is_bumped_at_once_loses_its_sessions() {
    let app = App::of_shape(shared(), "moves_bumped", &PARTITIONED);
    let mut a = app.connect();
    let (ada, bob, eve) = (a.issue(app.ada), a.issue(app.bob), a.issue(app.eve));
    a.run("UPDATE users SET region = 'us', email = 'new' WHERE id = 41");
    assert_eq!(a.verdict(&ada), "session_version_mismatch");
    a.run("UPDATE users SET region = 'us', is_active = false WHERE id = 42; UPDATE users SET region = 'eu', is_active = true WHERE id = 42");
    assert_eq!(a.verdict(&bob), "session_version_mismatch");
    a.run("UPDATE users SET region = 'us', session_version = -5 WHERE id = 43");
    assert_eq!(a.verdict(&eve), "valid");
}

#[test]
fn a_row_that_moves_and_changes_its_id_counts_as_deleted() {
    let app = App::of_shape(shared(), "moves_id", &PARTITIONED);
    let mut a = app.connect();
    let token = a.issue(app.ada);
    a.run("UPDATE users SET region = 'us', id = 99 WHERE id = 41");
    assert_eq!(a.verdict(&token), "unknown_user");
    app.insert(&mut a, app.ada);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn truncating_one_partition_is_the_deletion_of_its_users_only() {
    let app = App::of_shape(shared(), "truncate_one", &PARTITIONED);
    let mut a = app.connect();
    a.run("UPDATE users SET region = 'us' WHERE id = 42");
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    a.run("TRUNCATE users_eu");
    assert_eq!(a.verdict(&bob), "valid");
    app.insert(&mut a, app.ada);
    stays_dead(&mut a, &ada, app.ada);
}

#[test]
fn partitions_created_after_the_attachment_are_covered() {
    let app = App::of_shape(shared(), "new_partition", &PARTITIONED);
    let mut a = app.connect();
    a.run("CREATE TABLE users_asia PARTITION OF users FOR VALUES IN ('asia')");
    a.run("INSERT INTO users (id, region) VALUES (77, 'asia'), (78, 'asia')");
    let (bumped, deleted) = (a.issue("77"), a.issue("78"));
    a.run("SET session_replication_role = replica; UPDATE users_asia SET email = 'new' WHERE id = 77; DELETE FROM users_asia WHERE id = 78; RESET session_replication_role");
    assert_eq!(a.verdict(&bumped), "session_version_mismatch");
    a.run("INSERT INTO users_asia (id, region) VALUES (78, 'asia')");
    assert_eq!(a.verdict(&deleted), "session_version_mismatch");
}

#[test]
fn truncating_a_partition_created_after_the_attachment_is_the_deletion_of_its_users() {
    let app = App::of_shape(shared(), "truncate_new", &PARTITIONED);
    let mut a = app.connect();
    a.run("CREATE TABLE users_asia PARTITION OF users FOR VALUES IN ('asia')");
    a.run("INSERT INTO users (id, region) VALUES (77, 'asia')");
    let token = a.issue("77");
    a.run("TRUNCATE users_asia; INSERT INTO users (id, region) VALUES (77, 'asia')");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}
