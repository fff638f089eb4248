//! `grant_access`: each profile gives a role what it needs, and nothing else.

use auth_ext_tests::{App, Ask, Client, ISSUER, refused, shared};

/// A call of each function, by profile.
const APPLICATION: [&str; 9] = [
    "auth.receive_security_event('x')",
    "auth.verify_api_key('x')",
    "auth.issue_jwt('41')",
    "auth.open_session('41')",
    "auth.issue_one_time_token('41', 'password_reset')",
    "auth.issue_sso_token('41')",
    "auth.create_api_key('41', 'x')",
    "auth.bump_session_version('41')",
    "auth.session_version('41')",
];
const LISTENER: [&str; 2] = [
    "auth.invalidation_cursor()",
    "auth.invalidations_since(auth.invalidation_cursor())",
];
const MONITORING: [&str; 1] = ["auth.health()"];
const ADMINISTRATOR: [&str; 7] = [
    "auth.create_signing_key()",
    "auth.rotate_signing_key()",
    "auth.import_jwks('{\"keys\":[]}', 'https://provider.example')",
    "auth.retire_signing_key('x')",
    "auth.prune()",
    "auth.detach_users()",
    "auth.grant_access('pg_monitor', 'monitoring')",
];

fn role(admin: &mut Client, app: &App<'_>, name: &str) -> String {
    let role = format!("{name}_{}", app.db);
    admin.run(&format!(r#"CREATE ROLE "{role}" LOGIN"#));
    role
}

/// Whether the call is allowed: whatever else comes of it.
fn may_call(client: &mut Client, call: &str) -> bool {
    client.run("BEGIN");
    let outcome = client.query(&format!("SELECT {call}"), &[]);
    client.run("ROLLBACK");
    !outcome.is_err_and(|error| {
        error
            .as_db_error()
            .is_some_and(|e| e.code().code() == "42501")
    })
}

#[test]
fn each_profile_may_call_its_functions_and_no_others() {
    let app = App::new(shared(), "profiles");
    let mut admin = app.connect();
    admin.run(
        "CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true);
         SELECT auth.attach_api_keys('keys');
         INSERT INTO auth.issuers (issuer, audience) VALUES ('https://provider.example', '{x}')",
    );
    let groups: [(&str, &[&str]); 4] = [
        ("application", &APPLICATION),
        ("listener", &LISTENER),
        ("monitoring", &MONITORING),
        ("administrator", &ADMINISTRATOR),
    ];
    for (profile, _) in groups {
        // A name that must be quoted.
        let role = role(&mut admin, &app, &format!(r"O'{profile} ünï"));
        admin.rows(
            "SELECT auth.grant_access(quote_ident($1)::regrole, $2)",
            &[&role, &profile],
        );
        let mut client = shared().connect_as(&app.db, &role);
        for (group, calls) in groups {
            let expected = group == profile || profile == "administrator";
            for call in calls {
                if group == "administrator" && profile == "administrator" && call.contains("detach")
                {
                    // The function is his to call; the table is its owner's.
                    continue;
                }
                assert_eq!(may_call(&mut client, call), expected, "{profile}: {call}");
            }
        }
        let tables: Vec<String> = admin.one(
            "SELECT coalesce(array_agg(c.relname || ' ' || p ORDER BY c.relname, p), '{}') FROM pg_class AS c, unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS p
             WHERE c.relnamespace = 'auth'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege($1, c.oid, p)",
            &[&role],
        );
        let expected: &[&str] = match profile {
            "administrator" => &[
                "issuers DELETE",
                "issuers INSERT",
                "issuers SELECT",
                "issuers UPDATE",
            ],
            _ => &[],
        };
        let tables: Vec<_> = tables
            .iter()
            .filter(|name| !name.starts_with("activity "))
            .collect();
        assert_eq!(tables, expected, "{profile}");
        let triggers: i64 = admin.one(
            "SELECT count(*) FROM pg_proc AS p WHERE p.pronamespace = 'auth'::regnamespace
             AND p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype, 'internal'::regtype) AND has_function_privilege($1, p.oid, 'EXECUTE')",
            &[&role],
        );
        assert_eq!(triggers, 0, "{profile}");
    }
}

#[test]
fn an_administrator_keeps_issuers_and_passes_access_on() {
    let app = App::new(shared(), "keeper");
    let mut admin = app.connect();
    let (keeper, reader) = (
        role(&mut admin, &app, "keeper"),
        role(&mut admin, &app, "reader"),
    );
    admin.run(&format!(
        "SELECT auth.grant_access('{keeper}', 'administrator')"
    ));
    let mut a = shared().connect_as(&app.db, &keeper);
    a.run(
        "INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('https://new.example', '{x}', true);
         UPDATE auth.issuers SET leeway = '5 seconds' WHERE issuer = 'https://new.example';
         SELECT auth.create_signing_key();
         SELECT auth.issue_jwt('41');
         DELETE FROM auth.issuers WHERE issuer = 'https://new.example'",
    );
    a.run(&format!(
        "UPDATE auth.issuers SET is_default = true WHERE issuer = '{ISSUER}'"
    ));
    a.run(&format!("SELECT auth.grant_access('{reader}', 'listener')"));
    let mut b = shared().connect_as(&app.db, &reader);
    assert!(may_call(&mut b, "auth.invalidation_cursor()"));
    assert!(!may_call(
        &mut b,
        "auth.grant_access('pg_monitor', 'listener')"
    ));
}

#[test]
fn a_monitor_of_the_server_has_what_the_profile_monitoring_has() {
    let app = App::new(shared(), "monitor");
    let mut admin = app.connect();
    let (by_profile, by_role) = (
        role(&mut admin, &app, "profile"),
        role(&mut admin, &app, "member"),
    );
    admin.run(&format!(
        "SELECT auth.grant_access('{by_profile}', 'monitoring'); GRANT pg_monitor TO {by_role}"
    ));
    let mut has = |role: &str| -> Vec<String> {
        admin.one(
            "SELECT array_agg(x ORDER BY x) FROM (
                 SELECT p.oid::regprocedure::text FROM pg_proc AS p WHERE p.pronamespace = 'auth'::regnamespace AND has_function_privilege($1, p.oid, 'EXECUTE')
                 UNION ALL
                 SELECT c.oid::regclass::text FROM pg_class AS c WHERE c.relnamespace = 'auth'::regnamespace AND c.relkind IN ('r', 'v')
                     AND has_table_privilege($1, c.oid, 'SELECT')) AS o (x)",
            &[&role],
        )
    };
    let (profile, member) = (has(&by_profile), has(&by_role));
    assert_eq!(profile, member);
    assert!(profile.iter().any(|name| name == "auth.health()"));
}

#[test]
fn what_is_no_profile_or_no_role_is_refused() {
    let app = App::new(shared(), "refused");
    let mut admin = app.connect();
    for sql in [
        "SELECT auth.grant_access('postgres', 'owner')",
        "SELECT auth.grant_access('postgres', '')",
        "SELECT auth.grant_access('postgres', NULL)",
        "SELECT auth.grant_access(NULL, 'listener')",
        "SELECT auth.grant_access('-', 'listener')",
        "SELECT auth.grant_access(4000000000::oid::regrole, 'listener')",
    ] {
        refused(admin.query(sql, &[]), "22023", None);
    }
    refused(
        admin.query("SELECT auth.grant_access('nobody_at_all', 'listener')", &[]),
        "42704",
        None,
    );
}
