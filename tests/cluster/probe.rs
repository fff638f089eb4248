//! The users row is found directly by its index, or by a plan where there is no such index: with one answer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use auth_ext_tests::{Ask, Client, database_with_key, shared};

/// Tables of the same columns: the first is read directly, the others by a plan.
const TABLES: [&str; 4] = [
    "CREATE TABLE users (id text PRIMARY KEY, pad text, is_active boolean DEFAULT true, session_version bigint DEFAULT 0)",
    "CREATE TABLE users (id text, pad text, is_active boolean DEFAULT true, session_version bigint DEFAULT 0);
     CREATE INDEX ON users (id)",
    "CREATE TABLE users (id text, pad text, is_active boolean DEFAULT true, session_version bigint DEFAULT 0) PARTITION BY HASH (id);
     CREATE TABLE u0 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
     CREATE TABLE u1 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    "CREATE TABLE users (id text, pad text, is_active boolean DEFAULT true, session_version bigint DEFAULT 0);
     CREATE INDEX ON users USING hash (id)",
];

/// What both ways must agree on after each of these, run in another session.
const CHANGES: &[&str] = &[
    "UPDATE users SET pad = 'hot' WHERE id = 'ada'",
    "UPDATE users SET pad = repeat('wide', 3000) WHERE id = 'ada'",
    "SELECT auth.bump_session_version('ada')",
    "BEGIN; UPDATE users SET session_version = 50; ROLLBACK",
    "DELETE FROM users WHERE id = 'bob'",
    "VACUUM users",
    "INSERT INTO users (id) VALUES ('bob')",
    "VACUUM FULL users",
    "REINDEX TABLE users",
    "ALTER TABLE users ADD extra int DEFAULT 7",
    "SELECT auth.bump_session_version('bob')",
    "ALTER TABLE users DROP COLUMN pad",
    "ALTER TABLE users ADD pad bigint DEFAULT 9",
    "UPDATE users SET is_active = false WHERE id = 'eve'",
    "UPDATE users SET is_active = NULL WHERE id = 'ada'",
    "UPDATE users SET is_active = true",
    "ALTER TABLE users RENAME pad TO session_version_of_old",
    "SELECT auth.detach_users(); ALTER TABLE users ALTER session_version TYPE integer; SELECT auth.attach_users('users')",
    "SELECT auth.bump_session_version('eve')",
    "UPDATE users SET id = 'adam' WHERE id = 'ada'",
    "UPDATE users SET id = 'ada' WHERE id = 'adam'",
    "TRUNCATE users",
    "INSERT INTO users (id) VALUES ('ada'), ('bob'), ('eve')",
    "ALTER TABLE users RENAME TO people",
    "ALTER TABLE people RENAME TO users",
    "CREATE SCHEMA elsewhere; ALTER TABLE users SET SCHEMA elsewhere",
    "ALTER TABLE elsewhere.users SET SCHEMA public",
    "ANALYZE users",
];

fn answers(client: &mut Client, tokens: &[String]) -> String {
    let mut said: Vec<String> = tokens.iter().map(|token| client.verdict(token)).collect();
    for user in ["ada", "bob", "eve", "adam", "nobody", ""] {
        said.push(format!("{user} {:?}", client.version(user)));
    }
    said.join(", ")
}

#[test]
fn both_ways_give_the_same_answer_after_whatever_happened_to_the_table() {
    let histories: Vec<Vec<String>> = TABLES
        .iter()
        .map(|table| {
            let db = database_with_key(shared(), "ways");
            let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
            a.run(table);
            a.run("SELECT auth.attach_users('users'); INSERT INTO users (id) VALUES ('ada'), ('bob'), ('eve')");
            let mut tokens: Vec<String> = ["ada", "bob", "eve"].iter().map(|user| b.issue(user)).collect();
            CHANGES
                .iter()
                .map(|change| {
                    for statement in change.split("; ") {
                        a.run(statement);
                    }
                    let seen = answers(&mut b, &tokens);
                    if let Some(version) = b.version("ada") {
                        let sql = "SELECT auth.issue_jwt('ada', session_version => $1)";
                        tokens.push(b.one(sql, &[&version]));
                    }
                    format!("{change}: {seen}")
                })
                .collect()
        })
        .collect();
    for (table, history) in TABLES.iter().zip(&histories).skip(1) {
        assert_eq!(history, &histories[0], "{table}");
    }
}

