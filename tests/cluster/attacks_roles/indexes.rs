//! Planning a query, and simplifying a condition, runs functions that the owner of a table has put into its indexes: as the owner, whoever
//! asks.

use std::thread;
use std::time::Duration;

use auth_ext_tests::{Ask, Client, Cluster, database_with_key};

use super::role;

/// Who but the owner has run the function of the indexes, since this was asked last.
fn strangers(admin: &mut Client, owner: &str) -> Vec<String> {
    let sql = "WITH gone AS (DELETE FROM app.ran RETURNING who) SELECT DISTINCT who FROM gone WHERE who <> $1";
    let rows = admin.rows(sql, &[&owner]);
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn what_an_owner_puts_into_an_index_runs_as_nobody_else() {
    let cluster = Cluster::with_config(
        "indexes",
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("auth_ext.when_ended", "hang_up"),
        ],
    );
    let db = database_with_key(&cluster, "indexes");
    let mut admin = cluster.connect(&db);
    let mallory = role(&mut admin, &db, "mallory");
    let reader = role(&mut admin, &db, "reader");
    let mut owner = cluster.connect_as(&db, &mallory);
    owner.run(
        "CREATE SCHEMA app; GRANT USAGE ON SCHEMA app TO PUBLIC;
         CREATE TABLE app.ran (who text); GRANT ALL ON app.ran TO PUBLIC;
         CREATE FUNCTION app.note() RETURNS void LANGUAGE plpgsql AS
             $$ BEGIN INSERT INTO app.ran VALUES (current_user); EXCEPTION WHEN read_only_sql_transaction THEN NULL; END $$;
         CREATE FUNCTION app.is(int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
             $$ BEGIN PERFORM app.note(); RETURN true; END $$;
         CREATE TABLE app.users (id bigint PRIMARY KEY, uid text UNIQUE, password text);
         CREATE TABLE app.keys (id text PRIMARY KEY, user_id bigint, prefix text, key_hash text);
         CREATE TABLE app.accounts (user_id bigint, provider text, subject text, UNIQUE (provider, subject));
         INSERT INTO app.users VALUES (41, 'u-41'), (42, 'u-42');
         INSERT INTO app.accounts VALUES (41, 'p', 's-41')",
    );
    let put = |owner: &mut Client| {
        for (n, (table, columns)) in [
            ("users", "id"),
            ("users", "uid"),
            ("keys", "id"),
            ("keys", "key_fingerprint"),
            ("accounts", "provider, subject"),
        ]
        .iter()
        .enumerate()
        {
            owner.run(&format!(
                "CREATE UNIQUE INDEX a{n} ON app.{table} ({columns}) WHERE app.is(1);
                 CREATE INDEX b{n} ON app.{table} ({columns}) WHERE app.is(2)"
            ));
        }
    };
    admin.run("SELECT auth.attach_users('app.users', bump_on => '{password}'); SELECT auth.attach_api_keys('app.keys');
               SELECT auth.attach_identities('app.accounts')");
    let token = admin.issue("41");
    let key: String = admin.one("SELECT key FROM auth.create_api_key('41', 'k')", &[]);
    // Somebody is in the history, and on a connection, when the worker looks.
    admin.bump("42");
    let mut listed = cluster.connect(&db);
    listed.run(&format!("SELECT auth.authenticate('{token}', 'session')"));
    put(&mut owner);
    strangers(&mut admin, &mallory);
    // The trap works.
    cluster
        .connect(&db)
        .run("SELECT FROM app.users WHERE id = 41");
    assert_eq!(strangers(&mut admin, &mallory), ["postgres"]);

    let by_superuser = [
        format!("SELECT auth.verify_jwt('{token}')"),
        format!("SELECT auth.authenticate('{token}', 'session'); SELECT auth.user_id()"),
        format!("SELECT * FROM auth.verify_api_key('{key}')"),
        format!("SELECT * FROM auth.check_api_key('{key}')"),
        "SELECT * FROM auth.health()".to_owned(),
        "SELECT * FROM auth.activity".to_owned(),
        "SELECT * FROM auth.open_session('41'); SELECT * FROM auth.list_sessions('41')".to_owned(),
        "SELECT auth.issue_one_time_token('41', 'password_reset')".to_owned(),
        "SELECT auth.bump_session_version('42')".to_owned(),
        "SELECT auth.create_api_key('42', 'k')".to_owned(),
        "SELECT auth.prune()".to_owned(),
        "SELECT auth.attach_users('app.users'); SELECT auth.attach_api_keys('app.keys');
         SELECT auth.attach_identities('app.accounts')"
            .to_owned(),
        "UPDATE auth.issuers SET user_column = 'uid', session_check = 'issued_at'; SELECT auth.issue_jwt('41')".to_owned(),
        "UPDATE auth.issuers SET user_column = NULL, identity_provider = 'p'".to_owned(),
        format!("SELECT valid FROM auth.check_jwt('{token}')"),
        "UPDATE auth.issuers SET identity_provider = NULL, session_check = 'version'".to_owned(),
    ];
    for sql in &by_superuser {
        cluster.connect(&db).run(sql);
        assert_eq!(strangers(&mut admin, &mallory), [""; 0], "{sql}");
    }
    // By PUBLIC's functions, of which one is its owner's for as long as it runs.
    let mut other = cluster.connect_as(&db, &reader);
    assert_eq!(other.verdict(&token), "valid");
    other.run(&format!(
        "SELECT set_config('request.headers', '{{\"authorization\":\"Bearer {token}\"}}', false); SELECT auth.pre_request()"
    ));
    // And the worker, which looks at a connection every second.
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(strangers(&mut admin, &mallory), [""; 0]);
}
