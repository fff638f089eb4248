//! Keys that are known by their bcrypt hash only, until their first use.

use std::time::{Duration, Instant};

use super::{KEYS, VERIFY, used};
use auth_ext_tests::{
    App, Ask, Client, Listener, attempt, json, no, race, refused, service, shared,
};

/// A key of the service's length that begins with `prefix`.
pub(super) fn plain(prefix: &str, digit: char) -> String {
    let tail = 67 - prefix.len();
    prefix.to_owned() + &digit.to_string().repeat(tail)
}

/// A row without a fingerprint. The hash is of a low cost, so that a test is quick.
pub(super) fn insert_hashed(client: &mut Client, id: &str, key: &str, hash: &str) {
    let sql = "INSERT INTO keys (id, user_id, key_hash, prefix) VALUES ($1, 41, $2, left($3, 8))";
    client.execute(sql, &[&id, &hash, &key]).unwrap();
}

/// bcrypt, as pgcrypto or any library would write it: by Python's.
pub(super) fn bcrypt(key: &str) -> String {
    bcrypt_of_cost(key, 4)
}

pub(super) fn bcrypt_of_cost(key: &str, rounds: u32) -> String {
    let hash = service(&["hash"], &json!({"plain": key, "rounds": rounds}));
    hash.as_str().unwrap().to_owned()
}

pub(super) fn fingerprint(client: &mut Client, id: &str) -> Option<String> {
    client.one("SELECT key_fingerprint FROM keys WHERE id = $1", &[&id])
}

#[test]
fn a_row_without_a_fingerprint_is_found_by_its_hash_and_has_one_afterwards() {
    let app = App::new(shared(), "fill");
    let mut a = app.connect();
    a.run(KEYS);
    let key = plain("rfs12345", 'a');
    insert_hashed(&mut a, "old", &key, &bcrypt(&key));
    let mut listener = Listener::on(app.connect(), "auth_invalidation");
    assert_eq!(
        attempt(&mut a, VERIFY, &[&plain("rfs12345", 'b')]),
        no("unknown_api_key")
    );
    assert_eq!(fingerprint(&mut a, "old"), None);
    a.run("BEGIN");
    assert_eq!(attempt(&mut a, VERIFY, &[&key]), Ok(Some("old".to_owned())));
    a.run("ROLLBACK");
    assert_eq!(fingerprint(&mut a, "old"), None);
    assert_eq!(attempt(&mut a, VERIFY, &[&key]), Ok(Some("old".to_owned())));
    let sha256: String = a.one("SELECT auth.api_key_fingerprint($1)", &[&key]);
    assert_eq!(fingerprint(&mut a, "old"), Some(sha256));
    assert!(used(&mut a).is_some());
    assert_eq!(
        listener.payloads(),
        Vec::<String>::new(),
        "no cache could hold it"
    );
    // From now on the fingerprint alone decides.
    a.run("UPDATE keys SET key_hash = 'x'");
    assert!(attempt(&mut a, VERIFY, &[&key]).is_ok());
    let outcomes = {
        a.run("UPDATE keys SET key_fingerprint = NULL");
        let hash = bcrypt(&key);
        a.execute("UPDATE keys SET key_hash = $1", &[&hash])
            .unwrap();
        race(&app, 10, |_, client| attempt(client, VERIFY, &[&key]))
    };
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
}

#[test]
fn a_row_that_does_not_hold_is_refused_by_its_own_reason_when_found_by_its_hash() {
    let app = App::new(shared(), "states");
    let mut a = app.connect();
    a.run(KEYS);
    let key = plain("rfs12345", 'a');
    insert_hashed(&mut a, "old", &key, &bcrypt(&key));
    for (change, reason) in [
        ("UPDATE keys SET is_active = false", "inactive_api_key"),
        (
            "UPDATE keys SET is_active = true, expires_at = '2000-01-01'",
            "expired_api_key",
        ),
        (
            "UPDATE keys SET expires_at = NULL; UPDATE users SET is_active = false",
            "inactive_user",
        ),
        ("UPDATE keys SET user_id = 7", "unknown_user"),
    ] {
        a.run(change);
        assert_eq!(attempt(&mut a, VERIFY, &[&key]), no(reason), "{change}");
        assert_eq!(fingerprint(&mut a, "old"), None, "{change}");
    }
}

