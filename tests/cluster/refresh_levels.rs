//! What ends a token, each by itself; where and when a revocation is seen; what a refresh keeps and binds.

use auth_ext_tests::{
    App, Ask, Client, ISSUER, Mint, Value, attempt, json, no, refused, seconds, shared,
};

const VERIFY: &str = "SELECT auth.verify_jwt($1)::text";
const REFRESH: &str = "SELECT auth.refresh_jwt($1)";
const REVOKE: &str = "SELECT auth.revoke_jwt($1)";

fn claims(client: &mut Client, token: &str) -> Value {
    client.one("SELECT auth.verify_jwt($1)", &[&token])
}

fn revoke(client: &mut Client, token: &str) {
    assert!(client.one::<bool>(REVOKE, &[&token]));
}

#[test]
fn kill_switch_version_revocation_and_deactivation_each_end_a_token_by_itself() {
    let app = App::new(shared(), "levels");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let at = |version: i64| json!({"sub": app.ada, "session_version": version, "iat": now - 60});
    let levels = [
        (
            "issued_before_cutoff",
            format!(
                "UPDATE auth.issuers SET not_before = to_timestamp({})",
                now - 59
            ),
            "UPDATE auth.issuers SET not_before = NULL",
            0,
        ),
        ("session_version_mismatch", String::new(), "", 1),
        (
            "inactive_user",
            "UPDATE users SET is_active = false WHERE id = 41".to_owned(),
            "UPDATE users SET is_active = true WHERE id = 41",
            // Deactivation raises the version; the token is of the new one.
            1,
        ),
        (
            "unknown_user",
            "ALTER TABLE users DISABLE TRIGGER USER; DELETE FROM users WHERE id = 41;
             ALTER TABLE users ENABLE TRIGGER USER"
                .to_owned(),
            "",
            1,
        ),
    ];
    for (reason, end, undo, version) in levels {
        let token = mint.token(&mut a, &at(version));
        if !end.is_empty() {
            a.run(&end);
        }
        assert_eq!(a.verdict(&token), reason);
        assert_eq!(attempt(&mut a, VERIFY, &[&token]), no(reason));
        assert_eq!(attempt(&mut a, REFRESH, &[&token]), no(reason));
        if !undo.is_empty() {
            a.run(undo);
        }
    }
    let token = mint.token(&mut a, &json!({"sub": app.bob}));
    revoke(&mut a, &token);
    assert_eq!(a.verdict(&token), "revoked");
    assert_eq!(attempt(&mut a, VERIFY, &[&token]), no("revoked"));
    assert_eq!(attempt(&mut a, REFRESH, &[&token]), no("revoked"));
    // Signature and claims only: by its name.
    assert!(attempt(&mut a, "SELECT auth.verify_jwt_claims($1)::text", &[&token]).is_ok());
}

#[test]
fn lifting_all_levels_but_one_leaves_the_token_refused() {
    let app = App::new(shared(), "lifted");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let kill = format!("UPDATE auth.issuers SET not_before = to_timestamp({now})");
    for left in ["kill switch", "revocation", "version", "nothing"] {
        let version = a.version(app.ada).unwrap();
        let token = mint.token(&mut a, &json!({"sub": app.ada, "session_version": version}));
        a.run(&kill);
        if left == "version" {
            a.bump(app.ada);
        }
        a.run("UPDATE auth.issuers SET not_before = NULL");
        revoke(&mut a, &token);
        if left == "kill switch" {
            a.run(&kill);
        }
        if left != "revocation" {
            a.run("DELETE FROM auth.revoked_tokens");
        }
        let expected = match left {
            "kill switch" => "issued_before_cutoff",
            "revocation" => "revoked",
            "version" => "session_version_mismatch",
            _ => "valid",
        };
        assert_eq!(a.verdict(&token), expected, "{left}");
        a.run("DELETE FROM auth.revoked_tokens; UPDATE auth.issuers SET not_before = NULL");
    }
}

