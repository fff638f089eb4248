//! The harness keeps its promises: other tests lean on them.

use auth_ext_tests::{Cluster, Listener, refused, shared};

#[test]
fn a_killed_cluster_comes_back_with_what_was_committed() {
    let cluster = Cluster::start("killed");
    let db = cluster.database("kept");
    let mut client = cluster.connect(&db);
    client
        .batch_execute("CREATE TABLE t AS SELECT 42 AS n")
        .unwrap();
    cluster.kill_9();
    cluster.launch();
    let n: i32 = cluster
        .connect(&db)
        .query_one("SELECT n FROM t", &[])
        .unwrap()
        .get(0);
    assert_eq!(n, 42);
    assert!(
        cluster.log().contains("not properly shut down"),
        "{}",
        cluster.log()
    );

    cluster.restart();
    let host = cluster.host().to_owned();
    drop(cluster);
    assert!(!host.exists(), "{} is left behind", host.display());
}

#[test]
fn settings_and_environment_reach_the_server() {
    let cluster = Cluster::setup("settings")
        .setting("work_mem", "7MB")
        .environment("TZ", "Asia/Tokyo")
        .start();
    let mut client = cluster.connect("postgres");
    let work_mem: String = client.query_one("SHOW work_mem", &[]).unwrap().get(0);
    assert_eq!(work_mem, "7MB");
}

#[test]
fn a_standby_replays_and_can_be_promoted() {
    let primary = Cluster::start("primary");
    let db = primary.database("replicated");
    let standby = Cluster::start_standby(&primary);
    primary
        .connect(&db)
        .batch_execute("CREATE TABLE t AS SELECT 42 AS n")
        .unwrap();
    standby.wait_replay(&primary);

    let mut reader = standby.connect(&db);
    let n: i32 = reader.query_one("SELECT n FROM t", &[]).unwrap().get(0);
    assert_eq!(n, 42);
    refused(reader.batch_execute("CREATE TABLE u ()"), "25006", None);
    standby.promote();
    reader.batch_execute("CREATE TABLE u ()").unwrap();
}

#[test]
fn a_listener_gets_what_was_committed_and_nothing_else() {
    let db = shared().database("listener");
    let mut sender = shared().connect(&db);
    let mut listener = Listener::on(shared().connect(&db), "news");
    assert!(listener.payloads().is_empty());
    sender
        .batch_execute("NOTIFY news, '{\"n\":1}'; NOTIFY other, '{\"n\":2}'")
        .unwrap();
    sender
        .batch_execute("BEGIN; NOTIFY news, '{\"n\":3}'; ROLLBACK")
        .unwrap();
    sender.batch_execute("NOTIFY news, '{\"n\":4}'").unwrap();
    let seen: Vec<_> = listener
        .events()
        .iter()
        .map(|event| event["n"].as_i64().unwrap())
        .collect();
    assert_eq!(seen, [1, 4]);
    assert!(listener.payloads().is_empty());
}

#[test]
fn notices_are_seen() {
    let db = shared().empty_database("notices");
    let (mut client, notices) = shared().connect_with_notices(&db);
    client
        .batch_execute("DO $$ BEGIN RAISE WARNING 'mind the gap'; END $$")
        .unwrap();
    let warnings: Vec<_> = notices
        .try_iter()
        .map(|notice| notice.message().to_owned())
        .collect();
    assert_eq!(warnings, ["mind the gap"]);
}