#[test]
fn several_rows_of_one_prefix_are_told_apart() {
    let app = App::new(shared(), "several");
    let mut a = app.connect();
    a.run(KEYS);
    let keys: Vec<String> = "01234"
        .chars()
        .map(|digit| plain("rfs12345", digit))
        .collect();
    for (n, key) in keys.iter().enumerate() {
        insert_hashed(&mut a, &n.to_string(), key, &bcrypt(key));
    }
    for (n, key) in keys.iter().enumerate().rev() {
        assert_eq!(attempt(&mut a, VERIFY, &[key]), Ok(Some(n.to_string())));
    }
    let filled = "SELECT count(DISTINCT key_fingerprint) FROM keys";
    assert_eq!(a.one::<i64>(filled, &[]), 5);
}

#[test]
fn ended_keys_and_those_whose_hash_is_none_do_not_stand_in_the_way_of_one_that_holds() {
    let app = App::new(shared(), "crowd");
    let mut a = app.connect();
    a.run(KEYS);
    let key = plain("rfs12345", 'a');
    let hash = bcrypt(&plain("rfs12345", 'b'));
    for n in 0..20 {
        insert_hashed(&mut a, &format!("ended {n}"), &key, &hash);
        insert_hashed(&mut a, &format!("malformed {n}"), &key, "$2b$12$x");
    }
    a.run("UPDATE keys SET is_active = false WHERE id LIKE 'ended%'");
    insert_hashed(&mut a, "good", &key, &bcrypt(&key));
    assert_eq!(
        attempt(&mut a, VERIFY, &[&key]),
        Ok(Some("good".to_owned()))
    );
}

