//! Statements with a credential as a literal, and errors that PostgreSQL raises about them where none of our functions runs.

use std::thread;
use std::time::Duration;

use auth_ext_tests::{App, Ask, Client, Cluster, refused};

fn cluster(name: &str) -> Cluster {
    Cluster::setup(name)
        .setting("log_min_error_statement", "debug5")
        .setting("log_error_verbosity", "verbose")
        .setting("log_lock_waits", "on")
        .setting("deadlock_timeout", "50ms")
        .setting("log_temp_files", "0")
        .setting("log_parameter_max_length_on_error", "-1")
        .start()
}

#[track_caller]
fn assert_not_logged(cluster: &Cluster, secrets: &[&str]) {
    let log = cluster.log();
    for secret in secrets {
        let tail = &secret[secret.len() - 30..];
        let line = log.lines().find(|line| line.contains(tail));
        assert_eq!(line, None, "in the log");
    }
}

fn hold(cluster: &Cluster, db: &str, sql: &str) -> Client {
    let mut holder = cluster.connect(db);
    holder.run(&format!("BEGIN; {sql}"));
    holder
}

#[test]
fn an_error_at_the_commit_or_of_the_server_logs_no_statement_with_a_token() {
    let cluster = cluster("at_commit");
    let app = App::new(&cluster, "commit");
    let mut a = app.connect();
    let tokens: Vec<String> = (0..8).map(|_| a.issue("41")).collect();
    let secrets: Vec<&str> = tokens.iter().map(String::as_str).collect();

    // At the COMMIT, where the events are written.
    let holder = hold(&cluster, &app.db, "LOCK TABLE auth.invalidation_log");
    a.run("SET lock_timeout = '100ms'");
    refused(
        a.batch_execute(&format!("SELECT auth.revoke_jwt('{}')", tokens[0])),
        "55P03",
        None,
    );
    refused(
        a.query(&format!("SELECT auth.revoke_jwt('{}')", tokens[0]), &[]),
        "55P03",
        None,
    );
    drop(holder);
    // Inside of the call.
    a.run("RESET lock_timeout; SET statement_timeout = '100ms'");
    let holder = hold(&cluster, &app.db, "LOCK TABLE auth.revoked_tokens");
    refused(
        a.batch_execute(&format!("SELECT auth.revoke_jwt('{}')", tokens[2])),
        "57014",
        None,
    );
    drop(holder);
    a.run("RESET statement_timeout");

    // A deferred constraint of the application's own, after the call.
    a.run(
        "CREATE TABLE notes (id int PRIMARY KEY);
         CREATE TABLE lines (note int REFERENCES notes DEFERRABLE INITIALLY DEFERRED)",
    );
    let sql = format!(
        "INSERT INTO lines SELECT 1 WHERE auth.verify_jwt('{}') IS NOT NULL",
        tokens[3]
    );
    refused(a.batch_execute(&sql), "23503", None);
    // After the call, in the same message; and before it.
    for sql in [
        format!("SELECT auth.verify_jwt('{}'); SELECT 1/0", tokens[4]),
        format!("SELECT 1/0; SELECT auth.verify_jwt('{}')", tokens[4]),
        format!(
            "SELECT 1/(length(auth.verify_jwt('{}')::text) * 0)",
            tokens[4]
        ),
    ] {
        refused(a.batch_execute(&sql), "22012", None);
    }
    a.run("PREPARE p (text) AS SELECT auth.verify_jwt($1), 1/(length($1) - length($1))");
    refused(
        a.batch_execute(&format!("EXECUTE p('{}')", tokens[5])),
        "22012",
        None,
    );
    // A call that is none: by a role that may not, of a wrong type, with a typing error.
    let role = format!("nobody_{}", app.db);
    a.run(&format!("CREATE ROLE {role}; SET ROLE {role}"));
    refused(
        a.batch_execute(&format!("SELECT auth.revoke_jwt('{}')", tokens[6])),
        "42501",
        None,
    );
    a.run("RESET ROLE");
    refused(
        a.batch_execute(&format!("SELECT auth.verify_jwt('{}' 'x')", tokens[6])),
        "42601",
        None,
    );
    refused(
        a.batch_execute(&format!("SELECT auth.verifyjwt('{}')", tokens[6])),
        "42883",
        None,
    );
    let execute = format!(
        "DO $$ BEGIN EXECUTE 'SELECT auth.verify_jwt(''{}'') FROM FROM'; END $$",
        tokens[7]
    );
    refused(a.batch_execute(&execute), "42601", None);
    // Where PostgreSQL's own message quotes the literal.
    for sql in [
        format!("SELECT auth.verify_jwt '{}'", tokens[7]),
        format!("SELECT auth.verify_jwt('{}", tokens[7]),
        format!("SELECT '{}'::bigint", tokens[7]),
        format!("SELECT auth.import_jwks('{}')", tokens[7]),
    ] {
        let error = a.batch_execute(&sql).unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(!error.message().contains(&tokens[7][40..]), "{error:?}");
    }
    // Other statements are logged as ever.
    refused(
        a.batch_execute("SELECT 'as ever' FROM nowhere"),
        "42P01",
        None,
    );
    assert!(cluster.log().contains("SELECT 'as ever' FROM nowhere"));
    assert_not_logged(&cluster, &secrets);
}

