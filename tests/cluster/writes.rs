//! The log and the history are written without a plan, where nothing but their own columns, constraints, triggers and indexes is to be
//! seen to. A DBA may have added to them: then all of that holds, too.

use auth_ext_tests::{App, Ask, Client, Reader, race, second, shared};

/// What the history says of a user, read by the index and by the table alone: both say the same.
fn remembered(client: &mut Client, id: &str) -> i64 {
    let query = "SELECT array_agg(next_version) FROM auth.user_history WHERE user_id = $1";
    let [by_index, by_table] = ["seqscan", "indexscan"].map(|other| {
        client.run(&format!(
            "BEGIN; SET LOCAL enable_{other} = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_indexonlyscan = off"
        ));
        let rows: Option<Vec<i64>> = client.one(query, &[&id]);
        client.run("COMMIT");
        rows.unwrap_or_default()
    });
    assert_eq!(by_index, by_table, "{id}");
    assert_eq!(by_index.len(), 1, "rows of {id}");
    by_index[0]
}

/// What triggers may call, and where they leave rows.
const COPY: &str = "CREATE TABLE outbox (row text);
    CREATE FUNCTION copy() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO public.outbox VALUES (NEW); RETURN NULL; END $$;";
/// What a DBA may add, and what is then to be seen of two bumps.
const ADDED: [(&str, &str, i64); 10] = [
    (
        "ALTER TABLE auth.invalidation_log ADD written_by text DEFAULT session_user",
        "SELECT count(written_by) FROM auth.invalidation_log",
        2,
    ),
    (
        "ALTER TABLE auth.invalidation_log ADD twice bigint GENERATED ALWAYS AS (2 * n) STORED",
        "SELECT count(twice) FROM auth.invalidation_log",
        2,
    ),
    (
        "CREATE INDEX kinds ON auth.invalidation_log ((event::jsonb ->> 'kind'))",
        "SELECT count(*) FROM auth.invalidation_log WHERE event::jsonb ->> 'kind' = 'user'",
        2,
    ),
    (
        "CREATE INDEX relayed ON auth.invalidation_log (created_at) WHERE relayed",
        "SELECT count(*) FROM auth.invalidation_log WHERE relayed",
        0,
    ),
    (
        "CREATE INDEX times ON auth.invalidation_log (created_at) INCLUDE (event)",
        "SELECT count(event) FROM auth.invalidation_log WHERE created_at > '-infinity'",
        2,
    ),
    (
        "CREATE TRIGGER copy AFTER INSERT ON auth.invalidation_log FOR EACH ROW EXECUTE FUNCTION copy()",
        "SELECT count(*) FROM outbox",
        2,
    ),
    (
        "CREATE RULE copy AS ON INSERT TO auth.invalidation_log DO ALSO INSERT INTO public.outbox VALUES (NEW.event)",
        "SELECT count(*) FROM outbox",
        2,
    ),
    (
        "ALTER TABLE auth.user_history ADD since timestamptz DEFAULT now()",
        "SELECT count(since) FROM auth.user_history",
        2,
    ),
    (
        "CREATE INDEX long ON auth.user_history (bumped_at) WHERE length(user_id) > 100",
        "SELECT count(*) FROM auth.user_history WHERE length(user_id) > 100",
        0,
    ),
    (
        "CREATE TRIGGER copy AFTER INSERT OR UPDATE ON auth.user_history FOR EACH ROW EXECUTE FUNCTION copy()",
        "SELECT count(*) FROM outbox",
        2,
    ),
];

