//! What listeners hear of API keys: by their fingerprint, and a flush where there is none.

use auth_ext_tests::{App, Ask, Client, Listener, Value, json, refused, shared};

const FLUSH: &str = r#"{"v":1,"kind":"flush"}"#;

fn event(fingerprint: &str, reason: &str) -> Value {
    json!({"v": 1, "kind": "api_key", "fingerprint": fingerprint, "user_id": "42", "reason": reason})
}

/// An attached key table with the keys `k1` (fingerprint `f1`), `k2` (`f2`) and `k3` (none), all of user 42.
fn keys(name: &str) -> (Client, Listener) {
    heard(
        name,
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, name text, key_hash text, prefix text,
             is_active boolean NOT NULL DEFAULT true, expires_at timestamp, last_used_at timestamp);
         SELECT auth.attach_api_keys('keys');
         INSERT INTO keys (id, user_id, key_fingerprint) VALUES ('k1', 42, 'f1'), ('k2', 42, 'f2'), ('k3', 42, NULL)",
    )
}

/// Runs `sql`; what comes after it is heard.
fn heard(name: &str, sql: &str) -> (Client, Listener) {
    let app = App::new(shared(), name);
    let mut a = app.connect();
    a.run(sql);
    let listener = Listener::on(app.connect(), "auth_invalidation");
    (a, listener)
}

#[test]
fn the_payload_of_a_key_is_that_of_the_contract_to_the_letter() {
    let (mut a, mut listener) = keys("letter");
    a.run("UPDATE keys SET is_active = false WHERE id = 'k1'");
    let expected =
        r#"{"v":1,"kind":"api_key","fingerprint":"f1","user_id":"42","reason":"deactivated"}"#;
    assert_eq!(listener.payloads(), [expected]);
}

#[test]
fn every_change_of_a_key_says_its_reason() {
    let (mut a, mut listener) = keys("reasons");
    for (sql, reason) in [
        (
            "UPDATE keys SET is_active = false WHERE id = 'k1'",
            "deactivated",
        ),
        (
            "UPDATE keys SET is_active = true WHERE id = 'k1'",
            "activated",
        ),
        (
            "UPDATE keys SET expires_at = '2030-01-01' WHERE id = 'k1'",
            "updated",
        ),
        (
            "UPDATE keys SET session_version = session_version + 1 WHERE id = 'k1'",
            "updated",
        ),
        (
            "SET session_replication_role = replica; UPDATE keys SET is_active = false WHERE id = 'k1'; RESET session_replication_role",
            "deactivated",
        ),
        ("DELETE FROM keys WHERE id = 'k1'", "deleted"),
    ] {
        a.run(sql);
        assert_eq!(listener.events(), [event("f1", reason)], "{sql}");
    }
    // Whoever cached the key, cached it under the old fingerprint.
    a.run("UPDATE keys SET key_fingerprint = 'new' WHERE id = 'k2'");
    assert!(listener.events().contains(&event("f2", "updated")));
}

#[test]
fn a_key_without_a_fingerprint_can_only_be_met_by_a_flush() {
    let (mut a, mut listener) = keys("without");
    a.run("UPDATE keys SET is_active = false WHERE id = 'k3'");
    assert_eq!(listener.payloads(), [FLUSH]);
    a.run("DELETE FROM keys WHERE id = 'k3'");
    assert_eq!(listener.payloads(), [FLUSH]);
}

#[test]
fn what_no_cache_holds_of_a_key_sends_nothing() {
    let (mut a, mut listener) = keys("irrelevant");
    for sql in [
        "INSERT INTO keys (id, user_id, key_fingerprint) VALUES ('k4', 42, 'f4')",
        "UPDATE keys SET last_used_at = now(), name = 'x'",
        "UPDATE keys SET key_hash = 'y', prefix = 'z' WHERE key_fingerprint IS NOT NULL",
        "UPDATE keys SET is_active = is_active, user_id = user_id, expires_at = expires_at",
        "UPDATE keys SET key_fingerprint = 'f3' WHERE id = 'k3'",
        "BEGIN; DELETE FROM keys; ROLLBACK",
        "BEGIN; SAVEPOINT s; DELETE FROM keys; ROLLBACK TO s; COMMIT",
    ] {
        a.run(sql);
        assert_eq!(listener.payloads(), Vec::<String>::new(), "{sql}");
    }
}

