//! A policy that asks `auth.user_id()` gives the rows, and the refusals, of one that asks `(select auth.user_id())`: in
//! every shape of a query that the planner treats in its own way.

mod random;
mod shapes;

use auth_ext_tests::postgres::SimpleQueryMessage;
use auth_ext_tests::{App, Ask, Client, shared};

/// The call as a user writes it, and as a careful user wraps it.
const BARE: &str = "auth.user_id()";
const WRAPPED: &str = "(select auth.user_id())";

/// Makes every table twice: in schema `bare`, and in schema `wrapped` with every call wrapped by hand.
fn tables(app: &App<'_>, admin: &mut Client) -> String {
    let role = format!("asker_{}", app.db);
    admin.run(&format!(
        "CREATE ROLE {role} LOGIN; SET client_min_messages = warning"
    ));
    for (schema, call) in [("bare", BARE), ("wrapped", WRAPPED)] {
        admin.run(&format!(
            "CREATE SCHEMA {schema}; SET search_path = {schema};
             CREATE TABLE members (team int, user_id text);
             INSERT INTO members SELECT n % 5, CASE WHEN n % 2 = 0 THEN '{ada}' ELSE 'x' || n END FROM generate_series(1, 12) AS n;
             CREATE TABLE people AS SELECT * FROM members;
             ALTER TABLE people ENABLE ROW LEVEL SECURITY;
             CREATE POLICY p ON people USING (user_id = {call} OR team < 3 OR EXISTS (SELECT FROM members AS n WHERE n.user_id = {call} AND n.team = people.team));
             CREATE FUNCTION mine(who text) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT who = {call}'",
            ada = app.ada
        ));
        for kind in shapes::KINDS {
            for policy in shapes::POLICIES {
                admin.run(&shapes::table(kind, &policy, app.ada, app.bob).replace(BARE, call));
            }
        }
        admin.run(&shapes::VIEWS.replace(BARE, call));
        admin.run(
            "CREATE VIEW people_with_ids WITH (security_invoker = true) AS
             SELECT length(user_id) + team AS id, user_id AS owner, team, user_id AS body FROM people",
        );
        admin.run(&format!(
            "GRANT USAGE ON SCHEMA {schema} TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}; ANALYZE"
        ));
    }
    role
}

/// What a statement answers: its rows in a fixed order, or the SQLSTATE of its error.
fn answer(client: &mut Client, sql: &str) -> Result<Vec<String>, String> {
    let messages = client
        .simple_query(sql)
        .map_err(|error| match error.as_db_error() {
            Some(error) => format!("{} {}", error.code().code(), error.message()),
            None => format!("{error:?}"),
        })?;
    let mut rows: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(
                (0..row.len())
                    .map(|i| row.get(i).unwrap_or("∅"))
                    .collect::<Vec<_>>()
                    .join("|"),
            ),
            _ => None,
        })
        .collect();
    rows.sort();
    Ok(rows)
}

/// Compares both forms of a statement; what it did is undone. Says whether it succeeded.
fn compare(client: &mut Client, setting: &str, sql: &str, wrong: &mut Vec<String>) -> bool {
    let [bare, wrapped] = [("bare", BARE), ("wrapped", WRAPPED)].map(|(schema, call)| {
        client.run(&format!(
            "SAVEPOINT one; SET LOCAL search_path = {schema}, pg_catalog; {setting}"
        ));
        let outcome = answer(client, &sql.replace(BARE, call));
        client.run("ROLLBACK TO one");
        outcome
    });
    // An internal error is wrong in both.
    let is_internal = matches!(&bare, Err(error) if error.starts_with("XX"));
    // What takes too long says nothing.
    let takes_too_long = [&bare, &wrapped]
        .iter()
        .any(|answer| matches!(answer, Err(error) if error.starts_with("57014")));
    if (bare != wrapped && !takes_too_long) || is_internal {
        wrong.push(format!(
            "{sql}\n   bare:    {bare:?}\n   wrapped: {wrapped:?}"
        ));
    }
    bare.is_ok()
}