#[test]
fn own_changes_are_seen_in_every_kind_of_transaction() {
    for table in TABLES {
        let db = database_with_key(shared(), "own");
        let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
        a.run(table);
        a.run("SELECT auth.attach_users('users'); INSERT INTO users (id) VALUES ('ada'), ('bob')");
        let (ada, bob) = (a.issue("ada"), a.issue("bob"));
        for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
            a.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
            assert_eq!(a.verdict(&ada), "valid");
            a.run("SAVEPOINT s; UPDATE users SET session_version = 7 WHERE id = 'ada'");
            assert_eq!(a.verdict(&ada), "session_version_mismatch");
            assert_eq!(b.verdict(&ada), "valid");
            a.run("ROLLBACK TO s; UPDATE users SET is_active = false WHERE id = 'bob'");
            assert_eq!(
                (a.verdict(&ada), a.verdict(&bob)),
                ("valid".into(), "inactive_user".into())
            );
            // In the middle of a command: what it has done so far is not there yet, and then is.
            a.run("ROLLBACK TO s; DELETE FROM users WHERE id = 'bob'");
            assert_eq!(a.verdict(&bob), "unknown_user");
            a.run("ROLLBACK");
            assert_eq!(
                (a.verdict(&ada), b.verdict(&bob)),
                ("valid".into(), "valid".into())
            );
        }
    }
}

#[test]
fn a_table_that_takes_the_place_of_another_is_attached_anew_and_not_mistaken_for_it() {
    let db = database_with_key(shared(), "swapped");
    let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
    a.run(TABLES[0]);
    a.run(
        "SELECT auth.attach_users('users'); INSERT INTO users (id) VALUES ('ada');
         CREATE TABLE next (LIKE users INCLUDING ALL); INSERT INTO next (id, session_version) VALUES ('ada', 5)",
    );
    let token = b.issue("ada");
    assert_eq!(b.verdict(&token), "valid");
    // The attached table is a table, not a name.
    a.run("BEGIN; ALTER TABLE users RENAME TO former; ALTER TABLE next RENAME TO users; COMMIT");
    assert_eq!(b.verdict(&token), "valid");
    a.run("UPDATE former SET session_version = 2");
    assert_eq!(b.verdict(&token), "session_version_mismatch");
    a.run("SELECT auth.detach_users(); SELECT auth.attach_users('users')");
    assert_eq!(b.version("ada"), Some(5));
}

#[test]
fn beside_vacuum_reindex_and_bumps_no_answer_is_ever_wrong() {
    let db = database_with_key(shared(), "beside");
    let mut a = shared().connect(&db);
    a.run(TABLES[0]);
    a.run("SELECT auth.attach_users('users'); INSERT INTO users (id) SELECT 'u' || n FROM generate_series(1, 50) AS n");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = |user: &'static str| {
            let mut client = shared().connect(&db);
            let done = &done;
            scope.spawn(move || {
                let mut last = 0;
                while !done.load(Relaxed) {
                    // The version that is read never goes back, and a token of it holds or is older by then.
                    let version = client.version(user).expect("the user is always there");
                    assert!(version >= last, "{version} after {last}");
                    last = version;
                }
                last
            })
        };
        let readers = [reader("u1"), reader("u2")];
        for round in 0..15 {
            a.run(
                "UPDATE users SET session_version = session_version + 1 WHERE id IN ('u1', 'u2')",
            );
            a.run("UPDATE users SET pad = pad || 'x' WHERE id <> 'u1'");
            let maintenance = [
                "VACUUM users",
                "REINDEX TABLE CONCURRENTLY users",
                "VACUUM FULL users",
                "REINDEX TABLE users",
                "CLUSTER users USING users_pkey",
            ];
            a.run(maintenance[round % maintenance.len()]);
        }
        done.store(true, Relaxed);
        for reader in readers {
            assert!(reader.join().unwrap() <= 15);
        }
    });
    assert_eq!((a.version("u1"), a.version("u2")), (Some(15), Some(15)));
}
