//! API keys: what a new one is, whatever table holds it; whom it belongs to, until when; who hears of its end.

use auth_ext_tests::{
    App, Ask, Client, Listener, PLAIN, SHAPES, Value, attempt, database_with_key, json, no,
    refused, shared,
};

const VERIFY: &str = "SELECT id FROM auth.verify_api_key($1)";

/// A table with every column that a key can have.
const FULL: &str = "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, name text NOT NULL,
     key_hash text NOT NULL UNIQUE, prefix text NOT NULL, is_active boolean NOT NULL, last_used_at timestamp,
     expires_at timestamp, created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
     SELECT auth.attach_api_keys('keys')";

struct Key {
    id: String,
    key: String,
    fingerprint: String,
}

fn create(client: &mut Client, arguments: &str) -> Key {
    let sql = format!("SELECT id, key, fingerprint FROM auth.create_api_key({arguments})");
    let row = &client.rows(&sql, &[])[0];
    Key {
        id: row.get(0),
        key: row.get(1),
        fingerprint: row.get(2),
    }
}

fn verdict(client: &mut Client, key: &str) -> String {
    let sql = "SELECT coalesce(reason, 'valid') FROM auth.check_api_key($1)";
    client.one(sql, &[&key])
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[test]
fn a_key_is_rfs_and_64_hexadecimal_digits_and_its_row_has_what_the_service_would_write() {
    let app = App::new(shared(), "row");
    let mut a = app.connect();
    a.run(FULL);
    a.run("SET TimeZone = 'Pacific/Kiritimati'");
    let made = create(&mut a, "'41', 'my key', now() + interval '1 day'");
    assert_eq!(made.key.len(), 67);
    assert!(
        made.key.starts_with("rfs") && is_lower_hex(&made.key[3..]),
        "{}",
        made.key
    );
    let ulid = made.id.strip_prefix("uak_").unwrap();
    assert_eq!(ulid.len(), 26);
    assert!(ulid.starts_with(['0', '1', '2', '3', '4', '5', '6', '7']));
    assert!(
        ulid.bytes()
            .all(|b| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&b)),
        "{ulid}"
    );
    assert_eq!(made.fingerprint.len(), 64);
    let sql = "SELECT id = $1 AND user_id = 41 AND name = 'my key' AND prefix = left($2, 8) AND is_active
                   AND key_fingerprint = encode(sha256(convert_to($2, 'UTF8')), 'hex') AND key_fingerprint = $3
                   AND session_version = 0 AND last_used_at IS NULL AND key_hash ~ '^\\$2[aby]\\$12\\$.{53}$'
                   AND abs(extract(epoch FROM created_at - (clock_timestamp() AT TIME ZONE 'UTC'))) < 30
                   AND abs(extract(epoch FROM updated_at - (clock_timestamp() AT TIME ZONE 'UTC'))) < 30
                   AND abs(extract(epoch FROM expires_at - (clock_timestamp() AT TIME ZONE 'UTC')) - 86400) < 30
               FROM keys";
    assert!(a.one::<bool>(sql, &[&made.id, &made.key, &made.fingerprint]));
    let sql =
        "SELECT user_id, session_version, fingerprint, expires_at > now() + interval '23 hours'
                   AND expires_at < now() + interval '25 hours' FROM auth.verify_api_key($1)";
    let row = &a.rows(sql, &[&made.key])[0];
    assert_eq!(row.get::<_, String>(0), "41");
    assert_eq!(row.get::<_, i64>(1), 0);
    assert_eq!(row.get::<_, String>(2), made.fingerprint);
    assert!(row.get::<_, bool>(3));
    assert_eq!(
        a.one::<String>(
            "SELECT auth.api_key_fingerprint('rfs' || repeat('a', 64))",
            &[]
        ),
        "b97e9d3ee11b67f92db68feb32601dc605acaac0b35c5de04469d0edcd0da445"
    );
    // Ids sort by the time they were made, at least over milliseconds.
    a.run("SELECT pg_sleep(0.002)");
    assert!(create(&mut a, "'41', 'later'").id > made.id);
}

