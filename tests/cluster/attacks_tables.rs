//! Odd things done to attached tables and around them: what no longer holds is said, and costs nobody else.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{
    App, Ask, Client, Cluster, Listener, PARTITIONED, database_with_key, refused, shared,
};

fn bare(name: &str) -> Client {
    shared().connect(&database_with_key(shared(), name))
}

#[test]
fn a_renamed_column_of_the_api_keys_does_not_lock_the_users_out() {
    let mut a = bare("key_column");
    a.run(
        "CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('ada'), ('bob');
         CREATE TABLE keys (id text PRIMARY KEY, user_id text);
         SELECT auth.attach_users('users'), auth.attach_api_keys('keys'); INSERT INTO keys VALUES ('k', 'ada')",
    );
    let token = a.issue("ada");
    a.run("ALTER TABLE keys RENAME user_id TO owner_id");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.bump("ada"), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    a.run("UPDATE users SET session_version = 7; DELETE FROM users WHERE id = 'bob'");
    for sql in [
        "UPDATE keys SET session_version = 4",
        "UPDATE keys SET owner_id = 'bob'",
        "DELETE FROM keys",
    ] {
        let error = refused(a.batch_execute(sql), "55000", None);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("auth.attach_api_keys(")),
            "{error:?}"
        );
    }
    a.run("SELECT auth.attach_api_keys('keys', user_column => 'owner_id'); DELETE FROM keys");
}

#[test]
fn one_column_cannot_have_two_tasks_nor_one_table() {
    let mut a = bare("two_tasks");
    a.run(
        "CREATE TABLE users (id bigint PRIMARY KEY, v bigint DEFAULT 0, ok boolean DEFAULT true);
         CREATE TABLE keys (id text PRIMARY KEY, user_id text, print text, ok boolean, till timestamptz);
         CREATE TABLE dual (id text PRIMARY KEY, user_id text)",
    );
    for sql in [
        "SELECT auth.attach_users('users', 'id', 'id')",
        "SELECT auth.attach_users('users', 'v', 'v')",
        "SELECT auth.attach_users('users', bump_on => '{id}')",
        "SELECT auth.attach_users('users', version_column => 'v', bump_on => '{v}')",
        "SELECT auth.attach_api_keys('keys', user_column => 'id')",
        "SELECT auth.attach_api_keys('keys', fingerprint_column => 'id')",
        "SELECT auth.attach_api_keys('keys', fingerprint_column => 'user_id')",
        "SELECT auth.attach_api_keys('keys', fingerprint_column => 'new', version_column => 'new')",
    ] {
        println!("--- {sql}");
        refused(a.batch_execute(sql), "22023", None);
    }
    for (first, second) in [
        ("auth.attach_users('dual')", "auth.attach_api_keys('dual')"),
        ("auth.attach_api_keys('dual')", "auth.attach_users('dual')"),
    ] {
        a.run(&format!("BEGIN; SELECT {first}"));
        refused(a.batch_execute(&format!("SELECT {second}")), "22023", None);
        a.run("ROLLBACK");
    }
    let nothing = "SELECT (SELECT count(*) FROM auth.attached_tables) +
        (SELECT count(*) FROM pg_trigger WHERE tgname ~ 'auth_ext') + (SELECT count(*) FROM pg_attribute WHERE attname = 'new')";
    assert_eq!(a.one::<i64>(nothing, &[]), 0);
}

#[test]
fn partitioned_api_keys_need_no_fingerprint_column_beforehand() {
    let db = database_with_key(shared(), "partitioned_keys");
    let mut a = shared().connect(&db);
    a.run(
        "CREATE TABLE keys (id text, user_id text, region text, is_active boolean DEFAULT true, PRIMARY KEY (id, region))
             PARTITION BY LIST (region);
         CREATE TABLE keys_eu PARTITION OF keys FOR VALUES IN ('eu');
         INSERT INTO keys VALUES ('old', 'ada', 'eu');
         SELECT auth.attach_api_keys('keys');
         INSERT INTO keys (id, user_id, region, key_fingerprint) VALUES ('k', 'ada', 'eu', 'ff')",
    );
    let mut listener = Listener::on(shared().connect(&db), "auth_invalidation");
    a.run("UPDATE keys SET is_active = false WHERE id = 'k'");
    let events = listener.events();
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(
        (&events[0]["fingerprint"], &events[0]["reason"]),
        (&"ff".into(), &"deactivated".into())
    );
}

