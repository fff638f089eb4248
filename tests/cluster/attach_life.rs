//! What becomes of an attached table: renamed, altered, dropped, dumped and restored, left by the extension.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use auth_ext_tests::{App, Ask, Client, PARTITIONED, PLAIN, refused, shared};

/// Two sessions that have both used the table.
fn warm(app: &App<'_>) -> (Client, Client, String) {
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    assert_eq!(b.verdict(&token), "valid");
    (a, b, token)
}

#[test]
fn a_renamed_or_moved_table_goes_on_working_in_every_open_session() {
    for change in [
        "ALTER TABLE app.users RENAME TO members",
        "ALTER TABLE app.users SET SCHEMA other",
        "BEGIN; ALTER TABLE app.users RENAME TO old; CREATE TABLE app.users (id int, session_version int); COMMIT",
        "ALTER TABLE app.users OWNER TO pg_monitor; GRANT ALL ON SCHEMA app TO pg_monitor",
        "ALTER TABLE app.users DROP COLUMN note",
        "ALTER TABLE app.users ADD COLUMN first text DEFAULT 'x'",
        "VACUUM FULL app.users",
    ] {
        println!("{change}");
        let app = App::new(shared(), "renamed");
        app.connect()
            .run("CREATE SCHEMA app; CREATE SCHEMA other; ALTER TABLE users SET SCHEMA app");
        let (mut a, mut b, token) = warm(&app);
        assert_eq!(b.bump(app.bob), 1);
        for statement in change.split("; ") {
            a.run(statement);
        }
        assert_eq!(b.verdict(&token), "valid", "{change}");
        assert_eq!(b.bump(app.ada), 1, "{change}");
        assert_eq!(b.verdict(&token), "session_version_mismatch", "{change}");
        assert_eq!(a.verdict(&token), "session_version_mismatch", "{change}");
        assert_eq!(app.connect().version(app.ada), Some(1), "{change}");
    }
}

