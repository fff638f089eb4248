//! Who is authenticated: for how long, and until what ends the token; in workers, cursors and kept plans.

use auth_ext_tests::{
    App, Ask, Client, Cluster, Mint, assert_reason, attempt, json, no, seconds, shared,
};

const AUTHENTICATE: &str = "SELECT auth.authenticate($1)->>'sub'";
const SESSION: &str = "SELECT auth.authenticate($1, 'session')->>'sub'";
const MINE: &str = "SELECT count(*) FROM notes";

/// Notes of Ada (3) and Bob (2) under a policy, and an ordinary role that may read and write them.
fn notes(app: &App<'_>, admin: &mut Client) -> String {
    let role = format!("reader_{}", app.db);
    admin.run(&format!(
        "CREATE TABLE notes (id int PRIMARY KEY, owner text NOT NULL, body text);
         INSERT INTO notes SELECT n, CASE WHEN n < 4 THEN '{}' ELSE '{}' END FROM generate_series(1, 5) AS n;
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes USING (owner = auth.user_id());
         CREATE ROLE {role} LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON notes TO {role}",
        app.ada, app.bob
    ));
    role
}

fn who(client: &mut Client) -> Option<String> {
    client.one("SELECT auth.user_id()", &[])
}

fn enter(client: &mut Client, token: &str) {
    client.one::<String>(AUTHENTICATE, &[&token]);
}

fn enter_session(client: &mut Client, token: &str) {
    client.one::<String>(SESSION, &[&token]);
}

#[test]
fn an_identity_ends_with_its_scope_and_follows_savepoints() {
    let app = App::new(shared(), "scope");
    let mut a = app.connect();
    let (ada, bob) = (a.issue(app.ada), a.issue(app.bob));
    assert_eq!(who(&mut a), None);
    // In a transaction of its own it is over before the next statement.
    enter(&mut a, &ada);
    assert_eq!(who(&mut a), None);
    for end in ["COMMIT", "ROLLBACK"] {
        a.run("BEGIN");
        enter(&mut a, &ada);
        assert_eq!(who(&mut a).as_deref(), Some(app.ada));
        a.run("SAVEPOINT s");
        enter(&mut a, &bob);
        assert_eq!(who(&mut a).as_deref(), Some(app.bob));
        a.run("SAVEPOINT t; SELECT auth.logout()");
        assert_eq!(who(&mut a), None);
        a.run("ROLLBACK TO t");
        assert_eq!(who(&mut a).as_deref(), Some(app.bob));
        a.run("ROLLBACK TO s");
        assert_eq!(who(&mut a).as_deref(), Some(app.ada));
        a.run("SAVEPOINT u");
        enter(&mut a, &bob);
        a.run("RELEASE u");
        assert_eq!(who(&mut a).as_deref(), Some(app.bob));
        a.run(end);
        assert_eq!(who(&mut a), None, "{end}");
    }
}

#[test]
fn a_session_identity_lives_until_logout_discard_all_or_disconnect() {
    let app = App::new(shared(), "session");
    let mut admin = app.connect();
    let (ada, bob) = (admin.issue(app.ada), admin.issue(app.bob));
    let mut a = app.connect();
    a.run("BEGIN");
    enter_session(&mut a, &ada);
    assert_eq!(who(&mut a).as_deref(), Some(app.ada));
    a.run("ROLLBACK");
    assert_eq!(who(&mut a), None);
    for end in ["SELECT auth.logout()", "DISCARD ALL"] {
        enter_session(&mut a, &ada);
        a.run("SELECT; BEGIN; ROLLBACK; RESET ALL; DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES");
        assert_eq!(who(&mut a).as_deref(), Some(app.ada));
        a.run(end);
        assert_eq!(who(&mut a), None, "{end}");
    }
    // A transaction's identity hides the session's until it ends, whatever becomes of it.
    enter_session(&mut a, &ada);
    a.run("BEGIN");
    enter(&mut a, &bob);
    assert_eq!(who(&mut a).as_deref(), Some(app.bob));
    enter_session(&mut a, &ada);
    assert_eq!(who(&mut a).as_deref(), Some(app.bob));
    admin.bump(app.bob);
    assert_eq!(who(&mut a), None);
    a.run("COMMIT");
    assert_eq!(who(&mut a).as_deref(), Some(app.ada));
    assert_eq!(who(&mut app.connect()), None);
}

