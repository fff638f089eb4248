//! `auth.statistics()`: what was verified, refused, issued and told, counted in shared memory.

use std::collections::BTreeMap;
use std::thread;

use auth_ext_tests::postgres::types::ToSql;
use auth_ext_tests::{App, Ask, Client, Cluster, refused, shared};

fn cluster(name: &str) -> Cluster {
    Cluster::with_config(
        name,
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("max_prepared_transactions", "4"),
        ],
    )
}

/// What was counted since the last reset, without what was not: `name` or `name reason`.
fn counted(client: &mut Client) -> BTreeMap<String, i64> {
    client
        .rows(
            "SELECT concat_ws(' ', name, reason), total FROM auth.statistics() WHERE total <> 0",
            &[],
        )
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

#[track_caller]
fn refuse(client: &mut Client, sql: &str, params: &[&(dyn ToSql + Sync)]) {
    refused(client.query(sql, params), "28000", None);
}

/// Begins anew, runs, and compares: `"verified: 1, refused expired: 2"`.
#[track_caller]
fn counts(client: &mut Client, expected: &str, body: impl FnOnce(&mut Client)) {
    client.run("SELECT auth.reset_statistics()");
    body(client);
    let counted: Vec<String> = counted(client)
        .into_iter()
        .map(|(name, total)| format!("{name}: {total}"))
        .collect();
    assert_eq!(counted.join(", "), expected);
}

#[test]
fn each_call_counts_once_also_where_it_is_rolled_back() {
    let cluster = cluster("statistics");
    let app = App::new(&cluster, "calls");
    let mut a = app.connect();
    a.run(
        "CREATE TABLE keys (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id bigint REFERENCES users, name text,
             is_active boolean NOT NULL DEFAULT true, expires_at timestamptz);
         SELECT auth.attach_api_keys('keys')",
    );
    let mut token = String::new();
    counts(&mut a, "issued: 1", |a| token = a.issue("41"));
    let t = &token;
    counts(&mut a, "verified: 1", |a| {
        a.one::<auth_ext_tests::Value>("SELECT auth.verify_jwt($1)", &[t]);
    });
    counts(&mut a, "cache_hit: 1, verified: 1", |a| {
        a.run("BEGIN");
        a.one::<auth_ext_tests::Value>("SELECT auth.verify_jwt($1)", &[t]);
        a.run("ROLLBACK");
    });
    counts(&mut a, "verified: 1", |a| {
        assert_eq!(a.verdict(t), "valid");
    });
    counts(
        &mut a,
        "cache_hit: 2, refused malformed: 3, verified: 2",
        |a| {
            a.run(&format!("SELECT auth.authenticate('{t}', 'session')"));
            a.run(&format!(
                "SELECT * FROM auth.try_authenticate('{t}', 'session')"
            ));
            // Who is asked again is not counted again.
            a.run("SELECT auth.user_id(); SELECT auth.user_id()");
            refuse(a, "SELECT auth.verify_jwt('x')", &[]);
            refuse(a, "SELECT auth.authenticate(NULL)", &[]);
            a.run("SELECT * FROM auth.try_authenticate('x')");
        },
    );
    counts(&mut a, "refused malformed: 1", |a| {
        a.run("BEGIN; SELECT set_config('request.headers', '{\"authorization\": \"Bearer x\"}', true)");
        assert!(a.simple_query("SELECT auth.pre_request()").is_err());
        a.run("ROLLBACK");
        // A request without a token is nobody's verification.
        a.run("BEGIN; SELECT set_config('request.headers', '{}', true); SELECT auth.pre_request(); COMMIT");
    });
    counts(
        &mut a,
        "bumped: 1, cache_hit: 1, event user: 1, refused session_version_mismatch: 2",
        |a| {
            a.bump("41");
            assert_eq!(a.verdict(t), "session_version_mismatch");
            refuse(a, "SELECT auth.verify_jwt($1)", &[t]);
        },
    );
    counts(
        &mut a,
        "api_key_refused inactive_api_key: 2, api_key_refused unknown_api_key: 2, api_key_verified: 3, event api_key: 1",
        |a| {
            let key: String = a.one("SELECT key FROM auth.create_api_key('41', 'k')", &[]);
            a.rows("SELECT auth.verify_api_key($1)", &[&key]);
            a.rows("SELECT auth.check_api_key($1)", &[&key]);
            a.rows("SELECT auth.authenticate_api_key($1, 'session')", &[&key]);
            a.run("SELECT auth.check_api_key('x')");
            refuse(a, "SELECT auth.authenticate_api_key(NULL)", &[]);
            a.run("UPDATE keys SET is_active = false");
            a.rows("SELECT auth.check_api_key($1)", &[&key]);
            refuse(a, "SELECT auth.verify_api_key($1)", &[&key]);
        },
    );
}