#[test]
fn tokens_of_an_issuer_without_versions_are_revoked_and_refreshed_too() {
    for check in ["issued_at", "none"] {
        let app = App::new(shared(), "sessionless");
        let mut a = app.connect();
        let mint = Mint::new(&mut a);
        a.run(&format!(
            "UPDATE auth.issuers SET session_check = '{check}'"
        ));
        let token = mint.token(&mut a, &json!({"sub": app.ada}));
        let new: String = a.one(REFRESH, &[&token]);
        assert_eq!(a.verdict(&token), "revoked", "{check}");
        assert_eq!(a.verdict(&new), "valid", "{check}");
        revoke(&mut a, &new);
        assert_eq!(a.verdict(&new), "revoked", "{check}");
        assert_eq!(attempt(&mut a, REFRESH, &[&new]), no("revoked"), "{check}");
    }
}

#[test]
fn open_sessions_see_a_revocation_with_their_next_statement_also_the_issuers_first() {
    for level in [
        "READ COMMITTED",
        "REPEATABLE READ",
        "SERIALIZABLE",
        "no transaction",
    ] {
        let app = App::new(shared(), "open");
        let (mut a, mut b) = (app.connect(), app.connect());
        let tokens: Vec<String> = (0..3).map(|_| a.issue(app.ada)).collect();
        let check = b
            .prepare("SELECT coalesce(reason, 'valid') FROM auth.check_jwt($1::text)")
            .unwrap();
        if level != "no transaction" {
            b.run(&format!("BEGIN ISOLATION LEVEL {level}"));
        }
        // Warm, and told that this issuer never revoked.
        for token in &tokens {
            assert_eq!(b.verdict(token), "valid");
        }
        for token in &tokens {
            revoke(&mut a, token);
            let said: String = b.query_one(&check, &[token]).unwrap().get(0);
            assert_eq!(said, "revoked", "{level}");
        }
        // Refusals end a transaction: the last one is tried alone.
        assert_eq!(
            attempt(&mut b, REFRESH, &[&tokens[0]]),
            no("revoked"),
            "{level}"
        );
    }
}

#[test]
fn a_revocation_holds_for_its_transaction_at_once_and_for_others_when_it_commits() {
    let app = App::new(shared(), "uncommitted");
    let (mut a, mut b) = (app.connect(), app.connect());
    for _ in 0..2 {
        let token = a.issue(app.ada);
        a.run("BEGIN; SAVEPOINT s");
        revoke(&mut a, &token);
        assert_eq!(a.verdict(&token), "revoked");
        assert_eq!(b.verdict(&token), "valid");
        a.run("ROLLBACK TO s");
        assert_eq!(a.verdict(&token), "valid");
        revoke(&mut a, &token);
        assert_eq!(a.verdict(&token), "revoked");
        a.run("ROLLBACK");
        assert_eq!(a.verdict(&token), "valid");
        a.run("BEGIN");
        revoke(&mut a, &token);
        assert_eq!(b.verdict(&token), "valid");
        a.run("COMMIT");
        assert_eq!(b.verdict(&token), "revoked");
    }
}

#[test]
fn in_a_repeatable_read_transaction_a_token_is_refreshed_and_revoked_as_elsewhere() {
    let app = App::new(shared(), "repeatable");
    let (mut a, mut b) = (app.connect(), app.connect());
    let (mine, other) = (a.issue(app.ada), a.issue(app.bob));
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users");
    // The issuer's first revocation is younger than the snapshot.
    revoke(&mut a, &other);
    let new: String = b.one(REFRESH, &[&mine]);
    revoke(&mut b, &new);
    b.run("COMMIT");
    assert_eq!(a.verdict(&mine), "revoked");
    assert_eq!(a.verdict(&new), "revoked");
}