/// Everything that ends a token ends the identity, for the next statement that starts.
#[test]
fn what_ends_the_token_ends_the_identity_with_the_next_statement() {
    let app = App::new(shared(), "fresh");
    let mut admin = app.connect();
    let role = notes(&app, &mut admin);
    let mint = Mint::new(&mut admin);
    let changes = [
        "SELECT auth.bump_session_version('41')",
        "UPDATE users SET is_active = false WHERE id = 41",
        "DELETE FROM users WHERE id = 41",
        "SELECT auth.revoke_jwt('{token}')",
        "UPDATE auth.issuers SET not_before = now()",
        "UPDATE auth.issuers SET audience = '{other}'",
        "SELECT auth.retire_signing_key('mint')",
        "DELETE FROM auth.issuers",
    ];
    for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for change in changes {
            let token = mint.token(&mut admin, &json!({"sub": app.ada}));
            let mut a = shared().connect_as(&app.db, &role);
            let mut session = shared().connect_as(&app.db, &role);
            a.run(&format!("BEGIN ISOLATION LEVEL {isolation}"));
            enter(&mut a, &token);
            enter_session(&mut session, &token);
            for client in [&mut a, &mut session] {
                assert_eq!(client.one::<i64>(MINE, &[]), 3);
            }
            let change = change.replace("{token}", &token);
            admin.run("BEGIN");
            admin.run(&change);
            assert_eq!(a.one::<i64>(MINE, &[]), 3, "not committed: {change}");
            admin.run("COMMIT");
            for client in [&mut a, &mut session] {
                assert_eq!(client.one::<i64>(MINE, &[]), 0, "{isolation}: {change}");
                assert_eq!(who(client), None, "{isolation}: {change}");
                assert_reason(
                    client,
                    "SELECT auth.require_user()",
                    &[],
                    "not_authenticated",
                );
            }
            a.run("ROLLBACK");
            start_over(&mut admin);
            let _the_key_again = Mint::new(&mut admin);
        }
    }
}

#[test]
fn where_nothing_is_set_up_any_more_nobody_is_authenticated() {
    let app = App::new(shared(), "undone");
    let mut admin = app.connect();
    let role = notes(&app, &mut admin);
    let mut a = shared().connect_as(&app.db, &role);
    enter_session(&mut a, &admin.issue(app.ada));
    for (undo, redo) in [
        (
            "SELECT auth.detach_users()",
            "SELECT auth.attach_users('users')",
        ),
        (
            "ALTER TABLE users DISABLE TRIGGER USER",
            "SELECT auth.attach_users('users')",
        ),
    ] {
        assert_eq!(a.one::<i64>(MINE, &[]), 3);
        admin.run(undo);
        assert_eq!(a.one::<i64>(MINE, &[]), 0, "{undo}");
        admin.run(redo);
    }
}

/// The issuer without keys, and both users of version 0 as if they had never been there.
fn start_over(admin: &mut Client) {
    admin.run(
        "SELECT auth.detach_users(); TRUNCATE auth.user_history, auth.user_floor, users;
         INSERT INTO users (id) VALUES (41), (42); UPDATE users SET session_version = 0; SELECT auth.attach_users('users');
         DELETE FROM auth.issuers;
         INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example.com', '{app}')",
    );
}

#[test]
fn a_token_that_expires_while_the_transaction_lasts_is_over() {
    let app = App::new(shared(), "expiry");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let exp = seconds(&mut a) + 4;
    let token = mint.token(&mut a, &json!({"sub": app.ada, "exp": exp}));
    a.run("BEGIN");
    enter(&mut a, &token);
    assert_eq!(who(&mut a).as_deref(), Some(app.ada));
    a.run(&format!("SELECT pg_sleep_until(to_timestamp({exp}))"));
    assert_eq!(who(&mut a), None);
}

#[test]
fn own_changes_count_at_once_and_not_after_a_rollback() {
    let app = App::new(shared(), "own");
    let mut a = app.connect();
    let token = a.issue(app.ada);
    a.run("BEGIN");
    enter(&mut a, &token);
    a.run("SAVEPOINT s");
    a.bump(app.ada);
    assert_eq!(who(&mut a), None);
    a.run("ROLLBACK TO s");
    assert_eq!(who(&mut a).as_deref(), Some(app.ada));
    a.run("INSERT INTO users (id) VALUES (77)");
    assert_eq!(who(&mut a).as_deref(), Some(app.ada));
}

