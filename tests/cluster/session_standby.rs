//! On a standby everything of a session's life can be read and verified; what must write says so as PostgreSQL does.

use auth_ext_tests::{Ask, Cluster, attempt, database_with_key, no, refused};

#[test]
fn a_standby_verifies_with_revocations_and_api_keys_and_says_25006_where_something_must_be_written()
{
    let primary = Cluster::start("life_primary");
    let db = database_with_key(&primary, "life");
    let mut p = primary.connect(&db);
    p.run(
        "CREATE TABLE users (id int PRIMARY KEY, is_active boolean NOT NULL DEFAULT true);
         INSERT INTO users VALUES (41), (42); SELECT auth.attach_users('users');
         CREATE TABLE keys (id text PRIMARY KEY, user_id int, key_hash text, prefix text, is_active boolean,
                            last_used_at timestamp, expires_at timestamp);
         SELECT auth.attach_api_keys('keys')",
    );
    let tokens: Vec<String> = (0..3).map(|_| p.issue("41")).collect();
    let [key, hashed]: [String; 2] =
        std::array::from_fn(|_| p.one("SELECT key FROM auth.create_api_key('41', 'x')", &[]));
    p.execute(
        "UPDATE keys SET key_fingerprint = NULL WHERE prefix = left($1, 8)",
        &[&hashed],
    )
    .unwrap();
    let once: String = p.one(
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        &[],
    );
    let sso: String = p.one("SELECT auth.issue_sso_token('41')", &[]);
    let handoff: String = p.one(
        "SELECT auth.exchange_sso_token(auth.issue_sso_token('42'), 'app')",
        &[],
    );
    p.run("DELETE FROM auth.revoked_tokens; DELETE FROM auth.revoking_issuers");
    let open = "SELECT access_token, refresh_token, session_id FROM auth.open_session('42')";
    let login = p.rows(open, &[]).remove(0);
    let [access, refresh, session]: [String; 3] = std::array::from_fn(|n| login.get(n));
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let mut s = standby.connect(&db);

    // The issuer's first revocation, and the next.
    s.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    for token in &tokens[..2] {
        assert_eq!(s.verdict(token), "valid");
        assert!(p.one::<bool>("SELECT auth.revoke_jwt($1)", &[token]));
        standby.wait_replay(&primary);
        assert_eq!(s.verdict(token), "revoked");
    }
    s.run("COMMIT");
    assert_eq!(s.verdict(&tokens[2]), "valid");

    let verify = "SELECT user_id FROM auth.verify_api_key($1)";
    for key in [&key, &hashed] {
        assert_eq!(attempt(&mut s, verify, &[key]), Ok(Some("41".to_owned())));
        assert!(s.one::<bool>("SELECT valid FROM auth.check_api_key($1)", &[key]));
    }
    let validate = "SELECT auth.validate_one_time_token($1, 'password_reset')";
    assert_eq!(s.one::<String>(validate, &[&once]), "41");
    assert!(attempt(&mut s, "SELECT auth.issue_sso_token('41')", &[]).is_ok());

    for (sql, given) in [
        ("SELECT auth.refresh_jwt($1)", &tokens[2]),
        ("SELECT auth.revoke_jwt($1)", &tokens[2]),
        ("SELECT auth.exchange_sso_token($1, 'app')", &sso),
        ("SELECT FROM auth.complete_sso($1)", &handoff),
        (
            "SELECT auth.consume_one_time_token($1, 'password_reset')",
            &once,
        ),
        ("SELECT auth.issue_one_time_token('41', $1, '1 h')", &once),
        ("SELECT auth.create_api_key('41', $1)", &once),
        ("SELECT auth.open_session('42', label => $1)", &once),
        ("SELECT auth.refresh_session($1)", &refresh),
        ("SELECT auth.end_session($1)", &session),
    ] {
        refused(s.query(sql, &[given]), "25006", None);
    }
    refused(
        s.query("SELECT auth.revoke_api_key(id) FROM keys", &[]),
        "25006",
        None,
    );
    refused(s.query("SELECT auth.prune()", &[]), "25006", None);

    s.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    for _ in 0..2 {
        assert_eq!(s.verdict(&access), "valid");
    }
    let listed: i64 = s.one("SELECT count(*) FROM auth.list_sessions('42')", &[]);
    assert_eq!(listed, 1);
    p.one::<bool>("SELECT auth.end_session($1)", &[&session]);
    standby.wait_replay(&primary);
    assert_eq!(s.verdict(&access), "session_ended");
    s.run("COMMIT");

    p.run("UPDATE keys SET is_active = false; UPDATE users SET is_active = false WHERE id = 41");
    standby.wait_replay(&primary);
    assert_eq!(attempt(&mut s, verify, &[&key]), no("inactive_api_key"));
    assert_eq!(s.verdict(&tokens[2]), "inactive_user");
    assert_eq!(s.one::<Option<String>>(validate, &[&once]), None);
}