/// Every statement, by callers of every kind and under several of the planner's settings.
fn every_shape(name: &str, statements: &[String], settings: &[&str]) {
    let app = App::new(shared(), name);
    let mut admin = app.connect();
    let role = tables(&app, &mut admin);
    let (ada, bob) = (admin.issue(app.ada), admin.issue(app.bob));
    let mut client = shared().connect_as(&app.db, &role);
    let (mut wrong, mut succeeded, mut ran) = (Vec::new(), 0, 0);
    for (who, token) in [Some(&ada), Some(&bob), None].into_iter().enumerate() {
        client.run("BEGIN");
        if let Some(token) = token {
            client.rows("SELECT auth.authenticate($1)", &[token]);
        }
        // Each statement meets one caller under one setting; each kind of statement, over all tables, meets all.
        for (n, sql) in statements.iter().enumerate().filter(|(n, _)| n % 3 == who) {
            let setting = settings[n / 3 % settings.len()];
            ran += 1;
            succeeded += usize::from(compare(&mut client, setting, sql, &mut wrong));
        }
        client.run("ROLLBACK");
    }
    assert!(
        wrong.is_empty(),
        "{} of {ran} statements:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    // A generator whose statements fail would compare nothing.
    assert!(
        succeeded * 10 > ran * 7,
        "only {succeeded} of {ran} statements succeeded"
    );
}

#[test]
fn every_query_answers_as_its_twin_that_is_wrapped_by_hand() {
    let settings = [
        "SET LOCAL enable_partitionwise_join = off",
        "SET LOCAL enable_partitionwise_join = on; SET LOCAL enable_partitionwise_aggregate = on;
         SET LOCAL constraint_exclusion = on",
        "SET LOCAL parallel_setup_cost = 0; SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0;
         SET LOCAL enable_hashjoin = off; SET LOCAL enable_material = off",
    ];
    every_shape("shapes", &shapes::queries(), &settings);
}

/// How many random queries: each a seed of its own, which a failure tells.
const QUERIES: u64 = 400;

#[test]
fn a_query_grown_at_random_answers_as_its_twin_that_is_wrapped_by_hand() {
    let first: u64 = std::env::var("AUTH_EXT_SEED").map_or(1, |seed| seed.parse().unwrap());
    let statements: Vec<String> = (first..first + QUERIES)
        .map(|seed| format!("/* {seed} */ {}", random::Grower::new(seed).query()))
        .collect();
    every_shape(
        "random",
        &statements,
        &["SET LOCAL statement_timeout = '10s'"],
    );
}

#[test]
fn every_change_does_as_its_twin_that_is_wrapped_by_hand() {
    let settings = ["SET LOCAL constraint_exclusion = on"];
    every_shape("changes", &shapes::changes(), &settings);
}

#[test]
fn a_generic_plan_answers_for_whoever_is_authenticated_when_it_runs() {
    let app = App::new(shared(), "generic");
    let mut admin = app.connect();
    let role = tables(&app, &mut admin);
    let (ada, bob) = (admin.issue(app.ada), admin.issue(app.bob));
    let mut client = shared().connect_as(&app.db, &role);
    let mut wrong = Vec::new();
    for mode in ["force_generic_plan", "force_custom_plan"] {
        client.run(&format!("SET plan_cache_mode = {mode}"));
        for (n, sql) in shapes::prepared().iter().enumerate() {
            for (schema, call) in [("bare", BARE), ("wrapped", WRAPPED)] {
                client.run(&format!("SET search_path = {schema}, pg_catalog"));
                let sql = sql.replace(BARE, call);
                client.run(&format!("PREPARE {schema}_{n} AS {sql}"));
            }
            for token in [Some(&ada), None, Some(&bob), Some(&ada)] {
                client.run("BEGIN");
                if let Some(token) = token {
                    client.rows("SELECT auth.authenticate($1)", &[token]);
                }
                let [bare, wrapped] = ["bare", "wrapped"].map(|schema| {
                    client.run(&format!("SET LOCAL search_path = {schema}, pg_catalog"));
                    answer(&mut client, &format!("EXECUTE {schema}_{n} (30)"))
                });
                if bare.is_err() || bare != wrapped {
                    wrong.push(format!("{sql}\n   {bare:?}\n   {wrapped:?}"));
                }
                client.run("ROLLBACK");
            }
        }
        client.run("DEALLOCATE ALL");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_policy_asks_once_a_statement_whatever_its_table_is() {
    let app = App::new(shared(), "once");
    let mut admin = app.connect();
    let role = tables(&app, &mut admin);
    let mut client = shared().connect_as(&app.db, &role);
    client.run("SET search_path = bare, pg_catalog");
    let mut per_row = Vec::new();
    for kind in shapes::KINDS {
        for policy in shapes::POLICIES.iter().filter(|policy| policy.is_hoisted) {
            let table = shapes::name(kind, policy);
            for sql in [
                format!("SELECT * FROM {table}"),
                format!("SELECT count(*) FROM {table} WHERE owner = auth.user_id()"),
                format!("UPDATE {table} SET body = 'x'"),
                format!("DELETE FROM {table} WHERE id < 5"),
                format!(
                    "SELECT * FROM {table} WHERE id < 5 OR EXISTS (SELECT FROM members AS m WHERE m.team = {table}.team)"
                ),
            ] {
                let plan = answer(&mut client, &format!("EXPLAIN (COSTS off) {sql}")).unwrap();
                if plan.iter().any(|line| line.contains("user_id()")) {
                    per_row.push(format!("{sql}\n  {}", plan.join("\n  ")));
                }
            }
        }
    }
    assert!(per_row.is_empty(), "{}", per_row.join("\n"));
}