#[test]
fn read_only_transactions_verify_with_revocations_and_say_25006_where_something_must_be_written() {
    let app = App::new(shared(), "read_only");
    let mut a = app.connect();
    let (gone, token) = (a.issue(app.ada), a.issue(app.ada));
    revoke(&mut a, &gone);
    a.run("SET default_transaction_read_only = on");
    assert_eq!(a.verdict(&gone), "revoked");
    assert_eq!(a.verdict(&token), "valid");
    let issued = a.issue(app.ada);
    assert_eq!(a.verdict(&issued), "valid");
    for sql in [REFRESH, REVOKE] {
        refused(a.query(sql, &[&token]), "25006", None);
    }
    for sql in [
        "SELECT auth.exchange_sso_token(auth.issue_sso_token('41'), 'app')",
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        "SELECT auth.bump_session_version('41')",
        "SELECT auth.prune()",
    ] {
        refused(a.query(sql, &[]), "25006", None);
    }
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn a_refresh_keeps_the_other_claims_numbers_of_any_size_included() {
    let app = App::new(shared(), "claims");
    let mut a = app.connect();
    let mint = Mint::new(&mut a);
    let now = seconds(&mut a);
    let others = r#""role":"admin","big":123456789012345678901234567890123456789,"exact":0.1000000000000000055511151231257827,"tiny":1e-300,"huge":1.5E+300,"none":null,"no":false,"list":[1,[2.50,{"é":"\u0041🙂"}]],"":"empty","scope":"a b""#;
    let payload = format!(
        r#"{{{others},"iss":"{ISSUER}","aud":["x","app"],"sub":"41","session_version":0,"nbf":{},"iat":{},"exp":{},"jti":"old","device_hash":"d"}}"#,
        now - 60,
        now - 60,
        now - 1
    );
    let token = mint.sign("at+jwt", &payload);
    let new: String = a.one(REFRESH, &[&token]);
    let sql = "SELECT (p.payload - '{iss,aud,sub,session_version,nbf,iat,exp,jti,device_hash}'::text[])::text
                   = ($2::text)::jsonb::text FROM (SELECT auth.verify_jwt($1)) AS p(payload)";
    assert!(a.one::<bool>(sql, &[&new, &format!("{{{others}}}")]));
    let new = claims(&mut a, &new);
    assert_eq!(new["iss"], ISSUER);
    assert_eq!(new["aud"], json!(["app"]));
    assert_eq!(new["sub"], "41");
    assert_eq!(new["device_hash"], "d");
    assert_eq!(new.get("nbf"), None);
    assert_ne!(new["jti"], "old");
    let lifetime = new["exp"].as_i64().unwrap() - new["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 30 * 60);
}

#[test]
fn a_refresh_binds_to_the_device_that_is_given_and_keeps_the_binding_where_none_is() {
    let app = App::new(shared(), "device");
    let mut a = app.connect();
    let refresh = "SELECT auth.refresh_jwt($1, $2)";
    let (desk, phone) = (
        json!({"user_agent": "desk"}),
        json!({"user_agent": "phone"}),
    );
    let empty = json!({});
    let free = a.issue(app.ada);
    let bound: String = a.one(refresh, &[&free, &desk]);
    let hash = claims(&mut a, &bound)["device_hash"].clone();
    assert!(hash.is_string());
    assert_eq!(
        attempt(&mut a, refresh, &[&bound, &phone]),
        no("device_mismatch")
    );
    assert_eq!(a.verdict(&bound), "valid", "a refusal ends nothing");
    let kept: String = a.one(REFRESH, &[&bound]);
    assert_eq!(claims(&mut a, &kept)["device_hash"], hash);
    let kept: String = a.one(refresh, &[&kept, &empty]);
    assert_eq!(claims(&mut a, &kept)["device_hash"], hash);
    let same: String = a.one(refresh, &[&kept, &desk]);
    assert_eq!(claims(&mut a, &same)["device_hash"], hash);
    let check = "SELECT coalesce(reason, 'valid') FROM auth.check_jwt($1, $2)";
    assert_eq!(a.one::<String>(check, &[&same, &phone]), "device_mismatch");
    assert_eq!(a.one::<String>(check, &[&same, &desk]), "valid");
    let free = a.issue(app.ada);
    let still_free: String = a.one(refresh, &[&free, &empty]);
    assert_eq!(claims(&mut a, &still_free).get("device_hash"), None);
    for device in [json!([]), json!("x"), json!(null)] {
        refused(a.query(refresh, &[&still_free, &device]), "22023", None);
    }
}

#[test]
fn the_applications_role_needs_only_execute() {
    let app = App::new(shared(), "role");
    let mut a = app.connect();
    let role = format!("role_{}", app.db);
    a.run(&format!(
        "CREATE TABLE keys (id text, user_id bigint, name text, key_hash text, prefix text, is_active boolean, last_used_at timestamp);
         SELECT auth.attach_api_keys('keys');
         CREATE ROLE {role} LOGIN; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA auth TO {role}"
    ));
    let mut b = shared().connect_as(&app.db, &role);
    refused(b.query("TABLE keys", &[]), "42501", None);
    let token = b.issue(app.ada);
    let token: String = b.one(REFRESH, &[&token]);
    revoke(&mut b, &token);
    assert_eq!(b.verdict(&token), "revoked");
    let sso = "SELECT token FROM auth.complete_sso(auth.exchange_sso_token(auth.issue_sso_token('41'), 'app'))";
    let token: String = b.one(sso, &[]);
    assert_eq!(b.verdict(&token), "valid");
    let once: String = b.one(
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        &[],
    );
    let consume = "SELECT auth.consume_one_time_token($1, 'password_reset')";
    assert_eq!(b.one::<String>(consume, &[&once]), "41");
    let made = "SELECT id, key FROM auth.create_api_key('41', 'mine')";
    let row = &b.rows(made, &[])[0];
    let (id, key): (String, String) = (row.get(0), row.get(1));
    assert_eq!(
        b.one::<String>("SELECT id FROM auth.verify_api_key($1)", &[&key]),
        id
    );
    assert!(a.one::<bool>("SELECT last_used_at IS NOT NULL FROM keys", &[]));
    assert!(b.one::<bool>("SELECT auth.revoke_api_key($1)", &[&id]));
    b.one::<i64>("SELECT auth.prune()", &[]);
    for table in [
        "revoked_tokens",
        "revoking_issuers",
        "sso_handoffs",
        "one_time_tokens",
    ] {
        refused(b.query(&format!("TABLE auth.{table}"), &[]), "42501", None);
    }
}

#[test]
fn revocations_hand_offs_and_one_time_tokens_survive_a_dump_and_a_restore() {
    let app = App::new(shared(), "dumped");
    let mut a = app.connect();
    let (gone, token) = (a.issue(app.ada), a.issue(app.ada));
    revoke(&mut a, &gone);
    let once: String = a.one(
        "SELECT auth.issue_one_time_token('41', 'password_reset')",
        &[],
    );
    let exchange = "SELECT auth.exchange_sso_token(auth.issue_sso_token('41'), 'app')";
    let handoff: String = a.one(exchange, &[]);
    let copy = shared().empty_database("restored");
    shared().psql(&copy, &shared().dump(&app.db));
    let mut b = shared().connect(&copy);
    assert_eq!(b.verdict(&gone), "revoked");
    assert_eq!(attempt(&mut b, REFRESH, &[&gone]), no("revoked"));
    assert_eq!(b.verdict(&token), "valid");
    let consume = "SELECT auth.consume_one_time_token($1, 'password_reset')";
    assert_eq!(b.one::<String>(consume, &[&once]), "41");
    // No dump has the secret that it is signed with.
    b.run("SELECT auth.rotate_signing_key()");
    assert!(
        attempt(
            &mut b,
            "SELECT token FROM auth.complete_sso($1)",
            &[&handoff]
        )
        .is_ok()
    );
}
