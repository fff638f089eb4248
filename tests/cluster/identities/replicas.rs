//! Links on a standby and on a subscriber of logical replication.

use super::{enter, linked, provider, said, unlinked, user};
use auth_ext_tests::{Ask, Client, Cluster, Reader, database_with_key, json, refused};

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
