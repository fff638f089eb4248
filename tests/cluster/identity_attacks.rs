//! What an ordinary role can do, and that none of it changes who is authenticated.

use auth_ext_tests::{App, Ask, Client, refused, shared};

/// A role that owns a schema and may create whatever a role may; authenticated as Ada.
fn attacker(app: &App<'_>, admin: &mut Client) -> (Client, String) {
    let role = format!("attacker_{}", app.db);
    admin.run(&format!(
        "CREATE ROLE {role} LOGIN; CREATE SCHEMA trap AUTHORIZATION {role}; GRANT CREATE ON SCHEMA public TO {role};
         GRANT CREATE ON DATABASE {db} TO {role};
         CREATE TABLE notes (id int PRIMARY KEY, owner text NOT NULL, body text);
         INSERT INTO notes VALUES (1, '{ada}', 'hers'), (2, '{bob}', 'secret');
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes USING (owner = auth.user_id());
         GRANT ALL ON notes TO {role}",
        db = app.db,
        ada = app.ada,
        bob = app.bob,
    ));
    let token = admin.issue(app.ada);
    let mut client = shared().connect_as(&app.db, &role);
    client.rows("SELECT auth.authenticate($1, 'session')", &[&token]);
    (client, role)
}

#[track_caller]
fn is_ada(client: &mut Client, after: &str) {
    let sql = "SELECT auth.user_id() || ' ' || coalesce(auth.claim('sub'), '-') || ' ' || (SELECT string_agg(body, ',') FROM notes)";
    assert_eq!(client.one::<String>(sql, &[]), "41 41 hers", "{after}");
}

#[test]
fn no_command_sets_or_takes_an_identity() {
    let app = App::new(shared(), "commands");
    let mut admin = app.connect();
    let (mut a, role) = attacker(&app, &mut admin);
    let db = &app.db;
    for name in ["auth_ext.identity", "auth_ext.session_identity"] {
        for command in [
            format!("SET {name} = 'key x'"),
            format!("SET LOCAL {name} = ''"),
            format!("SET SESSION {name} TO DEFAULT"),
            format!("RESET {name}"),
            format!("SELECT set_config('{name}', '', false)"),
            format!("SELECT set_config('{name}', '', true)"),
            format!("ALTER ROLE {role} SET {name} = ''"),
            format!("ALTER DATABASE {db} SET {name} = ''"),
            format!(
                "CREATE FUNCTION trap.f() RETURNS int LANGUAGE sql SET {name} = '' AS 'SELECT 1'"
            ),
            format!(
                "CREATE FUNCTION trap.f() RETURNS int LANGUAGE sql SET {name} FROM CURRENT AS 'SELECT 1'"
            ),
            format!("UPDATE pg_settings SET setting = '' WHERE name = '{name}'"),
            format!("SHOW {name}"),
            format!("SELECT current_setting('{name}')"),
        ] {
            // pg_settings does not list them: an UPDATE there finds nothing.
            if let Ok(rows) = a.query(&command, &[]) {
                assert_eq!(rows.len(), 0, "{command}");
                assert!(command.starts_with("UPDATE"), "{command}");
            }
            is_ada(&mut a, &command);
        }
    }
    for command in [
        "RESET ALL",
        "DISCARD PLANS; DISCARD SEQUENCES; DISCARD TEMP",
        "RESET ROLE; RESET SESSION AUTHORIZATION",
        "SET search_path = trap, public; SET row_security = on",
        "SET plan_cache_mode = force_generic_plan",
        "DEALLOCATE ALL; CLOSE ALL; UNLISTEN *",
        "BEGIN; SAVEPOINT s; ROLLBACK TO s; COMMIT",
        "DO $$ BEGIN RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN NULL; END $$",
        "SET request.jwt.claims = '{\"sub\": \"42\"}'; SET request.headers = '{}'",
        "SET auth.user_id = '42'; SET jwt.claims.sub = '42'",
    ] {
        a.run(command);
        is_ada(&mut a, command);
    }
    // Nor may the superuser, by these means.
    refused(
        admin.batch_execute("SET auth_ext.session_identity = 'token x'"),
        "22023",
        None,
    );
    admin.run(&format!("GRANT {role} TO CURRENT_USER"));
    a.run(&format!("SET ROLE {role}"));
    is_ada(&mut a, "SET ROLE");
}

