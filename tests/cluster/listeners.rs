//! The listeners that README.md shows, as processes that cache: what they may serve, whatever happens.

mod chaos;
mod setup;

use std::time::{Duration, Instant};

use auth_ext_tests::postgres::Client;
use auth_ext_tests::{Ask, Cluster, Value, json, shared};

use chaos::ends_equal;
use setup::{Caches, LANGUAGES, Language, signal, wait};

/// Nothing but an event, or a question to catch up, evicts within the time of a test.
const LONG: &str = "300";

#[test]
fn whatever_happens_to_the_server_a_cache_in_python_ends_equal_to_the_tables() {
    ends_equal(Language::Python, &Cluster::start("chaos_python"));
}

#[test]
fn whatever_happens_to_the_server_a_cache_in_node_ends_equal_to_the_tables() {
    ends_equal(Language::Node, &Cluster::start("chaos_node"));
}

#[test]
fn whatever_happens_to_the_server_a_cache_in_rust_ends_equal_to_the_tables() {
    ends_equal(Language::Rust, &Cluster::start("chaos_rust"));
}

#[test]
fn whatever_happens_to_a_server_with_a_relay_a_cache_ends_equal_to_the_tables() {
    let settings = [
        ("shared_preload_libraries", "auth_ext"),
        ("auth_ext.notify", "relay"),
    ];
    ends_equal(
        Language::Python,
        &Cluster::with_config("chaos_relay", &settings),
    );
}

#[test]
fn an_event_evicts_what_it_is_about_and_nothing_else() {
    for language in LANGUAGES {
        let caches = Caches::new(shared(), "evicts", language, LONG);
        let mut a = caches.app.connect();
        let token = a.issue("121");
        let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&token]);
        let jti = format!("token {}", claims["jti"].as_str().expect("a jti"));
        let issuer = format!("issuer {}", auth_ext_tests::ISSUER);
        let revoke = format!("SELECT auth.revoke_jwt('{token}')");
        let changes = [
            ("user 122", "SELECT auth.bump_session_version('122')"),
            (
                "user 122",
                "UPDATE users SET is_active = false WHERE id = 122",
            ),
            ("user 122", "DELETE FROM users WHERE id = 122"),
            (
                "api_key f122",
                "UPDATE keys SET is_active = false WHERE id = 'k122'",
            ),
            ("api_key f122", "DELETE FROM keys WHERE id = 'k122'"),
            (&jti, &revoke),
            (&issuer, "UPDATE auth.issuers SET leeway = '1 s'"),
        ];
        let others = ["user 123", "api_key f123", "token other", "issuer other"];
        for (about, sql) in changes {
            others
                .iter()
                .chain([&about])
                .for_each(|entry| caches.fill(entry));
            a.run(sql);
            wait(|| caches.peek(about).is_null(), sql);
            for entry in others {
                assert!(
                    !caches.peek(entry).is_null(),
                    "{language:?}: {sql} evicts {entry}"
                );
            }
        }
        // An INSERT sends no event: that nobody was there must not be remembered.
        assert_eq!(caches.get("user 122")["row"], Value::Null);
        a.run("INSERT INTO users (id) VALUES (122)");
        assert_eq!(caches.get("user 122")["row"]["session_version"], json!(3));
    }
}

#[test]
fn what_a_listener_does_not_understand_empties_its_cache_which_then_goes_on() {
    for language in LANGUAGES {
        let caches = Caches::new(shared(), "forged", language, LONG);
        let mut a = caches.app.connect();
        for payload in [
            "",
            "not JSON",
            "[[[[",
            "null",
            "[]",
            "7",
            r#"{"v":1,"kind":"flush"}"#,
            r#"{"v":2,"kind":"new","id":"122"}"#,
            r#"{"v":1,"kind":"user"}"#,
            r#"{"v":1,"kind":"user","id":"122","session_version":"x"}"#,
            r#"{"v":1,"kind":"__proto__","id":"122"}"#,
        ] {
            caches.fill("user 122");
            a.rows("SELECT pg_notify('auth_invalidation', $1)", &[&payload]);
            wait(|| caches.peek("user 122").is_null(), payload);
        }
        caches.fill("user 122");
    }
}

