//! The whole life of a session on the adopted service's own tables: what its users and keys meet, row by row.

use auth_ext_tests::{Ask, Client, Listener, Mint, attempt, no, seconds, shared};
use serde_json::{Value, json};

const ADA: &str = "user_01ARZ3NDEKTSV4RRFFQ69G5FAV";
const ISSUER: &str = "api.robosystems.ai";
const SECRET: &str = "auth-ext-interop-secret-0123456789abcdef";
/// Made by PyJWT 2.10.1 under that secret.
const PYJWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJ1c2VyX2lkIjoidXNlcl8wMUFSWjNOREVLVFNWNFJSRkZRNjlHNUZBViIsImp0aSI6IjExMTExMTExLTIyMjItNDMzMy04NDQ0LTU1NTU1NTU1NTU1NSIsImV4cCI6NDEwMjQ0NDgwMCwiaWF0IjoxNzAwMDAwMDAwLCJpc3MiOiJhcGkucm9ib3N5c3RlbXMuYWkiLCJhdWQiOlsicm9ib3N5c3RlbXMuYWkiLCJyb2JvbGVkZ2VyLmFpIiwicm9ib2ludmVzdG9yLmFpIl19.LtM48bVYMxIq8aZVCvvCmnTo8tD7WQWoSn7w_RaQ3IA";
/// Made by bcrypt 4.3.0 of `rfs` and 64 `b`.
const BCRYPT: &str = "$2b$12$xwgKoykThEoKFkgvO.IsFeYaKTSCp/BzERaI0kHR2LcCi8iWsBw0C";

/// The service's tables exactly as they are, with a user, attached.
fn service(name: &str) -> (String, Client) {
    let db = shared().database(name);
    let mut client = shared().connect(&db);
    client.run(&format!(
        "CREATE TABLE users (id varchar PRIMARY KEY, email varchar, name varchar, password_hash varchar NOT NULL,
             is_active boolean NOT NULL, email_verified boolean NOT NULL,
             created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
         CREATE UNIQUE INDEX ON users (email);
         CREATE TABLE user_api_keys (id varchar PRIMARY KEY, user_id varchar NOT NULL REFERENCES users (id),
             name varchar, key_hash varchar UNIQUE, prefix varchar NOT NULL, is_active boolean NOT NULL,
             description text, last_used_at timestamp, expires_at timestamp, created_at timestamp, updated_at timestamp);
         CREATE TABLE user_tokens (id varchar PRIMARY KEY, user_id varchar NOT NULL, token_hash varchar NOT NULL UNIQUE,
             token_type varchar(50) NOT NULL, expires_at timestamp NOT NULL, used_at timestamp,
             created_at timestamp NOT NULL, ip_address varchar(45), user_agent text);
         INSERT INTO users VALUES ('{ADA}', 'ada@example.com', 'Ada', 'x', true, true, now(), now());
         INSERT INTO user_api_keys VALUES ('uak_old', '{ADA}', 'old', '{BCRYPT}', 'rfsbbbbb', true,
             NULL, NULL, NULL, now(), now());
         INSERT INTO auth.issuers (issuer, audience, user_claim)
             VALUES ('{ISSUER}', '{{robosystems.ai,roboledger.ai}}', 'user_id');
         SELECT auth.import_signing_key('{SECRET}', 'HS256');
         SELECT auth.attach_users('users', bump_on => '{{password_hash}}');
         SELECT auth.attach_api_keys('user_api_keys')"
    ));
    (db, client)
}

fn refresh(
    client: &mut Client,
    token: &str,
    device: Option<&Value>,
) -> Result<Option<String>, String> {
    attempt(
        client,
        "SELECT auth.refresh_jwt($1, $2)",
        &[&token, &device],
    )
}

/// A token of Ada's with these claims, expired `ago` seconds ago.
fn expired(client: &mut Client, mint: &Mint, ago: i64, more: &Value) -> String {
    let mut claims = json!({"user_id": ADA, "aud": "robosystems.ai", "exp": seconds(client) - ago});
    for (name, value) in more.as_object().expect("an object") {
        claims[name] = value.clone();
    }
    mint.token(client, &claims)
}

