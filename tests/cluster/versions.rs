//! What a failed command leaves behind is gone, a version can always be raised, and what is confirmed is on disk.

use auth_ext_tests::{App, Ask, Client, Cluster, PARTITIONED, database_with_key, refused, shared};

const HALF: i64 = i64::MAX / 2;

#[test]
fn a_failed_update_of_a_partitioned_table_leaves_no_move_behind() {
    for failure in [
        "SAVEPOINT s; UPDATE users SET region = region WHERE id = 41 RETURNING 1/(id-id); ROLLBACK TO s",
        "SAVEPOINT s; UPDATE users SET region = 'us' WHERE id = 41 RETURNING 1/(id-id); ROLLBACK TO s",
        "SAVEPOINT s; UPDATE users SET region = 'nowhere' WHERE id = 41; ROLLBACK TO s",
        "DO $$ BEGIN UPDATE users SET region = 'us' WHERE id = 41 RETURNING 1/(id-id); EXCEPTION WHEN OTHERS THEN NULL; END $$",
        "SAVEPOINT s; MERGE INTO users u USING (VALUES (41)) n (id) ON u.id = n.id WHEN MATCHED THEN UPDATE SET region = 'nowhere'; ROLLBACK TO s",
    ] {
        for insert in [
            "WITH d AS (DELETE FROM users WHERE id = 41 RETURNING *)
             INSERT INTO users (id, region, session_version) SELECT id, region, 0 FROM d",
            "DELETE FROM users WHERE id = 41; INSERT INTO users (id, session_version) VALUES (41, 0)",
            "MERGE INTO users u USING (VALUES (41)) n (id) ON u.id = n.id WHEN MATCHED THEN DELETE;
             INSERT INTO users (id, session_version) VALUES (41, 0)",
        ] {
            println!("--- {failure}\n{insert}");
            let app = App::of_shape(shared(), "failed_move", &PARTITIONED);
            let mut a = app.connect();
            let old = a.issue(app.ada);
            for _ in 0..3 {
                a.bump(app.ada);
            }
            let token = a.issue(app.ada);
            a.run("BEGIN");
            for statement in failure.split("; ROLLBACK") {
                let _ = a.batch_execute(if statement == " TO s" {
                    "ROLLBACK TO s"
                } else {
                    statement
                });
            }
            a.run(insert);
            a.run("COMMIT");
            assert_eq!(a.version(app.ada), Some(4));
            for token in [&old, &token] {
                assert_eq!(a.verdict(token), "session_version_mismatch");
            }
        }
    }
}

#[test]
fn a_row_that_moves_keeps_the_greater_version_whatever_the_statement_says() {
    let mut a = shared().connect(&database_with_key(shared(), "moves"));
    a.run(
        "CREATE TABLE users (id bigint, email text, region text DEFAULT 'eu', PRIMARY KEY (id, region)) PARTITION BY LIST (region);
         CREATE TABLE eu PARTITION OF users FOR VALUES IN ('eu');
         CREATE TABLE america PARTITION OF users FOR VALUES IN ('us', 'ca') PARTITION BY LIST (region);
         CREATE TABLE us PARTITION OF america FOR VALUES IN ('us');
         CREATE TABLE ca PARTITION OF america FOR VALUES IN ('ca');
         SELECT auth.attach_users('users', bump_on => '{email}');
         INSERT INTO users (id) VALUES (1), (2);
         CREATE FUNCTION lower() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.session_version := 0; RETURN NEW; END $$;
         CREATE TRIGGER low BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION lower()",
    );
    for version in 1..4 {
        assert_eq!(a.bump("1"), version);
    }
    let token = a.issue("1");
    for moves in [
        "UPDATE users SET region = 'us' WHERE id = 1",
        "UPDATE users SET region = 'ca', session_version = 0 WHERE id = 1",
        "UPDATE america SET region = 'us', session_version = 1 WHERE id = 1",
        "MERGE INTO users u USING (VALUES (1)) n (id) ON u.id = n.id WHEN MATCHED THEN UPDATE SET region = 'eu', session_version = 0",
        "BEGIN; SAVEPOINT s; UPDATE users SET region = 'us'; ROLLBACK TO s; UPDATE users SET region = 'us'; COMMIT",
        "DO $$ BEGIN BEGIN UPDATE users SET region = 'ca'; RAISE 'no'; EXCEPTION WHEN OTHERS THEN UPDATE users SET region = 'eu'; END; END $$",
    ] {
        a.run(moves);
        assert_eq!(a.version("1"), Some(3), "{moves}");
        assert_eq!(a.verdict(&token), "valid", "{moves}");
    }
    a.run("UPDATE users SET region = 'us', email = 'new' WHERE id = 1");
    assert_eq!(a.version("1"), Some(4), "a move that bumps");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    // A destination that takes no row has deleted the user.
    a.run(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER none BEFORE INSERT ON ca FOR EACH ROW EXECUTE FUNCTION refuse();
         UPDATE users SET region = 'ca' WHERE id = 1; INSERT INTO users (id) VALUES (1)",
    );
    assert_eq!(a.version("1"), Some(5));
}

