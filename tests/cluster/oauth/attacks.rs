//! Ways around the verification, for somebody who has no token, or only a role's settings.

use super::{Server, WHO, refused};
use auth_ext_tests::{Ask, Wire, json, message};

#[test]
fn nothing_that_the_client_sends_is_done_before_the_token_is_verified() {
    let Some(server) = Server::start("oauth_early", &[]) else {
        return;
    };
    let mut site = server.site("early");
    site.admin
        .run("CREATE TABLE done (n int); GRANT INSERT ON done TO app");
    let bad = site.token(&json!({"session_version": 5}));
    let db = site.app.db.clone();
    let startup = [("user", "app"), ("database", db.as_str())];
    let response = |token: &str| format!("n,,\x01auth=Bearer {token}\x01\x01");
    let query = message(Some('Q'), b"INSERT INTO done VALUES (1)\0");
    refused(site.cluster, "app", "session_version_mismatch", || {
        Wire::open(site.cluster, &startup, response(&bad).as_bytes(), &query)
    });
    let count = "SELECT count(*) FROM done";
    assert_eq!(site.admin.one::<i64>(count, &[]), 0);
}

#[test]
fn settings_of_the_client_load_no_library_and_print_nothing_before_the_token_is_verified() {
    let Some(server) = Server::start("oauth_load", &[("auth_ext.login_superusers", "on")]) else {
        return;
    };
    let mut site = server.site("load");
    let good = site.token(&json!({"role": "boss"}));
    let db = site.app.db.clone();
    let open = |options: &str, token: &str| {
        let startup = [
            ("user", "boss"),
            ("database", db.as_str()),
            ("options", options),
        ];
        Wire::with_token(site.cluster, &startup, token)
    };
    for options in [
        "-c session_preload_libraries=/no/such/library",
        "-c local_preload_libraries=no_such_library",
        "-c log_min_messages=panic",
        "-c client_min_messages=debug5 -c debug_print_plan=on -c debug_print_parse=on",
        "-c auth_ext.max_token_size=1000000",
        "-c search_path=evil",
        "-c no_such_parameter=1",
    ] {
        refused(site.cluster, "boss", "malformed", || open(options, "x"));
    }
    // With a token they are a superuser's: this library is looked for.
    let failure = open("-c session_preload_libraries=/no/such/library", &good)
        .err()
        .unwrap();
    assert_eq!(failure.code(), "58P01", "{failure:?}");
    let mut a = open("-c log_min_messages=panic -c search_path=evil", &good).unwrap();
    assert_eq!(a.show("SHOW log_min_messages"), "panic");
    assert_eq!(a.show(WHO), "boss boss oauth:41 41");
}

#[test]
fn settings_of_the_role_or_database_change_nothing_of_who_may_log_in() {
    let Some(server) = Server::start(
        "oauth_settings",
        &[("session_preload_libraries", "auth_ext")],
    ) else {
        return;
    };
    let mut site = server.site("settings");
    let (good, stale) = (site.good(), site.token(&json!({"session_version": 5})));
    let db = site.app.db.clone();
    site.admin.run(
        "CREATE SCHEMA evil; GRANT ALL ON SCHEMA evil TO app; GRANT other TO app;
         CREATE FUNCTION evil.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
         CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = evil.eq);
         CREATE TABLE evil.users (id bigint, session_version bigint); INSERT INTO evil.users VALUES (41, 5)",
    );
    for setting in [
        "search_path = evil, pg_catalog",
        "default_transaction_read_only = on",
        "default_transaction_isolation = serializable",
        "row_security = off",
        "transform_null_equals = on",
        "enable_indexscan = off",
        "client_min_messages = error",
        "exit_on_error = on",
        "role = other",
        "session_replication_role = replica",
        "debug_parallel_query = on",
        "zero_damaged_pages = on",
    ] {
        let name = setting.split_once(' ').unwrap().0;
        for owner in [
            format!("ROLE app IN DATABASE {db}"),
            format!("DATABASE {db}"),
        ] {
            site.admin.run(&format!("ALTER {owner} SET {setting}"));
            site.refused("app", &stale, "session_version_mismatch");
            let role = if name == "role" { "other" } else { "app" };
            let who = format!("{role} app oauth:41 41");
            // A role that its database sets is for those who may have it.
            assert_eq!(site.wire("app", &good).show(WHO), who, "{owner} {setting}");
            site.admin.run(&format!("ALTER {owner} RESET {name}"));
        }
    }
    // Who is authenticated cannot be set so, not even by a superuser.
    let carried = format!("ALTER ROLE app SET auth_ext.session_identity = '0 token {good}'");
    assert!(site.admin.batch_execute(&carried).is_err());
}
