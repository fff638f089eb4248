//! Rows 1 to 11, 15, 16 and 26: tokens.

use auth_ext_tests::{Ask, Value, attempt, json, no, service};

use super::service::{ADA, Adopted, BOB, EVE, REAL_TOKEN, expired, pyjwt};

const VERIFY: &str = "SELECT auth.verify_jwt($1)::text";
const REFRESH: &str = "SELECT auth.refresh_jwt($1)";
const REVOKE: &str = "SELECT auth.revoke_jwt($1)::text";

#[test]
fn row_01_an_issued_token_verifies_and_its_claims_have_a_non_empty_string_jti() {
    let adopted = Adopted::new("row_01");
    let mut a = adopted.connect();
    let token = a.issue(ADA);
    let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&token]);
    assert!(!claims["jti"].as_str().unwrap().is_empty());
    assert_eq!(claims["user_id"], ADA);
    assert_eq!(claims.get("sub"), None);
    let lifetime = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
    assert_eq!(lifetime, 1800);
    // Instances of the service that are still to be replaced accept it, too, and read the same.
    assert_eq!(service(&["decode"], &json!(token)), claims);
}

#[test]
fn row_02_a_revoked_token_is_refused_and_its_revocation_is_one_row_with_its_reason() {
    let adopted = Adopted::new("row_02");
    let mut a = adopted.connect();
    for token in [a.issue(ADA), pyjwt(&mut a, ADA, &json!({}))] {
        assert_eq!(a.verdict(&token), "valid");
        assert_eq!(
            attempt(&mut a, REVOKE, &[&token]),
            Ok(Some("true".to_owned()))
        );
        assert_eq!(attempt(&mut a, VERIFY, &[&token]), no("revoked"));
        let rows = "SELECT string_agg(reason, ' ') FROM auth.revoked_tokens WHERE jti = auth.decode_jwt($1)->'payload'->>'jti'";
        assert_eq!(a.one::<String>(rows, &[&token]), "logout");
    }
}

#[test]
fn row_03_a_token_without_jti_is_not_revoked_and_still_verifies() {
    let adopted = Adopted::new("row_03");
    let mut a = adopted.connect();
    let token = pyjwt(&mut a, ADA, &json!({"jti": null}));
    assert_eq!(
        attempt(&mut a, REVOKE, &[&token]),
        Ok(Some("false".to_owned()))
    );
    assert!(attempt(&mut a, VERIFY, &[&token]).is_ok());
}

#[test]
fn row_04_expired_wrong_issuer_wrong_audience_and_garbage_are_refused_each_by_its_own_reason() {
    let adopted = Adopted::new("row_04");
    let mut a = adopted.connect();
    for (token, reason) in [
        (expired(&mut a, ADA, 1, &json!({})), "expired"),
        (
            pyjwt(&mut a, ADA, &json!({"iss": "api.example.com"})),
            "wrong_issuer",
        ),
        (
            pyjwt(&mut a, ADA, &json!({"aud": "example.com"})),
            "wrong_audience",
        ),
        (
            pyjwt(&mut a, ADA, &json!({"aud": ["example.com"]})),
            "wrong_audience",
        ),
        (pyjwt(&mut a, ADA, &json!({"aud": null})), "missing_claim"),
        (pyjwt(&mut a, ADA, &json!({"iss": null})), "missing_claim"),
        ("garbage".to_owned(), "malformed"),
        ("a.b.c".to_owned(), "malformed"),
        (String::new(), "malformed"),
        (format!(" {REAL_TOKEN}"), "malformed"),
        (REAL_TOKEN.replace("LtM48", "LtM49"), "bad_signature"),
    ] {
        assert_eq!(attempt(&mut a, VERIFY, &[&token]), no(reason));
        assert_eq!(a.verdict(&token), reason);
    }
    let some = pyjwt(&mut a, ADA, &json!({"aud": "roboledger.ai"}));
    assert_eq!(a.verdict(&some), "valid");
}

