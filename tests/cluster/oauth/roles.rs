//! Which role a token may have.

use super::{Server, WHO, log_in, refused};
use auth_ext_tests::{Ask, Wire, json};

const CLAIM: &str = "the token's role claim does not name the role";
const MAP: &str = "the ident map does not give the user the role";
const SUPERUSER: &str = "superusers take no tokens unless auth_ext.login_superusers is on";

#[test]
fn the_role_claim_names_the_role_as_a_string_or_in_an_array() {
    let Some(server) = Server::start("oauth_claim", &[]) else {
        return;
    };
    let mut site = server.site("claim");
    for claim in [json!("app"), json!(["other", "app"]), json!(["app"])] {
        let token = site.token(&json!({"role": claim}));
        assert_eq!(site.wire("app", &token).show(WHO), "app app oauth:41 41");
    }
    let claims = [
        json!(null),
        json!("other"),
        json!("App"),
        json!("app "),
        json!(""),
        json!([]),
        json!("[\"app\"]"),
        json!(["other"]),
        json!([["app"]]),
        json!(["app", 1]),
        json!({"app": true}),
        json!(1),
    ];
    for claim in claims {
        let token = site.token(&json!({"role": claim}));
        site.refused("app", &token, CLAIM);
    }
    site.admin
        .run("UPDATE auth.issuers SET role_claim = '/db/roles'");
    let token = site.token(&json!({"db": {"roles": ["app"]}, "role": "other"}));
    assert_eq!(site.wire("app", &token).show(WHO), "app app oauth:41 41");
    site.refused("other", &token, CLAIM);
    // The map's roles are the map's to give, whatever the token names.
    let token = site.token(&json!({"sub": "42", "db": {"roles": ["m_other"]}}));
    site.refused("m_other", &token, MAP);
}

#[test]
fn the_ident_map_gives_a_role_to_the_verified_user_id() {
    let Some(server) = Server::start("oauth_map", &[]) else {
        return;
    };
    let mut site = server.site("map");
    let token = site.token(&json!({"role": null}));
    let mut a = site.wire("m_app", &token);
    assert_eq!(a.show(WHO), "m_app m_app oauth:41 41");
    assert_eq!(a.show("SELECT count(*) FROM documents"), "1000");
    site.refused("m_other", &token, MAP);
    let other = site.token(&json!({"sub": "42"}));
    site.refused("m_app", &other, MAP);
    let stale = site.token(&json!({"session_version": 3}));
    site.refused("m_app", &stale, "session_version_mismatch");
    // By the id column's value, not by the claim's.
    site.admin.run(
        "ALTER TABLE users ADD name text UNIQUE; UPDATE users SET name = '41' WHERE id = 42; UPDATE users SET name = 'ada' WHERE id = 41;
         UPDATE auth.issuers SET user_column = 'name'",
    );
    site.refused("m_app", &token, MAP);
    let by_name = site.token(&json!({"sub": "ada"}));
    assert_eq!(
        site.wire("m_app", &by_name).show(WHO),
        "m_app m_app oauth:41 41"
    );
    site.admin.run("UPDATE auth.issuers SET user_column = NULL");
    // Nobody is not in the map; a control character does not get into the log.
    site.admin
        .run("UPDATE auth.issuers SET require_user = false, session_check = 'none'");
    let nobody = site.token(&json!({"sub": null}));
    site.refused("m_app", &nobody, MAP);
    assert_eq!(site.wire("app", &nobody).show(WHO), "app app  ");
    for user in ["x\nLOG:  forged", "x\u{7f}"] {
        let token = site.token(&json!({"sub": user}));
        for role in ["m_app", "app"] {
            site.refused(
                role,
                &token,
                "the user's id is none that can be a system user's name",
            );
        }
    }
    let token = site.token(&json!({"sub": "x y"}));
    assert_eq!(
        site.wire("m_app", &token).show(WHO),
        "m_app m_app oauth:x y x y"
    );
}

