//! The service: what it fetches, when, and that nothing ends it but a signal.

use std::time::{Duration, Instant};

use auth_ext_tests::{Ask, Cluster, shared};

use crate::program::Running;
use crate::provider::{Provider, endless, ok, with_headers};
use crate::relying::{Key, Relying, set};

const ISSUER: &str = "https://idp.example";
/// The service asks by itself every thirty seconds. What it has done before that it was told.
const TOLD: Duration = Duration::from_secs(20);

/// The minutes of a line `…; again in N min`.
fn minutes(line: &str) -> u32 {
    let (_, rest) = line.split_once("again in ").unwrap();
    rest.strip_suffix(" min").unwrap().parse().unwrap()
}

fn wait_for(running: &Running, provider: &Provider, path: &str, times: usize) {
    running.until(&format!("{path} asked for {times} times"), || {
        provider.asked(path) >= times
    });
}

#[test]
fn cache_control_says_when_a_set_is_fetched_again() {
    let mut relying = Relying::new(shared(), "lifetimes");
    let provider = Provider::start();
    let one = Key::new("one");
    let cases = [
        ("short", "Cache-Control: max-age=15\r\n", 5..=6),
        (
            "long",
            "Cache-Control: public, max-age=31536000\r\n",
            1296..=1426,
        ),
        (
            "middle",
            "Cache-Control: max-age=7200, must-revalidate\r\n",
            108..=119,
        ),
        (
            "aged",
            "Cache-Control: max-age=7200\r\nAge: 3600\r\n",
            54..=60,
        ),
        ("absent", "", 54..=60),
        (
            "no_store",
            "Cache-Control: no-store, max-age=7200\r\n",
            5..=6,
        ),
        (
            "twice",
            "Cache-Control: public\r\nCache-Control: no-cache\r\n",
            5..=6,
        ),
    ];
    for (name, headers, _) in &cases {
        provider.answer(&format!("/{name}"), with_headers(headers, &set(&[&one])));
        relying.trust(name, &provider.url(&format!("/{name}")));
    }
    let running = relying.program(&[]).start();
    for (name, _, expected) in cases {
        let line = running.says(&[&format!("{name}: keys: 1")]);
        assert!(expected.contains(&minutes(&line)), "{line}");
    }
    assert_eq!(running.stop("TERM"), Some(0));
}

#[test]
fn a_changed_row_is_fetched_at_once_and_what_it_took_itself_is_no_change() {
    let mut relying = Relying::new(shared(), "changes");
    let provider = Provider::start();
    let (one, two) = (Key::new("one"), Key::new("two"));
    provider.answer("/keys", ok(&set(&[&one])));
    let running = relying.program(&[]).start();
    // A row that is new.
    let start = Instant::now();
    relying.trust(ISSUER, &provider.url("/keys"));
    running.says(&[ISSUER, "1 new"]);
    assert!(start.elapsed() < TOLD, "{:?}", start.elapsed());
    // Any change of it.
    provider.answer("/keys", ok(&set(&[&one, &two])));
    let start = Instant::now();
    relying
        .admin
        .run("UPDATE auth.issuers SET leeway = '1 second'");
    running.says(&[ISSUER, "keys: 2 (1 new"]);
    assert!(start.elapsed() < TOLD, "{:?}", start.elapsed());
    // Another URL.
    provider.answer("/moved", ok(&set(&[&two])));
    let start = Instant::now();
    relying.admin.rows(
        "UPDATE auth.issuers SET jwks_uri = $1",
        &[&provider.url("/moved")],
    );
    running.says(&[ISSUER, "1 gone"]);
    assert!(start.elapsed() < TOLD, "{:?}", start.elapsed());
    assert_eq!(relying.verdict(ISSUER, &one), "unknown_key");
    assert_eq!(relying.verdict(ISSUER, &two), "valid");
    // Longer than it waits before it asks the same provider again. It may do so once: where it has seen the row before the event.
    let asked = || {
        std::thread::sleep(Duration::from_secs(8));
        (provider.asked("/keys"), provider.asked("/moved"))
    };
    let settled = asked();
    assert!(settled.0 <= 3 && settled.1 <= 2, "{settled:?}");
    assert_eq!(asked(), settled);
}