#[test]
fn a_table_whose_schema_is_renamed_goes_on_working_in_every_open_session() {
    let app = App::new(shared(), "schema");
    app.connect()
        .run("CREATE SCHEMA app; ALTER TABLE users SET SCHEMA app");
    let (mut a, mut b, token) = warm(&app);
    a.run("ALTER SCHEMA app RENAME TO new_app");
    assert_eq!(b.verdict(&token), "valid");
    assert_eq!(b.bump(app.ada), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn a_column_that_was_renamed_or_dropped_is_said_to_be_gone() {
    for change in [
        "ALTER TABLE users RENAME id TO user_id",
        "ALTER TABLE users RENAME session_version TO v",
        "ALTER TABLE users RENAME is_active TO active",
        "ALTER TABLE users DROP COLUMN is_active CASCADE",
        "ALTER TABLE users DROP COLUMN session_version CASCADE",
    ] {
        let app = App::new(shared(), "column");
        let (mut a, mut b, token) = warm(&app);
        a.run(change);
        for sql in [
            format!("SELECT auth.verify_jwt('{token}')"),
            "SELECT auth.issue_jwt('41')".to_owned(),
            "SELECT auth.bump_session_version('41')".to_owned(),
        ] {
            let error = refused(b.batch_execute(&sql), "55000", None);
            assert!(error.hint().is_some(), "{change}: {error:?}");
        }
        // Following the hint helps.
        a.run("SELECT auth.detach_users()");
        let columns = match change {
            c if c.contains("user_id") => "id_column => 'user_id'",
            c if c.contains("TO v") => "version_column => 'v'",
            c if c.contains("TO active") => "active_column => 'active'",
            _ => "bump_on => '{email}'",
        };
        a.run(&format!("SELECT auth.attach_users('users', {columns})"));
        assert_eq!(b.verdict(&token), "valid", "{change}");
        b.bump("41");
        assert_eq!(b.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn a_bump_column_can_be_renamed() {
    let app = App::new(shared(), "bump_column");
    let (mut a, mut b, token) = warm(&app);
    a.run("ALTER TABLE users RENAME email TO mail; UPDATE users SET mail = 'x' WHERE id = 41");
    assert_eq!(b.verdict(&token), "session_version_mismatch");
}

#[test]
fn without_its_table_every_open_session_says_what_to_call() {
    for app in App::of_every_shape(shared(), "dropped") {
        let (mut a, mut b, token) = warm(&app);
        a.run(&app.sql("DROP TABLE {users}"));
        for session in [&mut a, &mut b] {
            let verify = session.query("SELECT auth.verify_jwt($1)", &[&token]);
            let error = refused(verify, "55000", None);
            assert!(
                error
                    .hint()
                    .is_some_and(|hint| hint.contains("auth.attach_users"))
            );
            let sql = "SELECT auth.bump_session_version($1)";
            refused(session.query(sql, &[&app.ada]), "55000", None);
        }
        // Another table can be attached at once, and detaching does no harm.
        a.run("CREATE TABLE members (id text); SELECT auth.attach_users('members')");
        a.rows("INSERT INTO members VALUES ($1) RETURNING 1", &[&app.ada]);
        assert_eq!(b.verdict(&token), "valid");
        a.run("DROP TABLE members; SELECT auth.detach_users()");
    }
}

#[test]
fn while_a_table_is_attached_the_extension_is_dropped_with_cascade_only_and_leaves_the_data() {
    for app in App::of_every_shape(shared(), "drop") {
        let (mut a, mut b, token) = warm(&app);
        a.bump(app.ada);
        refused(a.batch_execute("DROP EXTENSION auth_ext"), "2BP01", None);
        assert_eq!(b.verdict(&token), "session_version_mismatch");
        a.run("DROP EXTENSION auth_ext CASCADE");
        let version = app.sql("SELECT {version}::bigint FROM {users} WHERE {id} = {ada}");
        assert_eq!(a.one::<i64>(&version, &[]), 1);
        a.run(&app.sql("UPDATE {users} SET {email} = 'x'; DELETE FROM {users} WHERE {id} = {bob}"));
        let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname ~ 'auth_ext'";
        assert_eq!(a.one::<i64>(triggers, &[]), 0);
        // Created again, it serves the same sessions.
        a.run("CREATE EXTENSION auth_ext; INSERT INTO auth.issuers (issuer, audience) VALUES ('i', '{x}'); SELECT auth.create_signing_key()");
        app.attach(&mut a);
        let token = b.issue(app.ada);
        assert_eq!(b.verdict(&token), "valid");
        assert_eq!(a.bump(app.ada), 2);
        assert_eq!(b.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn detached_the_extension_can_be_dropped() {
    let app = App::new(shared(), "drop_detached");
    let mut a = app.connect();
    a.run("SELECT auth.detach_users(); DROP EXTENSION auth_ext");
    assert_eq!(a.one::<i64>("SELECT count(*) FROM users", &[]), 3);
}

#[test]
fn a_dump_keeps_tokens_versions_and_the_memory_of_deleted_users() {
    for app in App::of_every_shape(shared(), "dump") {
        let mut a = app.connect();
        let (dead, eve) = (a.issue(app.bob), a.issue(app.eve));
        a.bump(app.ada);
        let alive = a.issue(app.ada);
        // One deleted alone, one in a bulk.
        a.run(&app.sql("DELETE FROM {users} WHERE {id} = {bob}; SET auth_ext.bulk_threshold = 1"));
        a.run(&app.sql(
            "INSERT INTO {users} ({id}) VALUES ({bob}); DELETE FROM {users} WHERE {id} <> {ada}",
        ));

        let restored = shared().empty_database("restored");
        shared().psql(&restored, &shared().dump(&app.db));
        let mut r = shared().connect(&restored);
        assert_eq!(r.verdict(&alive), "valid");
        for (user, token) in [(app.bob, &dead), (app.eve, &eve)] {
            assert_eq!(r.verdict(token), "unknown_user");
            app.insert(&mut r, user);
            assert_eq!(r.verdict(token), "session_version_mismatch");
        }
        assert_eq!(r.bump(app.ada), 2);
        assert_eq!(r.verdict(&alive), "session_version_mismatch");
        assert_eq!(a.verdict(&alive), "valid");
        // The secrets are in no dump: what signs is a new key.
        r.run("SELECT auth.rotate_signing_key()");
        let issued = r.issue(app.ada);
        assert_eq!(r.verdict(&issued), "valid");
        let partitioned = app.sql("{users}") == "users"
            && r.one::<bool>(
                "SELECT relkind = 'p' FROM pg_class WHERE oid = to_regclass('users')",
                &[],
            );
        if partitioned {
            let token = r.issue(app.ada);
            r.run("TRUNCATE users_eu");
            app.insert(&mut r, app.ada);
            assert_eq!(r.verdict(&token), "session_version_mismatch");
        }
        // All our triggers fire always, as before.
        let lazy = "SELECT count(*) FROM pg_trigger WHERE tgname ~ 'auth_ext' AND tgenabled <> 'A'";
        assert_eq!(r.one::<i64>(lazy, &[]), 0);
        r.run("SELECT auth.detach_users()");
    }
}

#[test]
fn a_partition_that_is_detached_and_one_that_is_attached_follow_the_table() {
    let app = App::of_shape(shared(), "partitions", &PARTITIONED);
    let (mut a, mut b, token) = warm(&app);
    a.run("ALTER TABLE users DETACH PARTITION users_eu");
    assert_eq!(b.verdict(&token), "unknown_user");
    a.run("ALTER TABLE users ATTACH PARTITION users_eu FOR VALUES IN ('eu')");
    assert_eq!(b.verdict(&token), "valid");
    a.run("UPDATE users_eu SET email = 'x' WHERE id = 41");
    assert_eq!(b.verdict(&token), "session_version_mismatch");
}

#[test]
fn renaming_and_moving_the_table_under_load_fails_no_verification_identity_or_bump() {
    for shape in [&PLAIN, &PARTITIONED] {
        let app = App::of_shape(shared(), "renames", shape);
        let mut admin = app.connect();
        admin.run("CREATE SCHEMA other");
        let token = admin.issue(app.ada);
        let done = AtomicBool::new(false);
        let outcomes = thread::scope(|scope| {
            let load: Vec<_> = (0..4)
                .map(|n| {
                    let (app, done, token) = (&app, &done, &token);
                    scope.spawn(move || {
                        let mut client = app.connect();
                        let mut bad = Vec::new();
                        let mut calls = 0;
                        while !done.load(Ordering::Relaxed) {
                            let outcome = match n {
                                0 => client.query("SELECT auth.check_jwt($1)", &[token]),
                                1 => client.query(
                                    "SELECT auth.authenticate($1, 'session'), auth.user_id()",
                                    &[token],
                                ),
                                2 => client
                                    .query("SELECT auth.bump_session_version($1)", &[&app.bob]),
                                _ => client.query("SELECT auth.issue_jwt($1)", &[&app.ada]),
                            };
                            calls += 1;
                            bad.extend(outcome.err().map(|error| format!("{n}: {error:?}")));
                        }
                        (calls, bad)
                    })
                })
                .collect();
            let renamed = (0..24).try_for_each(|_| {
                thread::sleep(Duration::from_millis(10));
                admin.batch_execute("ALTER TABLE users RENAME TO moving")?;
                admin.batch_execute("ALTER TABLE moving SET SCHEMA other")?;
                admin.batch_execute("ALTER TABLE other.moving SET SCHEMA public")?;
                admin.batch_execute("ALTER TABLE moving RENAME TO users")
            });
            done.store(true, Ordering::Relaxed);
            renamed.expect("renamed");
            load.into_iter()
                .map(|worker| worker.join().expect("a worker"))
                .collect::<Vec<_>>()
        });
        for (calls, bad) in outcomes {
            assert!(calls > 10, "{calls}");
            assert!(
                bad.is_empty(),
                "{} of {calls}: {:?}",
                bad.len(),
                bad.first()
            );
        }
    }
}