#[test]
fn without_one_of_its_triggers_the_table_is_not_trusted_until_it_is_attached_again() {
    for shape in [
        App::new(shared(), "lost"),
        App::of_shape(shared(), "lost", &PARTITIONED),
    ] {
        let (mut a, mut open) = (shape.connect(), shape.connect());
        let names = "SELECT tgname::text FROM pg_trigger WHERE tgrelid = 'users'::regclass AND tgname ~ '^zzzz_auth_ext'";
        let names: Vec<String> = a.rows(names, &[]).iter().map(|row| row.get(0)).collect();
        assert!(names.len() > 5, "{names:?}");
        let token = a.issue(shape.ada);
        for name in &names {
            for lose in [
                format!("DROP TRIGGER {name} ON users"),
                format!("ALTER TABLE users DISABLE TRIGGER {name}"),
                format!("ALTER TABLE users ENABLE REPLICA TRIGGER {name}"),
            ] {
                println!("--- {lose}");
                assert_eq!(open.verdict(&token), "valid");
                a.run(&lose);
                for sql in [
                    "SELECT auth.check_jwt($1::text)",
                    "SELECT auth.verify_jwt($1::text)",
                ] {
                    let error = refused(open.query(sql, &[&token]), "55000", None);
                    assert!(
                        error
                            .hint()
                            .is_some_and(|hint| hint.contains("auth.attach_users(")),
                        "{error:?}"
                    );
                }
                shape.attach(&mut a);
                assert_eq!(open.verdict(&token), "valid");
            }
        }
        a.run("ALTER TABLE users DISABLE TRIGGER ALL");
        refused(
            open.query("SELECT auth.check_jwt($1::text)", &[&token]),
            "55000",
            None,
        );
        shape.attach(&mut a);
        a.run("SET session_replication_role = replica");
        assert_eq!(a.bump(shape.ada), 1);
        assert_eq!(open.verdict(&token), "session_version_mismatch");
    }
}

#[test]
fn a_partition_whose_triggers_do_not_fire_is_not_trusted_either() {
    let app = App::of_shape(shared(), "lost_part", &PARTITIONED);
    let (mut a, mut open) = (app.connect(), app.connect());
    a.run(
        "CREATE TABLE users_rest PARTITION OF users DEFAULT PARTITION BY LIST (region);
         CREATE TABLE users_far PARTITION OF users_rest DEFAULT",
    );
    let token = a.issue(app.ada);
    let check = "SELECT auth.check_jwt($1::text)";
    let intact = "SELECT users_table_intact FROM auth.health()";
    for partition in ["users_eu", "users_us", "users_rest", "users_far"] {
        assert_eq!(open.verdict(&token), "valid", "{partition}");
        assert!(a.one::<bool>(intact, &[]), "{partition}");
        a.run(&format!("ALTER TABLE {partition} DISABLE TRIGGER USER"));
        refused(open.query(check, &[&token]), "55000", None);
        // As pg_restore --disable-triggers leaves them.
        a.run(&format!("ALTER TABLE {partition} ENABLE TRIGGER USER"));
        assert_eq!(open.verdict(&token), "valid", "{partition}");
        assert!(!a.one::<bool>(intact, &[]), "{partition}");
        app.attach(&mut a);
    }
    // Of a partition that is on its own again, nothing is asked.
    a.run(
        "ALTER TABLE users DETACH PARTITION users_rest; ALTER TABLE users_far DISABLE TRIGGER USER",
    );
    assert_eq!(open.verdict(&token), "valid");
}

