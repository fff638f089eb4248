//! The attached identities table: which account at which provider is which user. tests/sql/identities.sql shows the rest.

use auth_ext_tests::{
    App, Ask, Client, Cluster, Mint, Reader, Value, attempt, database_with_key, json, no, race,
    refused, shared,
};

/// What the tests' provider calls itself.
const PROVIDER: &str = "https://provider.test";

/// An application whose users have accounts at a provider: `s-` and the id.
struct Linked<'c> {
    app: App<'c>,
    mint: Mint,
}

fn linked(cluster: &Cluster) -> Linked<'_> {
    let app = App::new(cluster, "linked");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE accounts (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint REFERENCES users ON DELETE CASCADE,
             provider text NOT NULL, subject text NOT NULL, note text, UNIQUE (provider, subject));
         INSERT INTO accounts (user_id, provider, subject) SELECT id, 'p', 's-' || id FROM users;
         SELECT auth.attach_identities('accounts')",
    );
    let mint = provider(&mut a);
    Linked { app, mint }
}

/// An issuer whose tokens name accounts.
fn provider(a: &mut Client) -> Mint {
    a.run(&format!(
        "INSERT INTO auth.issuers (issuer, audience, session_check, identity_provider) VALUES ('{PROVIDER}', '{{app}}', 'issued_at', 'p')"
    ));
    Mint::of(a, PROVIDER)
}

impl Linked<'_> {
    fn token(&self, subject: &str) -> String {
        self.mint
            .token(&mut self.app.connect(), &json!({ "sub": subject }))
    }
}

fn said(client: &mut Client, token: &str) -> String {
    client.one(
        "SELECT concat_ws(' ', reason, user_id) FROM auth.check_jwt($1)",
        &[&token],
    )
}

fn user(client: &mut Client) -> Option<String> {
    client.one("SELECT auth.user_id()", &[])
}

fn enter(client: &mut Client, token: &str) {
    client.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
}

fn unlinked(id: &str) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": 0, "reason": "unlinked"})
}

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
            CHANGES
                .iter()
                .map(|change| {
                    for statement in change.split("; ") {
                        a.run(statement);
                    }
                    let seen = tokens.each_ref().map(|token| said(&mut b, token));
                    let told: Vec<_> = reader
                        .catch_up(&mut a)
                        .iter()
                        .map(|event| format!("{}{}", event["id"], event["reason"]))
                        .collect();
                    format!("{change}: {seen:?} {told:?}")
                })
                .collect()
        })
        .collect();
    for (table, history) in TABLES.iter().zip(&histories).skip(1) {
        assert_eq!(history, &histories[0], "{table}");
    }
    let seen = histories[0].join("\n");
    for expected in [
        r#"pad = 'x': ["1", "2"] []"#,
        r#"user_id = 2 WHERE subject = 'ada': ["2", "2"] ["\"1\"\"unlinked\""]"#,
        r#"provider = 'q' WHERE subject = 'ada': ["unknown_user", "unknown_user"] ["\"1\"\"unlinked\""]"#,
        r#"'p', 'ada'), (1, 'r', 'bob'): ["2", "unknown_user"] []"#,
    ] {
        assert!(seen.contains(expected), "{expected} is not in\n{seen}");
    }
}