#[test]
fn many_rows_of_one_prefix_cost_a_bounded_time() {
    let app = App::new(shared(), "many");
    let mut a = app.connect();
    a.run(KEYS);
    let key = plain("rfs12345", 'a');
    let hash = bcrypt(&plain("rfs12345", 'b'));
    // 4 is the lowest cost; 10,000 of them are some twenty seconds.
    a.execute(
        "INSERT INTO keys (id, user_id, key_hash, prefix) SELECT n::text, 41, $1, 'rfs12345' FROM generate_series(1, 10000) AS n",
        &[&hash],
    )
    .unwrap();
    a.run("CREATE INDEX ON keys (prefix); ANALYZE keys");
    let started = Instant::now();
    assert_eq!(attempt(&mut a, VERIFY, &[&key]), no("unknown_api_key"));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_malformed_or_expensive_hash_is_no_match_and_costs_nothing() {
    let app = App::new(shared(), "malformed");
    let mut a = app.connect();
    a.run(KEYS);
    let key = plain("rfs12345", 'a');
    let good = bcrypt(&key);
    let tail = &good[7..];
    let started = Instant::now();
    for hash in [
        "",
        "$",
        "$$$$",
        "$2b$",
        "$2b$04$",
        "$2b$12$x",
        "x",
        "é🙂",
        &key,
        &good[..59],
        &format!("{good}x"),
        &good.replace("$04$", "$4$"),
        &good.replace("$04$", "$-4$"),
        &good.replace("$04$", "$99999999999999999999$"),
        &format!("$2b$31${tail}"),
        &format!("$2b$30${tail}"),
        &format!("$2b$17${tail}"),
        &format!("$2b$16${tail}"),
        &format!("$2b$15${tail}"),
        &format!("$2b$00${tail}"),
        &format!("$2b$99${tail}"),
        &format!("$argon2id$v=19$m=65536,t=3,p=4${tail}"),
        &"$2b$04$".repeat(10_000),
        &good.replace('$', ""),
        &good.to_uppercase(),
    ] {
        a.run("DELETE FROM keys");
        insert_hashed(&mut a, "bad", &key, hash);
        let shown: String = hash.chars().take(70).collect();
        assert_eq!(
            attempt(&mut a, VERIFY, &[&key]),
            no("unknown_api_key"),
            "{shown}"
        );
        assert_eq!(fingerprint(&mut a, "bad"), None, "{shown}");
    }
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    for variant in ["2a", "2b", "2y"] {
        a.run("DELETE FROM keys");
        insert_hashed(&mut a, "good", &key, &format!("${variant}$04${tail}"));
        assert!(attempt(&mut a, VERIFY, &[&key]).is_ok(), "{variant}");
    }
}

#[test]
fn a_caller_who_may_not_verify_keys_costs_one_bcrypt_a_call_at_most() {
    let app = App::new(shared(), "dear");
    let mut admin = app.connect();
    admin.run(KEYS);
    let keys = ['a', 'b', 'c', 'd'].map(|digit| plain("rfs12345", digit));
    for (n, key) in keys.iter().enumerate() {
        insert_hashed(&mut admin, &n.to_string(), key, &bcrypt(key));
    }
    let (public, server) = (format!("public_{}", app.db), format!("server_{}", app.db));
    admin.run(&format!(
        "CREATE ROLE {public} LOGIN; CREATE ROLE {server} LOGIN; GRANT EXECUTE ON FUNCTION auth.verify_api_key(text) TO {server};
         GRANT EXECUTE ON FUNCTION auth.check_api_key(text) TO {public}"
    ));
    let found = |role: &str, sql: &str| {
        let mut client = shared().connect_as(&app.db, role);
        let mut found = 0;
        for key in &keys {
            client.run("BEGIN");
            found += usize::from(matches!(attempt(&mut client, sql, &[key]), Ok(Some(_))));
            client.run("ROLLBACK");
        }
        found
    };
    let authenticate = "SELECT auth.authenticate_api_key($1)->>'id'";
    assert_eq!(found(&server, authenticate), 4);
    assert_eq!(found(&public, authenticate), 1);
    assert_eq!(
        found(
            &public,
            "SELECT CASE WHEN valid THEN id END FROM auth.check_api_key($1)"
        ),
        1
    );
    // One that has a fingerprint costs none.
    for key in &keys {
        attempt(&mut admin, VERIFY, &[key]).unwrap();
    }
    assert_eq!(found(&public, authenticate), 4);
}

#[test]
fn a_bcrypt_obeys_a_timeout_and_a_termination_at_once() {
    let app = App::new(shared(), "cancel");
    let mut a = app.connect();
    a.run(KEYS);
    // As many of the highest cost as are tried: seconds, if nothing stops them.
    let key = plain("rfs12345", 'a');
    let hash = bcrypt(&plain("rfs12345", 'b')).replace("$04$", "$14$");
    for n in 0..8 {
        insert_hashed(&mut a, &n.to_string(), &key, &hash);
    }
    let half = Duration::from_millis(500);
    for sql in [VERIFY, "SELECT auth.authenticate_api_key($1)->>'id'"] {
        a.run("SET statement_timeout = '100ms'");
        let started = Instant::now();
        refused(a.query(sql, &[&key]), "57014", None);
        let took = started.elapsed();
        a.run("RESET statement_timeout");
        assert!(took < half + Duration::from_millis(100), "{sql}: {took:?}");
    }
    let pid: i32 = a.one("SELECT pg_backend_pid()", &[]);
    let mut b = app.connect();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(move || {
            let failed = a.query(VERIFY, &[&key]).unwrap_err();
            (Instant::now(), failed)
        });
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state = 'active' AND query LIKE '%verify_api_key%'";
        while b.one::<i64>(busy, &[&pid]) == 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(50));
        let told = Instant::now();
        b.rows("SELECT pg_terminate_backend($1)", &[&pid]);
        let (ended, _) = waiting.join().unwrap();
        let took = ended.duration_since(told);
        assert!(took < half, "{took:?}");
    });
}

#[test]
fn a_key_longer_than_bcrypt_reads_is_not_known_by_its_first_72_bytes() {
    let app = App::new(shared(), "longer");
    let mut a = app.connect();
    a.run(KEYS);
    let key: String = a.one(
        "SELECT key FROM auth.create_api_key('41', 'x', prefix => repeat('p', 32))",
        &[],
    );
    assert_eq!(key.len(), 96);
    let other_tail = format!("{}{}", &key[..80], "0".repeat(16));
    a.run("UPDATE keys SET key_fingerprint = NULL");
    assert_eq!(
        attempt(&mut a, VERIFY, &[&other_tail]),
        no("unknown_api_key")
    );
}
