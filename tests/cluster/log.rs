//! The log of events: every path writes it, and a cursor gets each event once.

use auth_ext_tests::{
    App, Ask, Client, Cluster, ISSUER, Listener, Reader, Value, json, refused, shared,
};

fn user(id: &str, version: i64, reason: &str) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": version, "reason": reason})
}

fn flush() -> Value {
    json!({"v": 1, "kind": "flush"})
}

#[test]
fn whatever_way_a_user_changes_the_log_says_what_the_notification_says() {
    for app in App::of_every_shape(shared(), "paths") {
        let mut a = app.connect();
        let mut reader = Reader::now(&mut a);
        let mut listener = Listener::on(app.connect(), "auth_invalidation");
        for (sql, count) in [
            ("SELECT auth.bump_session_version({ada})", 1),
            ("UPDATE {users} SET {email} = 'new'", 3),
            ("UPDATE {users} SET {active} = false WHERE {id} = {ada}", 1),
            ("UPDATE {users} SET note = 'irrelevant'", 0),
            ("DELETE FROM {users} WHERE {id} = {bob}", 1),
            ("BEGIN; UPDATE {users} SET {email} = 'lost'; ROLLBACK", 0),
            (
                "BEGIN; SAVEPOINT s; UPDATE {users} SET {email} = 'lost'; ROLLBACK TO s; DELETE FROM {users} WHERE {id} = {eve}; COMMIT",
                1,
            ),
            (
                "BEGIN; UPDATE {users} SET {email} = 'then read only' WHERE {id} = {ada}; SET TRANSACTION READ ONLY; COMMIT",
                1,
            ),
            ("TRUNCATE {users}", 1),
            ("UPDATE auth.issuers SET leeway = '1 s'", 1),
            ("DELETE FROM auth.issuers", 1),
        ] {
            a.run(&app.sql(sql));
            let events = reader.catch_up(&mut a);
            assert_eq!(events.len(), count, "{sql}: {events:?}");
            assert_eq!(events, listener.events(), "{sql}");
        }
    }
}

#[test]
fn copy_into_the_table_of_a_deleted_user_and_a_bulk_are_logged() {
    let app = App::new(shared(), "copy");
    let mut a = app.connect();
    let mut reader = Reader::now(&mut a);
    // An upsert by way of COPY, as bulk loaders do it.
    shared().psql(
        &app.db,
        "CREATE TEMP TABLE load (id bigint, email text);
         COPY load FROM stdin;\n41\tnew\n\\.\n
         INSERT INTO users (id, email) SELECT * FROM load ON CONFLICT (id) DO UPDATE SET email = excluded.email;
         CREATE VIEW loader AS SELECT id, email FROM users;
         CREATE FUNCTION end_session() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM auth.bump_session_version(NEW.id::text, 'loaded'); RETURN NULL; END $$;
         CREATE TRIGGER load INSTEAD OF INSERT ON loader FOR EACH ROW EXECUTE FUNCTION end_session();
         COPY loader FROM stdin;\n42\tnew\n\\.\n",
    );
    assert_eq!(
        reader.catch_up(&mut a),
        [user("41", 1, "updated"), user("42", 1, "loaded")]
    );
    a.run("INSERT INTO users SELECT n, 'old' FROM generate_series(1000, 3000) AS n");
    assert!(reader.catch_up(&mut a).is_empty());
    a.run("UPDATE users SET email = 'bulk'");
    assert_eq!(reader.catch_up(&mut a), [flush()]);
    let rows: i64 = a.one(
        "SELECT count(*) FROM auth.invalidation_log WHERE event ~ 'flush'",
        &[],
    );
    assert_eq!(rows, 1);
}

#[test]
fn api_keys_and_revoked_tokens_are_logged() {
    let app = App::new(shared(), "kinds");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, is_active boolean DEFAULT true);
         SELECT auth.attach_api_keys('keys')",
    );
    let token = a.issue("41");
    let id: String = a.one("SELECT id FROM auth.create_api_key('41', 'k')", &[]);
    let mut reader = Reader::now(&mut a);
    a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&token]);
    a.one::<bool>("SELECT auth.revoke_api_key($1)", &[&id]);
    a.run("SELECT auth.rotate_signing_key()");
    let events = reader.catch_up(&mut a);
    let kinds: Vec<_> = events.iter().map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, [Some("token"), Some("api_key"), Some("issuer")]);
    assert_eq!(events[2]["issuer"], ISSUER);
}

#[test]
fn events_that_commit_out_of_order_are_each_read_once() {
    let app = App::new(shared(), "order");
    let (mut a, mut b, mut c) = (app.connect(), app.connect(), app.connect());
    let mut reader = Reader::now(&mut c);
    a.run("BEGIN");
    a.bump("41");
    b.run("BEGIN");
    b.bump("42");
    // The one that began later commits first.
    b.run("COMMIT");
    assert_eq!(
        reader.catch_up(&mut c),
        [user("42", 1, "logout_everywhere")]
    );
    assert!(reader.catch_up(&mut c).is_empty());
    let mut later = Reader::now(&mut c);
    a.run("COMMIT");
    for reader in [&mut reader, &mut later] {
        assert_eq!(
            reader.catch_up(&mut c),
            [user("41", 1, "logout_everywhere")]
        );
        assert!(reader.catch_up(&mut c).is_empty());
    }
}