#[test]
fn an_identity_ends_with_its_link_also_when_the_account_is_linked_to_the_same_user_again() {
    let linked = linked(shared());
    let (mut a, mut b) = (linked.app.connect(), linked.app.connect());
    let (token, other) = (linked.token("s-41"), linked.token("s-42"));
    let own = a.issue("41");
    let (mut c, mut d) = (linked.app.connect(), linked.app.connect());
    enter(&mut c, &own);
    enter(&mut d, &other);
    let again = "INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41')";
    let away = "DELETE FROM accounts WHERE subject = 's-41'";
    for change in [
        format!("{away}; {again}"),
        format!("BEGIN; {away}; {again}; COMMIT"),
        "BEGIN; UPDATE accounts SET user_id = 42 WHERE subject = 's-41'; UPDATE accounts SET user_id = 41 WHERE subject = 's-41'; COMMIT".into(),
        "UPDATE accounts SET subject = 'x' WHERE subject = 's-41'; UPDATE accounts SET subject = 's-41' WHERE subject = 'x'".into(),
        "UPDATE accounts SET provider = 'x' WHERE subject = 's-41'; UPDATE accounts SET provider = 'p' WHERE subject = 's-41'".into(),
        format!("WITH gone AS ({away} RETURNING 1) SELECT * FROM gone; {again}"),
        format!("SET session_replication_role = replica; {away}; {again}; RESET session_replication_role"),
    ] {
        for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
            enter(&mut b, &token);
            b.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
            assert_eq!(user(&mut b).as_deref(), Some("41"), "{change}");
            a.run(&change);
            assert_eq!(user(&mut b), None, "{change}");
            // Unexpired tokens hold again.
            assert_eq!(said(&mut b, &token), "41", "{change}");
            assert_eq!(user(&mut b), None, "{change}");
            b.run("COMMIT");
            assert_eq!(user(&mut b), None, "{change}");
            // Nobody else's identity ended: not the user's own, not another account's.
            assert_eq!(user(&mut c).as_deref(), Some("41"), "{change}");
            assert_eq!(user(&mut d).as_deref(), Some("42"), "{change}");
        }
    }
    // While the table is not attached nobody sees what happens to it.
    enter(&mut b, &token);
    a.run(
        "BEGIN; SELECT auth.detach_identities(); SELECT auth.attach_identities('accounts'); COMMIT",
    );
    assert_eq!((said(&mut b, &token), user(&mut b)), ("41".into(), None));
    // Attached again without that, no link has changed.
    enter(&mut b, &token);
    enter(&mut d, &other);
    a.run("SELECT auth.attach_identities('accounts')");
    assert_eq!(user(&mut b).as_deref(), Some("41"));
    // Linked to another user: the token is his, the identity nobody's.
    enter(&mut b, &token);
    a.run("UPDATE accounts SET user_id = 42 WHERE subject = 's-41'");
    assert_eq!((said(&mut b, &token), user(&mut b)), ("42".into(), None));
    // What matters to nobody ends nothing.
    enter(&mut b, &token);
    a.run("UPDATE accounts SET note = 'x', user_id = user_id, subject = subject");
    a.run("VACUUM FULL accounts");
    assert_eq!(user(&mut b).as_deref(), Some("42"));
}