#[test]
fn no_statement_sets_a_version_past_half_of_its_range_and_every_row_can_be_bumped() {
    for (kind, half) in [("bigint", HALF), ("integer", i64::from(i32::MAX / 2))] {
        let mut a = shared().connect(&database_with_key(shared(), "half"));
        a.run(&format!(
            "CREATE TABLE users (id bigint PRIMARY KEY, email text, is_active boolean DEFAULT true, session_version {kind} DEFAULT 0);
             SELECT auth.attach_users('users', bump_on => '{{email}}'); INSERT INTO users (id) VALUES (1), (2)"
        ));
        for beyond in [half + 1, half * 2 + 1] {
            for sql in [
                format!("UPDATE users SET session_version = {beyond}"),
                format!("UPDATE users SET session_version = {beyond}, email = 'x'"),
                format!("INSERT INTO users (id, session_version) VALUES (3, {beyond})"),
                format!(
                    "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET session_version = {beyond}"
                ),
                format!(
                    "MERGE INTO users u USING (VALUES (1)) n (id) ON u.id = n.id WHEN MATCHED THEN UPDATE SET session_version = {beyond}"
                ),
            ] {
                println!("--- {sql}");
                refused(a.batch_execute(&sql), "22023", None);
            }
        }
        a.run(&format!("UPDATE users SET session_version = {half}"));
        let token = a.issue("1");
        a.run("UPDATE users SET email = 'x' WHERE id = 1");
        assert_eq!(a.version("1"), Some(half + 1));
        assert_eq!(a.bump("1"), half + 2);
        a.run("UPDATE users SET session_version = session_version + 1 WHERE id = 1");
        a.run("UPDATE users SET is_active = false WHERE id = 1; UPDATE users SET is_active = true WHERE id = 1");
        assert_eq!(a.version("1"), Some(half + 4));
        assert_eq!(a.verdict(&token), "session_version_mismatch");
        a.run("DELETE FROM users WHERE id = 1; INSERT INTO users (id) VALUES (1)");
        assert_eq!(a.version("1"), Some(half + 5));
        assert_eq!(a.bump("1"), half + 6);
        // In a bulk, too; and nobody else starts there.
        for remove in ["DELETE FROM users", "TRUNCATE users"] {
            let before = a.version("1").unwrap();
            a.run(&format!("SET auth_ext.bulk_threshold = 1; {remove}; INSERT INTO users (id) VALUES (1), (2), (7), (8)"));
            assert_eq!(a.version("1"), Some(before + 1), "{remove}");
            assert!(a.version("7").unwrap() <= half + 1, "{remove}");
            assert_eq!(a.bump("7"), a.version("7").unwrap());
        }
    }
}

