//! How an application learns that nobody is authenticated: of a token that is refused by an answer, of an identity that is over at
//! once by a warning.

use auth_ext_tests::postgres::types::ToSql;
use auth_ext_tests::{App, Ask, Client, refused, shared};

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
        ("SELECT auth.authenticate($1)", &token),
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
