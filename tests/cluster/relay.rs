//! `auth_ext.notify = relay`: what commits is sent by a worker, whatever happens to it.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::postgres::fallible_iterator::FallibleIterator;
use auth_ext_tests::{App, Ask, Client, Cluster, Reader, Value, json, refused};

mod failures;

const PATIENCE: Duration = Duration::from_secs(30);

fn cluster(name: &str) -> Cluster {
    Cluster::with_config(
        name,
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("auth_ext.notify", "relay"),
            ("max_prepared_transactions", "4"),
        ],
    )
}

fn user(id: &str, version: i64) -> Value {
    json!({"v": 1, "kind": "user", "id": id, "session_version": version, "reason": "logout_everywhere"})
}

/// Listens, once the relay has sent what it had to before.
fn listen(app: &App<'_>) -> Client {
    let mut client = app.connect();
    wait(&mut client, "SELECT public.relay_is_idle()");
    client.run("LISTEN auth_invalidation");
    client
}

/// A function of the tests' own: nothing is waiting for the relay.
fn prepare(app: &App<'_>) {
    app.connect().run(
        "CREATE FUNCTION public.relay_is_idle() RETURNS boolean LANGUAGE sql AS $$
             SELECT NOT EXISTS (
                 SELECT FROM auth.relay_position AS p, auth.invalidations_since(p.cursor) AS e
             ) $$",
    );
}

/// The next event, which must come within the patience.
#[track_caller]
fn next(listener: &mut Client) -> Value {
    let notification = listener
        .notifications()
        .timeout_iter(PATIENCE)
        .next()
        .expect("a living connection")
        .expect("a notification");
    serde(notification.payload())
}

fn serde(payload: &str) -> Value {
    auth_ext_tests::serde_json::from_str(payload).expect("JSON")
}

/// Nothing comes for a while that is long for a relay.
#[track_caller]
fn silence(listener: &mut Client) {
    let notification = listener
        .notifications()
        .timeout_iter(Duration::from_millis(1300))
        .next()
        .expect("a living connection");
    assert!(notification.is_none(), "{notification:?}");
}

#[track_caller]
fn wait(client: &mut Client, sql: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !client.one::<bool>(sql, &[]) {
        assert!(Instant::now() < deadline, "never true: {sql}");
        thread::sleep(Duration::from_millis(10));
    }
}

const WORKERS: &str = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'auth_ext relay' AND datname = current_database()";

#[test]
fn what_commits_is_sent_soon_once_and_in_order() {
    let cluster = cluster("relay");
    let app = App::new(&cluster, "soon");
    let other = App::new(&cluster, "other");
    prepare(&app);
    let mut a = app.connect();
    let mut listener = listen(&app);
    let mut latencies = Vec::new();
    for version in 1..=100 {
        let start = Instant::now();
        a.bump("41");
        assert_eq!(next(&mut listener), user("41", version));
        latencies.push(start.elapsed());
    }
    latencies.sort();
    println!("p50 {:?}, p99 {:?}", latencies[50], latencies[98]);
    assert!(latencies[90] < Duration::from_millis(500), "{latencies:?}");

    // A transaction's own events, in order; nothing of a rollback; nothing twice of a session with another mode.
    a.run("BEGIN; SELECT auth.bump_session_version('42'); SELECT auth.bump_session_version('41'); COMMIT");
    a.run("BEGIN; SELECT auth.bump_session_version('42'); ROLLBACK");
    assert_eq!(next(&mut listener), user("42", 1));
    assert_eq!(next(&mut listener), user("41", 101));
    a.run("SET auth_ext.notify = inline");
    a.bump("42");
    a.run("SET auth_ext.notify = off");
    a.bump("42");
    a.run("RESET auth_ext.notify");
    assert_eq!(next(&mut listener), user("42", 2));
    // A prepared transaction wakes nobody; the worker looks by itself.
    a.run("BEGIN; SELECT auth.bump_session_version('42'); PREPARE TRANSACTION 'x'");
    silence(&mut listener);
    a.run("COMMIT PREPARED 'x'");
    assert_eq!(next(&mut listener), user("42", 4));
    silence(&mut listener);
    // Each database has a worker of its own.
    prepare(&other);
    let mut elsewhere = listen(&other);
    other.connect().bump("41");
    assert_eq!(next(&mut elsewhere), user("41", 1));
    assert_eq!(a.rows(WORKERS, &[]).len(), 1);
    assert_eq!(elsewhere.rows(WORKERS, &[]).len(), 1);
}