#[test]
fn an_error_of_postgresql_inside_our_calls_does_not_write_their_statement_to_the_log() {
    const SECRET: &str = "my-very-secret-hmac-key-0123456789abcdef";
    let cluster = Cluster::setup("statements")
        .setting("log_statement", "none")
        .setting("log_min_error_statement", "error")
        .setting("log_error_verbosity", "verbose")
        .start();
    let app = App::new(&cluster, "statements");
    let (mut a, mut blocker) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    let calls = [
        format!("SELECT auth.verify_jwt('{token}')"),
        format!("SELECT auth.check_jwt('{token}')"),
        format!("DO $$ BEGIN PERFORM auth.verify_jwt('{token}'); END $$"),
    ];
    blocker.run("BEGIN; LOCK TABLE users");
    for (setting, sqlstate) in [("lock_timeout", "55P03"), ("statement_timeout", "57014")] {
        a.run(&format!("SET {setting} = '50ms'"));
        for call in &calls {
            refused(a.batch_execute(call), sqlstate, None);
        }
        a.run(&format!("RESET {setting}"));
    }
    blocker.run("ROLLBACK");
    a.run("SET default_transaction_read_only = on");
    let import = format!("SELECT auth.import_signing_key('{SECRET}', 'HS256')");
    refused(a.batch_execute(&import), "25006", None);
    refused(
        a.batch_execute(&format!("DO $$ BEGIN PERFORM {}; END $$", &import[7..])),
        "25006",
        None,
    );
    // The statement of an error that is not ours is there, also when it comes right behind one.
    refused(
        a.batch_execute("DELETE FROM users /* not ours */"),
        "25006",
        None,
    );

    let log = cluster.log();
    for expected in [
        "lock timeout",
        "statement timeout",
        "read-only transaction",
        "/* not ours */",
    ] {
        assert!(
            log.contains(expected),
            "{expected} is not in the log:\n{log}"
        );
    }
    let (_, signature) = token.rsplit_once('.').unwrap();
    for secret in [SECRET, signature] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "in the log");
    }
}

#[test]
fn a_call_that_waits_for_a_lock_does_not_write_its_statement_to_the_log() {
    let cluster = Cluster::setup("waits")
        .setting("log_statement", "none")
        .setting("log_lock_waits", "on")
        .setting("deadlock_timeout", "20ms")
        .start();
    let app = App::new(&cluster, "waits");
    let (mut a, mut blocker) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    blocker.run("BEGIN; LOCK TABLE users");
    thread::scope(|scope| {
        let call = format!("SELECT auth.verify_jwt('{token}')");
        scope.spawn(move || a.run(&call));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !cluster.log().contains("still waiting for") {
            assert!(
                Instant::now() < deadline,
                "nobody waits:\n{}",
                cluster.log()
            );
            thread::sleep(Duration::from_millis(5));
        }
        blocker.run("ROLLBACK");
    });
    let log = cluster.log();
    let line = log.lines().find(|line| line.contains(&token));
    assert_eq!(line, None, "in the log");
}

#[test]
fn twice_as_many_changes_in_savepoints_take_about_twice_as_long() {
    let mut a = bare("savepoints");
    a.run(
        "UPDATE auth.issuers SET session_check = 'issued_at'; CREATE TABLE users (id int PRIMARY KEY);
         INSERT INTO users SELECT generate_series(1, 20000); SELECT auth.attach_users('users')",
    );
    let mut time = |change: &str, count: u32| -> Duration {
        let started = Instant::now();
        a.run(&format!(
            "DO $$ BEGIN
                 FOR i IN 1..{count} LOOP
                     BEGIN {change}; EXCEPTION WHEN division_by_zero THEN NULL; END;
                 END LOOP;
             END $$"
        ));
        started.elapsed()
    };
    for change in [
        "PERFORM auth.bump_session_version(i::text)",
        "DELETE FROM users WHERE id = i; INSERT INTO users VALUES (i)",
    ] {
        // The machine may be busy with other things: one undisturbed try is enough.
        let linear = (0..4).any(|_| {
            let (some, twice) = (time(change, 10_000), time(change, 20_000));
            println!("{change}: {some:?}, {twice:?}");
            twice < some * 3
        });
        assert!(
            linear,
            "20,000 changes take more than 3 times as long as 10,000"
        );
    }
}

#[test]
fn the_first_check_of_a_session_compiles_no_query() {
    let app = App::new(shared(), "first");
    let token = app.connect().issue(app.ada);
    // Compiling takes some hundred milliseconds; without, the first check of a session takes some ten.
    let fast = (0..5).any(|_| {
        let mut fresh = app.connect();
        fresh.run("SET jit = on");
        let started = Instant::now();
        assert_eq!(fresh.verdict(&token), "valid");
        println!("{:?}", started.elapsed());
        started.elapsed() < Duration::from_millis(100)
    });
    assert!(fast, "the first check of a session is slow");
}