#[test]
fn rows_1_to_5_and_26_a_token_lives_until_it_is_revoked_expired_or_its_user_is_gone() {
    let (_, mut a) = service("life_tokens");
    let token = a.issue(ADA);
    let jti: String = a.one("SELECT auth.verify_jwt($1)->>'jti'", &[&token]);
    assert_eq!(jti.len(), 36);
    assert_eq!(
        a.one::<String>("SELECT auth.verify_jwt($1)->>'user_id'", &[&PYJWT]),
        ADA
    );

    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1, 'left')", &[&token]));
    assert!(!a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&token]));
    assert_eq!(a.verdict(&token), "revoked");
    assert_eq!(
        a.one::<String>(
            "SELECT reason FROM auth.revoked_tokens WHERE jti = $1",
            &[&jti]
        ),
        "left"
    );

    let mint = Mint::of(&mut a, ISSUER);
    let plain = json!({"user_id": ADA, "aud": "robosystems.ai", "jti": null});
    let nameless = mint.token(&mut a, &plain);
    assert!(!a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&nameless]));
    assert_eq!(a.verdict(&nameless), "valid");
    assert_eq!(refresh(&mut a, &nameless, None), no("missing_claim"));

    for (claims, reason) in [
        (json!({"exp": 1}), "expired"),
        (json!({"iss": "other"}), "wrong_issuer"),
        (json!({"aud": "other"}), "wrong_audience"),
        (json!({"user_id": "user_nobody"}), "unknown_user"),
    ] {
        let mut all = plain.clone();
        all.as_object_mut()
            .expect("an object")
            .extend(claims.as_object().expect("an object").clone());
        let token = mint.token(&mut a, &all);
        assert_eq!(a.verdict(&token), reason);
    }
    for garbage in ["", "a.b.c", "eyJ", "rfs"] {
        assert_eq!(a.verdict(garbage), "malformed");
    }
    a.run("UPDATE users SET is_active = false");
    assert_eq!(a.verdict(&nameless), "inactive_user");
    assert_eq!(
        attempt(&mut a, "SELECT auth.issue_sso_token($1)", &[&ADA]),
        no("inactive_user")
    );
}

#[test]
fn rows_6_to_9_a_token_is_refreshed_once_within_the_grace_by_its_own_device() {
    let (_, mut a) = service("life_refresh");
    let mint = Mint::of(&mut a, ISSUER);
    let fresh = refresh(&mut a, PYJWT, None)
        .expect("refreshed")
        .expect("a token");
    assert_eq!(
        (a.verdict(&fresh), a.verdict(PYJWT)),
        ("valid".to_owned(), "revoked".to_owned())
    );
    assert_eq!(
        a.one::<String>(
            "SELECT string_agg(reason, ',') FROM auth.revoked_tokens",
            &[]
        ),
        "session_refresh"
    );

    let none = json!({});
    let late = expired(&mut a, &mint, 240, &none);
    assert!(refresh(&mut a, &late, None).is_ok());
    assert_eq!(refresh(&mut a, &late, None), no("revoked"));
    let too_late = expired(&mut a, &mint, 360, &none);
    assert_eq!(refresh(&mut a, &too_late, None), no("expired"));

    let logged_out = expired(&mut a, &mint, 60, &none);
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&logged_out]));
    a.run("SELECT auth.prune()");
    assert_eq!(
        refresh(&mut a, &logged_out, None),
        no("revoked"),
        "a revocation outlives exp"
    );
    let elsewhere = expired(&mut a, &mint, 60, &json!({"aud": "other"}));
    assert_eq!(refresh(&mut a, &elsewhere, None), no("wrong_audience"));

    let (one, other) = (json!({"user_agent": "A"}), json!({"user_agent": "B"}));
    let bound: String = a.one("SELECT auth.issue_jwt($1, device => $2)", &[&ADA, &one]);
    for (device, reason) in [
        (Some(&one), None),
        (Some(&other), Some("device_mismatch")),
        (None, None),
    ] {
        let said: Option<String> = a.one(
            "SELECT reason FROM auth.check_jwt($1, $2)",
            &[&bound, &device],
        );
        assert_eq!(said.as_deref(), reason);
    }
    assert_eq!(refresh(&mut a, &bound, Some(&other)), no("device_mismatch"));
    let still_bound = refresh(&mut a, &bound, None)
        .expect("refreshed")
        .expect("a token");
    assert_eq!(
        refresh(&mut a, &still_bound, Some(&other)),
        no("device_mismatch")
    );
}

