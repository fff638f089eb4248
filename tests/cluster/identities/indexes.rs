//! Accounts are read by a direct probe or by a plan, and both find the same.

use super::{provider, said};
use auth_ext_tests::{Ask, Reader, assert_alike, database_with_key, history, json, shared};

/// Tables of the same columns: the first three are read directly, the others with a plan.
const TABLES: [&str; 6] = [
    "CREATE TABLE t (user_id bigint, provider text, subject text, pad text, PRIMARY KEY (provider, subject))",
    "CREATE TABLE t (user_id bigint, provider text, subject text, pad text); CREATE UNIQUE INDEX ON t (subject, provider)",
    "CREATE TABLE t (user_id bigint, provider varchar, subject varchar, pad text);
     CREATE UNIQUE INDEX ON t (provider, subject) INCLUDE (user_id) WHERE subject IS NOT NULL AND provider IS NOT NULL",
    "CREATE TABLE t (user_id bigint, provider text, subject text, pad text); CREATE UNIQUE INDEX ON t (provider text_pattern_ops, subject)",
    "CREATE TABLE t (user_id bigint, provider text, subject text UNIQUE, pad text)",
    "CREATE TABLE t (user_id bigint, provider text, subject text, pad text, PRIMARY KEY (provider, subject)) PARTITION BY LIST (provider);
     CREATE TABLE tp PARTITION OF t FOR VALUES IN ('p'); CREATE TABLE tr PARTITION OF t DEFAULT",
];

const CHANGES: &[&str] = &[
    "UPDATE t SET pad = 'x'",
    "UPDATE t SET user_id = 2 WHERE subject = 'ada'",
    "UPDATE t SET user_id = 1 WHERE subject = 'ada'",
    "UPDATE t SET subject = 'eve' WHERE subject = 'bob'",
    "UPDATE t SET provider = 'q' WHERE subject = 'ada'",
    "UPDATE t SET provider = 'p' WHERE subject = 'ada'",
    "DELETE FROM t WHERE subject = 'eve'; INSERT INTO t VALUES (2, 'p', 'bob')",
    "BEGIN; DELETE FROM t; ROLLBACK",
    "VACUUM FULL t",
    "REINDEX TABLE t",
    "ALTER TABLE t DROP COLUMN pad",
    "DELETE FROM users WHERE id = 1",
    "INSERT INTO users (id) VALUES (1)",
    "UPDATE t SET user_id = NULL WHERE subject = 'bob'",
    "UPDATE t SET user_id = 2 WHERE subject = 'bob'",
    "SELECT auth.detach_identities(); ALTER TABLE t ALTER user_id TYPE text; SELECT auth.attach_identities('t')",
    "ALTER TABLE t RENAME TO u",
    "ALTER TABLE u RENAME TO t",
    "ALTER TABLE t RENAME subject TO uid; SELECT auth.attach_identities('t', subject_column => 'uid')",
    "TRUNCATE t",
    "INSERT INTO t (user_id, provider, uid) VALUES (2, 'p', 'ada'), (1, 'r', 'bob')",
];

#[test]
fn an_account_is_found_by_every_index_alike_after_whatever_happened_to_the_table() {
    let histories: Vec<Vec<String>> = TABLES
        .iter()
        .map(|table| {
            let db = database_with_key(shared(), "accounts");
            let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
            a.run("CREATE TABLE users (id bigint PRIMARY KEY); SELECT auth.attach_users('users'); INSERT INTO users VALUES (1), (2)");
            a.run(table);
            a.run("INSERT INTO t VALUES (1, 'p', 'ada'), (2, 'p', 'bob'), (2, 'q', 'zoe'); SELECT auth.attach_identities('t')");
            let mint = provider(&mut a);
            let tokens = ["ada", "bob"].map(|sub| mint.token(&mut a, &json!({ "sub": sub })));
            let mut reader = Reader::now(&mut a);
            history(&mut a, CHANGES, |a| {
                let seen = tokens.each_ref().map(|token| said(&mut b, token));
                let told: Vec<_> = reader
                    .catch_up(a)
                    .iter()
                    .map(|event| format!("{}{}", event["id"], event["reason"]))
                    .collect();
                format!("{seen:?} {told:?}")
            })
        })
        .collect();
    let expected = [
        r#"pad = 'x': ["1", "2"] []"#,
        r#"user_id = 2 WHERE subject = 'ada': ["2", "2"] ["\"1\"\"unlinked\""]"#,
        r#"provider = 'q' WHERE subject = 'ada': ["unknown_user", "unknown_user"] ["\"1\"\"unlinked\""]"#,
        r#"'p', 'ada'), (1, 'r', 'bob'): ["2", "unknown_user"] []"#,
    ];
    assert_alike(&TABLES, &histories, &expected);
}