#[test]
fn row_05_tokens_of_an_unknown_or_inactive_user_are_refused() {
    let adopted = Adopted::new("row_05");
    let mut a = adopted.connect();
    for (user, reason) in [
        ("user_00000000000000000000000000", "unknown_user"),
        (EVE, "inactive_user"),
    ] {
        let token = pyjwt(&mut a, user, &json!({}));
        assert_eq!(attempt(&mut a, VERIFY, &[&token]), no(reason));
        assert_eq!(attempt(&mut a, REFRESH, &[&token]), no(reason));
        assert_eq!(
            attempt(&mut a, "SELECT auth.issue_jwt($1)", &[&user]),
            no(reason)
        );
    }
}

#[test]
fn row_06_a_valid_token_is_refreshed_for_a_new_one_and_revoked_as_session_refresh() {
    let adopted = Adopted::new("row_06");
    let mut a = adopted.connect();
    let token = pyjwt(&mut a, ADA, &json!({}));
    let new: String = a.one(REFRESH, &[&token]);
    assert_eq!(a.verdict(&new), "valid");
    assert_eq!(a.verdict(&token), "revoked");
    let reason = "SELECT reason FROM auth.revoked_tokens";
    assert_eq!(a.one::<String>(reason, &[]), "session_refresh");
}

#[test]
fn row_07_four_minutes_after_exp_a_token_is_refreshed_once_after_six_not_at_all() {
    let adopted = Adopted::new("row_07");
    let mut a = adopted.connect();
    let four = expired(&mut a, ADA, 4, &json!({}));
    let new: String = a.one(REFRESH, &[&four]);
    assert_eq!(a.verdict(&new), "valid");
    assert_eq!(attempt(&mut a, REFRESH, &[&four]), no("revoked"));
    let six = expired(&mut a, ADA, 6, &json!({}));
    assert_eq!(attempt(&mut a, REFRESH, &[&six]), no("expired"));
}

#[test]
fn row_08_in_the_grace_a_logged_out_token_one_of_another_device_or_audience_is_not_refreshed() {
    let adopted = Adopted::new("row_08");
    let mut a = adopted.connect();
    let logged_out = expired(&mut a, ADA, 1, &json!({}));
    assert_eq!(
        attempt(&mut a, REVOKE, &[&logged_out]),
        Ok(Some("true".to_owned()))
    );
    assert_eq!(attempt(&mut a, REFRESH, &[&logged_out]), no("revoked"));
    let bound = expired(&mut a, ADA, 1, &json!({"device_hash": "0".repeat(64)}));
    let refresh = "SELECT auth.refresh_jwt($1, '{\"user_agent\": \"x\"}')";
    assert_eq!(attempt(&mut a, refresh, &[&bound]), no("device_mismatch"));
    let audience = expired(&mut a, ADA, 1, &json!({"aud": "example.com"}));
    assert_eq!(attempt(&mut a, REFRESH, &[&audience]), no("wrong_audience"));
}

#[test]
fn row_09_the_same_device_passes_a_changed_user_agent_is_refused_and_none_given_passes() {
    let adopted = Adopted::new("row_09");
    let mut a = adopted.connect();
    let device = json!({
        "user_agent": "Mozilla/5.0", "client_ip": "203.0.113.7", "accept_encoding": "gzip, deflate, br",
        "accept_language": "en-US,en;q=0.9", "sec_ch_ua_platform": "\"macOS\"", "sec_ch_ua": "\"Chromium\";v=\"124\"",
    });
    let mut changed = device.clone();
    changed["user_agent"] = json!("Mozilla/6.0");
    let hash = "dc23959c76cda561b154e2fd020e96647c8fa02725216004b955519a19d79e45";
    let issued: String = a.one("SELECT auth.issue_jwt($1, device => $2)", &[&ADA, &device]);
    let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&issued]);
    assert_eq!(claims["device_hash"], hash);
    let theirs = pyjwt(&mut a, ADA, &json!({"device_hash": hash}));
    let check = "SELECT coalesce(reason, 'valid') FROM auth.check_jwt($1, $2)";
    for token in [&issued, &theirs] {
        assert_eq!(a.one::<String>(check, &[token, &device]), "valid");
        assert_eq!(
            a.one::<String>(check, &[token, &changed]),
            "device_mismatch"
        );
        assert_eq!(a.one::<String>(check, &[token, &None::<Value>]), "valid");
        assert_eq!(a.one::<String>(check, &[token, &json!({})]), "valid");
    }
}

