//! A relay, a server or a listener that fails breaks no bump, and nothing is lost.

use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{WORKERS, cluster, listen, next, prepare, user, wait};
use auth_ext_tests::{App, Ask, Client, Cluster, refused, shared};

/// Keeps the relay from sending, also across a crash.
fn hold(client: &mut Client) {
    client.run("BEGIN");
    client.run("LOCK TABLE auth.relay_position IN SHARE MODE");
    client.run("PREPARE TRANSACTION 'hold'");
}

#[test]
fn nothing_is_lost_when_the_relay_or_the_server_is_killed_or_restarted() {
    let cluster = cluster("relay_kill");
    let app = App::new(&cluster, "kill");
    prepare(&app);
    drop(listen(&app));
    let mut version = 0;
    for end in [
        "kill -9 the relay",
        "kill -9 the server",
        "restart",
        "terminate the relay",
    ] {
        println!("--- {end}");
        let mut a = app.connect();
        hold(&mut a);
        a.bump("41");
        version = a.bump("41").max(version);
        wait(
            &mut a,
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'auth_ext relay' AND datname = current_database()",
        );
        let pid: i32 = a.one(WORKERS, &[]);
        match end {
            "kill -9 the relay" => {
                let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
                assert!(killed.is_ok_and(|status| status.success()));
                // The server ends every connection, and starts again by itself.
                while a.simple_query("SELECT pg_sleep(0.05)").is_ok() {}
                cluster.wait_until_it_answers();
            }
            "kill -9 the server" => {
                cluster.kill_9();
                cluster.launch();
            }
            "restart" => cluster.restart(),
            _ => {
                assert!(a.one::<bool>("SELECT pg_terminate_backend($1)", &[&pid]));
                wait(
                    &mut a,
                    &format!("SELECT count(*) = 0 FROM ({WORKERS}) AS w WHERE pid = {pid}"),
                );
            }
        }
        let mut listener = app.connect();
        listener.run("LISTEN auth_invalidation");
        listener.run("COMMIT PREPARED 'hold'");
        assert_eq!(next(&mut listener), user("41", version - 1), "{end}");
        assert_eq!(next(&mut listener), user("41", version), "{end}");
        wait(&mut listener, "SELECT public.relay_is_idle()");
    }
}

#[test]
fn an_error_of_the_relay_breaks_no_bump_and_it_goes_on_when_the_cause_is_gone() {
    let cluster = cluster("relay_error");
    let app = App::new(&cluster, "error");
    prepare(&app);
    let mut listener = listen(&app);
    let mut a = app.connect();
    a.run(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE 'too many notifications in the NOTIFY queue'; END $$;
         CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON auth.relay_position FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    for version in 1..=5 {
        assert_eq!(a.bump("41"), version);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(cluster.log().contains("too many notifications"));
    // What is set for the database does not concern the relay, which begins anew after each error.
    a.run(&format!(
        "ALTER DATABASE \"{}\" SET default_transaction_read_only = on",
        app.db
    ));
    a.run("DROP TRIGGER fail ON auth.relay_position");
    for version in 1..=5 {
        assert_eq!(next(&mut listener), user("41", version));
    }
    let failures = cluster.log().matches("too many notifications").count();
    assert!(failures < 5, "{failures} attempts in a second");
}

/// From 17 on the queue can be made small enough to fill.
#[test]
fn a_listener_that_is_stuck_breaks_no_bump() {
    let probe: i32 = shared()
        .connect("postgres")
        .one("SELECT current_setting('server_version_num')::int", &[]);
    if probe < 170_000 {
        return;
    }
    let cluster = Cluster::with_config(
        "relay_full",
        &[
            ("shared_preload_libraries", "auth_ext"),
            ("auth_ext.notify", "relay"),
            ("max_notify_queue_pages", "64"),
        ],
    );
    let app = App::new(&cluster, "full");
    prepare(&app);
    let mut a = app.connect();
    // A listener inside a transaction reads nothing, and the queue keeps what it has not read.
    let mut stuck = listen(&app);
    stuck.run("BEGIN; SELECT 1");
    let fill = "SELECT count(pg_notify('fill', n::text || repeat('x', 7900))) FROM generate_series(1, 60) AS n";
    while a.batch_execute(fill).is_ok() {}
    refused(a.batch_execute(fill), "54000", None);
    for version in 1..=3 {
        assert_eq!(a.bump("41"), version);
    }
    a.run("SET auth_ext.notify = inline");
    stuck.run("COMMIT");
    for version in 1..=3 {
        assert_eq!(next(&mut stuck), user("41", version));
    }
}