#[test]
fn a_transaction_reads_its_own_events_after_it_has_committed_from_a_cursor_that_it_took_itself() {
    let app = App::new(shared(), "own");
    let (mut a, mut b) = (app.connect(), app.connect());
    let mut before = Reader::now(&mut a);
    a.run("BEGIN");
    a.bump("41");
    // One that began later has ended.
    b.run("CREATE TABLE later ()");
    let mut within = Reader::now(&mut a);
    a.run("SAVEPOINT s");
    a.bump("42");
    let mut deeper = Reader::now(&mut a);
    for reader in [&mut before, &mut within, &mut deeper] {
        assert!(reader.catch_up(&mut a).is_empty());
    }
    a.run("COMMIT");
    let both = [
        user("41", 1, "logout_everywhere"),
        user("42", 1, "logout_everywhere"),
    ];
    for reader in [&mut before, &mut within, &mut deeper] {
        assert_eq!(reader.catch_up(&mut a), both);
    }
}

#[test]
fn a_repeatable_read_or_read_only_transaction_reads_what_is_committed_at_that_moment() {
    let app = App::new(shared(), "latest");
    let (mut a, mut b) = (app.connect(), app.connect());
    for mode in [
        "REPEATABLE READ",
        "SERIALIZABLE, READ ONLY",
        "READ COMMITTED, READ ONLY",
    ] {
        a.run(&format!(
            "BEGIN ISOLATION LEVEL {mode}; SELECT count(*) FROM users"
        ));
        let mut reader = Reader::now(&mut a);
        let version = b.bump("41");
        assert_eq!(
            reader.catch_up(&mut a),
            [user("41", version, "logout_everywhere")]
        );
        assert!(reader.catch_up(&mut a).is_empty());
        a.run("COMMIT");
    }
}

#[test]
fn a_prepared_transaction_is_logged_though_it_notifies_nobody() {
    let cluster = Cluster::with_config("two_phase", &[("max_prepared_transactions", "4")]);
    let app = App::new(&cluster, "prepared");
    let mut a = app.connect();
    let mut reader = Reader::now(&mut a);
    a.run("BEGIN; SELECT auth.bump_session_version('41'); PREPARE TRANSACTION 'x'");
    a.bump("42");
    assert_eq!(
        reader.catch_up(&mut a),
        [user("42", 1, "logout_everywhere")]
    );
    a.run("COMMIT PREPARED 'x'");
    assert_eq!(
        reader.catch_up(&mut a),
        [user("41", 1, "logout_everywhere")]
    );
}

#[test]
fn a_cursor_of_another_database_cluster_or_timeline_gets_one_flush() {
    let (one, two) = (App::new(shared(), "one"), App::new(shared(), "two"));
    let (mut a, mut b) = (one.connect(), two.connect());
    let foreign = Reader::now(&mut b).cursor;
    let own = Reader::now(&mut a).cursor;
    let parts: Vec<&str> = own.split('.').collect();
    let with = |n: usize, part: &str| {
        let mut parts = parts.clone();
        parts[n] = part;
        parts.join(".")
    };
    for cursor in [
        foreign,
        with(1, "123"),
        with(3, "77"),
        // A transaction that is still to come: a copy of the data that went another way.
        with(4, "7fffffffff"),
    ] {
        let mut reader = Reader { cursor };
        assert_eq!(reader.catch_up(&mut a), [flush()], "{}", reader.cursor);
        assert!(reader.catch_up(&mut a).is_empty());
    }
}

#[test]
fn what_is_no_cursor_is_a_wrong_argument() {
    let app = App::new(shared(), "malformed");
    let mut a = app.connect();
    let own = Reader::now(&mut a).cursor;
    let sql = "SELECT * FROM auth.invalidations_since($1)";
    refused(a.query(sql, &[&None::<String>]), "22023", None);
    let long = format!("{own}{}1", "1,".repeat(600));
    let huge = "1.".repeat(5_000_000);
    for cursor in [
        "",
        "1",
        "x",
        "1.",
        "1.1.1.1.1",
        "2.1.1.1.1.",
        "1.1.1.1.0.",
        "1.1.1.1.1.0",
        "1.1.1.1.1.1",
        "1.1.1.1.5.1,2",
        "1.1.1.1.5.2,2",
        "1.1.1.1.+5.",
        "1.1.1.1.05.",
        "1.1.1.1.5.,",
        "1.1.1.1.5.2,",
        "1.1.1.1.5.2.",
        " 1.1.1.1.5.",
        "1.1.1.1.5.\n",
        "1.1.100000000.1.5.",
        "1.1.1.1.10000000000000000.",
        "1.A.1.1.5.",
        "1.é.1.1.5.",
        "2.1.1.1.5.",
        "2.1.1.1.5..",
        "2.1.1.1.5..1",
        "2.1.1.1.5..1.",
        "2.1.1.1.5..01.1",
        "2.1.1.1.5..1.1.1",
        "2.1.1.1.5..1.10000000000000000",
        "3.1.1.1.5..1.1",
        &long,
        &huge,
    ] {
        refused(a.query(sql, &[&cursor]), "22023", None);
    }
    // These are well-formed, of other clusters.
    for cursor in [
        "1.1.1.1.5.",
        "1.ffffffffffffffff.ffffffff.ffffffff.ffffffffffffffff.2,1",
        "2.1.1.1.5..4.0",
        "2.ffffffffffffffff.ffffffff.ffffffff.ffffffffffffffff.2,1.ffffffffffffffff.7fffffffffffffff",
    ] {
        assert_eq!(a.rows(sql, &[&cursor]).len(), 1, "{cursor}");
    }
}

