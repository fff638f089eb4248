//! `auth.issuers.user_column`: the user claim is the value of a column of the users table. tests/sql/user_column.sql shows the rest.

use auth_ext_tests::{
    App, Ask, Client, Cluster, ISSUER, Mint, assert_alike, database_with_key, history, json, race,
    refused, shared,
};

/// Indexes of the same column: by the first two rows are read directly, by the third with a plan.
const INDEXES: [&str; 3] = [
    "CREATE UNIQUE INDEX ON users (sub)",
    "CREATE UNIQUE INDEX ON users (sub) WHERE sub IS NOT NULL",
    "CREATE UNIQUE INDEX ON users (sub text_pattern_ops)",
];

/// What all must agree on after each of these, run in another session.
const CHANGES: &[&str] = &[
    "SELECT auth.bump_session_version('1')",
    "UPDATE users SET sub = 'x-ada' WHERE id = 2",
    "UPDATE users SET sub = NULL WHERE id = 1; UPDATE users SET sub = 's-ada' WHERE id = 2",
    "BEGIN; UPDATE users SET sub = 's-bob' WHERE id = 1; ROLLBACK",
    "UPDATE users SET sub = 's-bob' WHERE id = 1",
    "UPDATE users SET is_active = false WHERE id = 1",
    "UPDATE users SET is_active = true WHERE id = 1",
    "VACUUM FULL users",
    "REINDEX TABLE users",
    "ALTER TABLE users DROP COLUMN pad",
    "DELETE FROM users WHERE id = 1",
    "INSERT INTO users (id, sub) VALUES (1, 's-bob')",
    "SELECT auth.detach_users(); ALTER TABLE users ALTER id TYPE integer; SELECT auth.attach_users('users')",
    "ALTER TABLE users RENAME TO people",
    "ALTER TABLE people RENAME TO users",
    "TRUNCATE users",
    "INSERT INTO users (id, sub) VALUES (7, 's-bob'), (8, 's-ada'), (9, NULL)",
];

fn said(client: &mut Client, token: &str) -> String {
    client.one(
        "SELECT concat_ws(' ', reason, user_id, current_session_version) FROM auth.check_jwt($1)",
        &[&token],
    )
}

#[test]
fn a_row_is_found_by_every_index_alike_after_whatever_happened_to_the_table() {
    let histories: Vec<Vec<String>> = INDEXES
        .iter()
        .map(|index| {
            let db = database_with_key(shared(), "by_column");
            let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
            a.run("CREATE TABLE users (id bigint PRIMARY KEY, pad text, sub text, is_active boolean DEFAULT true)");
            a.run(index);
            a.run("SELECT auth.attach_users('users'); INSERT INTO users (id, sub) VALUES (1, 's-ada'), (2, 's-bob'), (3, NULL);
                   UPDATE auth.issuers SET user_column = 'sub'");
            let tokens = ["1", "2"].map(|user| a.issue(user));
            history(&mut a, CHANGES, |_| {
                let seen = tokens.each_ref().map(|token| said(&mut b, token));
                format!("{seen:?}")
            })
        })
        .collect();
    let expected = [
        "WHERE id = 2: [\"session_version_mismatch 1 1\", \"unknown_user\"]",
        "WHERE id = 2: [\"2 0\", \"unknown_user\"]",
        "(9, NULL): [\"8 0\", \"7 0\"]",
    ];
    assert_alike(&INDEXES, &histories, &expected);
}

/// An application whose issuer's tokens say `s-` and the id.
fn app(cluster: &Cluster) -> App<'_> {
    let app = App::new(cluster, "mapped");
    app.connect().run(
        "ALTER TABLE users ADD sub text UNIQUE; UPDATE users SET sub = 's-' || id;
         UPDATE auth.issuers SET user_column = 'sub'",
    );
    app
}

#[test]
fn what_another_session_commits_counts_at_once_in_every_kind_of_transaction() {
    let app = app(shared());
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue("41");
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        b.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
        assert_eq!(said(&mut b, &token), "41 0");
        a.run("UPDATE users SET sub = NULL WHERE id = 41");
        assert_eq!(said(&mut b, &token), "unknown_user");
        a.run("UPDATE users SET sub = 's-41' WHERE id = 42");
        assert_eq!(said(&mut b, &token), "42 0");
        b.run("SAVEPOINT s; UPDATE auth.issuers SET user_column = NULL");
        assert_eq!(said(&mut b, &token), "unknown_user s-41");
        b.run("ROLLBACK TO s");
        assert_eq!(said(&mut b, &token), "42 0");
        b.run("ROLLBACK");
        a.run("UPDATE users SET sub = 's-42' WHERE id = 42; UPDATE users SET sub = 's-41' WHERE id = 41");
    }
}