#[test]
fn superusers_take_no_token_unless_the_configuration_says_so_and_replication_none() {
    let Some(server) = Server::start("oauth_super", &[]) else {
        return;
    };
    let mut site = server.site("super");
    let token = site.token(&json!({"role": ["boss", "app", "closed", "none_such"]}));
    site.refused("boss", &token, SUPERUSER);
    site.refused("m_boss", &token, SUPERUSER);
    site.refused("closed", &token, "the role may not log in");
    site.refused("none_such", &token, "there is no such role");
    site.admin.run("ALTER ROLE app SUPERUSER");
    site.refused("app", &token, SUPERUSER);
    site.admin.run("ALTER ROLE app NOSUPERUSER");

    // Not by any role's own settings, nor by a superuser's SET.
    for sql in [
        "ALTER ROLE boss SET auth_ext.login_superusers = on",
        "SET auth_ext.login_superusers = on",
    ] {
        assert!(site.admin.batch_execute(sql).is_err(), "{sql}");
    }
    site.cluster
        .configure(&[("auth_ext.login_superusers", "on")]);
    site.cluster.reload();
    for role in ["boss", "m_boss"] {
        let who = format!("{role} {role} oauth:41 41");
        assert_eq!(site.wire(role, &token).show(WHO), who);
    }
    let stale = site.token(&json!({"role": "boss", "session_version": 9}));
    site.refused("boss", &stale, "session_version_mismatch");
    let other = site.good();
    site.refused("boss", &other, CLAIM);

    // Replication: of either kind, however the role is allowed to.
    site.admin.run("ALTER ROLE app REPLICATION");
    let db = site.app.db.clone();
    for (role, kind) in [("app", "true"), ("app", "database"), ("boss", "database")] {
        let startup = [
            ("user", role),
            ("database", db.as_str()),
            ("replication", kind),
        ];
        refused(
            site.cluster,
            role,
            "replication connections take no tokens",
            || Wire::with_token(site.cluster, &startup, &token),
        );
    }
}

#[test]
fn databases_without_the_extension_or_with_half_of_it_are_refused() {
    let Some(server) = Server::start("oauth_without", &[]) else {
        return;
    };
    let mut site = server.site("without");
    let token = site.good();
    let cluster = site.cluster;
    let empty = cluster.empty_database("empty");
    let missing = "extension auth_ext is not installed in this database";
    refused(cluster, "app", missing, || {
        log_in(cluster, &empty, "app", &token)
    });
    // Tables of the same names are no extension.
    cluster.connect(&empty).run(
        "CREATE SCHEMA auth; CREATE TABLE auth.issuers (issuer text, audience text[]); CREATE TABLE auth.signing_key_store (kid text)",
    );
    refused(cluster, "app", missing, || {
        log_in(cluster, &empty, "app", &token)
    });
    // No issuer yet.
    let fresh = cluster.database("fresh");
    refused(cluster, "app", "no default issuer is set up", || {
        log_in(cluster, &fresh, "app", &token)
    });
    // Another database's token is not this one's.
    let other = server.site("without_other");
    other.refused("app", &site.admin.issue("41"), "unknown_key");
    for broken in [
        "ALTER TABLE auth.user_history RENAME TO gone",
        "ALTER TABLE auth.revoked_tokens RENAME TO gone",
        "ALTER TABLE auth.signing_key_store RENAME TO gone",
        "ALTER TABLE auth.issuers RENAME COLUMN audience TO gone",
        "ALTER TABLE users RENAME COLUMN session_version TO gone",
        "DROP TABLE users",
    ] {
        let mut site = server.site("broken");
        let token = site.good();
        site.wire("app", &token);
        site.admin
            .run(&format!("SET allow_system_table_mods = on; {broken}"));
        let verdict = site.admin.query("SELECT auth.verify_jwt($1)", &[&token]);
        let login = site.log_in("app", &token);
        assert_eq!(login.is_ok(), verdict.is_ok(), "{broken} {verdict:?}");
        if let Err(failure) = login {
            assert_eq!(failure.code(), "28000", "{failure:?}");
        }
    }
}

#[test]
fn a_database_that_is_not_updated_yet_takes_the_tokens_that_it_verifies() {
    let Some(server) = Server::start("oauth_old", &[]) else {
        return;
    };
    let cluster = &server.cluster;
    let db = cluster.empty_database("old");
    let mut admin = cluster.connect(&db);
    admin.run(&format!(
        "CREATE EXTENSION auth_ext VERSION '0.1.0';
         INSERT INTO auth.issuers (issuer, audience) VALUES ('{}', '{{app}}'); SELECT auth.create_signing_key();
         CREATE TABLE users (id bigint PRIMARY KEY, is_active boolean NOT NULL DEFAULT true); INSERT INTO users VALUES (41);
         SELECT auth.attach_users('users')",
        auth_ext_tests::ISSUER
    ));
    let token: String = admin.one(
        "SELECT auth.issue_jwt('41', claims => '{\"role\":\"app\"}')",
        &[],
    );
    let mut a = log_in(cluster, &db, "app", &token).unwrap();
    assert_eq!(a.show(WHO), "app app oauth:41 41");
    admin.bump("41");
    refused(cluster, "app", "session_version_mismatch", || {
        log_in(cluster, &db, "app", &token)
    });
}
