//! While a part of the dump is not loaded, or is another dump's, no token passes that the whole would refuse.

use super::{Dumped, restore};
use auth_ext_tests::{Ask, refused, shared};

#[test]
fn whatever_is_loaded_first_no_revoked_token_passes() {
    let cluster = shared();
    let dumped = Dumped::new(cluster, "orders");
    let custom = dumped.dump(cluster, "postgres", &["-Fc"]);
    let tables = [
        "issuers",
        "signing_key_store",
        "revoking_issuers",
        "revoked_tokens",
        "user_history",
        "session_issuers",
        "attached_tables",
    ];
    // Each of them last, and each first.
    for turn in 0..tables.len() {
        let db = cluster.empty_database("order");
        restore(cluster, &db, &["--section=pre-data", &custom]);
        restore(cluster, &db, &["--data-only", "-n", "public", &custom]);
        restore(cluster, &db, &["--section=post-data", &custom]);
        let mut waiting = cluster.connect(&db);
        let mut order = tables.to_vec();
        order.rotate_left(turn);
        for (n, table) in order.iter().enumerate() {
            restore(
                cluster,
                &db,
                &["--data-only", "-n", "auth", "-t", table, &custom],
            );
            let there = order.get(..=n).unwrap();
            let is = |name: &str| there.contains(&name);
            let mut fresh = cluster.connect(&db);
            for client in [&mut waiting, &mut fresh] {
                let sql = "SELECT auth.verify_jwt($1)";
                if n + 1 == order.len() {
                    assert_eq!(client.verdict(&dumped.ended), "revoked", "{order:?}");
                    assert_eq!(client.verdict(&dumped.good), "valid", "{order:?}");
                    continue;
                }
                let error = client.query(sql, &[&dumped.ended]).unwrap_err();
                let code = error.as_db_error().unwrap().code().code().to_owned();
                let parts = [
                    "revoking_issuers",
                    "revoked_tokens",
                    "user_history",
                    "session_issuers",
                ];
                if is("signing_key_store") && is("issuers") && !parts.into_iter().all(is) {
                    assert_eq!(code, "55000", "{table} of {order:?}: {error:?}");
                }
                assert!(["28000", "55000"].contains(&code.as_str()), "{error:?}");
            }
            if is("signing_key_store") {
                let lacks: Option<Vec<String>> =
                    fresh.one("SELECT restore_lacks FROM auth.health()", &[]);
                let expected: Vec<_> = [
                    "auth.revoked_tokens",
                    "auth.revoking_issuers",
                    "auth.session_issuers",
                    "auth.user_history",
                ]
                .into_iter()
                .filter(|part| !is(part.strip_prefix("auth.").unwrap()))
                .collect();
                assert_eq!(lacks.unwrap_or_default(), expected);
            }
        }
    }
}

#[test]
fn revocations_of_an_older_dump_do_not_stand_for_those_of_a_newer_one() {
    let cluster = shared();
    let dumped = Dumped::new(cluster, "mixed");
    let older = dumped.dump(cluster, "postgres", &["-Fc", "--no-comments"]);
    let mut a = dumped.app.connect();
    let later = a.issue("41");
    a.rows("SELECT auth.revoke_jwt($1)", &[&later]);
    let newer = dumped.dump(cluster, "postgres", &["-Fc"]);
    let db = cluster.empty_database("mixed");
    restore(cluster, &db, &["--section=pre-data", &newer]);
    for (table, dump) in [
        ("issuers", &newer),
        ("signing_key_store", &newer),
        ("revoking_issuers", &newer),
        ("user_history", &newer),
        ("session_issuers", &newer),
        ("revoked_tokens", &older),
    ] {
        restore(
            cluster,
            &db,
            &["--data-only", "-n", "auth", "-t", table, dump],
        );
    }
    let mut b = cluster.connect(&db);
    refused(
        b.query("SELECT auth.verify_jwt($1)", &[&later]),
        "55000",
        None,
    );
}

#[test]
fn sessions_that_were_ended_in_bulk_are_not_forgotten_while_that_is_missing() {
    let cluster = shared();
    let dumped = Dumped::new(cluster, "floor");
    let mut a = dumped.app.connect();
    a.run("UPDATE auth.issuers SET session_check = 'issued_at', is_default = true WHERE issuer = 'second'");
    let ended: String = a.one("SELECT auth.issue_jwt('41', issuer => 'second')", &[]);
    a.run(
        "SET auth_ext.bulk_threshold = 1;
         SELECT auth.bump_session_version(id::text) FROM users",
    );
    assert_eq!(a.verdict(&ended), "issued_before_cutoff");
    let custom = dumped.dump(cluster, "postgres", &["-Fc"]);
    let db = cluster.empty_database("floor");
    restore(cluster, &db, &["--section=pre-data", &custom]);
    restore(cluster, &db, &["--data-only", "-n", "public", &custom]);
    restore(cluster, &db, &["--section=post-data", &custom]);
    let last = "user_floor";
    for table in [
        "issuers",
        "signing_key_store",
        "revoking_issuers",
        "session_issuers",
        "revoked_tokens",
        "attached_tables",
        "user_history",
        last,
    ] {
        let mut b = cluster.connect(&db);
        if let Ok(rows) = b.query("SELECT valid FROM auth.check_jwt($1)", &[&ended]) {
            assert!(!rows[0].get::<_, bool>(0), "before {table}");
        }
        if table == last {
            let lacks: Vec<String> = b.one("SELECT restore_lacks FROM auth.health()", &[]);
            assert_eq!(lacks, ["auth.user_floor"]);
        }
        restore(
            cluster,
            &db,
            &["--data-only", "-n", "auth", "-t", table, &custom],
        );
    }
    let mut b = cluster.connect(&db);
    assert_eq!(b.verdict(&ended), "issued_before_cutoff");
}
