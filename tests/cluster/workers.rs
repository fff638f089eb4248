//! The background workers: they run as a superuser in databases of others, and must not be in anybody's way.

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::postgres::fallible_iterator::FallibleIterator;
use auth_ext_tests::{App, Ask, Client, Cluster, refused};

const PATIENCE: Duration = Duration::from_secs(60);
const LAUNCHER: &str =
    "SELECT pid FROM pg_stat_activity WHERE backend_type = 'auth_ext relay launcher'";

fn cluster(name: &str, settings: &[(&str, &str)]) -> Cluster {
    let preload = [("shared_preload_libraries", "auth_ext")];
    Cluster::with_config(name, &[&preload[..], settings].concat())
}

#[track_caller]
fn wait(client: &mut Client, sql: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !client.one::<bool>(sql, &[]) {
        assert!(Instant::now() < deadline, "never true: {sql}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// What an attacker makes of `ALTER ROLE … SUPERUSER`.
const TRAP: &str = "
    CREATE FUNCTION public.trap() RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN true; END $$;
    CREATE FUNCTION public.trap_trigger() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM public.trap(); RETURN NEW; END $$;
    CREATE FUNCTION public.trap_cast(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS
        $$ BEGIN PERFORM public.trap(); RETURN $1; END $$;
    CREATE SCHEMA auth;
    CREATE TABLE auth.issuers (issuer text);
    CREATE TABLE auth.invalidation_log (xid xid8, n bigint, event text, relayed boolean, created_at timestamptz);
    CREATE TABLE auth.invalidation_pruned
        (singleton boolean PRIMARY KEY DEFAULT true, began xid8 DEFAULT '0', max_xid xid8 DEFAULT '0');
    INSERT INTO auth.invalidation_pruned DEFAULT VALUES;
    CREATE TABLE auth.relay_position (singleton boolean PRIMARY KEY DEFAULT true, cursor text, sent_at timestamptz);";

const TRAPS: [&str; 8] = [
    "CREATE CONSTRAINT TRIGGER t AFTER INSERT OR UPDATE ON auth.relay_position DEFERRABLE INITIALLY DEFERRED
         FOR EACH ROW EXECUTE FUNCTION public.trap_trigger()",
    "CREATE TRIGGER t BEFORE INSERT OR UPDATE ON auth.relay_position
         FOR EACH ROW EXECUTE FUNCTION public.trap_trigger()",
    "ALTER TABLE auth.relay_position ADD COLUMN d boolean DEFAULT public.trap()",
    "ALTER TABLE auth.relay_position ADD CHECK (public.trap())",
    "CREATE INDEX ON auth.relay_position (public.trap_cast(cursor))",
    "CREATE DOMAIN public.d AS text CHECK (public.trap()); ALTER TABLE auth.relay_position ALTER cursor TYPE public.d",
    "ALTER TABLE auth.relay_position RENAME TO r;
     CREATE VIEW auth.relay_position AS SELECT singleton, cursor, sent_at FROM auth.r WHERE public.trap();
     CREATE RULE r AS ON INSERT TO auth.relay_position DO INSTEAD SELECT public.trap()",
    "ALTER TABLE auth.invalidation_log ENABLE ROW LEVEL SECURITY;
     ALTER TABLE auth.invalidation_log FORCE ROW LEVEL SECURITY;
     CREATE POLICY p ON auth.invalidation_log USING (public.trap());
     CREATE TABLE auth.pg_extension (oid oid, extname name, extowner oid);
     INSERT INTO auth.pg_extension VALUES (1, 'auth_ext', 10)",
];

#[test]
fn whoever_may_create_databases_becomes_no_superuser_by_what_is_in_them() {
    let cluster = cluster("attack", &[("auth_ext.notify", "relay")]);
    let mut admin = cluster.connect("postgres");
    admin.run("CREATE ROLE mallory LOGIN CREATEDB");
    for (n, trap) in TRAPS.iter().enumerate() {
        let mut mallory = cluster.connect_as("postgres", "mallory");
        mallory.run(&format!("CREATE DATABASE evil{n}"));
        let mut own = cluster.connect_as(&format!("evil{n}"), "mallory");
        own.run(TRAP);
        own.run(trap);
        for setting in [
            "search_path = auth, public, pg_catalog",
            "role = mallory",
            "exit_on_error = on",
        ] {
            mallory.run(&format!("ALTER DATABASE evil{n} SET {setting}"));
        }
    }
    // A database of a superuser's, in which the role may make triggers.
    let app = App::new(&cluster, "granted");
    let mut granted = app.connect();
    granted.run(
        "GRANT USAGE ON SCHEMA auth TO mallory; GRANT TRIGGER ON auth.relay_position TO mallory;
        GRANT CREATE ON SCHEMA public TO mallory",
    );
    let mut mallory = cluster.connect_as(&app.db, "mallory");
    mallory.run(&TRAP[..TRAP.find("CREATE SCHEMA").expect("the functions")]);
    mallory.run(TRAPS[0]);
    granted.bump("41");
    thread::sleep(Duration::from_secs(2));
    drop((admin, granted, mallory));
    cluster.restart();
    let mut admin = cluster.connect("postgres");
    for _ in 0..40 {
        thread::sleep(Duration::from_millis(100));
        assert!(!admin.one::<bool>(
            "SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'",
            &[]
        ));
    }
    wait(
        &mut admin,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'auth_ext relay'",
    );
    assert!(!cluster.log().contains("ALTER ROLE"));
    // It does relay where all is well.
    let mut granted = cluster.connect(&app.db);
    granted.run("DROP TRIGGER t ON auth.relay_position; LISTEN auth_invalidation");
    granted.bump("41");
    assert!(hears(&mut granted));
}

fn hears(listener: &mut Client) -> bool {
    let heard = listener.notifications().timeout_iter(PATIENCE).next();
    heard.expect("a living connection").is_some()
}

#[test]
fn after_a_rename_of_our_schema_the_worker_relays_what_is_ours_and_nothing_of_an_impostors() {
    let cluster = cluster("moved", &[("auth_ext.notify", "relay")]);
    let app = App::new(&cluster, "moved");
    let mut a = app.connect();
    a.run("CREATE ROLE mallory LOGIN; ALTER SCHEMA auth RENAME TO moved");
    a.run(&format!(
        "GRANT CREATE ON DATABASE \"{}\" TO mallory",
        app.db
    ));
    let mut mallory = cluster.connect_as(&app.db, "mallory");
    mallory.run(
        "CREATE SCHEMA auth;
         CREATE TABLE auth.invalidation_log (xid xid8, n bigint, event text, relayed boolean, created_at timestamptz);
         INSERT INTO auth.invalidation_log SELECT pg_current_xact_id(), 1, '{\"kind\":\"forged\"}', true, now();
         CREATE TABLE auth.relay_position (singleton boolean PRIMARY KEY DEFAULT true, cursor text, sent_at timestamptz)",
    );
    a.run("LISTEN auth_invalidation");
    a.run("SELECT moved.bump_session_version('41')");
    let heard = a.notifications().timeout_iter(PATIENCE).next();
    let heard = heard.expect("a living connection").expect("relayed");
    assert!(!heard.payload().contains("forged"));
    assert_eq!(
        mallory.one::<i64>("SELECT count(*) FROM auth.relay_position", &[]),
        0
    );
    wait(&mut a, "SELECT count(*) = 1 FROM moved.relay_position");
}

#[test]
fn a_terminated_launcher_comes_back_and_says_so() {
    let cluster = cluster("launcher", &[("auth_ext.notify", "relay")]);
    let app = App::new(&cluster, "launcher");
    let mut a = app.connect();
    wait(
        &mut a,
        &format!("SELECT count(*) = 1 FROM ({LAUNCHER}) AS l"),
    );
    let pid: i32 = a.one(LAUNCHER, &[]);
    a.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()");
    wait(
        &mut a,
        &format!("SELECT count(*) = 1 FROM ({LAUNCHER}) AS l WHERE pid <> {pid}"),
    );
    assert!(cluster.log().contains("launcher was terminated"));
    wait(
        &mut a,
        &format!("SELECT launcher_pid = (SELECT pid FROM ({LAUNCHER}) AS l) FROM auth.health()"),
    );
    a.run("LISTEN auth_invalidation");
    a.bump("41");
    assert!(hears(&mut a));
    // A shutdown is none of that.
    drop(a);
    cluster.stop_fast();
    assert_eq!(cluster.log().matches("launcher was terminated").count(), 1);
}

#[test]
fn workers_give_way_to_commands_that_need_a_database_for_themselves() {
    let cluster = cluster("way", &[("auth_ext.notify", "relay")]);
    let app = App::new(&cluster, "way");
    let db = app.db.clone();
    let mut admin = cluster.connect("postgres");
    for (command, name) in [
        (
            format!("CREATE DATABASE copy TEMPLATE \"{db}\""),
            db.as_str(),
        ),
        (
            format!("ALTER DATABASE \"{db}\" RENAME TO renamed"),
            "renamed",
        ),
        ("DROP DATABASE renamed".to_owned(), "renamed"),
    ] {
        let connect_to = if command.starts_with("DROP") {
            name
        } else {
            &db
        };
        let mut a = cluster.connect(connect_to);
        a.run("LISTEN auth_invalidation");
        a.bump("41");
        assert!(hears(&mut a));
        wait(
            &mut a,
            "SELECT count(*) = 1 FROM pg_stat_activity
            WHERE backend_type = 'auth_ext relay' AND datname = current_database()",
        );
        drop(a);
        admin.run(&command);
    }
}

#[test]
fn more_databases_than_workers_are_all_relayed_and_idle_workers_leave() {
    let cluster = cluster(
        "many",
        &[
            ("auth_ext.notify", "relay"),
            ("auth_ext.max_workers", "2"),
            ("max_worker_processes", "4"),
        ],
    );
    let apps: Vec<_> = (0..8)
        .map(|n| App::new(&cluster, &format!("many{n}")))
        .collect();
    let mut listeners: Vec<_> = apps
        .iter()
        .map(|app| {
            let mut client = app.connect();
            client.run("LISTEN auth_invalidation");
            client
        })
        .collect();
    for _ in 0..2 {
        for listener in &mut listeners {
            listener.bump("41");
        }
        for listener in &mut listeners {
            assert!(hears(listener));
        }
    }
    wait(
        &mut listeners[0],
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'auth_ext relay'",
    );
}

#[test]
fn without_room_for_a_worker_the_log_says_so_once_and_names_the_database() {
    let cluster = cluster(
        "room",
        &[
            ("auth_ext.notify", "relay"),
            ("max_worker_processes", "2"),
            ("max_logical_replication_workers", "1"),
        ],
    );
    let app = App::new(&cluster, "room");
    let mut a = app.connect();
    a.bump("41");
    thread::sleep(Duration::from_secs(4));
    let log = cluster.log();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("waits for a background worker"))
        .collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("for database \""), "{lines:?}");
    refused(
        a.batch_execute("SET auth_ext.max_workers = 3"),
        "55P02",
        None,
    );
}

#[test]
fn workers_prune_every_database_with_the_extension_as_often_as_is_set() {
    const OVER: &str = "INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
        VALUES ('i', gen_random_uuid()::text, '41', 'x', now() - interval '1 s')";
    const GONE: &str = "SELECT NOT EXISTS (SELECT FROM auth.revoked_tokens)";
    for notify in ["inline", "relay"] {
        let cluster = cluster(
            "pruning",
            &[
                ("auth_ext.notify", notify),
                ("auth_ext.prune_interval", "1s"),
            ],
        );
        let apps = [App::new(&cluster, "one"), App::new(&cluster, "two")];
        for _ in 0..2 {
            for app in &apps {
                let mut a = app.connect();
                a.run(OVER);
                wait(&mut a, GONE);
            }
        }
        let mut a = apps[0].connect();
        a.run("ALTER SYSTEM SET auth_ext.prune_interval = 0");
        a.run("SELECT pg_reload_conf()");
        thread::sleep(Duration::from_secs(2));
        a.run(OVER);
        thread::sleep(Duration::from_secs(3));
        assert!(!a.one::<bool>(GONE, &[]), "{notify}");
    }
}

#[test]
fn none_is_started_in_a_server_that_pg_upgrade_runs() {
    let cluster = cluster(
        "pg_upgrade",
        &[
            ("auth_ext.standby_heartbeat", "10ms"),
            ("log_min_messages", "debug1"),
        ],
    );
    let registered = || {
        cluster
            .log()
            .matches(" registering background worker \"auth_ext relay launcher")
            .count()
    };
    assert_eq!(registered(), 1);
    cluster.stop_fast();
    cluster.launch_for_pg_upgrade();
    assert_eq!(registered(), 1);
    let launchers: i64 = cluster
        .connect("postgres")
        .one(&format!("SELECT count(*) FROM ({LAUNCHER}) AS l"), &[]);
    assert_eq!(launchers, 0);
}
