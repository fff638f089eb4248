//! Who waits while a table is swapped for another, as docs/operating.md has it, looks at the new one and changes that.

use auth_ext_tests::{App, Ask, Client, Mint, attempt, json, no, second, shared};

const KEYS: &str = "
    CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, key_fingerprint text UNIQUE,
        is_active boolean NOT NULL DEFAULT true, last_used_at timestamptz);
    SELECT auth.attach_api_keys('keys')";

/// Begins to swap a table for a copy of itself.
fn swap(client: &mut Client, table: &str, detach: &str, attach: &str) {
    client.run(&format!(
        "BEGIN;
         CREATE TABLE {table}_new (LIKE {table} INCLUDING ALL);
         INSERT INTO {table}_new TABLE {table};
         SELECT {detach};
         ALTER TABLE {table} RENAME TO {table}_old;
         ALTER TABLE {table}_new RENAME TO {table};
         SELECT {attach}"
    ));
}

fn swap_users(client: &mut Client) {
    let attach = "auth.attach_users('users', bump_on => '{email}')";
    swap(client, "users", "auth.detach_users()", attach);
}

fn swap_keys(client: &mut Client) {
    let attach = "auth.attach_api_keys('keys')";
    swap(client, "keys", "auth.detach_api_keys()", attach);
}

fn version(client: &mut Client) -> i64 {
    client.one("SELECT session_version FROM users WHERE id = 41", &[])
}

#[test]
fn a_bump_that_waited_is_one_of_the_table_that_is_there() {
    let app = App::new(shared(), "swap_bump");
    let mut a = app.connect();
    let token = a.issue("41");
    swap_users(&mut a);
    let bumped = second(&app, &mut a, "COMMIT", |b| {
        // Not the first in its session: there is a plan.
        b.bump("41")
    });
    assert_eq!((bumped, version(&mut a)), (1, 1));
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    // Rolled back, it is the old one still.
    a.run("DROP TABLE users_old");
    swap_users(&mut a);
    let bumped = second(&app, &mut a, "ROLLBACK", |b| b.bump("41"));
    assert_eq!((bumped, version(&mut a)), (2, 2));
}

#[test]
fn a_verification_that_waited_goes_by_the_table_that_is_there() {
    let app = App::new(shared(), "swap_verify");
    let mut a = app.connect();
    let [by_id, by_column] = ["41", "42"].map(|user| a.issue(user));
    for (token, end) in [
        (&by_id, "UPDATE users SET email = 'x' WHERE id = 41; COMMIT"),
        (&by_column, "DELETE FROM users WHERE id = 42; COMMIT"),
    ] {
        assert_eq!(a.verdict(token), "valid");
        swap_users(&mut a);
        let verdict = second(&app, &mut a, end, |b| b.verdict(token));
        assert_ne!(verdict, "valid", "{end}");
        a.run("DROP TABLE users_old");
    }
    // Detached, nobody is known.
    let token = a.issue("41");
    let verify = "SELECT auth.verify_jwt($1)->>'sub'";
    a.run("BEGIN; SELECT auth.detach_users()");
    let found = second(&app, &mut a, "COMMIT", |b| attempt(b, verify, &[&token]));
    assert_eq!(found, no("55000"));
}

#[test]
fn a_users_column_is_looked_at_where_the_table_is_there() {
    let app = App::new(shared(), "swap_column");
    let mut a = app.connect();
    a.run(
        "ALTER TABLE users ADD ref text UNIQUE; UPDATE users SET ref = 'ref-' || id;
         UPDATE auth.issuers SET user_column = 'ref'",
    );
    let token: String = a.one("SELECT auth.issue_jwt('41')", &[]);
    assert_eq!(a.verdict(&token), "valid");
    swap_users(&mut a);
    let end = "UPDATE users SET ref = 'other' WHERE id = 41; COMMIT";
    assert_eq!(
        second(&app, &mut a, end, |b| b.verdict(&token)),
        "unknown_user"
    );
}

#[test]
fn an_api_key_that_waited_is_one_of_the_table_that_is_there() {
    let app = App::new(shared(), "swap_keys");
    let mut a = app.connect();
    a.run(KEYS);
    let make = "SELECT key FROM auth.create_api_key('41', 'k')";
    let verify = "SELECT user_id FROM auth.verify_api_key($1)";
    let mut keys: Vec<String> = (0..2).map(|_| a.one(make, &[])).collect();
    let (first, other) = (keys.remove(0), keys.remove(0));
    assert_eq!(
        attempt(&mut a, verify, &[&first]),
        Ok(Some("41".to_owned()))
    );
    swap_keys(&mut a);
    let end = "UPDATE keys SET is_active = false; COMMIT";
    let found = second(&app, &mut a, end, |b| attempt(b, verify, &[&first]));
    assert_eq!(found, no("inactive_api_key"));
    a.run("UPDATE keys SET is_active = true; DROP TABLE keys_old");

    let id: String = a.one(
        "SELECT id FROM keys WHERE key_fingerprint = auth.api_key_fingerprint($1)",
        &[&other],
    );
    swap_keys(&mut a);
    let ended: bool = second(&app, &mut a, "COMMIT", |b| {
        b.one("SELECT auth.revoke_api_key($1)", &[&id])
    });
    assert!(ended);
    assert_eq!(attempt(&mut a, verify, &[&other]), no("inactive_api_key"));

    // A new key is made there, or by who asks again.
    a.run("DROP TABLE keys_old");
    swap_keys(&mut a);
    let made = second(&app, &mut a, "COMMIT", |b| attempt(b, make, &[]));
    match made {
        Ok(key) => assert!(attempt(&mut a, verify, &[&key]).is_ok()),
        Err(code) => assert_eq!(code, "40001"),
    }
}

#[test]
fn an_account_that_waited_is_one_of_the_table_that_is_there() {
    let app = App::new(shared(), "swap_accounts");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE accounts (user_id bigint NOT NULL, provider text, subject text, PRIMARY KEY (provider, subject));
         SELECT auth.attach_identities('accounts');
         INSERT INTO accounts VALUES (41, 'p', 'ada');
         INSERT INTO auth.issuers (issuer, audience, session_check, identity_provider)
         VALUES ('https://p.example', '{app}', 'issued_at', 'p')",
    );
    let token = Mint::of(&mut a, "https://p.example").token(&mut a, &json!({ "sub": "ada" }));
    assert_eq!(a.verdict(&token), "valid");
    a.run(
        "BEGIN;
         CREATE TABLE accounts_new (LIKE accounts INCLUDING ALL);
         INSERT INTO accounts_new VALUES (42, 'p', 'ada');
         SELECT auth.detach_identities();
         ALTER TABLE accounts RENAME TO accounts_old;
         ALTER TABLE accounts_new RENAME TO accounts;
         SELECT auth.attach_identities('accounts')",
    );
    let user = second(&app, &mut a, "COMMIT", |b| {
        b.one::<Option<String>>("SELECT user_id FROM auth.check_jwt($1)", &[&token])
    });
    assert_eq!(user.as_deref(), Some("42"));
}
