//! What applications ask of an identity beside its user: a number, roles, how recent the login is; and how they learn that
//! a token is refused, or that an identity is over at once.

use auth_ext_tests::postgres::types::{FromSqlOwned, ToSql};
use auth_ext_tests::{App, Ask, Client, assert_reason, attempt, no, refused, seconds, shared};

const ENTER: &str = "SELECT auth.authenticate($1)";

/// A token of Ada with more claims.
fn token(client: &mut Client, app: &App<'_>, claims: &str) -> String {
    let sql = "SELECT auth.issue_jwt($1, claims => $2::text::jsonb)";
    client.one(sql, &[&app.ada, &claims])
}

/// What a query answers in a transaction with that token's identity, or nobody's.
fn as_user<T: FromSqlOwned>(client: &mut Client, token: Option<&str>, sql: &str) -> T {
    client.run("BEGIN");
    if let Some(token) = token {
        client.rows(ENTER, &[&token]);
    }
    let value = client.one(sql, &[]);
    client.run("ROLLBACK");
    value
}

#[test]
fn the_user_as_a_bigint_is_null_for_whoever_has_no_such_number() {
    let app = App::new(shared(), "bigint");
    let mut a = app.connect();
    let sql = "SELECT auth.user_id_bigint()";
    for id in [app.ada, app.bob, app.eve] {
        let token = a.issue(id);
        let expected: i64 = id.parse().unwrap();
        assert_eq!(
            as_user::<Option<i64>>(&mut a, Some(&token), sql),
            Some(expected)
        );
    }
    assert_eq!(as_user::<Option<i64>>(&mut a, None, sql), None);
    // Where ids are text, only what a bigint prints is one: "007" and "7" are two users.
    a.run(
        "SELECT auth.detach_users(); DROP TABLE users; CREATE TABLE users (id text PRIMARY KEY, is_active boolean NOT NULL DEFAULT true);
         INSERT INTO users VALUES ('7'), ('007'), ('+7'), (' 7'), ('7.0'), ('x'), ('9223372036854775808'), ('-0'), ('9223372036854775807');
         SELECT auth.attach_users('users')",
    );
    for (id, expected) in [
        ("7", Some(7)),
        ("007", None),
        ("+7", None),
        (" 7", None),
        ("7.0", None),
        ("x", None),
        ("9223372036854775808", None),
        ("-0", None),
        ("9223372036854775807", Some(i64::MAX)),
    ] {
        let token = a.issue(id);
        assert_eq!(
            as_user::<Option<i64>>(&mut a, Some(&token), sql),
            expected,
            "{id:?}"
        );
    }
}

#[test]
fn a_policy_on_a_bigint_column_is_asked_once_and_uses_an_index() {
    let app = App::new(shared(), "bigint_plan");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE docs AS SELECT n AS id, n % 1000 AS owner FROM generate_series(1::bigint, 20000) AS n;
         CREATE INDEX ON docs (owner); ANALYZE docs",
    );
    let plan: Vec<String> = a
        .rows(
            "EXPLAIN (COSTS off) SELECT * FROM docs WHERE owner = auth.user_id_bigint()",
            &[],
        )
        .iter()
        .map(|row| row.get(0))
        .collect();
    let plan = plan.join("\n");
    assert!(
        plan.contains("InitPlan") && plan.contains("Index Cond"),
        "{plan}"
    );
    assert!(!plan.contains("user_id_bigint()"), "{plan}");
}