#[test]
fn row_10_after_a_bump_a_token_of_version_0_is_refused_with_both_versions_and_a_new_one_passes() {
    let adopted = Adopted::new("row_10");
    let mut a = adopted.connect();
    let token = a.issue(ADA);
    assert_eq!(a.bump(ADA), 1);
    assert_eq!(
        attempt(&mut a, VERIFY, &[&token]),
        no("session_version_mismatch")
    );
    let check = "SELECT concat_ws(' ', reason, session_version, current_session_version) FROM auth.check_jwt($1::text)";
    assert_eq!(
        a.one::<String>(check, &[&token]),
        "session_version_mismatch 0 1"
    );
    let new = a.issue(ADA);
    assert_eq!(a.one::<String>(check, &[&new]), "1 1");
    assert_eq!(a.verdict(&new), "valid");
}

#[test]
fn row_11_a_token_without_the_claim_passes_at_version_0_and_not_at_1_or_with_a_strict_issuer() {
    let adopted = Adopted::new("row_11");
    let mut a = adopted.connect();
    let (ada, bob) = (
        pyjwt(&mut a, ADA, &json!({})),
        pyjwt(&mut a, BOB, &json!({})),
    );
    assert_eq!(a.verdict(&ada), "valid");
    a.bump(BOB);
    assert_eq!(
        attempt(&mut a, VERIFY, &[&bob]),
        no("session_version_mismatch")
    );
    a.run("UPDATE auth.issuers SET require_session_version = true");
    assert_eq!(
        attempt(&mut a, VERIFY, &[&ada]),
        no("session_version_missing")
    );
    let new = a.issue(ADA);
    assert_eq!(a.verdict(&new), "valid");
}

#[test]
fn row_15_an_sso_token_is_refused_by_verify_and_its_second_exchange_too() {
    let adopted = Adopted::new("row_15");
    let mut a = adopted.connect();
    let token: String = a.one("SELECT auth.issue_sso_token($1)", &[&ADA]);
    assert_eq!(attempt(&mut a, VERIFY, &[&token]), no("wrong_purpose"));
    let exchange = "SELECT auth.exchange_sso_token($1, 'roboledger')";
    let handoff: String = a.one(exchange, &[&token]);
    assert_eq!(attempt(&mut a, exchange, &[&token]), no("revoked"));
    let complete = "SELECT token FROM auth.complete_sso($1)";
    let access: String = a.one(complete, &[&handoff]);
    assert_eq!(a.verdict(&access), "valid");
    assert_eq!(attempt(&mut a, complete, &[&handoff]), no("revoked"));
}

#[test]
fn row_16_an_inactive_user_who_asks_for_sso_is_refused() {
    let adopted = Adopted::new("row_16");
    let mut a = adopted.connect();
    let issue = "SELECT auth.issue_sso_token($1)";
    assert_eq!(attempt(&mut a, issue, &[&EVE]), no("inactive_user"));
}

#[test]
fn row_26_the_real_services_token_is_of_its_user_and_version_0() {
    let adopted = Adopted::new("row_26");
    let mut a = adopted.connect();
    let claims: Value = a.one("SELECT auth.verify_jwt($1)", &[&REAL_TOKEN]);
    assert_eq!(claims["user_id"], ADA);
    assert_eq!(claims["jti"], "11111111-2222-4333-8444-555555555555");
    let check = "SELECT concat_ws(' ', valid, user_id, session_version, current_session_version) FROM auth.check_jwt($1::text)";
    assert_eq!(
        a.one::<String>(check, &[&REAL_TOKEN]),
        format!("t {ADA} 0 0")
    );
    assert_eq!(service(&["decode"], &json!(REAL_TOKEN)), claims);
}