#[test]
fn a_cursor_stays_short_however_many_transactions_run() {
    let app = App::new(shared(), "bounded");
    let mut a = app.connect();
    let mut reader = Reader::now(&mut a);
    let running: Vec<Client> = (0..40)
        .map(|n| {
            let mut client = app.connect();
            client.run("BEGIN; SELECT pg_current_xact_id()");
            client.run(&format!("CREATE TABLE running_{n} ()"));
            client
        })
        .collect();
    a.bump("41");
    reader.catch_up(&mut a);
    assert!(reader.cursor.len() < 200, "{}", reader.cursor);
    drop(running);
}

#[test]
fn an_extension_that_is_made_anew_flushes_the_cursors_of_the_former_one() {
    let app = App::new(shared(), "anew");
    let mut a = app.connect();
    let mut reader = Reader::now(&mut a);
    a.run("BEGIN; SELECT auth.bump_session_version('41'); DROP EXTENSION auth_ext CASCADE; COMMIT; CREATE EXTENSION auth_ext");
    assert_eq!(reader.catch_up(&mut a), [flush()]);
    assert!(reader.catch_up(&mut a).is_empty());
}

#[test]
fn a_granted_role_reads_the_log_by_its_functions_only() {
    let app = App::new(shared(), "granted");
    let mut a = app.connect();
    a.run(
        "CREATE ROLE log_reader; GRANT EXECUTE ON FUNCTION auth.invalidation_cursor, auth.invalidations_since TO log_reader;
         CREATE ROLE log_nobody",
    );
    a.run("SET ROLE log_reader");
    let mut reader = Reader::now(&mut a);
    app.connect().bump("41");
    assert_eq!(reader.catch_up(&mut a).len(), 1);
    for sql in [
        "TABLE auth.invalidation_log",
        "DELETE FROM auth.invalidation_log",
        "INSERT INTO auth.invalidation_log (event) VALUES ('')",
    ] {
        refused(a.batch_execute(sql), "42501", None);
    }
    a.run("RESET ROLE; SET ROLE log_nobody");
    refused(
        a.query("SELECT auth.invalidation_cursor()", &[]),
        "42501",
        None,
    );
}

#[test]
fn with_logical_messages_off_nothing_of_it_is_in_the_wal_and_notify_off_still_logs() {
    let app = App::new(shared(), "off");
    let mut a = app.connect();
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let mut reader = Reader::now(&mut a);
    a.run("SET auth_ext.notify = off");
    a.bump("41");
    assert!(listener.payloads().is_empty());
    assert_eq!(
        reader.catch_up(&mut a),
        [user("41", 1, "logout_everywhere")]
    );
}

#[test]
fn a_cursor_of_version_0_1_is_told_to_flush_once() {
    let app = App::new(shared(), "older");
    let mut a = app.connect();
    let now = Reader::now(&mut a);
    // The same, without what 0.2 adds.
    let mut parts: Vec<&str> = now.cursor.split('.').collect();
    parts.truncate(6);
    parts[0] = "1";
    let mut older = now.clone();
    older.cursor = parts.join(".");
    assert_eq!(older.catch_up(&mut a), [flush()]);
    assert!(older.catch_up(&mut a).is_empty());
}

#[test]
fn a_cursor_out_of_a_future_that_a_storage_snapshot_undid_is_told_to_flush() {
    let cluster = Cluster::start("log_undone");
    let app = App::new(&cluster, "undone");
    let mut a = app.connect();
    a.bump("41");
    let mut of_before = Reader::now(&mut a);
    drop(a);
    cluster.keep_storage();
    let mut a = app.connect();
    // One at each stage of the future that is undone.
    let mut undone: Vec<Reader> = (0..5)
        .map(|_| {
            a.bump("42");
            Reader::now(&mut a)
        })
        .collect();
    drop(a);
    cluster.roll_back_storage();
    let mut a = app.connect();
    // The ids of the lost transactions are given out again, to others.
    for _ in 0..10 {
        a.bump("41");
    }
    for reader in &mut undone {
        assert_eq!(reader.catch_up(&mut a), [flush()]);
        a.bump("42");
        assert_eq!(reader.catch_up(&mut a).len(), 1);
    }
    // What was seen before the snapshot is still so.
    assert_eq!(of_before.catch_up(&mut a).len(), 15);
}