#[test]
fn roles_are_the_claim_as_an_array_and_role_is_its_text() {
    let app = App::new(shared(), "roles");
    let mut a = app.connect();
    for (claim, roles, role) in [
        (r#""staff""#, vec!["staff"], Some("staff")),
        (r#""""#, vec![""], Some("")),
        (
            r#"["staff","a,b","{x}"]"#,
            vec!["staff", "a,b", "{x}"],
            None,
        ),
        ("[]", vec![], None),
        (r#"["staff",1]"#, vec![], None),
        (r#"["staff",null]"#, vec![], None),
        (r#"[["staff"]]"#, vec![], None),
        ("null", vec![], None),
        ("true", vec![], Some("true")),
        (
            "12345678901234567890123",
            vec![],
            Some("12345678901234567890123"),
        ),
        (r#"{"a":"staff"}"#, vec![], Some(r#"{"a": "staff"}"#)),
    ] {
        let token = token(&mut a, &app, &format!(r#"{{"role":{claim}}}"#));
        let of_token: Option<Vec<String>> = as_user(&mut a, Some(&token), "SELECT auth.roles()");
        assert_eq!(
            of_token.as_deref(),
            Some(&roles.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>()[..]),
            "{claim}"
        );
        let of_token: Option<String> = as_user(&mut a, Some(&token), "SELECT auth.role()");
        assert_eq!(of_token.as_deref(), role, "{claim}");
    }
    let without = a.issue(app.ada);
    let none: Option<Vec<String>> = as_user(&mut a, Some(&without), "SELECT auth.roles()");
    assert_eq!(none, Some(vec![]));
    let nobody: Option<Vec<String>> = as_user(&mut a, None, "SELECT auth.roles()");
    assert_eq!(nobody, None);
    a.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true);
         SELECT auth.attach_api_keys('keys')",
    );
    let key: String = a.one("SELECT (auth.create_api_key('41', 'x')).key", &[]);
    a.run("BEGIN");
    a.rows("SELECT auth.authenticate_api_key($1)", &[&key]);
    assert_eq!(
        a.one::<Option<Vec<String>>>("SELECT auth.roles()", &[]),
        Some(vec![])
    );
    assert_eq!(a.one::<Option<String>>("SELECT auth.role()", &[]), None);
}

/// `try_authenticate`: valid, reason, user_id, the claim sub.
fn try_enter(client: &mut Client, token: Option<&str>, scope: &str) -> (bool, [Option<String>; 3]) {
    let sql = "SELECT t.valid, t.reason, t.user_id, t.claims->>'sub' FROM auth.try_authenticate($1, $2) AS t";
    let row = &client.rows(sql, &[&token, &scope])[0];
    (row.get(0), [row.get(1), row.get(2), row.get(3)])
}

fn who(client: &mut Client) -> Option<String> {
    client.one("SELECT auth.user_id()", &[])
}

#[test]
fn try_authenticate_answers_for_a_bad_token_and_leaves_nobody_authenticated() {
    let app = App::new(shared(), "try");
    let mut a = app.connect();
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    let ended = a.issue(app.bob);
    a.run(&format!("SELECT auth.revoke_jwt('{ended}')"));
    let valid = |id: &str| (true, [None, Some(id.to_owned()), Some(id.to_owned())]);
    let refused_for = |reason: &str| (false, [Some(reason.to_owned()), None, None]);
    let bad = [
        (Some("x.y.z"), "malformed"),
        (None, "malformed"),
        (Some(ended.as_str()), "revoked"),
    ];
    for (token, reason) in bad {
        // The session's identity is hidden in the transaction, and back after it.
        assert_eq!(try_enter(&mut a, Some(&ada), "session"), valid(app.ada));
        a.run("BEGIN");
        assert_eq!(try_enter(&mut a, Some(&bob), "transaction"), valid(app.bob));
        assert_eq!(who(&mut a).as_deref(), Some(app.bob));
        assert_eq!(try_enter(&mut a, token, "transaction"), refused_for(reason));
        assert_eq!(who(&mut a), None);
        // The transaction goes on.
        assert_eq!(try_enter(&mut a, Some(&bob), "transaction"), valid(app.bob));
        assert_eq!(who(&mut a).as_deref(), Some(app.bob));
        assert_eq!(try_enter(&mut a, token, "session"), refused_for(reason));
        assert_eq!(who(&mut a), None);
        a.run("ROLLBACK");
        assert_eq!(who(&mut a).as_deref(), Some(app.ada));
        assert_eq!(try_enter(&mut a, token, "session"), refused_for(reason));
        assert_eq!(who(&mut a), None);
    }
    let inside: bool = a.one(
        "SELECT (auth.try_authenticate('x')).valid OR auth.user_id() IS NOT NULL",
        &[],
    );
    assert!(!inside);
    let call = "SELECT auth.try_authenticate($1, $2)";
    refused(a.query(call, &[&ada, &"forever"]), "22023", None);
    refused(a.query(call, &[&ada, &None::<String>]), "22023", None);
}

#[test]
fn try_authenticate_is_no_error_of_the_server_s_log_and_everybody_s_to_call() {
    let app = App::new(shared(), "try_public");
    let mut admin = app.connect();
    let ada = admin.issue(app.ada);
    let role = format!("public_{}", app.db);
    admin.run(&format!("CREATE ROLE {role} LOGIN"));
    let mut a = shared().connect_as(&app.db, &role);
    a.run("BEGIN");
    assert!(!try_enter(&mut a, Some("x"), "transaction").0);
    assert!(try_enter(&mut a, Some(&ada), "transaction").0);
    for sql in ["SELECT auth.roles()", "SELECT auth.user_id_bigint()"] {
        a.rows(sql, &[]);
    }
    a.rows("SELECT auth.require_recent('1 hour', 'iat')", &[]);
    a.run("COMMIT");
}

#[test]
fn require_recent_wants_a_login_that_is_not_long_ago() {
    let app = App::new(shared(), "recent");
    let mut a = app.connect();
    a.run("UPDATE auth.issuers SET leeway = '30 seconds'");
    let now = seconds(&mut a);
    let recent = "SELECT auth.require_recent($1::text::interval)";
    let mut outcome = |claims: &str, age: &str, sql: &str| {
        let token = token(&mut a, &app, claims);
        a.run("BEGIN");
        a.rows(ENTER, &[&token]);
        let outcome = attempt(&mut a, sql, &[&age.to_owned()]);
        a.run("ROLLBACK");
        outcome
    };
    let ok = Ok(Some(app.ada.to_owned()));
    let claim = |offset: i64| format!(r#"{{"auth_time":{}}}"#, now + offset);
    for (claims, age, expected) in [
        (claim(0), "1 minute", &ok),
        (claim(-50), "1 minute", &ok),
        (claim(-70), "1 minute", &no("not_recent")),
        (claim(-70), "1 hour", &ok),
        (claim(20), "1 minute", &ok),
        (claim(60), "1 minute", &no("not_recent")),
        (claim(-20), "0", &no("not_recent")),
        (claim(-20), "-1 minute", &no("not_recent")),
        (claim(-86_400 * 20), "1 month", &ok),
        (
            format!(r#"{{"auth_time":{}.75}}"#, now - 10),
            "1 minute",
            &ok,
        ),
        (
            format!(r#"{{"auth_time":"{now}"}}"#),
            "1 minute",
            &no("not_recent"),
        ),
        (
            r#"{"auth_time":-1}"#.to_owned(),
            "100 years",
            &no("not_recent"),
        ),
        (
            r#"{"auth_time":1e400}"#.to_owned(),
            "100 years",
            &no("not_recent"),
        ),
        (
            r#"{"auth_time":null}"#.to_owned(),
            "100 years",
            &no("not_recent"),
        ),
        (
            r#"{"auth_time":[1]}"#.to_owned(),
            "100 years",
            &no("not_recent"),
        ),
        ("{}".to_owned(), "100 years", &no("not_recent")),
    ] {
        assert_eq!(&outcome(&claims, age, recent), expected, "{claims} {age}");
    }
    let named = "SELECT auth.require_recent($1::text::interval, 'iat')";
    assert_eq!(outcome("{}", "1 minute", named), ok);
    let named = "SELECT auth.require_recent($1::text::interval, 'login at')";
    assert_eq!(
        outcome(&format!(r#"{{"login at":{now}}}"#), "1 minute", named),
        ok
    );
}

#[test]
fn require_recent_refuses_whoever_has_no_token_and_an_interval_that_is_none() {
    let app = App::new(shared(), "not_recent");
    let mut a = app.connect();
    let recent = "SELECT auth.require_recent('1 hour')";
    assert_reason(&mut a, recent, &[], "not_authenticated");
    a.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true, expires_at timestamptz);
         SELECT auth.attach_api_keys('keys')",
    );
    let key: String = a.one("SELECT (auth.create_api_key('41', 'x')).key", &[]);
    a.rows("SELECT auth.authenticate_api_key($1, 'session')", &[&key]);
    for sql in [
        recent,
        "SELECT auth.require_recent('1 hour', 'session_version')",
        "SELECT auth.require_recent('100 years', 'user_id')",
    ] {
        assert_reason(&mut a, sql, &[], "not_recent");
    }
    for sql in [
        "SELECT auth.require_recent(NULL)",
        "SELECT auth.require_recent('1 hour', NULL)",
    ] {
        refused(a.query(sql, &[]), "22023", None);
    }
    a.run("SELECT auth.logout()");
    refused(
        a.query("SELECT auth.require_recent(NULL)", &[]),
        "22023",
        None,
    );
}

/// How many warnings of SQLSTATE 25P01 the statements give.
fn warnings(app: &App<'_>, before: &str, sql: &str) -> usize {
    let (mut client, notices) = shared().connect_with_notices(&app.db);
    client.run(before);
    client.run(sql);
    drop(client);
    notices
        .iter()
        .filter(|notice| notice.code().code() == "25P01")
        .count()
}

#[test]
fn a_transaction_s_identity_outside_of_a_block_is_warned_of_where_set_local_would_be() {
    let app = App::new(shared(), "warned");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true);
         SELECT auth.attach_api_keys('keys');
         CREATE FUNCTION set_local() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET LOCAL work_mem = '1MB'; END $$",
    );
    let (token, key): (String, String) = (
        a.issue(app.ada),
        a.one("SELECT (auth.create_api_key('41', 'x')).key", &[]),
    );
    let calls = [
        format!("auth.authenticate('{token}')"),
        format!("auth.authenticate('{token}', 'transaction')"),
        format!("auth.authenticate_api_key('{key}')"),
        format!("auth.try_authenticate('{token}')"),
    ];
    for call in &calls {
        // With nothing before, and in a session that has used the extension before.
        for before in ["", "SELECT auth.user_id(); BEGIN; SAVEPOINT s; ROLLBACK"] {
            let select = format!("SELECT {call}");
            assert_eq!(warnings(&app, before, &select), 1, "{call}");
            assert_eq!(
                warnings(&app, before, &format!("PREPARE p AS {select}; ")),
                0
            );
            for quiet in [
                format!("BEGIN; {select}; COMMIT"),
                format!("BEGIN; SAVEPOINT s; {select}; COMMIT"),
                format!("SELECT 1; {select}"),
                format!("DO $$ BEGIN PERFORM {call}; END $$"),
                format!("DO $$ DECLARE x record; BEGIN x := {call}; END $$").replace(
                    "x record; BEGIN x := auth.auth",
                    "x jsonb; BEGIN x := auth.auth",
                ),
                format!(
                    "DO $$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN PERFORM {call}; END; END $$"
                ),
            ] {
                assert_eq!(warnings(&app, before, &quiet), 0, "{quiet}");
            }
        }
        let body = call.replace('\'', "''");
        for (language, text) in [
            ("plpgsql", format!("BEGIN PERFORM {body}; END")),
            ("sql", format!("SELECT {body}; SELECT auth.user_id()::void")),
        ] {
            let text = text.replace("auth.user_id()::void", "set_local()");
            a.run(&format!(
                "CREATE OR REPLACE FUNCTION enter() RETURNS void LANGUAGE {language} AS '{text}'"
            ));
            for before in ["", "SELECT auth.user_id()"] {
                assert_eq!(
                    warnings(&app, before, "SELECT enter()"),
                    0,
                    "{language}: {text}"
                );
                assert_eq!(
                    warnings(&app, before, "SELECT FROM enter()"),
                    0,
                    "{language}: {text}"
                );
            }
        }
        // A session's identity lives on, and a refused token gives none.
        for quiet in [
            format!("SELECT auth.authenticate('{token}', 'session')"),
            "SELECT auth.try_authenticate('x')".to_owned(),
            "SELECT auth.logout()".to_owned(),
        ] {
            assert_eq!(warnings(&app, "", &quiet), 0, "{quiet}");
        }
    }
    // By the extended protocol, with parameters.
    let (mut client, notices) = shared().connect_with_notices(&app.db);
    for (sql, value) in [
        (ENTER, &token),
        ("SELECT auth.authenticate_api_key($1)", &key),
    ] {
        let params: [&(dyn ToSql + Sync); 1] = [value];
        client.rows(sql, &params);
        let mut transaction = client.transaction().unwrap();
        transaction.query(sql, &params).unwrap();
        transaction.commit().unwrap();
    }
    drop(client);
    let told: Vec<_> = notices.iter().collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for warning in told {
        assert_eq!(
            (warning.severity(), warning.code().code()),
            ("WARNING", "25P01")
        );
        let said = format!("{warning:?}");
        assert!(!said.contains(&token) && !said.contains(&key), "{said}");
    }
}
