//! The plaintext of an API key is shown to who made it, and nowhere else.

use auth_ext_tests::{App, Ask, Cluster, attempt, no, refused};

const VERIFY: &str = "SELECT id FROM auth.verify_api_key($1)";

/// A table with every column that a key can have.
const FULL: &str = "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, name text NOT NULL,
     key_hash text NOT NULL UNIQUE, prefix text NOT NULL, is_active boolean NOT NULL, last_used_at timestamp,
     expires_at timestamp, created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
     SELECT auth.attach_api_keys('keys')";

/// Is there anything of a key's shape in it?
fn holds_a_key(text: &str) -> bool {
    let tails = text
        .match_indices("rfs")
        .filter_map(|(at, _)| text.get(at + 3..at + 67));
    tails.into_iter().any(is_lower_hex)
}

fn is_lower_hex(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

#[test]
fn the_plaintext_of_a_key_is_in_no_table_and_no_log() {
    let cluster = Cluster::setup("plaintext")
        .setting("log_min_error_statement", "error")
        .setting("log_min_messages", "debug1")
        .setting("log_error_verbosity", "verbose")
        .start();
    let app = App::new(&cluster, "plain");
    let mut a = app.connect();
    a.run(FULL);
    let sql = "SELECT key, fingerprint FROM auth.create_api_key('41', 'x')";
    let row = &a.rows(sql, &[])[0];
    let (key, fingerprint): (String, String) = (row.get(0), row.get(1));
    attempt(&mut a, VERIFY, &[&key]).unwrap();
    a.run("UPDATE keys SET is_active = false");
    for sql in [
        format!("SELECT auth.verify_api_key('{}')", key),
        format!("DO $$ BEGIN PERFORM auth.verify_api_key('{}'); END $$", key),
    ] {
        refused(a.batch_execute(&sql), "28000", "inactive_api_key");
    }
    assert_eq!(attempt(&mut a, VERIFY, &[&key]), no("inactive_api_key"));
    a.run("ALTER TABLE keys ADD CHECK (name <> 'bad'), ADD UNIQUE (name)");
    for name in ["bad", "x"] {
        let error = a
            .query("SELECT auth.create_api_key('41', $1)", &[&name])
            .unwrap_err();
        assert!(!holds_a_key(&format!("{error:?}")), "{error:?}");
    }
    refused(
        a.batch_execute("SELECT 'the log is written' FROM nowhere"),
        "42P01",
        None,
    );
    let (log, dump) = (cluster.log(), cluster.dump(&app.db));
    assert!(log.contains("the log is written"));
    assert!(dump.contains(&fingerprint));
    for text in [&log, &dump] {
        assert!(!text.contains(&key));
        assert!(!text.contains(&key[8..]));
        assert!(!holds_a_key(text));
    }
}
