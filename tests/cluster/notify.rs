//! What listeners hear: the contract's payloads, at commit, and nothing else.

use auth_ext_tests::{App, Ask, ISSUER, Listener, PARTITIONED, Value, json, refused, shared};

const FLUSH: &str = r#"{"v":1,"kind":"flush"}"#;

fn listen(app: &App<'_>) -> Listener {
    Listener::on(app.connect(), "auth_invalidation")
}

fn user(id: &str, version: i64, reason: &str) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": version, "reason": reason})
}

#[test]
fn the_payload_of_a_logout_is_that_of_the_contract_to_the_letter() {
    let app = App::new(shared(), "letter");
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run("UPDATE users SET session_version = 6 WHERE id = 42");
    listener.payloads();
    a.bump("42");
    let expected =
        r#"{"v":1,"kind":"user","id":"42","session_version":7,"reason":"logout_everywhere"}"#;
    assert_eq!(listener.payloads(), [expected]);
    a.run(
        "DELETE FROM auth.issuers WHERE false; INSERT INTO auth.issuers VALUES ('https://b', '{}')",
    );
    assert_eq!(
        listener.payloads(),
        [r#"{"v":1,"kind":"issuer","issuer":"https://b"}"#]
    );
    a.run("TRUNCATE users");
    assert_eq!(listener.payloads(), [FLUSH]);
}

#[test]
fn every_change_of_a_user_says_its_reason_and_version() {
    for app in App::of_every_shape(shared(), "reasons") {
        let mut listener = listen(&app);
        let mut a = app.connect();
        let mut heard = |sql: &str| {
            a.run(&app.sql(sql));
            listener.events()
        };
        let (ada, bob) = (app.ada, app.bob);
        let events = heard("SELECT auth.bump_session_version({ada})");
        assert_eq!(events, [user(ada, 1, "logout_everywhere")]);
        let events = heard("SELECT auth.bump_session_version({ada}, 'password_reset')");
        assert_eq!(events, [user(ada, 2, "password_reset")]);
        let events = heard("SELECT auth.bump_session_version({ada}, NULL)");
        assert_eq!(events, [user(ada, 3, "logout_everywhere")]);
        let events = heard("UPDATE {users} SET {email} = 'new' WHERE {id} = {ada}");
        assert_eq!(events, [user(ada, 4, "updated")]);
        let events = heard("UPDATE {users} SET {version} = 9 WHERE {id} = {ada}");
        assert_eq!(events, [user(ada, 9, "updated")]);
        let events = heard("UPDATE {users} SET {active} = false WHERE {id} = {ada}");
        assert_eq!(events, [user(ada, 10, "deactivated")]);
        let events = heard("UPDATE {users} SET {active} = true WHERE {id} = {ada}");
        assert_eq!(events, [user(ada, 10, "activated")]);
        let events = heard("DELETE FROM {users} WHERE {id} = {ada}");
        assert_eq!(events, [user(ada, 11, "deleted")]);
        let events = heard("INSERT INTO {users} ({id}) VALUES ({ada})");
        assert!(events.is_empty(), "{events:?}");
        let events = heard("DELETE FROM {users} WHERE {id} = {ada}");
        assert_eq!(events, [user(ada, 12, "deleted")]);
        let events = heard("UPDATE {users} SET {id} = {ada} WHERE {id} = {bob}");
        assert_eq!(events[0], user(bob, 1, "deleted"), "{events:?}");
    }
}

#[test]
fn what_changes_nothing_relevant_sends_nothing() {
    for app in App::of_every_shape(shared(), "irrelevant") {
        let mut listener = listen(&app);
        let mut a = app.connect();
        for sql in [
            "UPDATE {users} SET note = 'x', region = region, {email} = {email}, {active} = {active}, {version} = {version}",
            "UPDATE {users} SET {version} = {version} - 1",
            "DELETE FROM {users} WHERE false",
            "SELECT auth.issue_jwt({ada}), auth.session_version({ada})",
            "BEGIN; SELECT auth.bump_session_version({ada}); ROLLBACK",
            "BEGIN; SAVEPOINT s; SELECT auth.bump_session_version({ada}); ROLLBACK TO s; COMMIT",
            "BEGIN; SAVEPOINT s; SAVEPOINT t; DELETE FROM {users}; RELEASE t; ROLLBACK TO s; COMMIT",
            "DO $$ BEGIN PERFORM auth.bump_session_version({ada}); RAISE 'no'; EXCEPTION WHEN raise_exception THEN NULL; END $$",
            "BEGIN; TRUNCATE {users}; ROLLBACK",
            "BEGIN; SAVEPOINT s; UPDATE auth.issuers SET leeway = '1 s'; ROLLBACK TO s; COMMIT",
        ] {
            a.run(&app.sql(sql));
            assert_eq!(listener.payloads(), Vec::<String>::new(), "{sql}");
        }
    }
}

#[test]
fn a_row_that_moves_to_another_partition_is_news_only_when_more_changed() {
    let app = App::of_shape(shared(), "moves", &PARTITIONED);
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run("UPDATE users SET region = 'us'");
    assert!(listener.payloads().is_empty());
    a.run("UPDATE users SET region = 'eu', email = 'new' WHERE id = 41");
    assert_eq!(listener.events(), [user("41", 1, "updated")]);
    a.run("UPDATE users SET region = 'us', is_active = false WHERE id = 41");
    assert_eq!(listener.events(), [user("41", 2, "deactivated")]);
    a.run("UPDATE users SET region = 'eu', is_active = true WHERE id = 41");
    assert_eq!(listener.events(), [user("41", 2, "activated")]);
    a.run("UPDATE users SET region = 'us', id = 99 WHERE id = 41");
    assert_eq!(listener.events(), [user("41", 3, "deleted")]);
}

#[test]
fn nothing_is_heard_before_the_commit_and_then_all_in_the_order_of_the_changes() {
    let app = App::new(shared(), "order");
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run("BEGIN");
    a.bump("42");
    a.bump("41");
    a.run("SAVEPOINT s; UPDATE users SET email = 'undone'; ROLLBACK TO s");
    a.run("SAVEPOINT s; UPDATE users SET is_active = false WHERE id = 42; RELEASE s");
    a.run("DELETE FROM users WHERE id = 41");
    assert!(listener.payloads().is_empty());
    a.run("COMMIT");
    assert_eq!(
        listener.events(),
        [
            user("42", 1, "logout_everywhere"),
            user("41", 1, "logout_everywhere"),
            user("42", 2, "deactivated"),
            user("41", 2, "deleted"),
        ]
    );
    // The next transaction starts empty.
    a.bump("42");
    assert_eq!(listener.events(), [user("42", 3, "logout_everywhere")]);
}

#[test]
fn a_deferred_constraint_trigger_at_the_end_of_the_transaction_is_still_heard() {
    let app = App::new(shared(), "deferred");
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run(
        "CREATE TABLE logins (id int);
         CREATE FUNCTION bump() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM auth.bump_session_version('41', 'late'); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER INSERT ON logins DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION bump();
         INSERT INTO logins VALUES (1)",
    );
    assert_eq!(listener.events(), [user("41", 1, "late")]);
}

#[test]
fn beyond_the_bulk_threshold_one_flush_takes_the_place_of_all() {
    for app in App::of_every_shape(shared(), "threshold") {
        let mut listener = listen(&app);
        let mut a = app.connect();
        a.run("SET auth_ext.bulk_threshold = 3");
        a.run(&app.sql("UPDATE {users} SET {email} = 'three'"));
        assert_eq!(listener.payloads().len(), 3, "exactly at the threshold");
        a.run("SET auth_ext.bulk_threshold = 2");
        a.run(&app.sql("UPDATE {users} SET {email} = 'one more'"));
        assert_eq!(listener.payloads(), [FLUSH]);
        a.run(&app.sql("DELETE FROM {users}"));
        assert_eq!(listener.payloads(), [FLUSH]);
    }
}

#[test]
fn users_are_counted_across_the_statements_of_a_transaction() {
    let app = App::new(shared(), "statements");
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run("SET auth_ext.bulk_threshold = 2");
    a.run("BEGIN; UPDATE users SET email = 'x' WHERE id = 41; UPDATE users SET email = 'x' WHERE id = 42; UPDATE users SET email = 'x' WHERE id < 0; COMMIT");
    assert_eq!(listener.payloads(), [FLUSH]);
    // What was rolled back does not count.
    a.run("BEGIN; SAVEPOINT s; UPDATE users SET email = 'y'; ROLLBACK TO s; UPDATE users SET email = 'y' WHERE id = 41; COMMIT");
    assert_eq!(listener.events(), [user("41", 2, "updated")]);
}

#[test]
fn the_bulk_threshold_is_a_thousand_users_unless_set() {
    let app = App::new(shared(), "thousand");
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run("INSERT INTO users SELECT n, 'old' FROM generate_series(1001, 2001) AS n");
    assert!(listener.payloads().is_empty());
    a.run("UPDATE users SET email = 'new' WHERE id BETWEEN 1001 AND 2000");
    assert_eq!(listener.payloads().len(), 1000);
    a.run("UPDATE users SET email = 'newer' WHERE id BETWEEN 1001 AND 2001");
    assert_eq!(listener.payloads(), [FLUSH]);
}

#[test]
fn an_update_of_a_hundred_thousand_users_sends_one_flush_and_bumps_them_all() {
    let app = App::new(shared(), "hundred_thousand");
    let mut a = app.connect();
    a.run("INSERT INTO users SELECT n, 'old' FROM generate_series(100001, 200000) AS n");
    let mut listener = listen(&app);
    a.run("UPDATE users SET email = 'new'");
    assert_eq!(listener.payloads(), [FLUSH]);
    let bumped: i64 = a.one("SELECT count(*) FROM users WHERE session_version = 1", &[]);
    assert_eq!(bumped, 100_003);
}

#[test]
fn truncate_sends_one_flush() {
    for app in App::of_every_shape(shared(), "truncate") {
        let mut listener = listen(&app);
        let mut a = app.connect();
        a.run(&app.sql(
            "BEGIN; SELECT auth.bump_session_version({ada}); TRUNCATE {users}; SELECT 1; COMMIT",
        ));
        assert_eq!(listener.payloads(), [FLUSH]);
    }
}

#[test]
fn a_reason_is_cut_to_200_bytes_at_the_border_of_a_character() {
    let app = App::new(shared(), "reason");
    let mut listener = listen(&app);
    let mut a = app.connect();
    for (reason, kept) in [
        ("x".repeat(200), "x".repeat(200)),
        ("x".repeat(201), "x".repeat(200)),
        ("é".repeat(101), "é".repeat(100)),
        (
            format!("x{}", "é".repeat(101)),
            format!("x{}", "é".repeat(99)),
        ),
        ("🙂".repeat(51), "🙂".repeat(50)),
        (
            format!("xx{}", "🙂".repeat(51)),
            format!("xx{}", "🙂".repeat(49)),
        ),
        ("\u{1}".repeat(300), "\u{1}".repeat(200)),
        ("y".repeat(1_000_000), "y".repeat(200)),
        (String::new(), String::new()),
        (
            "a \"quoted\" \\ 'one'\n".to_owned(),
            "a \"quoted\" \\ 'one'\n".to_owned(),
        ),
    ] {
        a.one::<i64>("SELECT auth.bump_session_version('41', $1)", &[&reason]);
        let events = listener.events();
        assert_eq!(events.len(), 1);
        assert_eq!(events[0]["reason"], json!(kept));
    }
}

#[test]
fn an_id_too_long_for_a_payload_is_a_flush_and_no_failure() {
    let app = App::new(shared(), "long");
    let mut a = app.connect();
    a.run("SELECT auth.detach_users(); DROP TABLE users; CREATE TABLE users (id text); SELECT auth.attach_users('users')");
    let mut listener = listen(&app);
    let escaped = "\u{1}".repeat(1400);
    for id in ["x".repeat(9000), escaped] {
        a.rows("INSERT INTO users VALUES ($1) RETURNING 1", &[&id]);
        assert_eq!(a.bump(&id), 1);
        assert_eq!(listener.payloads(), [FLUSH]);
        a.run("DELETE FROM users");
        assert_eq!(listener.payloads(), [FLUSH]);
    }
}

#[test]
fn an_id_that_no_index_could_hold_can_be_bumped_and_deleted() {
    let app = App::new(shared(), "very_long");
    let mut a = app.connect();
    a.run("SELECT auth.detach_users(); DROP TABLE users; CREATE TABLE users (id text); SELECT auth.attach_users('users')");
    let id: String = a.one(
        "INSERT INTO users SELECT string_agg(md5(n::text), '') FROM generate_series(1, 300) n RETURNING id",
        &[],
    );
    let token = a.issue(&id);
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(a.bump(&id), 1);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    let token = a.issue(&id);
    a.run("DELETE FROM users");
    a.rows("INSERT INTO users VALUES ($1) RETURNING 1", &[&id]);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn with_notify_off_nothing_is_sent_and_the_rest_works() {
    let app = App::new(shared(), "off");
    let mut listener = listen(&app);
    let mut a = app.connect();
    let token = a.issue("41");
    a.run("SET auth_ext.notify = off; SET auth_ext.bulk_threshold = 1");
    a.bump("41");
    a.run("DELETE FROM users; TRUNCATE users; UPDATE auth.issuers SET leeway = '1 s'");
    app.insert(&mut a, "41");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    assert!(listener.payloads().is_empty());
    a.run("SET auth_ext.notify = inline");
    a.bump("41");
    assert_eq!(listener.payloads().len(), 1);
    refused(a.batch_execute("SET auth_ext.notify = loud"), "22023", None);
}

#[test]
fn changes_of_an_issuer_and_its_keys_name_the_issuer() {
    let app = App::new(shared(), "issuer");
    let mut listener = listen(&app);
    let mut a = app.connect();
    let own = json!({"v": 1, "kind": "issuer", "issuer": ISSUER});
    for sql in [
        "UPDATE auth.issuers SET not_before = now()",
        "UPDATE auth.issuers SET audience = '{other}'",
        "SELECT auth.create_signing_key(kid => 'second')",
        "SELECT auth.activate_signing_key('second')",
        "SELECT auth.rotate_signing_key()",
        "SELECT auth.retire_signing_key('second')",
        "SELECT auth.import_signing_key('0123456789abcdef0123456789abcdef', 'HS256')",
        r#"SELECT auth.import_jwks('{"keys":[]}')"#,
    ] {
        a.run(sql);
        let events = listener.events();
        let nothing_changed = sql.contains("import_jwks");
        assert!(
            events.iter().all(|event| *event == own),
            "{sql}: {events:?}"
        );
        assert_eq!(events.is_empty(), nothing_changed, "{sql}");
    }
    a.run("UPDATE auth.issuers SET issuer = 'https://new'");
    let events = listener.events();
    assert!(events.contains(&own), "{events:?}");
    assert!(events.contains(&json!({"v": 1, "kind": "issuer", "issuer": "https://new"})));
    a.run("DELETE FROM auth.issuers");
    let events = listener.events();
    assert!(events.contains(&json!({"v": 1, "kind": "issuer", "issuer": "https://new"})));
}