#[test]
fn rows_10_to_14_a_session_ends_with_its_version() {
    let (db, mut a) = service("life_versions");
    let mut listener = Listener::on(shared().connect(&db), "auth_invalidation");
    let token = a.issue(ADA);
    assert_eq!(a.bump(ADA), 1);
    assert_eq!(
        (a.verdict(&token), a.verdict(PYJWT)),
        (
            "session_version_mismatch".to_owned(),
            "session_version_mismatch".to_owned()
        )
    );
    let versions = a.rows(
        "SELECT session_version, current_session_version FROM auth.check_jwt($1)",
        &[&token],
    );
    assert_eq!(
        (versions[0].get::<_, i64>(0), versions[0].get::<_, i64>(1)),
        (0, 1)
    );
    let again = a.issue(ADA);
    assert_eq!(a.verdict(&again), "valid");
    a.run("UPDATE auth.issuers SET require_session_version = true");
    assert_eq!(a.verdict(PYJWT), "session_version_missing");

    listener.payloads();
    a.run("BEGIN; UPDATE users SET password_hash = 'y'; ROLLBACK");
    assert_eq!((a.version(ADA), listener.payloads()), (Some(1), Vec::new()));
    a.run("UPDATE users SET password_hash = 'y'");
    let event =
        json!({"v": 1, "kind": "user", "id": ADA, "session_version": 2, "reason": "updated"});
    assert_eq!((a.version(ADA), listener.events()), (Some(2), vec![event]));

    let token = a.issue(ADA);
    a.run("UPDATE users SET is_active = false");
    a.run("UPDATE users SET is_active = true");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    let token = a.issue(ADA);
    a.run("DELETE FROM user_api_keys");
    a.run("CREATE TEMP TABLE kept AS TABLE users; DELETE FROM users");
    a.run("ALTER TABLE kept DROP COLUMN session_version; INSERT INTO users SELECT * FROM kept");
    assert_eq!(a.verdict(&token), "session_version_mismatch");
}

#[test]
fn rows_15_and_16_single_sign_on_goes_once_through_its_three_steps() {
    let (_, mut a) = service("life_sso");
    let sso: String = a.one("SELECT auth.issue_sso_token($1)", &[&ADA]);
    assert_eq!(a.verdict(&sso), "wrong_purpose");
    assert_eq!(refresh(&mut a, &sso, None), no("wrong_purpose"));
    let exchange = "SELECT auth.exchange_sso_token($1, 'ledger', 'https://ledger')";
    let handoff = attempt(&mut a, exchange, &[&sso])
        .expect("exchanged")
        .expect("a hand-off");
    assert_eq!(attempt(&mut a, exchange, &[&sso]), no("revoked"));
    let complete = "SELECT token FROM auth.complete_sso($1)";
    let token = attempt(&mut a, complete, &[&handoff])
        .expect("completed")
        .expect("a token");
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(attempt(&mut a, complete, &[&handoff]), no("revoked"));
    assert_eq!(attempt(&mut a, complete, &[&"nothing"]), no("malformed"));
    assert_eq!(attempt(&mut a, exchange, &[&token]), no("wrong_purpose"));

    // Between the steps the sessions end, or time does.
    let sso: String = a.one("SELECT auth.issue_sso_token($1)", &[&ADA]);
    a.bump(ADA);
    assert_eq!(
        attempt(&mut a, exchange, &[&sso]),
        no("session_version_mismatch")
    );
    let sso: String = a.one("SELECT auth.issue_sso_token($1)", &[&ADA]);
    let handoff = attempt(&mut a, exchange, &[&sso])
        .expect("exchanged")
        .expect("a hand-off");
    a.bump(ADA);
    assert_eq!(
        attempt(&mut a, complete, &[&handoff]),
        no("session_version_mismatch")
    );
    a.run("UPDATE auth.sso_handoffs SET expires_at = now() - interval '1 s' WHERE used_at IS NULL");
    assert_eq!(attempt(&mut a, complete, &[&handoff]), no("expired"));

    let mint = Mint::of(&mut a, ISSUER);
    let legacy = json!({"user_id": ADA, "aud": "robosystems.ai", "sso": true});
    let legacy = mint.token(&mut a, &legacy);
    assert_eq!(a.verdict(&legacy), "wrong_purpose");
}