#[test]
fn a_procedure_that_commits_asks_anew_behind_each_commit() {
    let app = App::new(shared(), "procedure");
    let (mut a, mut admin) = (app.connect(), app.connect());
    a.run(
        "CREATE TABLE seen (at int, who text);
         CREATE PROCEDURE watch() LANGUAGE plpgsql AS $$
         DECLARE who text;
         BEGIN
             FOR n IN 1..40 LOOP
                 who := auth.user_id();
                 INSERT INTO seen VALUES (n, who);
                 COMMIT;
                 IF pg_sleep(0.05) IS NULL THEN EXIT WHEN who IS NULL; END IF;
                 EXIT WHEN who IS NULL;
             END LOOP;
         END $$",
    );
    enter_session(&mut a, &admin.issue(app.ada));
    std::thread::scope(|scope| {
        scope.spawn(|| a.run("CALL watch()"));
        while admin.one::<i64>("SELECT count(*) FROM seen", &[]) < 3 {}
        admin.bump(app.ada);
    });
    let last = "SELECT who FROM seen ORDER BY at DESC LIMIT 1";
    assert_eq!(admin.one::<Option<String>>(last, &[]), None);
}

#[test]
fn a_kept_plan_asks_who_it_is_each_time() {
    let app = App::new(shared(), "plans");
    let mut admin = app.connect();
    let role = notes(&app, &mut admin);
    let (ada, bob) = (admin.issue(app.ada), admin.issue(app.bob));
    for mode in ["force_generic_plan", "force_custom_plan"] {
        let mut a = shared().connect_as(&app.db, &role);
        a.run(&format!(
            "SET plan_cache_mode = {mode}; PREPARE mine AS {MINE}"
        ));
        a.run(
            "CREATE FUNCTION pg_temp.mine() RETURNS bigint LANGUAGE plpgsql AS
                 $$ BEGIN RETURN (SELECT count(*) FROM notes WHERE owner = auth.user_id()); END $$",
        );
        let statement = a.prepare(MINE).unwrap();
        for (token, rows) in [(&ada, 3), (&bob, 2), (&ada, 3)] {
            a.run("BEGIN");
            enter(&mut a, token);
            for _ in 0..7 {
                assert_eq!(a.one::<i64>("SELECT pg_temp.mine()", &[]), rows);
                assert_eq!(a.query_one(&statement, &[]).unwrap().get::<_, i64>(0), rows);
                assert_eq!(a.one::<i64>("EXECUTE mine", &[]), rows);
            }
            a.run("COMMIT");
            assert_eq!(a.query_one(&statement, &[]).unwrap().get::<_, i64>(0), 0);
            assert_eq!(a.one::<i64>("SELECT pg_temp.mine()", &[]), 0);
        }
    }
}

#[test]
fn a_cursor_is_its_own_statement_and_what_is_opened_later_sees_who_is_there_then() {
    let app = App::new(shared(), "cursors");
    let mut admin = app.connect();
    let role = notes(&app, &mut admin);
    let (ada, bob) = (admin.issue(app.ada), admin.issue(app.bob));
    let mut a = shared().connect_as(&app.db, &role);
    a.run("BEGIN");
    enter(&mut a, &ada);
    a.run("DECLARE before CURSOR FOR SELECT owner FROM notes; DECLARE held CURSOR WITH HOLD FOR SELECT owner FROM notes");
    assert_eq!(a.one::<String>("FETCH before", &[]), app.ada);
    enter(&mut a, &bob);
    a.run("DECLARE later CURSOR FOR SELECT owner FROM notes");
    assert_eq!(a.one::<String>("FETCH later", &[]), app.bob);
    assert_eq!(a.rows("FETCH ALL FROM before", &[]).len(), 2);
    a.run("SELECT auth.logout(); DECLARE nobodys CURSOR FOR SELECT owner FROM notes");
    assert_eq!(a.rows("FETCH ALL FROM nobodys", &[]).len(), 0);
    a.run("COMMIT");
    assert_eq!(a.rows(MINE, &[])[0].get::<_, i64>(0), 0);
}