#[test]
fn what_was_set_before_the_library_was_loaded_counts_for_nothing() {
    let app = App::new(shared(), "before");
    let mut admin = app.connect();
    let (_, role) = attacker(&app, &mut admin);
    let token = admin.issue(app.bob);
    for value in [
        format!("token {token}"),
        "key {}".to_owned(),
        "x".to_owned(),
    ] {
        for name in ["identity", "session_identity"] {
            let mut a = shared().connect_as(&app.db, &role);
            // A placeholder, as long as nothing of the extension has been called.
            let _ = a.batch_execute(&format!("SET auth_ext.{name} = '{value}'"));
            assert_eq!(a.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
            let options = format!("-c auth_ext.{name}={}", value.replace(' ', "\\\\ "));
            let conninfo = format!("{} options='{options}'", shared().conninfo(&app.db, &role));
            if let Ok(mut b) = Client::connect(&conninfo, postgres::NoTls) {
                assert_eq!(b.one::<Option<String>>("SELECT auth.user_id()", &[]), None);
            }
        }
    }
}

#[test]
fn objects_of_the_attackers_own_change_nothing() {
    let app = App::new(shared(), "objects");
    let mut admin = app.connect();
    let (mut a, _) = attacker(&app, &mut admin);
    a.run(
        "SET search_path = trap, pg_temp, public;
         CREATE FUNCTION trap.user_id() RETURNS text LANGUAGE sql AS $$ SELECT '42' $$;
         CREATE FUNCTION pg_temp.user_id() RETURNS text LANGUAGE sql AS $$ SELECT '42' $$;
         CREATE FUNCTION trap.always(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.always);
         CREATE FUNCTION trap.always(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT true $$;
         CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.always);
         CREATE TEMP TABLE users (id bigint, session_version bigint, is_active boolean);
         CREATE TEMP TABLE issuers (issuer text); CREATE TEMP TABLE signing_key_store (issuer text);
         CREATE TABLE trap.revoked_tokens (issuer text, jti text);
         CREATE FUNCTION trap.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT 'token x' $$",
    );
    let sql = "SELECT string_agg(body, ',') FROM public.notes";
    assert_eq!(a.one::<String>(sql, &[]), "hers");
    assert_eq!(a.one::<String>("SELECT auth.user_id()", &[]), "41");
    a.run("DISCARD TEMP; RESET search_path");
    is_ada(&mut a, "objects in the way");
    for command in [
        "CREATE FUNCTION auth.user_id(int) RETURNS text LANGUAGE sql AS $$ SELECT '42' $$",
        "CREATE OR REPLACE FUNCTION auth.user_id() RETURNS text LANGUAGE sql AS $$ SELECT '42' $$",
        "ALTER FUNCTION auth.user_id() RENAME TO mine",
        "CREATE FUNCTION trap.support(internal) RETURNS internal LANGUAGE internal AS 'int4_support'",
        "ALTER TABLE notes DISABLE ROW LEVEL SECURITY",
        "CREATE POLICY mine ON notes USING (true)",
        "CREATE CAST (text AS bigint) WITH FUNCTION trap.f(text)",
    ] {
        refused(a.batch_execute(command), "42501", None);
    }
}

#[test]
fn a_predicate_of_the_attackers_own_sees_no_row_that_the_policy_hides() {
    let app = App::new(shared(), "predicate");
    let mut admin = app.connect();
    let (mut a, _) = attacker(&app, &mut admin);
    a.run(
        "CREATE FUNCTION trap.peep(text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql AS
             $$ BEGIN IF $1 = 'secret' THEN RAISE EXCEPTION 'seen: %', $1; END IF; RETURN true; END $$",
    );
    for query in [
        "SELECT * FROM notes WHERE trap.peep(body)",
        "UPDATE notes SET body = body WHERE trap.peep(body)",
        "DELETE FROM notes WHERE trap.peep(body) AND false",
        "SELECT * FROM notes AS n JOIN notes AS m ON trap.peep(n.body) AND trap.peep(m.body)",
        "SELECT count(*) FILTER (WHERE trap.peep(body)) FROM notes",
        "EXPLAIN ANALYZE SELECT * FROM notes WHERE trap.peep(body)",
    ] {
        a.run(query);
    }
    refused(a.query("SELECT trap.peep('secret')", &[]), "P0001", None);
    // Nor is another's row written, or one given to another.
    assert_eq!(
        a.execute("UPDATE notes SET body = 'mine' WHERE id = 2", &[])
            .unwrap(),
        0
    );
    assert_eq!(a.execute("DELETE FROM notes WHERE id = 2", &[]).unwrap(), 0);
    for command in [
        "INSERT INTO notes VALUES (3, '42', 'forged')",
        "UPDATE notes SET owner = '42'",
        "INSERT INTO notes VALUES (1, '41', 'x') ON CONFLICT (id) DO UPDATE SET owner = '42'",
    ] {
        refused(a.batch_execute(command), "42501", None);
    }
    // EXPLAIN shows where the identity goes, and not whose it is.
    let plan = a.rows("EXPLAIN (VERBOSE, SETTINGS) SELECT * FROM notes", &[]);
    for row in plan {
        let line: String = row.get(0);
        assert!(!line.contains("41") && !line.contains("token"), "{line}");
    }
}

#[test]
fn a_definer_function_is_asked_for_the_callers_identity_and_another_connection_has_none() {
    let app = App::new(shared(), "definer");
    let mut admin = app.connect();
    let (mut a, role) = attacker(&app, &mut admin);
    admin.run(
        "CREATE FUNCTION who() RETURNS text SECURITY DEFINER SET search_path = pg_catalog LANGUAGE sql AS 'SELECT auth.user_id()'",
    );
    assert_eq!(a.one::<String>("SELECT who()", &[]), "41");
    let mut b = shared().connect_as(&app.db, &role);
    assert_eq!(b.one::<Option<String>>("SELECT who()", &[]), None);
    assert_eq!(b.one::<i64>("SELECT count(*) FROM notes", &[]), 0);
    // A bad token leaves the identity as it is; a refused scope, too.
    for bad in ["x", "", "a.b.c"] {
        refused(
            a.query("SELECT auth.authenticate($1)", &[&bad]),
            "28000",
            "malformed",
        );
        refused(
            a.query("SELECT auth.authenticate($1, 'session')", &[&bad]),
            "28000",
            "malformed",
        );
    }
    let token = admin.issue(app.bob);
    for scope in [Some("forever"), Some(""), None] {
        refused(
            a.query("SELECT auth.authenticate($1, $2)", &[&token, &scope]),
            "22023",
            None,
        );
    }
    is_ada(&mut a, "refusals");
    // Authenticating inside of a function, whatever parameters it sets, is for the transaction.
    a.run(
        "CREATE FUNCTION trap.log_in(token text) RETURNS void LANGUAGE plpgsql SET search_path = trap SET work_mem = '1MB' AS
             $$ BEGIN PERFORM auth.authenticate(token); END $$",
    );
    a.run("BEGIN");
    a.rows("SELECT trap.log_in($1)", &[&token]);
    assert_eq!(a.one::<String>("SELECT auth.user_id()", &[]), "42");
    a.run("COMMIT");
    is_ada(&mut a, "a function");
}

#[test]
fn pre_request_takes_only_a_token_that_holds() {
    let app = App::new(shared(), "request");
    let mut admin = app.connect();
    let (mut a, _) = attacker(&app, &mut admin);
    let token = admin.issue(app.bob);
    let request = |client: &mut Client, headers: &str| {
        client.run("BEGIN");
        client.rows(
            "SELECT set_config('request.headers', $1, true)",
            &[&headers],
        );
        client.query("SELECT auth.pre_request()", &[])
    };
    let user = "SELECT auth.user_id()";
    for headers in [
        format!(r#"{{"authorization": "Bearer {token}"}}"#),
        format!(r#"{{"accept": "x", "Authorization": "bearer  {token} "}}"#),
    ] {
        request(&mut a, &headers).unwrap();
        assert_eq!(a.one::<String>(user, &[]), "42", "{headers}");
        a.run("COMMIT");
        is_ada(&mut a, "the session's identity comes back");
    }
    // Anonymous, although the session has an identity.
    for headers in [
        "",
        "{}",
        r#"{"authorization": "Basic eDp5"}"#,
        r#"{"x": "Bearer y"}"#,
    ] {
        request(&mut a, headers).unwrap();
        assert_eq!(a.one::<Option<String>>(user, &[]), None, "{headers}");
        assert_eq!(a.one::<i64>("SELECT count(*) FROM notes", &[]), 0);
        a.run("COMMIT");
    }
    for (headers, reason) in [
        ("nonsense", "malformed"),
        ("[]", "malformed"),
        (r#"{"authorization": 1}"#, "malformed"),
        (r#"{"authorization": "Bearer"}"#, "malformed"),
        (r#"{"authorization": "Bearer x y"}"#, "malformed"),
        (
            r#"{"authorization": "Bearer a.b.c", "Authorization": "x"}"#,
            "malformed",
        ),
    ] {
        refused(request(&mut a, headers), "PT401", reason);
        a.run("ROLLBACK");
    }
    admin.bump(app.bob);
    let headers = format!(r#"{{"authorization": "Bearer {token}"}}"#);
    refused(
        request(&mut a, &headers),
        "PT401",
        "session_version_mismatch",
    );
    a.run("ROLLBACK");
}