#[test]
fn the_relay_follows_the_extension_and_the_database_without_noise() {
    let cluster = cluster("relay_life");
    let app = App::new(&cluster, "life");
    prepare(&app);
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.bump("41");
    next(&mut listener);
    a.run("DROP EXTENSION auth_ext CASCADE");
    wait(
        &mut a,
        &format!("SELECT count(*) = 0 FROM ({WORKERS}) AS w"),
    );
    a.run("CREATE EXTENSION auth_ext; SELECT auth.attach_users('users')");
    a.bump("41");
    assert_eq!(next(&mut listener)["id"], "41");
    wait(
        &mut a,
        &format!("SELECT count(*) = 1 FROM ({WORKERS}) AS w"),
    );
    // A busy table keeps it waiting, no longer.
    a.run("BEGIN");
    a.run("LOCK TABLE auth.invalidation_log");
    a.bump("42");
    a.run("COMMIT");
    assert_eq!(next(&mut listener)["id"], "42");

    let db = app.db.clone();
    drop((a, listener));
    let mut admin = cluster.connect("postgres");
    let start = Instant::now();
    admin.run(&format!("DROP DATABASE \"{db}\" WITH (FORCE)"));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "{:?}",
        start.elapsed()
    );
    thread::sleep(Duration::from_millis(1500));
    cluster.stop_fast();
    let log = cluster.log();
    for word in ["PANIC", "ERROR", "exit code 1", "terminated by signal"] {
        let lines: Vec<_> = log
            .lines()
            .filter(|line| {
                line.contains(word)
                    && !line.contains("logical replication")
                    && !line.contains(" DEBUG: ")
            })
            .collect();
        assert!(lines.is_empty(), "{lines:?}");
    }
    cluster.launch();
}

#[test]
fn a_session_may_relay_where_others_do_not_and_the_worker_goes_when_it_is_done() {
    let cluster = Cluster::with_config("relay_one", &[("shared_preload_libraries", "auth_ext")]);
    let app = App::new(&cluster, "one");
    let mut listener = app.connect();
    listener.run("LISTEN auth_invalidation");
    let mut a = app.connect();
    a.bump("42");
    assert_eq!(next(&mut listener), user("42", 1));
    a.run("SET auth_ext.notify = relay");
    for version in 1..=3 {
        a.bump("41");
        assert_eq!(next(&mut listener), user("41", version));
        wait(
            &mut a,
            &format!("SELECT count(*) = 0 FROM ({WORKERS}) AS w"),
        );
    }
    silence(&mut listener);
    // The setting of the server: a reload is enough, to and fro.
    a.run("RESET auth_ext.notify");
    a.run("ALTER SYSTEM SET auth_ext.notify = relay");
    a.run("SELECT pg_reload_conf()");
    wait(
        &mut a,
        "SELECT current_setting('auth_ext.notify') = 'relay'",
    );
    a.bump("41");
    assert_eq!(next(&mut listener), user("41", 4));
    wait(
        &mut a,
        &format!("SELECT count(*) = 1 FROM ({WORKERS}) AS w"),
    );
    a.run("ALTER SYSTEM RESET auth_ext.notify");
    a.run("SELECT pg_reload_conf()");
    wait(
        &mut a,
        &format!("SELECT count(*) = 0 FROM ({WORKERS}) AS w"),
    );
    a.bump("41");
    assert_eq!(next(&mut listener), user("41", 5));
}

#[test]
fn without_the_preloaded_library_relay_is_refused_with_a_hint() {
    let cluster = Cluster::with_config("relay_no", &[("auth_ext.notify", "relay")]);
    let app = App::new(&cluster, "no");
    let mut a = app.connect();
    // What the configuration file asks for is a warning, and inline stays.
    assert_eq!(
        a.one::<String>("SELECT auth.session_version('41')::text", &[]),
        "0"
    );
    assert_eq!(a.one::<String>("SHOW auth_ext.notify", &[]), "inline");
    assert!(
        cluster
            .log()
            .contains("invalid value for parameter \"auth_ext.notify\"")
    );
    let mut listener = app.connect();
    listener.run("LISTEN auth_invalidation");
    a.bump("41");
    assert_eq!(next(&mut listener), user("41", 1));
    for sql in [
        "SET auth_ext.notify = relay",
        "ALTER SYSTEM SET auth_ext.notify = relay",
    ] {
        let error = refused(a.batch_execute(sql), "22023", None);
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("shared_preload_libraries")),
            "{error:?}"
        );
    }
}

#[test]
fn a_promoted_standby_relays() {
    let primary = cluster("relay_primary");
    let app = App::new(&primary, "promoted");
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&app.db);
    let mut reader = Reader::now(&mut s);
    assert!(s.rows(WORKERS, &[]).is_empty());
    standby.promote();
    s.run("LISTEN auth_invalidation");
    s.bump("41");
    // Its place was on the old timeline: that may be a flush, of which the bump may be a part.
    if next(&mut s)["kind"] == "flush" {
        s.bump("41");
        assert_eq!(next(&mut s)["kind"], "user");
    }
    assert_eq!(reader.catch_up(&mut s), [json!({"v": 1, "kind": "flush"})]);
}