#[test]
fn within_its_own_transaction_through_savepoints_and_in_parallel_workers_it_is_the_same() {
    let linked = linked(shared());
    let mut b = linked.app.connect();
    let token = linked.token("s-41");
    let again = "INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41')";
    b.run(&format!(
        "BEGIN; SELECT auth.authenticate('{token}'); SAVEPOINT s"
    ));
    b.run("DELETE FROM accounts WHERE subject = 's-41'");
    assert_eq!(user(&mut b), None);
    b.run(again);
    assert_eq!((said(&mut b, &token), user(&mut b)), ("41".into(), None));
    b.run("ROLLBACK TO s");
    assert_eq!(user(&mut b).as_deref(), Some("41"));
    b.run("SAVEPOINT s; SELECT auth.logout(); ROLLBACK TO s");
    assert_eq!(user(&mut b).as_deref(), Some("41"));
    b.run("COMMIT");

    enter(&mut b, &token);
    b.run("CREATE TABLE big AS SELECT n FROM generate_series(1, 20000) AS n; ANALYZE big;
           SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0");
    let counted = "SELECT count(*) FROM big WHERE auth.claim('sub') || n <> ''";
    assert_eq!(b.one::<i64>(counted, &[]), 20000);
    let plan: Vec<String> = b
        .rows(&format!("EXPLAIN {counted}"), &[])
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(plan.join("\n").contains("Gather"), "{plan:?}");
    let mut a = linked.app.connect();
    a.run(&format!(
        "DELETE FROM accounts WHERE subject = 's-41'; {again}"
    ));
    assert_eq!(b.one::<i64>(counted, &[]), 0);
}

#[test]
fn more_than_the_threshold_are_a_flush_and_truncate_ends_every_identity_by_an_account_and_no_other()
{
    let linked = linked(shared());
    let (mut a, mut b, mut c) = (
        linked.app.connect(),
        linked.app.connect(),
        linked.app.connect(),
    );
    let token = linked.token("s-41");
    let own = a.issue("41");
    enter(&mut c, &own);
    let fill = "INSERT INTO accounts (user_id, provider, subject) SELECT 42, 'q', n::text FROM generate_series(1, 50) AS n";
    let bulk =
        "BEGIN; SET LOCAL auth_ext.bulk_threshold = 10; DELETE FROM accounts WHERE provider = 'q'";
    for (change, keeps) in [
        (format!("{bulk}; COMMIT"), true),
        (format!("{bulk}; DELETE FROM accounts; INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41'); COMMIT"), false),
        (format!("{bulk}; ROLLBACK; DELETE FROM accounts WHERE provider = 'q'"), true),
        ("BEGIN; CREATE TEMP TABLE kept ON COMMIT DROP AS TABLE accounts; TRUNCATE accounts;
          INSERT INTO accounts (user_id, provider, subject) SELECT user_id, provider, subject FROM kept; COMMIT; DELETE FROM accounts WHERE provider = 'q'".to_owned(), false),
    ] {
        a.run(fill);
        let mut reader = Reader::now(&mut a);
        enter(&mut b, &token);
        assert_eq!(user(&mut b).as_deref(), Some("41"));
        a.run(&change);
        assert_eq!(user(&mut b).is_some(), keeps, "{change}");
        assert_eq!(said(&mut b, &token), "41", "{change}");
        let told = reader.catch_up(&mut a);
        if !change.contains("ROLLBACK") {
            assert_eq!(told[0], json!({"v": 1, "kind": "flush"}), "{change}");
        }
        assert_eq!(user(&mut c).as_deref(), Some("41"));
    }
    // Unlinked in bulk and linked again in one's own transaction.
    a.run(fill);
    b.run(&format!(
        "BEGIN; SET LOCAL auth_ext.bulk_threshold = 10; SELECT auth.authenticate('{token}')"
    ));
    assert_eq!(user(&mut b).as_deref(), Some("41"));
    b.run("DELETE FROM accounts; INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41')");
    assert_eq!((said(&mut b, &token), user(&mut b)), ("41".into(), None));
    b.run("COMMIT");
}

#[test]
fn cascades_unlink_and_so_does_the_truncation_of_the_users() {
    let linked = linked(shared());
    let (mut a, mut b) = (linked.app.connect(), linked.app.connect());
    let token = linked.token("s-41");
    enter(&mut b, &token);
    a.run("DELETE FROM users WHERE id = 41; INSERT INTO users (id) VALUES (41)");
    assert_eq!(
        (said(&mut b, &token), user(&mut b)),
        ("unknown_user".into(), None)
    );
    let link = "INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41')";
    a.run(link);
    // The new user of that id was never logged in: the token is older than the deletion.
    assert_eq!(said(&mut b, &token), "issued_before_cutoff 41");
    let token = linked.mint.token(&mut a, &json!({"sub": "s-42"}));
    enter(&mut b, &token);
    a.run(
        "ALTER TABLE accounts DROP CONSTRAINT accounts_user_id_fkey,
               ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE SET NULL;
           UPDATE accounts SET user_id = 42 WHERE subject = 's-42'",
    );
    assert_eq!(user(&mut b).as_deref(), Some("42"));
    a.run("TRUNCATE users CASCADE");
    assert_eq!(
        (said(&mut b, &token), user(&mut b)),
        ("unknown_user".into(), None)
    );
    assert_eq!(a.one::<i64>("SELECT count(*) FROM accounts", &[]), 0);
}

#[test]
fn of_partitions_an_update_that_moves_a_row_unlinks_nobody_and_each_can_be_truncated() {
    let linked = linked(shared());
    let (mut a, mut b) = (linked.app.connect(), linked.app.connect());
    a.run("SELECT auth.detach_identities(); ALTER TABLE accounts RENAME TO former;
           CREATE TABLE accounts (user_id bigint, provider text, subject text, PRIMARY KEY (provider, subject)) PARTITION BY RANGE (subject);
           CREATE TABLE low PARTITION OF accounts FOR VALUES FROM (MINVALUE) TO ('m') PARTITION BY LIST (provider);
           CREATE TABLE low_p PARTITION OF low FOR VALUES IN ('p');
           SELECT auth.attach_identities('accounts');
           CREATE TABLE high PARTITION OF accounts FOR VALUES FROM ('m') TO (MAXVALUE);
           CREATE TABLE low_rest PARTITION OF low DEFAULT;
           INSERT INTO accounts VALUES (41, 'p', 'a'), (42, 'p', 'z')");
    let (ada, bob) = (linked.token("a"), linked.token("z"));
    assert_eq!(
        (said(&mut b, &ada), said(&mut b, &bob)),
        ("41".into(), "42".into())
    );
    let mut reader = Reader::now(&mut a);
    // The key itself moves the row: it is another account.
    a.run("UPDATE accounts SET subject = 'zz' WHERE subject = 'a'");
    assert_eq!(said(&mut b, &ada), "unknown_user");
    a.run("UPDATE accounts SET subject = 'a' WHERE subject = 'zz'");
    assert_eq!(reader.catch_up(&mut a), [unlinked("41"), unlinked("41")]);
    enter(&mut b, &ada);
    a.run("TRUNCATE high");
    assert_eq!(said(&mut b, &bob), "unknown_user");
    assert_eq!(user(&mut b), None);
    assert_eq!(reader.catch_up(&mut a), [json!({"v": 1, "kind": "flush"})]);
    enter(&mut b, &ada);
    a.run("TRUNCATE low_rest; INSERT INTO accounts VALUES (42, 'p', 'z')");
    assert_eq!(user(&mut b), None);
    assert_eq!(said(&mut b, &bob), "42");

    // Partitioned by what is none of the three, as long as the key has it.
    a.run("SELECT auth.detach_identities(); DROP TABLE accounts;
           CREATE TABLE accounts (user_id bigint, provider text, subject text, region text, UNIQUE (provider, subject, region)) PARTITION BY LIST (region)");
    refused(
        a.query("SELECT auth.attach_identities('accounts')", &[]),
        "22023",
        None,
    );
    a.run("DROP TABLE accounts;
           CREATE TABLE accounts (user_id bigint, provider text, subject text, UNIQUE (provider, subject)) PARTITION BY HASH (subject);
           CREATE TABLE a0 PARTITION OF accounts FOR VALUES WITH (MODULUS 1, REMAINDER 0);
           INSERT INTO accounts VALUES (41, 'p', 'a'); SELECT auth.attach_identities('accounts')");
    enter(&mut b, &ada);
    a.run("UPDATE accounts SET subject = subject");
    assert_eq!(user(&mut b).as_deref(), Some("41"));
    a.run("ALTER TABLE accounts DETACH PARTITION a0");
    assert_eq!(
        (said(&mut b, &ada), user(&mut b)),
        ("unknown_user".into(), None)
    );
    a.run("DELETE FROM a0");
}

#[test]
fn the_tables_of_rails_allauth_and_next_auth_are_attached_as_they_are() {
    for (users, table, insert, attach) in [
        (
            "CREATE TABLE users (id bigint PRIMARY KEY)",
            "CREATE TABLE authentications (id bigserial PRIMARY KEY, user_id bigint REFERENCES users ON DELETE CASCADE, provider varchar, uid varchar, token varchar,
                 created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now());
             CREATE UNIQUE INDEX index_authentications_on_provider_and_uid ON authentications (provider, uid)",
            "INSERT INTO authentications (user_id, provider, uid) VALUES (7, 'p', '1089')",
            "'authentications', subject_column => 'uid'",
        ),
        (
            "CREATE TABLE users (id integer PRIMARY KEY)",
            "CREATE TABLE socialaccount_socialaccount (id serial PRIMARY KEY, provider varchar(200) NOT NULL, uid varchar(191) NOT NULL,
                 last_login timestamptz NOT NULL DEFAULT now(), date_joined timestamptz NOT NULL DEFAULT now(), extra_data jsonb NOT NULL DEFAULT '{}',
                 user_id integer NOT NULL REFERENCES users DEFERRABLE INITIALLY DEFERRED, UNIQUE (provider, uid))",
            "INSERT INTO socialaccount_socialaccount (user_id, provider, uid) VALUES (7, 'p', '1089')",
            "'socialaccount_socialaccount', 'user_id', 'provider', 'uid'",
        ),
        (
            "CREATE TABLE users (id text PRIMARY KEY)",
            r#"CREATE TABLE account ("userId" text NOT NULL REFERENCES users ON DELETE CASCADE, type text NOT NULL DEFAULT 'oidc', provider text NOT NULL,
                 "providerAccountId" text NOT NULL, refresh_token text, PRIMARY KEY (provider, "providerAccountId"))"#,
            r#"INSERT INTO account ("userId", provider, "providerAccountId") VALUES ('7', 'p', '1089')"#,
            "'account', user_column => 'userId', subject_column => 'providerAccountId'",
        ),
    ] {
        let db = database_with_key(shared(), "apps");
        let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
        a.run(users);
        a.run("INSERT INTO users VALUES ('7'); SELECT auth.attach_users('users')");
        for statement in [
            table,
            insert,
            &format!("SELECT auth.attach_identities({attach})"),
        ] {
            a.run(statement);
        }
        let mint = provider(&mut a);
        let token = mint.token(&mut a, &json!({"sub": "1089"}));
        let own = a.issue("7");
        assert_eq!((said(&mut b, &token), said(&mut b, &own)), ("7".into(), "7".into()));
        let table = attach.split('\'').nth(1).expect("a name");
        a.run(&format!("BEGIN; DELETE FROM {table}"));
        assert_eq!(said(&mut b, &token), "7");
        a.run("COMMIT");
        assert_eq!((said(&mut b, &token), said(&mut b, &own)), ("unknown_user".into(), "7".into()));
        // The names are what they were, also to a restored database.
        a.run(&format!("SELECT auth.attach_identities('{table}')"));
        let restored = shared().empty_database("restored");
        shared().psql(&restored, &shared().dump(&db));
        let mut r = shared().connect(&restored);
        assert!(r.one::<bool>("SELECT identities_table_intact FROM auth.health()", &[]));
        let _again = Mint::of(&mut r, PROVIDER);
        assert_eq!(said(&mut r, &token), "unknown_user");
        r.run(insert);
        assert_eq!(said(&mut r, &token), "7");
        r.run(&format!("TRUNCATE {table}"));
        assert_eq!(said(&mut r, &token), "unknown_user");
    }
}

#[test]
fn a_role_without_any_right_on_the_tables_verifies_and_row_security_hides_no_account() {
    let linked = linked(shared());
    let mut a = linked.app.connect();
    let role = format!("{}_nobody", linked.app.db);
    a.run(&format!("CREATE ROLE \"{role}\""));
    a.run(
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
           ALTER TABLE accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    );
    let token = linked.token("s-41");
    for plan in [false, true] {
        if plan {
            a.run(
                "ALTER TABLE accounts DROP CONSTRAINT accounts_provider_subject_key;
                   CREATE UNIQUE INDEX ON accounts (provider text_pattern_ops, subject)",
            );
        }
        let mut b = linked.app.connect();
        b.run(&format!("SET ROLE \"{role}\""));
        assert_eq!(said(&mut b, &token), "41");
        enter(&mut b, &token);
        assert_eq!(user(&mut b).as_deref(), Some("41"));
        for forbidden in [
            "TABLE accounts",
            "TABLE auth.unlinked_accounts",
            "SELECT auth.attach_identities('accounts')",
            "SELECT auth.detach_identities()",
        ] {
            assert_eq!(attempt(&mut b, forbidden, &[]), no("42501"), "{forbidden}");
        }
    }
    // Whoever may change the table, and nothing of ours, unlinks.
    a.run(&format!("CREATE POLICY p ON accounts TO \"{role}\" USING (true); GRANT SELECT, DELETE, UPDATE ON accounts TO \"{role}\""));
    let mut c = linked.app.connect();
    enter(&mut c, &token);
    let mut reader = Reader::now(&mut a);
    let mut b = linked.app.connect();
    b.run(&format!(
        "SET ROLE \"{role}\"; DELETE FROM accounts WHERE subject = 's-41'"
    ));
    assert_eq!(user(&mut c), None);
    assert_eq!(reader.catch_up(&mut a), [unlinked("41")]);
    a.run(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
}

#[test]
fn a_standby_follows_the_links_and_ends_identities_of_before() {
    let primary = Cluster::start("linked_primary");
    let linked = linked(&primary);
    let mut p = linked.app.connect();
    let token = linked.token("s-41");
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&linked.app.db);
    enter(&mut s, &token);
    assert_eq!(user(&mut s).as_deref(), Some("41"));
    p.run(
        "BEGIN; DELETE FROM accounts WHERE subject = 's-41';
           INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41'); COMMIT",
    );
    standby.wait_replay(&primary);
    assert_eq!((said(&mut s, &token), user(&mut s)), ("41".into(), None));
    enter(&mut s, &token);
    p.run("UPDATE accounts SET user_id = 42 WHERE subject = 's-41'");
    standby.wait_replay(&primary);
    assert_eq!((said(&mut s, &token), user(&mut s)), ("42".into(), None));
    p.run("SELECT auth.detach_identities()");
    standby.wait_replay(&primary);
    refused(
        s.query("SELECT auth.verify_jwt($1)", &[&token]),
        "55000",
        None,
    );
}

#[test]
fn where_logical_replication_applies_a_change_it_unlinks_too() {
    let cluster = Cluster::with_config("linked_logical", &[("wal_level", "logical")]);
    let linked = linked(&cluster);
    let mut p = linked.app.connect();
    let db = database_with_key(&cluster, "subscriber");
    let mut s = cluster.connect(&db);
    s.run("CREATE TABLE users (id bigint PRIMARY KEY, email text, note text, region text, is_active boolean);
           CREATE TABLE accounts (id bigint PRIMARY KEY, user_id bigint, provider text NOT NULL, subject text NOT NULL, note text, UNIQUE (provider, subject));
           SELECT auth.attach_users('users'); SELECT auth.attach_identities('accounts')");
    let mint = provider(&mut s);
    let slot = db.as_str();
    p.run("CREATE PUBLICATION everything FOR TABLE users, accounts, auth.unlinked_accounts");
    p.rows(
        "SELECT pg_create_logical_replication_slot($1, 'pgoutput')",
        &[&slot],
    );
    let publisher = linked.app.conninfo("postgres");
    s.run(&format!(
        "CREATE SUBSCRIPTION s CONNECTION '{}' PUBLICATION everything WITH (create_slot = false, slot_name = '{slot}')",
        publisher.replace('\'', "''")
    ));
    let token = mint.token(&mut s, &json!({"sub": "s-41"}));
    wait(&mut s, &token, "41");
    enter(&mut s, &token);
    let mut reader = Reader::now(&mut s);
    for round in 0..2 {
        p.run("DELETE FROM accounts WHERE subject = 's-41'");
        wait(&mut s, &token, "unknown_user");
        p.run("INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41')");
        wait(&mut s, &token, "41");
        assert_eq!(user(&mut s), None, "{round}");
        assert_eq!(reader.catch_up(&mut s), [unlinked("41")]);
        enter(&mut s, &token);
    }
    p.run("TRUNCATE accounts");
    wait(&mut s, &token, "unknown_user");
    assert_eq!(reader.catch_up(&mut s), [json!({"v": 1, "kind": "flush"})]);
    s.run("DROP SUBSCRIPTION s");
}

/// Waits until that is said of a token.
#[track_caller]
fn wait(client: &mut Client, token: &str, expected: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while said(client, token) != expected {
        assert!(std::time::Instant::now() < deadline, "never {expected}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn a_list_of_connections_and_what_hangs_up_go_by_the_link() {
    let cluster = Cluster::with_config(
        "linked_activity",
        &[("shared_preload_libraries", "auth_ext")],
    );
    let linked = linked(&cluster);
    let (mut a, mut b, mut c) = (
        linked.app.connect(),
        linked.app.connect(),
        linked.app.connect(),
    );
    let token = linked.token("s-41");
    enter(&mut b, &token);
    let listed = |a: &mut Client| -> Vec<String> {
        let rows = a.rows("SELECT user_id FROM auth.activity", &[]);
        rows.iter().map(|row| row.get(0)).collect()
    };
    assert_eq!(listed(&mut a), ["41"]);
    let change = "BEGIN; DELETE FROM accounts WHERE subject = 's-41';
                  INSERT INTO accounts (user_id, provider, subject) VALUES (41, 'p', 's-41'); COMMIT";
    a.run(change);
    assert!(listed(&mut a).is_empty());
    assert_eq!(a.one::<i64>("SELECT auth.end_connections('41')", &[]), 0);
    c.run("SET auth_ext.when_ended = hang_up");
    enter(&mut c, &token);
    assert_eq!(listed(&mut a), ["41"]);
    let pid: i32 = c.one("SELECT pg_backend_pid()", &[]);
    a.run(change);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while a.one::<i64>(
        "SELECT count(*) FROM pg_stat_activity WHERE pid = $1",
        &[&pid],
    ) > 0
    {
        assert!(std::time::Instant::now() < deadline, "still connected");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn beside_links_that_change_hands_no_answer_is_ever_anybody_elses() {
    let linked = linked(shared());
    let token = linked.token("hot");
    let own = linked.app.connect().issue("41");
    let answers = race(&linked.app, 3, |n, client| {
        let mut seen = Vec::new();
        for round in 0..120 {
            if n == 0 {
                let to = if round % 2 == 0 { "42" } else { "41" };
                client.run(&format!(
                    "BEGIN; DELETE FROM accounts WHERE subject = 'hot'; INSERT INTO accounts (user_id, provider, subject) VALUES ({to}, 'p', 'hot'); COMMIT"
                ));
                client.run("DELETE FROM accounts WHERE subject = 'hot'");
            } else {
                seen.push(said(client, &token));
                assert_eq!(said(client, &own), "41");
                // Whoever is authenticated stays that user, or nobody.
                if attempt(
                    client,
                    &format!("SELECT auth.authenticate('{token}', 'session')::text"),
                    &[],
                )
                .is_ok()
                {
                    let began = user(client);
                    let later = user(client);
                    assert!(
                        later.is_none() || later == began || began.is_none(),
                        "{began:?} {later:?}"
                    );
                    assert!(began.is_some() || later.is_none(), "{began:?} {later:?}");
                }
            }
        }
        seen
    });
    for answer in answers.concat() {
        assert!(
            ["unknown_user", "41", "42"].contains(&answer.as_str()),
            "{answer}"
        );
    }
}

#[test]
fn the_owner_of_the_table_attaches_it_and_adds_partitions_with_no_right_on_ours() {
    let linked = linked(shared());
    let mut a = linked.app.connect();
    let role = format!("{}_owner", linked.app.db);
    a.run(&format!(
        "SELECT auth.detach_identities(); DROP TABLE accounts; CREATE ROLE \"{role}\"; CREATE SCHEMA app AUTHORIZATION \"{role}\";
         GRANT EXECUTE ON FUNCTION auth.attach_identities(regclass, name, name, name), auth.detach_identities() TO \"{role}\""
    ));
    let token = linked.token("s-41");
    let mut o = linked.app.connect();
    o.run(&format!("SET ROLE \"{role}\""));
    o.run("CREATE TABLE app.accounts (user_id bigint, provider text, subject text, PRIMARY KEY (provider, subject)) PARTITION BY LIST (provider)");
    o.run("SELECT auth.attach_identities('app.accounts')");
    o.run("CREATE TABLE app.p PARTITION OF app.accounts FOR VALUES IN ('p')");
    o.run("INSERT INTO app.accounts VALUES (41, 'p', 's-41')");
    let mut b = linked.app.connect();
    enter(&mut b, &token);
    let mut reader = Reader::now(&mut a);
    o.run("DELETE FROM app.p");
    o.run("INSERT INTO app.p VALUES (41, 'p', 's-41')");
    assert_eq!((said(&mut b, &token), user(&mut b)), ("41".into(), None));
    assert_eq!(reader.catch_up(&mut a), [unlinked("41")]);
    enter(&mut b, &token);
    o.run("TRUNCATE app.p; INSERT INTO app.p VALUES (41, 'p', 's-41')");
    assert_eq!(user(&mut b), None);
    // Neither what is not theirs, nor our tables.
    o.run("SELECT auth.detach_identities()");
    a.run("CREATE TABLE others (user_id bigint, provider text, subject text UNIQUE)");
    assert_eq!(
        attempt(
            &mut o,
            "SELECT auth.attach_identities('public.others')::text",
            &[]
        ),
        no("42501")
    );
    assert_eq!(
        attempt(&mut o, "DELETE FROM auth.unlinked_accounts", &[]),
        no("42501")
    );
    drop(o);
    a.run(&format!(
        "DROP OWNED BY \"{role}\" CASCADE; DROP ROLE \"{role}\""
    ));
}