#[test]
fn a_deadlock_logs_no_statement_with_a_token_whoever_is_its_victim() {
    let cluster = cluster("deadlock");
    let app = App::new(&cluster, "deadlock");
    let mut a = app.connect();
    let [first, second] = ["41", "41"].map(|user| a.issue(user));
    a.run("CREATE TABLE rows (id int PRIMARY KEY); INSERT INTO rows VALUES (1), (2)");
    let run = |mine: &'static str, after: String| {
        let mut client = cluster.connect(&app.db);
        // Who has not loaded the library hides nothing.
        client.run("SELECT auth.user_id()");
        thread::spawn(move || {
            client.run(&format!(
                "BEGIN; SELECT FROM rows WHERE id = {mine} FOR UPDATE"
            ));
            thread::sleep(Duration::from_millis(200));
            client.batch_execute(&after).err()
        })
    };
    let of = |id: &str, token: &str| {
        format!(
            "SELECT auth.verify_jwt('{token}') FROM (SELECT FROM rows WHERE id = {id} FOR UPDATE) AS r"
        )
    };
    let both = [run("1", of("2", &first)), run("2", of("1", &second))];
    let failed: Vec<_> = both
        .into_iter()
        .filter_map(|one| one.join().unwrap())
        .collect();
    assert_eq!(failed.len(), 1, "{failed:?}");
    // The victim is somebody else's statement, and the report names ours.
    let both = [
        run("1", of("2", &first)),
        run(
            "2",
            "SET deadlock_timeout = '10ms'; SELECT FROM rows WHERE id = 1 FOR UPDATE".into(),
        ),
    ];
    for one in both {
        one.join().unwrap();
    }
    assert!(cluster.log().contains("deadlock detected"));
    assert_not_logged(&cluster, &[&first, &second]);
}

#[test]
fn other_credentials_are_not_logged_either() {
    let cluster = cluster("others");
    let app = App::new(&cluster, "others");
    let mut a = app.connect();
    a.run("CREATE TABLE keys (id text PRIMARY KEY, user_id bigint); SELECT auth.attach_api_keys('keys')");
    let key = "rfs0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    for call in [
        "verify_api_key",
        "check_api_key",
        "authenticate_api_key",
        "api_key_fingerprint",
    ] {
        let _ = a.batch_execute(&format!("SELECT 1/0, auth.{call}('{key}')"));
        let _ = a.batch_execute(&format!(
            "SELECT 1/0, Auth.{}('{key}')",
            call.to_uppercase()
        ));
    }
    let mail: String = a.one(
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        &[],
    );
    let handoff: String = a.one(
        "SELECT auth.exchange_sso_token(auth.issue_sso_token('41'), 'a')",
        &[],
    );
    for sql in [
        format!("SELECT 1/0, auth.consume_one_time_token('{mail}', 'password_reset')"),
        format!("SELECT auth.validate_one_time_token('{mail}')"),
        format!("SELECT 1/0 FROM auth.complete_sso('{handoff}')"),
        format!("SELECT 1/0, auth.import_signing_key('{key}', 'HS256')"),
    ] {
        assert!(a.batch_execute(&sql).is_err(), "{sql}");
    }
    // As parameters, which PostgreSQL adds to the context: while it binds them, while it runs, and in ours.
    for sql in [
        "SELECT 1/(length($1) - length($1)), auth.verify_api_key($1)",
        "SELECT auth.verify_api_key($1)",
        "SELECT auth.verify_api_key($1) FROM generate_series(1, length($1) / 0)",
        "SELECT auth.consume_one_time_token($1, 'password_reset'), 1/(length($1) - length($1))",
    ] {
        assert!(a.query(sql, &[&key]).is_err(), "{sql}");
    }
    let error = a.query(
        "SELECT 'in the context', 1/(length($1) - length($1))",
        &[&"plain"],
    );
    assert!(
        error.is_err() && cluster.log().contains("$1 = 'plain'"),
        "others' are logged as ever"
    );
    assert_not_logged(&cluster, &[key, &mail, &handoff]);
}