#[test]
fn what_others_say_on_the_channel_has_nobody_asked() {
    let mut relying = Relying::new(shared(), "forged");
    let provider = Provider::start();
    provider.answer("/keys", ok(&set(&[&Key::new("one")])));
    relying.trust(ISSUER, &provider.url("/keys"));
    let running = relying.program(&[]).start();
    running.says(&[ISSUER, "1 new"]);
    for payload in [
        r#"{"v":1,"kind":"issuer","issuer":"https://idp.example"}"#,
        r#"{"v":1,"kind":"flush"}"#,
        "no JSON",
        "",
    ] {
        relying
            .admin
            .rows("SELECT pg_notify('auth_invalidation', $1)", &[&payload]);
    }
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(provider.asked("/keys"), 1);
    // It still listens.
    relying
        .admin
        .run("UPDATE auth.issuers SET leeway = '1 second'");
    wait_for(&running, &provider, "/keys", 2);
}

#[test]
fn what_changed_while_the_connection_was_lost_is_fetched_afterwards() {
    let mut relying = Relying::new(shared(), "lost");
    let provider = Provider::start();
    provider.answer("/keys", ok(&set(&[&Key::new("one")])));
    relying.trust(ISSUER, &provider.url("/keys"));
    let running = relying.program(&[]).start();
    running.says(&[ISSUER, "1 new"]);
    let role = relying.role.clone();
    relying.admin.run(&format!("ALTER ROLE {role} NOLOGIN"));
    relying.admin.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1",
        &[&role],
    );
    running.says(&["database: ", "not permitted to log in"]);
    // The URL stays: only the log tells.
    relying
        .admin
        .run("UPDATE auth.issuers SET leeway = '1 second'");
    assert_eq!(provider.asked("/keys"), 1);
    relying.admin.run(&format!("ALTER ROLE {role} LOGIN"));
    running.says(&["database: connected again"]);
    wait_for(&running, &provider, "/keys", 2);
}

#[test]
fn it_outlives_the_database_and_waits_for_one_that_is_not_there_yet() {
    let cluster = Cluster::start("jwks");
    let mut relying = Relying::new(&cluster, "restarted");
    let provider = Provider::start();
    let one = Key::new("one");
    provider.answer("/keys", ok(&set(&[&one])));
    relying.trust(ISSUER, &provider.url("/keys"));
    let program = relying.program(&[]);
    cluster.stop_fast();
    let running = program.start();
    running.says(&["database: "]);
    cluster.launch();
    running.says(&[ISSUER, "1 new"]);
    cluster.kill_9();
    cluster.launch();
    relying.admin = cluster.connect(&relying.db);
    relying
        .admin
        .run("UPDATE auth.issuers SET leeway = '1 second'");
    wait_for(&running, &provider, "/keys", 2);
    assert_eq!(relying.verdict(ISSUER, &one), "valid");
    assert_eq!(running.stop("INT"), Some(0));
}

#[test]
fn one_that_fails_is_tried_again_and_holds_up_no_other() {
    let mut relying = Relying::new(shared(), "again");
    let provider = Provider::start();
    let (one, two) = (Key::new("one"), Key::new("two"));
    let silent = endless("", "", Duration::from_secs(1));
    for n in 0..3 {
        provider.answer(&format!("/silent{n}"), silent.clone());
        relying.trust(
            &format!("https://silent{n}.example"),
            &provider.url(&format!("/silent{n}")),
        );
    }
    let running = relying.program(&[]).start();
    wait_for(&running, &provider, "/silent0", 1);
    provider.answer("/keys", ok(&set(&[&one])));
    let start = Instant::now();
    relying.trust(ISSUER, &provider.url("/keys"));
    running.says(&[ISSUER, "1 new"]);
    // One after the other they take thirty seconds.
    assert!(start.elapsed() < TOLD, "the silent ones were waited for");
    running.says(&[
        "https://silent0.example: kept as it was: no whole answer",
        "again in 9 s",
    ]);
    provider.answer("/silent0", ok(&set(&[&two])));
    running.says(&["https://silent0.example: keys: 1"]);
    assert_eq!(relying.verdict("https://silent0.example", &two), "valid");
    // Also while it waits for an answer, a signal ends it.
    wait_for(&running, &provider, "/silent1", 2);
    assert_eq!(running.stop("TERM"), Some(0));
}