#[test]
fn an_identity_ends_when_its_token_is_somebody_elses_and_never_becomes_theirs() {
    let app = app(shared());
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue("41");
    let user = |b: &mut Client| b.one::<Option<String>>("SELECT auth.user_id()", &[]);
    b.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
    assert_eq!(user(&mut b).as_deref(), Some("41"));
    a.run("UPDATE users SET sub = NULL WHERE id = 41; UPDATE users SET sub = 's-41' WHERE id = 42");
    assert_eq!(user(&mut b), None);
    // Also where the same backend has verified it for the other user meanwhile.
    assert_eq!(said(&mut b, &token), "42 0");
    assert_eq!(user(&mut b), None);
    let row = b
        .rows("SELECT auth.jwt()::text, auth.claim('sub')", &[])
        .remove(0);
    assert_eq!((row.get(0), row.get(1)), (None::<String>, None::<String>));

    // What is carried through savepoints and into parallel workers says whose it was.
    b.run(&format!(
        "SELECT auth.logout(); BEGIN; SELECT auth.authenticate('{token}'); SAVEPOINT s; SELECT auth.logout(); ROLLBACK TO s"
    ));
    assert_eq!(user(&mut b).as_deref(), Some("42"));
    b.run(
        "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
         SET LOCAL max_parallel_workers_per_gather = 2",
    );
    let seen: Vec<String> = b
        .rows(
            "SELECT DISTINCT auth.claim('sub') || ' ' || (SELECT auth.user_id()) FROM pg_class WHERE auth.claim('sub') <> relname",
            &[],
        )
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(seen, ["s-41 42"]);
    a.run("UPDATE users SET sub = NULL WHERE id = 42; UPDATE users SET sub = 's-41' WHERE id = 41");
    assert_eq!(user(&mut b), None);
    b.run("ROLLBACK");
}