#[test]
fn parallel_workers_see_the_leaders_identity() {
    let cluster = Cluster::with_config("parallel", &[("max_parallel_workers", "4")]);
    let app = App::new(&cluster, "workers");
    let mut admin = app.connect();
    let role = notes(&app, &mut admin);
    admin.run(
        "INSERT INTO notes SELECT n, n % 2 + 41 FROM generate_series(10, 20009) AS n;
         CREATE FUNCTION in_worker() RETURNS text STABLE PARALLEL SAFE LANGUAGE plpgsql AS
             $$ BEGIN RETURN auth.user_id() || coalesce('', pg_backend_pid()::text); END $$;
         CREATE TABLE seen (pid int)",
    );
    for isolation in ["READ COMMITTED", "REPEATABLE READ"] {
        let (ada, bob) = (admin.issue(app.ada), admin.issue(app.bob));
        let mut a = cluster.connect_as(&app.db, &role);
        a.run(&format!(
            "BEGIN ISOLATION LEVEL {isolation}; SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0;
             SET LOCAL min_parallel_table_scan_size = 0; SET LOCAL parallel_leader_participation = off"
        ));
        for (token, user) in [(&ada, app.ada), (&bob, app.bob)] {
            enter(&mut a, token);
            let plan = a.rows(
                "EXPLAIN SELECT count(*) FROM notes WHERE owner = in_worker()",
                &[],
            );
            let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
            assert!(plan.join("\n").contains("Parallel Seq Scan"), "{plan:#?}");
            let rows = 10_000 + if user == app.ada { 3 } else { 2 };
            let sql = "SELECT count(*) FROM notes WHERE owner = in_worker()";
            assert_eq!(a.one::<i64>(sql, &[]), rows, "{isolation}");
            // In workers only, and all of them agree.
            let sql = "SELECT count(*) FILTER (WHERE in_worker() = owner), count(DISTINCT in_worker()) FROM notes";
            let row = &a.rows(sql, &[])[0];
            assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (rows, 1));
        }
        // A bump in between is seen in workers, too, whatever snapshot the transaction has.
        admin.bump(app.bob);
        assert_eq!(a.one::<i64>(MINE, &[]), 0, "{isolation}");
        let sql = "SELECT count(*) FROM notes WHERE owner = in_worker()";
        assert_eq!(a.one::<i64>(sql, &[]), 0, "{isolation}");
        a.run("COMMIT");
        start_over(&mut admin);
        admin.run("SELECT auth.create_signing_key()");
    }
}

#[test]
fn an_api_key_is_an_identity_while_it_and_its_owner_hold() {
    let app = App::new(shared(), "keys");
    let mut admin = app.connect();
    admin.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint, is_active boolean DEFAULT true, expires_at timestamptz);
         SELECT auth.attach_api_keys('keys')",
    );
    let role = notes(&app, &mut admin);
    let create = "SELECT key FROM auth.create_api_key('41', 'x')";
    let sql = "SELECT auth.authenticate_api_key($1, $2)->>'user_id'";
    for change in [
        "SELECT auth.revoke_api_key(id) FROM keys",
        "UPDATE keys SET is_active = false",
        "UPDATE keys SET expires_at = clock_timestamp()",
        "UPDATE keys SET key_fingerprint = auth.api_key_fingerprint('another')",
        "DELETE FROM keys",
        "UPDATE users SET is_active = false WHERE id = 41",
    ] {
        let key: String = admin.one(create, &[]);
        let mut a = shared().connect_as(&app.db, &role);
        a.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        for scope in ["transaction", "session"] {
            assert_eq!(a.one::<String>(sql, &[&key, &scope]), app.ada);
        }
        assert_eq!(a.one::<i64>(MINE, &[]), 3);
        assert_eq!(a.one::<Option<String>>("SELECT auth.role()", &[]), None);
        admin.bump(app.ada);
        assert_eq!(
            who(&mut a).as_deref(),
            Some(app.ada),
            "ending sessions ends no keys"
        );
        admin.run(change);
        assert_eq!(a.one::<i64>(MINE, &[]), 0, "{change}");
        a.run("COMMIT");
        assert_eq!(who(&mut a), None, "{change}");
        admin.run("UPDATE users SET is_active = true; DELETE FROM keys");
    }
    assert_eq!(
        attempt(&mut admin, sql, &[&"no key", &"session"]),
        no("unknown_api_key")
    );
}