#[test]
fn rows_17_to_22_an_api_key_holds_while_it_and_its_owner_are_active() {
    let (db, mut a) = service("life_keys");
    a.run("SET TimeZone = 'Pacific/Auckland'");
    let made = a.rows(
        "SELECT id, key, fingerprint FROM auth.create_api_key($1, 'ci', now() + interval '1 hour')",
        &[&ADA],
    );
    let (id, key, fingerprint): (String, String, String) =
        (made[0].get(0), made[0].get(1), made[0].get(2));
    assert!(id.starts_with("uak_") && id.len() == 30, "{id}");
    assert!(key.starts_with("rfs") && key.len() == 67);
    assert!(a.one::<bool>(
        "SELECT prefix = left($2, 8) AND key_fingerprint = encode(sha256($2::bytea), 'hex') AND key_hash LIKE '$2b$12$%'
         FROM user_api_keys WHERE id = $1",
        &[&id, &key],
    ));

    let verify = "SELECT id FROM auth.verify_api_key($1)";
    let used = "SELECT last_used_at IS NOT NULL FROM user_api_keys WHERE id = $1";
    a.run("BEGIN");
    assert_eq!(attempt(&mut a, verify, &[&key]), Ok(Some(id.clone())));
    a.run("ROLLBACK");
    assert!(!a.one::<bool>(used, &[&id]));
    assert_eq!(attempt(&mut a, verify, &[&key]), Ok(Some(id.clone())));
    assert!(a.one::<bool>(used, &[&id]));
    let at = "SELECT last_used_at::text FROM user_api_keys WHERE id = $1";
    let first: String = a.one(at, &[&id]);
    a.rows(verify, &[&key]);
    assert_eq!(a.one::<String>(at, &[&id]), first, "at most once a minute");

    let old = format!("rfs{}", "b".repeat(64));
    assert_eq!(
        attempt(&mut a, verify, &[&old]),
        Ok(Some("uak_old".to_owned()))
    );
    let filled: String = a.one(
        "SELECT key_fingerprint FROM user_api_keys WHERE id = 'uak_old'",
        &[],
    );
    assert_eq!(
        filled,
        a.one::<String>("SELECT auth.api_key_fingerprint($1)", &[&old])
    );

    a.run("INSERT INTO user_api_keys (id, user_id, key_hash, prefix, is_active)
           SELECT 'bad'||g, user_id, h, 'rfsccccc', true FROM user_api_keys,
               (VALUES (1, 'junk'), (2, '$2b$99$x'), (3, '$2b$31$xwgKoykThEoKFkgvO.IsFeYaKTSCp/BzERaI0kHR2LcCi8iWsBw0C'), (4, '')) AS v (g, h)
           WHERE id = 'uak_old'");
    let same_prefix = format!("{}{}", &key[..8], "0".repeat(59));
    let malformed = format!("rfs{}", "c".repeat(64));
    for wrong in [
        Some(same_prefix.as_str()),
        Some(malformed.as_str()),
        Some(""),
        None,
    ] {
        assert_eq!(attempt(&mut a, verify, &[&wrong]), no("unknown_api_key"));
    }

    let mut listener = Listener::on(shared().connect(&db), "auth_invalidation");
    let event = |reason: &str| json!({"v": 1, "kind": "api_key", "fingerprint": fingerprint, "user_id": ADA, "reason": reason});
    for (change, reason, verdict) in [
        (
            "UPDATE user_api_keys SET is_active = false WHERE id = $1",
            "deactivated",
            no("inactive_api_key"),
        ),
        (
            "UPDATE user_api_keys SET is_active = true WHERE id = $1",
            "activated",
            Ok(Some(id.clone())),
        ),
        (
            "UPDATE user_api_keys SET expires_at = now() AT TIME ZONE 'UTC' - interval '1 s' WHERE id = $1",
            "updated",
            no("expired_api_key"),
        ),
        (
            "UPDATE user_api_keys SET expires_at = NULL WHERE id = $1",
            "updated",
            Ok(Some(id.clone())),
        ),
        (
            "SELECT auth.revoke_api_key($1)",
            "revoked",
            no("inactive_api_key"),
        ),
        (
            "DELETE FROM user_api_keys WHERE id = $1",
            "deleted",
            no("unknown_api_key"),
        ),
    ] {
        a.rows(change, &[&id]);
        assert_eq!(listener.events(), [event(reason)], "{change}");
        assert_eq!(attempt(&mut a, verify, &[&key]), verdict, "{change}");
    }
    a.bump(ADA);
    assert_eq!(
        attempt(&mut a, verify, &[&old]),
        Ok(Some("uak_old".to_owned())),
        "keys outlive sessions"
    );
    a.run("UPDATE users SET is_active = false");
    assert_eq!(attempt(&mut a, verify, &[&old]), no("inactive_user"));
}

#[test]
fn rows_23_to_25_a_one_time_token_is_consumed_once_and_cleaned_up() {
    let (_, mut a) = service("life_once");
    let issue = "SELECT auth.issue_one_time_token($1, 'password_reset')";
    let (first, second): (String, String) = (a.one(issue, &[&ADA]), a.one(issue, &[&ADA]));
    let consume = "SELECT auth.consume_one_time_token($1, $2)";
    assert_eq!(second.len(), 43);
    assert_eq!(
        attempt(&mut a, consume, &[&first, &"password_reset"]),
        Ok(None),
        "superseded"
    );
    assert_eq!(
        attempt(&mut a, consume, &[&second, &"email_verification"]),
        Ok(None),
        "another purpose"
    );
    assert_eq!(
        attempt(
            &mut a,
            "SELECT auth.validate_one_time_token($1, 'password_reset')",
            &[&second]
        ),
        Ok(Some(ADA.to_owned()))
    );
    let version = a.version(ADA);
    assert_eq!(
        attempt(&mut a, consume, &[&second, &"password_reset"]),
        Ok(Some(ADA.to_owned()))
    );
    assert_eq!(
        attempt(&mut a, consume, &[&second, &"password_reset"]),
        Ok(None),
        "used"
    );
    assert_eq!(
        a.version(ADA),
        version,
        "the password change itself ends the sessions"
    );
    a.run("UPDATE users SET password_hash = 'new'");
    assert_eq!(a.version(ADA), version.map(|version| version + 1));
    assert!(
        !a.one::<bool>(
            "SELECT EXISTS (SELECT FROM auth.one_time_tokens WHERE token_hash = $1)",
            &[&second]
        ),
        "only its hash"
    );

    let late: String = a.one(
        "SELECT auth.issue_one_time_token($1, 'invite', '1 hour')",
        &[&ADA],
    );
    a.run("UPDATE auth.one_time_tokens SET expires_at = now() - interval '1 s' WHERE purpose = 'invite'");
    assert_eq!(
        attempt(&mut a, consume, &[&late, &"invite"]),
        Ok(None),
        "expired"
    );
    assert_eq!(
        a.one::<i64>("SELECT auth.prune()", &[]),
        1,
        "the used one stays"
    );
    a.run("UPDATE auth.one_time_tokens SET used_at = now() - interval '31 days'");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 1);
}