#[test]
fn a_list_of_connections_does_not_name_the_other_user_either() {
    let cluster = Cluster::with_config(
        "mapped_activity",
        &[("shared_preload_libraries", "auth_ext")],
    );
    let app = app(&cluster);
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue("41");
    b.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
    let listed = |a: &mut Client| -> Vec<String> {
        let rows = a.rows("SELECT user_id FROM auth.activity", &[]);
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(listed(&mut a), ["41"]);
    a.run("UPDATE users SET sub = NULL WHERE id = 41; UPDATE users SET sub = 's-41' WHERE id = 42");
    assert!(listed(&mut a).is_empty());
    assert_eq!(a.one::<i64>("SELECT auth.end_connections('42')", &[]), 0);
}

#[test]
fn a_role_without_any_right_on_the_tables_verifies_and_row_security_hides_nobody() {
    let app = app(shared());
    let mut a = app.connect();
    let role = format!("{}_nobody", app.db);
    a.run(&format!("CREATE ROLE \"{role}\""));
    a.run("ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY");
    let token = a.issue("41");
    for index in ["", "DROP INDEX users_sub_key", INDEXES[2]] {
        if index.starts_with("DROP") {
            a.run("ALTER TABLE users DROP CONSTRAINT users_sub_key");
            a.run(INDEXES[2]);
        }
        let mut b = app.connect();
        b.run(&format!("SET ROLE \"{role}\""));
        assert_eq!(said(&mut b, &token), "41 0");
        refused(b.query("TABLE users", &[]), "42501", None);
    }
    a.run(&format!("DROP ROLE \"{role}\""));
}

#[test]
fn an_id_that_two_rows_share_is_nobodys_by_another_column_either() {
    let db = database_with_key(shared(), "shared_id");
    let mut a = shared().connect(&db);
    a.run(
        "CREATE TABLE users (id text, sub text UNIQUE); SELECT auth.attach_users('users');
           INSERT INTO users (id, sub) VALUES ('1', 's-1'), ('2', 's-2');
           UPDATE auth.issuers SET user_column = 'sub'",
    );
    let token = a.issue("1");
    assert_eq!(said(&mut a, &token), "1 0");
    a.run("INSERT INTO users (id, sub) VALUES ('1', 's-3')");
    assert_eq!(said(&mut a, &token), "unknown_user");
}

#[test]
fn of_partitions_and_unusual_indexes_none_tells_the_users_apart() {
    let app = app(shared());
    let mut a = app.connect();
    let token = a.issue("41");
    a.run("ALTER TABLE users DROP CONSTRAINT users_sub_key");
    let verify = |a: &mut Client| a.query("SELECT auth.verify_jwt($1)", &[&token]);
    for unfit in [
        "CREATE INDEX i ON users (sub)",
        "CREATE UNIQUE INDEX i ON users (lower(sub))",
        "CREATE UNIQUE INDEX i ON users (sub, region)",
        "CREATE UNIQUE INDEX i ON users (sub) WHERE sub IS NOT NULL AND is_active",
        "CREATE UNIQUE INDEX i ON users (sub) WHERE email IS NOT NULL",
        "CREATE UNIQUE INDEX i ON users (sub) WHERE sub IS NULL",
        "CREATE UNIQUE INDEX i ON users (sub) WHERE sub <> ''",
        "ALTER TABLE users ADD CONSTRAINT i UNIQUE (sub) DEFERRABLE",
    ] {
        a.run(unfit);
        let error = refused(verify(&mut a), "55000", None);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("CREATE UNIQUE INDEX"))
        );
        a.run("ALTER TABLE users DROP CONSTRAINT IF EXISTS i; DROP INDEX IF EXISTS i");
    }
    a.run("CREATE UNIQUE INDEX i ON users (sub) INCLUDE (email)");
    verify(&mut a).expect("verified");

    let db = database_with_key(shared(), "partitioned");
    let mut a = shared().connect(&db);
    a.run("CREATE TABLE users (id bigint, sub text UNIQUE) PARTITION BY HASH (sub);
           CREATE TABLE u0 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 0);
           CREATE TABLE u1 PARTITION OF users FOR VALUES WITH (MODULUS 2, REMAINDER 1);
           SELECT auth.attach_users('users'); INSERT INTO users SELECT n, 's-' || n FROM generate_series(1, 9) AS n;
           UPDATE auth.issuers SET user_column = 'sub'");
    for user in ["1", "2", "3", "4"] {
        let token = a.issue(user);
        assert_eq!(said(&mut a, &token), format!("{user} 0"));
        a.run(&format!(
            "UPDATE users SET sub = 't-{user}' WHERE id = {user}"
        ));
        assert_eq!(said(&mut a, &token), "unknown_user");
    }
}

#[test]
fn a_standby_finds_the_user_by_the_column_as_soon_as_a_change_is_replayed() {
    let primary = Cluster::start("mapped_primary");
    let app = app(&primary);
    let mut p = app.connect();
    let token = p.issue("41");
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&app.db);
    assert_eq!(said(&mut s, &token), "41 0");
    let issued = s.issue("42");
    assert_eq!(said(&mut p, &issued), "42 0");
    s.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
    p.run("UPDATE users SET sub = NULL WHERE id = 41; UPDATE users SET sub = 's-41' WHERE id = 42");
    standby.wait_replay(&primary);
    assert_eq!(said(&mut s, &token), "42 0");
    assert_eq!(s.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
    p.run("ALTER TABLE users DROP CONSTRAINT users_sub_key");
    standby.wait_replay(&primary);
    refused(
        s.query("SELECT auth.verify_jwt($1)", &[&token]),
        "55000",
        None,
    );
}

#[test]
fn beside_values_that_change_hands_no_answer_is_ever_anybody_elses() {
    let app = app(shared());
    let mut a = app.connect();
    let mint = Mint::of(&mut a, ISSUER);
    let token = mint.token(&mut a, &json!({"sub": "hot"}));
    let answers = race(&app, 3, |n, client| {
        let mut seen = Vec::new();
        for round in 0..150 {
            if n == 0 {
                // The value is never with both, and never with somebody whose note says otherwise.
                let (from, to) = if round % 2 == 0 {
                    ("42", "41")
                } else {
                    ("41", "42")
                };
                client.run(&format!(
                    "BEGIN; UPDATE users SET sub = NULL, note = 'cold' WHERE id = {from};
                     UPDATE users SET sub = 'hot', note = 'hot' WHERE id = {to}; COMMIT"
                ));
            } else {
                seen.push(said(client, &token));
            }
        }
        seen
    });
    for answer in answers.concat() {
        assert!(
            ["unknown_user", "41 0", "42 0"].contains(&answer.as_str()),
            "{answer}"
        );
    }
}