#[test]
fn a_new_key_is_for_an_active_user_a_name_a_sane_prefix_and_a_future_expiry() {
    let app = App::new(shared(), "arguments");
    let mut a = app.connect();
    a.run(FULL);
    a.run("UPDATE users SET is_active = false WHERE id = 42");
    let sql = "SELECT id FROM auth.create_api_key($1, 'x')";
    for (user, reason) in [
        (Some("42"), "inactive_user"),
        (Some("7"), "unknown_user"),
        (Some("x"), "unknown_user"),
        (None, "unknown_user"),
    ] {
        assert_eq!(attempt(&mut a, sql, &[&user]), no(reason));
    }
    for arguments in [
        "'41', NULL",
        "'41', 'x', now()",
        "'41', 'x', now() - interval '1 s'",
        "'41', 'x', '-infinity'",
        "'41', 'x', prefix => NULL",
        "'41', 'x', prefix => 'a b'",
        "'41', 'x', prefix => 'é'",
        "'41', 'x', prefix => repeat('p', 33)",
    ] {
        let sql = format!("SELECT auth.create_api_key({arguments})");
        refused(a.query(&sql, &[]), "22023", None);
    }
    assert_eq!(a.one::<i64>("SELECT count(*) FROM keys", &[]), 0);
    for prefix in ["", "sk_live-", &"p".repeat(32)] {
        let made = create(&mut a, &format!("'41', 'x', prefix => '{prefix}'"));
        assert_eq!(made.key.len(), prefix.len() + 64);
        assert!(made.key.starts_with(prefix));
        assert_eq!(verdict(&mut a, &made.key), "valid");
    }
    let endless = create(&mut a, "'41', 'x', 'infinity'");
    assert_eq!(verdict(&mut a, &endless.key), "valid");
}

#[test]
fn a_table_of_any_id_type_with_no_column_that_is_not_needed_holds_keys() {
    for shape in SHAPES {
        let app = App::of_shape(shared(), "types", shape);
        let mut a = app.connect();
        let user_type: String = a.one(
            &app.sql("SELECT pg_typeof({id})::text FROM {users} LIMIT 1"),
            &[],
        );
        for id in [
            "bigint GENERATED BY DEFAULT AS IDENTITY",
            "uuid",
            "integer GENERATED ALWAYS AS IDENTITY",
            "varchar(40)",
            "text",
        ] {
            a.run(&format!(
                "CREATE TABLE keys (\"the id\" {id} PRIMARY KEY, owner {user_type} NOT NULL);
                 SELECT auth.attach_api_keys('keys', 'the id', 'owner', 'finger print', 'v')"
            ));
            let sql = "SELECT id, key FROM auth.create_api_key($1, 'name')";
            let row = &a.rows(sql, &[&app.ada])[0];
            let (id, key): (String, String) = (row.get(0), row.get(1));
            let sql = "SELECT id, user_id FROM auth.verify_api_key($1)";
            let row = &a.rows(sql, &[&key])[0];
            assert_eq!(row.get::<_, String>(0), id);
            assert_eq!(row.get::<_, String>(1), app.ada);
            refused(
                a.query(
                    "SELECT auth.create_api_key($1, 'x', now() + interval '1 h')",
                    &[&app.ada],
                ),
                "22023",
                None,
            );
            // Without a column that says whether a key holds, its end is its deletion.
            let revoke = "SELECT auth.revoke_api_key($1)";
            assert!(!a.one::<bool>(revoke, &[&"nobody's"]));
            assert!(a.one::<bool>(revoke, &[&id]));
            assert!(!a.one::<bool>(revoke, &[&id]));
            assert_eq!(verdict(&mut a, &key), "unknown_api_key");
            assert_eq!(a.one::<i64>("SELECT count(*) FROM keys", &[]), 0);
            a.run("SELECT auth.detach_api_keys(); DROP TABLE keys");
        }
    }
}