#[test]
fn bumps_and_events_count_when_they_commit_whatever_raised_the_version() {
    let cluster = cluster("statistics_commit");
    let app = App::new(&cluster, "commits");
    let mut a = app.connect();
    counts(&mut a, "", |a| {
        a.run("BEGIN; SELECT auth.bump_session_version('41'); ROLLBACK");
        a.run("BEGIN; SAVEPOINT s; SELECT auth.bump_session_version('41'); ROLLBACK TO s; COMMIT");
    });
    counts(&mut a, "bumped: 3, event user: 4", |a| {
        a.run("BEGIN; SELECT auth.bump_session_version('41'); SAVEPOINT s; SELECT auth.bump_session_version('42');
               ROLLBACK TO s; SELECT auth.bump_session_version('42'); RELEASE s; COMMIT");
        a.run("UPDATE users SET email = 'new' WHERE id = 41; DELETE FROM users WHERE id < -1");
    });
    counts(&mut a, "bumped: 2000, event flush: 1", |a| {
        a.run(
            "INSERT INTO users (id, email) SELECT 1000 + n, 'a' FROM generate_series(1, 2000) AS n",
        );
        a.run("UPDATE users SET session_version = session_version + 1 WHERE id > 1000");
    });
    counts(&mut a, "bumped: 1, event user: 1", |a| {
        a.run("BEGIN; SELECT auth.bump_session_version('41'); PREPARE TRANSACTION 'x'");
        a.run("COMMIT PREPARED 'x'");
    });
}

#[test]
fn no_count_of_many_connections_is_lost_and_each_database_has_its_own() {
    let cluster = cluster("statistics_many");
    let (app, other) = (App::new(&cluster, "many"), App::new(&cluster, "other"));
    let (mut a, mut b) = (app.connect(), other.connect());
    let token = a.issue("41");
    b.run("SELECT auth.reset_statistics()");
    counts(&mut a, "refused malformed: 4000", |_| {
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let loud = "SELECT auth.check_jwt('x') FROM generate_series(1, 500)";
                    app.connect().run(loud);
                });
            }
        });
    });
    assert!(counted(&mut b).is_empty());
    assert_eq!(b.verdict(&token), "unknown_key");
    assert_eq!(counted(&mut b).len(), 1);
    assert_eq!(counted(&mut a).len(), 1);
    // Nobody but who watches reads them, and only an administrator begins anew.
    a.run("CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE granted LOGIN; CREATE ROLE anybody LOGIN;
           SELECT auth.grant_access('granted', 'monitoring')");
    for (role, may) in [("watcher", true), ("granted", true), ("anybody", false)] {
        let mut client = cluster.connect_as(&app.db, role);
        let read = client.simple_query("SELECT * FROM auth.statistics()");
        assert_eq!(read.is_ok(), may, "{role}");
        assert!(
            client
                .simple_query("SELECT auth.reset_statistics()")
                .is_err()
        );
    }
    // As many rows as there are counters, each once.
    let twice = "SELECT count(*) FROM (SELECT FROM auth.statistics() GROUP BY name, reason HAVING count(*) > 1) AS t";
    assert_eq!(a.one::<i64>(twice, &[]), 0);
    cluster.restart();
    assert!(counted(&mut app.connect()).is_empty());
}

#[test]
fn without_the_preloaded_library_statistics_are_refused_with_a_hint() {
    let app = App::new(shared(), "statistics_none");
    let mut a = app.connect();
    for call in [
        "SELECT * FROM auth.statistics()",
        "SELECT auth.reset_statistics()",
    ] {
        let error = a.simple_query(call).expect_err("no shared memory");
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "55000");
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("shared_preload_libraries"))
        );
    }
}
