//! The attached identities table: which account at which provider is which user. tests/sql/identities.sql shows the rest.

use auth_ext_tests::{App, Ask, Client, Cluster, Mint, Reader, Value, attempt, json, race, shared};

mod indexes;
mod replicas;
mod roles;
mod tables;

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