#[test]
fn a_key_ends_at_expires_at_which_is_utc_where_the_column_has_no_zone() {
    for column in ["timestamp", "timestamptz"] {
        let app = App::new(shared(), "expires");
        let mut a = app.connect();
        a.run(&format!(
            "CREATE TABLE keys (id text, user_id bigint, expires_at {column}, last_used_at {column});
             SELECT auth.attach_api_keys('keys')"
        ));
        let key = create(&mut a, "'41', 'x', now() + interval '1 hour'").key;
        for zone in [
            "UTC",
            "Pacific/Kiritimati",
            "America/Los_Angeles",
            "Asia/Kathmandu",
        ] {
            a.run(&format!("SET TimeZone = '{zone}'"));
            for (end, expected) in [
                ("clock_timestamp() + interval '10 s'", "valid"),
                ("clock_timestamp() - interval '1 ms'", "expired_api_key"),
                ("'infinity'::timestamptz", "valid"),
                ("'-infinity'::timestamptz", "expired_api_key"),
                ("NULL::timestamptz", "valid"),
            ] {
                let stored = if column == "timestamp" {
                    format!("({end}) AT TIME ZONE 'UTC'")
                } else {
                    end.to_owned()
                };
                a.run(&format!(
                    "UPDATE keys SET expires_at = {stored}, last_used_at = NULL"
                ));
                assert_eq!(verdict(&mut a, &key), expected, "{column} {zone} {end}");
                let outcome = attempt(&mut a, VERIFY, &[&key]);
                assert_eq!(
                    outcome.is_ok(),
                    expected == "valid",
                    "{column} {zone} {end}: {outcome:?}"
                );
                if expected == "valid" {
                    let now = if column == "timestamp" {
                        "clock_timestamp() AT TIME ZONE 'UTC'"
                    } else {
                        "clock_timestamp()"
                    };
                    let sql = format!(
                        "SELECT abs(extract(epoch FROM last_used_at - ({now}))) < 30 FROM keys"
                    );
                    assert!(a.one::<bool>(&sql, &[]), "{column} {zone}");
                }
            }
        }
    }
}

#[test]
fn a_key_holds_while_it_and_its_owner_are_active_whatever_happens_to_the_owners_sessions() {
    let app = App::new(shared(), "owner");
    let (mut a, mut b) = (app.connect(), app.connect());
    a.run(FULL);
    let made = create(&mut a, "'41', 'x'");
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    for (change, reason) in [
        ("SELECT auth.bump_session_version('41')", "valid"),
        ("UPDATE users SET email = 'new' WHERE id = 41", "valid"),
        (
            "UPDATE users SET is_active = false WHERE id = 41",
            "inactive_user",
        ),
        ("UPDATE users SET is_active = true WHERE id = 41", "valid"),
        ("UPDATE keys SET is_active = false", "inactive_api_key"),
        ("UPDATE keys SET is_active = true", "valid"),
        (
            "UPDATE keys SET expires_at = '2000-01-01'",
            "expired_api_key",
        ),
        ("UPDATE keys SET expires_at = NULL", "valid"),
        ("UPDATE keys SET user_id = 7", "unknown_user"),
        ("UPDATE keys SET user_id = 42", "valid"),
        ("DELETE FROM users WHERE id = 42", "unknown_user"),
        ("DELETE FROM keys", "unknown_api_key"),
    ] {
        a.run(change);
        assert_eq!(verdict(&mut b, &made.key), reason, "{change}");
        assert_eq!(verdict(&mut a, &made.key), reason, "{change}");
        let outcome = attempt(&mut a, VERIFY, &[&made.key]);
        let expected = if reason == "valid" {
            Ok(Some(made.id.clone()))
        } else {
            no(reason)
        };
        assert_eq!(outcome, expected, "{change}");
    }
}