#[test]
fn a_row_that_was_read_before_its_event_is_not_cached_after_it() {
    for language in LANGUAGES {
        let caches = Caches::new(shared(), "race", language, LONG);
        let mut a = caches.app.connect();
        a.run("UPDATE users SET is_active = false WHERE id = 121");
        let waits =
            "SELECT count(*) = 1 FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database
             WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = current_database()";
        for (entry, change) in [
            (
                "user 122",
                "UPDATE users SET is_active = false WHERE id = 122",
            ),
            // With the version that it had.
            (
                "user 121",
                "UPDATE users SET is_active = true WHERE id = 121",
            ),
            (
                "api_key f122",
                "UPDATE keys SET is_active = false WHERE id = 'k122'",
            ),
        ] {
            // Who loads has read, and waits.
            a.run("SELECT pg_advisory_lock(1); CREATE TABLE slow ()");
            let old = caches.process.begin(&format!("get {entry}"));
            wait(|| a.one(waits, &[]), waits);
            a.run(change);
            caches.process.ask("sync");
            a.run("DROP TABLE slow; SELECT pg_advisory_unlock(1)");
            let old = old
                .recv_timeout(Duration::from_secs(30))
                .expect("an answer");
            assert_eq!(caches.peek(entry), Value::Null, "{language:?}: {change}");
            let new = caches.get(entry);
            assert_ne!(
                old["row"]["is_active"], new["row"]["is_active"],
                "{language:?}: {change}"
            );
        }
        a.run("CREATE TABLE lagging ()");
        a.bump("122");
        wait(|| caches.peek("user 122").is_null(), "the bump");
        assert_eq!(caches.get("user 122")["row"]["session_version"], json!(1));
        assert_eq!(caches.peek("user 122"), Value::Null, "{language:?}");
        assert_eq!(caches.get("user 123")["row"]["session_version"], json!(1));
        assert!(!caches.peek("user 123").is_null(), "{language:?}");
    }
}

#[test]
fn who_has_lost_the_connection_serves_nothing_from_the_cache_before_catching_up() {
    let mut other = shared().connect("postgres");
    for language in LANGUAGES {
        let caches = Caches::new(shared(), "lost", language, LONG);
        let mut a = caches.app.connect();
        for entry in ["user 122", "user 123"] {
            caches.fill(entry);
        }
        let listener = caches.backend();
        let allow = format!("ALTER DATABASE \"{}\" ALLOW_CONNECTIONS", caches.app.db);
        other.run(&format!("{allow} false"));
        a.rows("SELECT pg_terminate_backend($1)", &[&listener]);
        wait(
            || caches.process.ask("fresh") == false,
            "the end of the connection",
        );
        let version = a.bump("122");
        for (entry, version) in [("user 122", version), ("user 123", 0)] {
            let answer = caches.get(entry);
            assert_eq!(
                answer["row"]["session_version"],
                json!(version),
                "{language:?}"
            );
            assert_eq!(answer["cached"], json!(false), "{language:?}");
        }
        assert_eq!(caches.peek("user 123"), Value::Null, "{language:?}");
        other.run(&format!("{allow} true"));
        caches.process.ask("sync");
        // Only what has changed was evicted.
        assert_eq!(caches.peek("user 122"), Value::Null, "{language:?}");
        assert!(!caches.peek("user 123").is_null(), "{language:?}");
        assert_eq!(
            caches.get("user 122")["row"]["session_version"],
            json!(version)
        );
    }
}

/// How long a change may stay unknown, in these tests; in seconds, and so.
const SHORT: &str = "0.6";
const PROMISE: Duration = Duration::from_millis(600);

fn bump_and_wait(a: &mut Client) -> Value {
    let version = a.bump("122");
    let committed = Instant::now();
    // The promise itself: not a moment more.
    std::thread::sleep(PROMISE.saturating_sub(committed.elapsed()));
    json!(version)
}

#[test]
fn where_nothing_is_sent_a_change_is_known_within_the_promised_time() {
    for language in LANGUAGES {
        let caches = Caches::new(shared(), "silent", language, SHORT);
        let mut a = caches.app.connect();
        a.run("SET auth_ext.notify = off");
        caches.fill("user 122");
        let version = bump_and_wait(&mut a);
        assert_eq!(
            caches.get("user 122")["row"]["session_version"],
            version,
            "{language:?}"
        );
    }
}

#[test]
fn what_was_cached_is_served_no_longer_than_promised_when_the_server_does_not_answer() {
    for language in LANGUAGES {
        let caches = Caches::new(shared(), "hangs", language, SHORT);
        let mut a = caches.app.connect();
        caches.fill("user 122");
        let listener = caches.backend();
        signal(listener, "STOP");
        let version = bump_and_wait(&mut a);
        let answer = caches.get("user 122");
        assert_eq!(
            answer,
            json!({"row": a.one::<Value>("SELECT load('user', '122')", &[]), "cached": false})
        );
        assert_eq!(answer["row"]["session_version"], version, "{language:?}");
        assert_eq!(caches.process.ask("fresh"), json!(false));
        signal(listener, "CONT");
        caches.fill("user 122");
    }
}