#[test]
fn truncate_of_the_keys_is_a_flush() {
    let (mut a, mut listener) = keys("truncate");
    a.run("TRUNCATE keys");
    assert_eq!(listener.payloads(), [FLUSH]);
}

#[test]
fn a_keys_own_version_is_raised_when_it_is_deactivated_and_never_goes_down() {
    let (mut a, _) = keys("version");
    let version = "SELECT session_version FROM keys WHERE id = 'k1'";
    a.run("UPDATE keys SET is_active = false WHERE id = 'k1'");
    assert_eq!(a.one::<i64>(version, &[]), 1);
    a.run("UPDATE keys SET is_active = true, session_version = 0 WHERE id = 'k1'");
    assert_eq!(a.one::<i64>(version, &[]), 1);
}

#[test]
fn the_end_of_a_users_sessions_is_not_the_end_of_the_users_keys() {
    let (mut a, mut listener) = keys("owner");
    a.bump("42");
    let kinds: Vec<_> = listener
        .events()
        .iter()
        .map(|event| event["kind"].clone())
        .collect();
    assert_eq!(kinds, [json!("user")]);
}

#[test]
fn a_fingerprint_or_owner_too_long_for_a_payload_is_a_flush() {
    let (mut a, mut listener) = keys("long");
    a.run("INSERT INTO keys (id, user_id, key_fingerprint) VALUES ('long', 42, repeat('f', 9000))");
    a.run("UPDATE keys SET is_active = false WHERE id = 'long'");
    assert_eq!(listener.payloads(), [FLUSH]);
}

#[test]
fn keys_of_a_partitioned_table_are_heard_of_and_one_that_moves_is_no_news() {
    let (mut a, mut listener) = heard(
        "partitioned",
        "CREATE TABLE keys (id uuid, user_id bigint, region text, key_fingerprint text, is_active boolean DEFAULT true)
             PARTITION BY LIST (region);
         CREATE TABLE keys_eu PARTITION OF keys FOR VALUES IN ('eu');
         SELECT auth.attach_api_keys('keys');
         CREATE TABLE keys_us PARTITION OF keys FOR VALUES IN ('us');
         INSERT INTO keys VALUES (gen_random_uuid(), 42, 'eu', 'f1')",
    );
    a.run("UPDATE keys SET region = 'us'");
    assert_eq!(listener.payloads(), Vec::<String>::new());
    a.run("UPDATE keys_us SET is_active = false");
    assert_eq!(listener.events(), [event("f1", "deactivated")]);
    a.run("UPDATE keys SET region = 'eu', is_active = true");
    assert_eq!(listener.events(), [event("f1", "activated")]);
    a.run("UPDATE keys SET region = 'us', key_fingerprint = 'f2'");
    assert_eq!(listener.events(), [event("f1", "updated")]);
}

#[test]
fn a_key_that_ends_earlier_in_another_partition_is_heard_of() {
    let (mut a, mut listener) = heard(
        "by_expiry",
        "CREATE TABLE keys (id uuid, user_id bigint, key_fingerprint text, expires_at timestamptz) PARTITION BY RANGE (expires_at);
         CREATE TABLE keys_past PARTITION OF keys FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
         CREATE TABLE keys_now PARTITION OF keys DEFAULT;
         SELECT auth.attach_api_keys('keys');
         INSERT INTO keys VALUES (gen_random_uuid(), 42, 'f1', 'infinity')",
    );
    a.run("UPDATE keys SET expires_at = '2025-01-01'");
    assert_eq!(listener.events(), [event("f1", "updated")]);
}