#[test]
fn a_row_that_was_pinned_before_can_be_deactivated_and_deleted() {
    let mut a = shared().connect(&database_with_key(shared(), "pinned"));
    a.run(&format!(
        "CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean DEFAULT true, session_version bigint DEFAULT 0);
         INSERT INTO users (id, session_version) VALUES (1, {max}), (2, {max}), (3, 0); SELECT auth.attach_users('users')",
        max = i64::MAX
    ));
    let (one, two) = (a.issue("1"), a.issue("2"));
    a.run("UPDATE users SET is_active = false WHERE id = 1");
    assert_eq!(a.verdict(&one), "inactive_user");
    refused(
        a.batch_execute("UPDATE users SET is_active = true WHERE id = 1"),
        "22023",
        None,
    );
    a.run("SET auth_ext.bulk_threshold = 1; DELETE FROM users");
    assert_eq!(a.verdict(&two), "unknown_user");
    refused(
        a.batch_execute("INSERT INTO users (id) VALUES (2)"),
        "22023",
        None,
    );
    a.run("INSERT INTO users (id) VALUES (3), (4)");
    assert_eq!(a.bump("4"), 2);
}

#[test]
fn a_key_can_always_be_revoked() {
    let mut a = shared().connect(&database_with_key(shared(), "pinned_key"));
    a.run(&format!(
        "CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('ada'); SELECT auth.attach_users('users');
         CREATE TABLE keys (id text PRIMARY KEY, user_id text, is_active boolean DEFAULT true, session_version bigint DEFAULT 0);
         INSERT INTO keys VALUES ('k', 'ada', true, {max}); SELECT auth.attach_api_keys('keys')",
        max = i64::MAX
    ));
    assert!(a.one::<bool>("SELECT auth.revoke_api_key('k')", &[]));
    for sql in [
        format!("INSERT INTO keys VALUES ('l', 'ada', true, {})", HALF + 1),
        format!(
            "INSERT INTO keys VALUES ('l', 'ada', true, 0); UPDATE keys SET session_version = {} WHERE id = 'l'",
            HALF + 1
        ),
    ] {
        refused(a.batch_execute(&sql), "22023", None);
    }
    a.run(&format!(
        "INSERT INTO keys VALUES ('l', 'ada', true, {HALF})"
    ));
    assert!(a.one::<bool>("SELECT auth.revoke_api_key('l')", &[]));
    assert_eq!(
        a.one::<i64>("SELECT session_version FROM keys WHERE id = 'l'", &[]),
        HALF + 1
    );
}

/// A statement that changes `auth.issuers` and verifies, and fails before its AFTER triggers.
fn read_in_a_failing_statement(a: &mut Client, token: &str, change: &str) {
    let sql = format!(
        "{change} RETURNING (SELECT reason FROM auth.check_jwt('{token}')), 1 / (length(issuer) - length(issuer))"
    );
    refused(a.batch_execute(&sql), "22012", None);
}

#[test]
fn what_a_failed_statement_has_read_of_its_own_changes_is_forgotten() {
    let app = App::new(shared(), "uncommitted");
    let (mut a, mut admin) = (app.connect(), app.connect());
    let token = a.issue(app.ada);
    admin.run("UPDATE auth.issuers SET not_before = now() + interval '1 hour'");
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
    let lift = "UPDATE auth.issuers SET not_before = NULL";
    read_in_a_failing_statement(&mut a, &token, lift);
    assert_eq!(
        a.verdict(&token),
        "issued_before_cutoff",
        "after a failed statement"
    );
    a.run("BEGIN; SAVEPOINT s");
    read_in_a_failing_statement(&mut a, &token, lift);
    a.run("ROLLBACK TO s");
    assert_eq!(
        a.verdict(&token),
        "issued_before_cutoff",
        "after ROLLBACK TO"
    );
    a.run("COMMIT");
    assert_eq!(a.verdict(&token), "issued_before_cutoff");
    a.run(&format!(
        "DO $$ BEGIN
             UPDATE auth.issuers SET not_before = NULL
             RETURNING length((SELECT reason FROM auth.check_jwt('{token}'))) / 0;
         EXCEPTION WHEN OTHERS THEN NULL; END $$"
    ));
    assert_eq!(
        a.verdict(&token),
        "issued_before_cutoff",
        "after an exception block"
    );
    a.run("UPDATE auth.attached_tables SET active_column = active_column");
    let broken = "UPDATE auth.attached_tables SET version_column = 'id' RETURNING auth.session_version('41') / (length(kind) - length(kind))";
    refused(a.batch_execute(broken), "22012", None);
    assert_eq!(a.version(app.ada), Some(0), "the attached tables");
}

