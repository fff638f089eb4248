//! What applications ask of an identity beside its user: a number, roles, how recent the login is.

use auth_ext_tests::postgres::types::FromSqlOwned;
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