#[test]
fn what_a_dba_adds_to_the_tables_holds() {
    for (n, (added, query, count)) in ADDED.into_iter().enumerate() {
        let app = App::new(shared(), &format!("added{n}"));
        let mut a = app.connect();
        a.run("INSERT INTO users (id, email) VALUES (71, 'x'), (72, 'x')");
        // The way without a plan is taken once before.
        a.bump("71");
        a.run(&format!(
            "DELETE FROM auth.invalidation_log; {COPY} {added}"
        ));
        let mut reader = Reader::now(&mut a);
        a.run("BEGIN; SELECT auth.bump_session_version(id) FROM unnest('{71,72}'::text[]) AS id; COMMIT");
        let told: Vec<_> = reader
            .catch_up(&mut a)
            .iter()
            .map(|event| event["session_version"].clone())
            .collect();
        assert_eq!(told, [2, 1], "{added}");
        assert_eq!(
            ["71", "72"].map(|id| remembered(&mut a, id)),
            [2, 1],
            "{added}"
        );
        a.run("SET enable_seqscan = off");
        assert_eq!(a.one::<i64>(query, &[]), count, "{added}");
    }
}

#[test]
fn the_history_follows_savepoints_and_stays_whole_over_many_bumps() {
    let app = App::new(shared(), "history");
    let mut a = app.connect();
    a.run("INSERT INTO users (id, email) SELECT n, 'x' FROM generate_series(501, 700) AS n");
    // Each row moves over its page, and to other pages: the index has to follow.
    for _ in 0..3 {
        a.run(
            "BEGIN; UPDATE users SET session_version = session_version + 1 WHERE id > 500;
             SAVEPOINT s; UPDATE users SET session_version = session_version + 5 WHERE id > 500;
             UPDATE users SET session_version = session_version + 5 WHERE id > 500; ROLLBACK TO s;
             UPDATE users SET session_version = session_version + 1 WHERE id > 500; COMMIT;
             BEGIN; UPDATE users SET session_version = session_version + 5 WHERE id > 500; ROLLBACK",
        );
    }
    for id in 501..=700 {
        assert_eq!(remembered(&mut a, &id.to_string()), 6, "{id}");
    }
    a.run("DELETE FROM users WHERE id > 500; INSERT INTO users (id, email) VALUES (501, 'again')");
    assert_eq!(remembered(&mut a, "502"), 7);
    let version: i64 = a.one("SELECT session_version FROM users WHERE id = 501", &[]);
    assert_eq!(version, 7, "of who comes back");
}

#[test]
fn who_writes_the_history_meanwhile_does_not_make_a_bump_fail() {
    const NEWER: &str = "UPDATE auth.user_history SET next_version = 40 WHERE user_id = '71'";
    const LOADS: &str = "COPY auth.user_history FROM PROGRAM 'printf \"72\\t2020-01-01\\t40\"'";
    const GOES: &str = "DELETE FROM auth.user_history WHERE user_id = '71'";
    const LOCKS: &str = "SELECT FROM auth.user_history WHERE user_id = '71' FOR UPDATE";
    for (n, (change, ends, id, version, next_version)) in [
        (NEWER, "COMMIT", "71", 2, 40),
        (NEWER, "ROLLBACK", "71", 2, 2),
        (GOES, "COMMIT", "71", 2, 2),
        (LOCKS, "COMMIT", "71", 2, 2),
        (LOADS, "COMMIT", "72", 1, 40),
        (LOADS, "ROLLBACK", "72", 1, 1),
    ]
    .into_iter()
    .enumerate()
    {
        let app = App::new(shared(), &format!("meanwhile{n}"));
        let mut a = app.connect();
        a.run("INSERT INTO users (id, email) VALUES (71, 'x'), (72, 'x')");
        a.bump("71");
        a.run(&format!("BEGIN; {change}"));
        let bumped = second(&app, &mut a, ends, |b| b.bump(id));
        assert_eq!(bumped, version, "{change}");
        assert_eq!(remembered(&mut a, id), next_version, "{change}; {ends}");
    }
}

#[test]
fn of_racing_bumps_the_history_has_the_last() {
    let app = App::new(shared(), "racing");
    let mut a = app.connect();
    a.run("INSERT INTO users (id, email) VALUES (71, 'x')");
    race(&app, 4, |_, client| {
        for _ in 0..100 {
            client.bump("71");
        }
    });
    assert_eq!(remembered(&mut a, "71"), 400);
}