#[test]
fn what_is_no_key_is_unknown() {
    let app = App::new(shared(), "unknown");
    let mut a = app.connect();
    a.run(FULL);
    let made = create(&mut a, "'41', 'x'");
    let other_tail = format!(
        "{}{}",
        &made.key[..66],
        if made.key.ends_with('0') { '1' } else { '0' }
    );
    let upper = made.key.to_uppercase();
    let long = "k".repeat(20_000_000);
    for key in [
        "",
        " ",
        "rfs",
        &made.key[..66],
        &format!("{}0", made.key),
        &other_tail,
        &upper,
        &made.fingerprint,
        "é🙂",
        &long,
    ] {
        let shown: String = key.chars().take(80).collect();
        assert_eq!(
            attempt(&mut a, VERIFY, &[&key]),
            no("unknown_api_key"),
            "{shown}"
        );
        assert_eq!(verdict(&mut a, key), "unknown_api_key", "{shown}");
    }
    assert_eq!(
        attempt(&mut a, VERIFY, &[&None::<&str>]),
        no("unknown_api_key")
    );
}

#[test]
fn deactivation_activation_revocation_deletion_and_a_new_version_are_told_by_fingerprint() {
    let app = App::new(shared(), "events");
    let mut a = app.connect();
    a.run(FULL);
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    let made = create(&mut a, "'41', 'x'");
    let event = |reason: &str| json!({"v": 1, "kind": "api_key", "fingerprint": made.fingerprint, "user_id": "41", "reason": reason});
    assert_eq!(
        listener.payloads(),
        Vec::<String>::new(),
        "nobody holds a new key"
    );
    attempt(&mut a, VERIFY, &[&made.key]).unwrap();
    assert_eq!(
        listener.payloads(),
        Vec::<String>::new(),
        "its use is no news"
    );
    for (change, reason) in [
        ("UPDATE keys SET is_active = false", "deactivated"),
        ("UPDATE keys SET is_active = true", "activated"),
        (
            "UPDATE keys SET session_version = session_version + 1",
            "updated",
        ),
        ("UPDATE keys SET expires_at = '2999-01-01'", "updated"),
        ("SELECT auth.revoke_api_key(id) FROM keys", "revoked"),
        ("DELETE FROM keys", "deleted"),
    ] {
        a.run(&format!("BEGIN; {change}; ROLLBACK"));
        a.run("BEGIN");
        a.run(change);
        assert_eq!(
            listener.events(),
            Vec::<Value>::new(),
            "{change} before COMMIT"
        );
        a.run("COMMIT");
        assert_eq!(listener.events(), [event(reason)], "{change}");
    }
    let mut keys = create(&mut a, "'41', 'y'");
    assert!(a.one::<bool>("SELECT auth.revoke_api_key($1)", &[&keys.id]));
    assert!(!a.one::<bool>("SELECT auth.revoke_api_key($1)", &[&keys.id]));
    keys.id = "none".to_owned();
    assert!(!a.one::<bool>("SELECT auth.revoke_api_key($1)", &[&keys.id]));
    assert_eq!(verdict(&mut a, &keys.key), "inactive_api_key");
    assert_eq!(listener.events().len(), 1);
}

#[test]
fn a_key_without_an_owner_is_nobodys_also_where_a_users_id_is_empty() {
    let db = database_with_key(shared(), "ownerless");
    let mut a = shared().connect(&db);
    a.run(
        "CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('');
         SELECT auth.attach_users('users');
         CREATE TABLE keys (id text PRIMARY KEY, user_id text); SELECT auth.attach_api_keys('keys')",
    );
    let made = create(&mut a, "'', 'x'");
    assert_eq!(verdict(&mut a, &made.key), "valid");
    a.run("UPDATE keys SET user_id = NULL");
    assert_eq!(verdict(&mut a, &made.key), "unknown_user");
}

#[test]
fn the_version_that_is_returned_is_the_keys_own() {
    let app = App::of_shape(shared(), "own_version", &PLAIN);
    let mut a = app.connect();
    a.run(FULL);
    let made = create(&mut a, "'41', 'x'");
    let version = "SELECT session_version FROM auth.verify_api_key($1)";
    a.bump("41");
    assert_eq!(a.one::<i64>(version, &[&made.key]), 0);
    a.run("UPDATE keys SET session_version = 5");
    assert_eq!(a.one::<i64>(version, &[&made.key]), 5);
    a.run("UPDATE keys SET is_active = false; UPDATE keys SET is_active = true");
    assert_eq!(a.one::<i64>(version, &[&made.key]), 6);
}
