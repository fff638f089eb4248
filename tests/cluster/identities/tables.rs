//! Tables as applications have them: partitioned, and those of well-known frameworks.

use super::{PROVIDER, enter, linked, provider, said, unlinked, user};
use auth_ext_tests::{Ask, Mint, Reader, database_with_key, json, refused, shared};

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