#[test]
fn a_bump_is_on_disk_when_its_commit_returns_whatever_the_session_says() {
    let cluster = Cluster::with_config(
        "durable",
        &[
            ("wal_writer_delay", "10s"),
            ("autovacuum", "off"),
            ("bgwriter_lru_maxpages", "0"),
        ],
    );
    let app = App::new(&cluster, "durable");
    let mut a = app.connect();
    a.run("CREATE TABLE other (n int); SET synchronous_commit = off");
    let flushed = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
    let mut is_flushed = |sql: &str| {
        a.run(sql);
        let end: String = a.one("SELECT pg_current_wal_insert_lsn()::text", &[]);
        a.one::<bool>(flushed, &[&end])
    };
    for sql in [
        "SELECT auth.bump_session_version('41')",
        "UPDATE users SET is_active = false WHERE id = 41",
        "DELETE FROM users WHERE id = 42",
        "UPDATE auth.issuers SET not_before = now()",
        "SELECT auth.retire_signing_key(kid) FROM auth.signing_keys",
        "TRUNCATE users",
    ] {
        assert!(is_flushed(sql), "{sql}");
    }
    assert!(
        !is_flushed("INSERT INTO other VALUES (1)"),
        "the others are left alone"
    );
    a.run("SET auth_ext.synchronous_commit = off; INSERT INTO users (id) VALUES (5)");
    a.run("SELECT auth.bump_session_version('5'); SET auth_ext.synchronous_commit = on");
    a.bump("5");
    let before = a.version("5");
    cluster.kill_9();
    cluster.launch();
    assert_eq!(app.connect().version("5"), before, "after a crash");
}

#[test]
fn listeners_read_what_is_new_by_the_index_however_long_a_writer_is_open() {
    let app = App::new(shared(), "open_writer");
    let (mut a, mut open) = (app.connect(), app.connect());
    a.run("SET auth_ext.bulk_threshold = 1000000; SET auth_ext.notify = off");
    open.run("BEGIN; UPDATE users SET note = 'open' WHERE id = 42");
    a.run("DO $$ BEGIN FOR i IN 1..300 LOOP PERFORM auth.bump_session_version('41', i::text); COMMIT; END LOOP; END $$");
    a.run("ANALYZE auth.invalidation_log");
    let cursor: String = a.one("SELECT auth.invalidation_cursor()", &[]);
    let read = "SELECT coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_all_tables WHERE relid = 'auth.invalidation_log'::regclass";
    for (change, expected) in [("", 0), ("SELECT auth.bump_session_version('41')", 1)] {
        app.connect().run(change);
        // Whatever plan is cached after some calls.
        for _ in 0..8 {
            let before: i64 = a.one(read, &[]);
            let events = a.rows("SELECT * FROM auth.invalidations_since($1)", &[&cursor]);
            let rows = a.one::<i64>(read, &[]) - before;
            assert_eq!(events.len(), expected);
            // The server's collector may have taken the numbers over in between: then they begin anew.
            // The event, the last one of all, and the one that the cursor was taken behind.
            assert!(rows <= 4, "{rows} rows were read");
        }
    }
    open.run("SELECT auth.bump_session_version('42'); COMMIT");
    assert_eq!(
        a.rows("SELECT * FROM auth.invalidations_since($1)", &[&cursor])
            .len(),
        2
    );
}