#[test]
fn a_key_without_a_fingerprint_that_gets_another_hash_is_a_flush() {
    let (mut a, mut listener) = heard(
        "rehashed",
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, prefix text, key_hash text);
         SELECT auth.attach_api_keys('keys');
         INSERT INTO keys VALUES ('k', 42, 'prefix', 'hash')",
    );
    for change in [
        "key_hash = 'other'",
        "prefix = 'other'",
        "key_hash = 'third', key_fingerprint = 'f1'",
    ] {
        a.run(&format!("UPDATE keys SET {change}"));
        assert_eq!(listener.payloads(), [FLUSH], "{change}");
    }
    // It is found by its fingerprint from now on; and a filling-in is no news.
    a.run("UPDATE keys SET key_hash = 'fourth'");
    a.run("INSERT INTO keys VALUES ('l', 42, 'prefix', 'hash')");
    a.run("UPDATE keys SET key_fingerprint = 'f2' WHERE id = 'l'");
    assert_eq!(listener.payloads(), Vec::<String>::new());
}

#[test]
fn the_owner_of_a_key_is_called_as_the_users_table_calls_him() {
    let (mut a, mut listener) = heard(
        "owner",
        "CREATE TABLE keys (id text PRIMARY KEY, user_id text);
         SELECT auth.attach_api_keys('keys');
         INSERT INTO keys VALUES ('k', '+042', auth.api_key_fingerprint('k'))",
    );
    let owner: String = a.one("SELECT user_id FROM auth.verify_api_key('k')", &[]);
    assert_eq!(owner, "42");
    a.run("DELETE FROM keys");
    assert_eq!(listener.events()[0]["user_id"], "42");
}

#[test]
fn attach_api_keys_names_what_is_wrong_with_the_table() {
    let app = App::new(shared(), "wrong");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE keys (id int, user_id int, session_version text, key_fingerprint bytea, expires_at date,
                            hash text, generated text GENERATED ALWAYS AS ('x') STORED);
         CREATE TABLE few (id int); CREATE TABLE other (id int, user_id int); CREATE VIEW seen AS TABLE other;
         CREATE ROLE stranger; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO stranger",
    );
    for wrong in [
        "NULL",
        "'few'",
        "'seen'",
        "'keys'",
        "'keys', version_column => 'v'",
        "'keys', fingerprint_column => 'f'",
        "'keys', version_column => 'v', fingerprint_column => 'generated'",
        "'keys', version_column => 'v', fingerprint_column => 'f', expires_column => 'expires_at'",
        "'keys', version_column => 'v', fingerprint_column => 'f', hash_column => 'none'",
        "'keys', version_column => 'v', fingerprint_column => 'f', active_column => 'hash'",
        "'other', user_column => 'none'",
    ] {
        let sql = format!("SELECT auth.attach_api_keys({wrong})");
        let error = refused(a.batch_execute(&sql), "22023", None);
        assert!(!error.message().is_empty(), "{wrong}");
    }
    a.run("SET ROLE stranger");
    refused(
        a.batch_execute("SELECT auth.attach_api_keys('other')"),
        "42501",
        None,
    );
    a.run("RESET ROLE; SELECT auth.attach_api_keys('other')");
    a.run("CREATE TABLE second (id int, user_id int)");
    refused(
        a.batch_execute("SELECT auth.attach_api_keys('second')"),
        "22023",
        None,
    );
    a.run("SET ROLE stranger");
    refused(
        a.batch_execute("SELECT auth.detach_api_keys()"),
        "42501",
        None,
    );
    a.run("RESET ROLE; SELECT auth.detach_api_keys(); SELECT auth.attach_api_keys('second')");
    let triggers: i64 = a.one(
        "SELECT count(*) FROM pg_trigger WHERE tgrelid = 'other'::regclass",
        &[],
    );
    assert_eq!(triggers, 0);
}
