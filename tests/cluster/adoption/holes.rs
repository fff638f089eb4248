//! The holes of today's service, none of which may come along. (There is no H8.)

use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{Ask, attempt, json, no, seconds};

use super::service::{ADA, Adopted, expired, key, pyjwt};

const VERIFY: &str = "SELECT auth.verify_jwt($1)::text";
const REFRESH: &str = "SELECT auth.refresh_jwt($1)";
const KEY: &str = "SELECT id FROM auth.verify_api_key($1)";

#[test]
fn h1_an_sso_token_passes_as_no_access_token() {
    let adopted = Adopted::new("h1");
    let mut a = adopted.connect();
    let exp = seconds(&mut a) + 300;
    // As the service makes them, and as the extension does.
    let theirs = pyjwt(
        &mut a,
        ADA,
        &json!({"sso": true, "token_id": "sso_1", "jti": null, "exp": exp}),
    );
    let with_jti = pyjwt(
        &mut a,
        ADA,
        &json!({"sso": true, "token_id": "sso_1", "exp": exp}),
    );
    let ours: String = a.one("SELECT auth.issue_sso_token($1)", &[&ADA]);
    for token in [&theirs, &with_jti, &ours] {
        assert_eq!(attempt(&mut a, VERIFY, &[token]), no("wrong_purpose"));
        assert_eq!(attempt(&mut a, REFRESH, &[token]), no("wrong_purpose"));
        assert_eq!(a.verdict(token), "wrong_purpose");
    }
}

#[test]
fn h2_the_audience_and_issuer_of_a_token_in_its_grace_are_checked() {
    let adopted = Adopted::new("h2");
    let mut a = adopted.connect();
    for (claims, reason) in [
        (json!({"aud": "example.com"}), "wrong_audience"),
        (json!({"aud": []}), "wrong_audience"),
        (json!({"aud": null}), "missing_claim"),
        (json!({"iss": "example.com"}), "wrong_issuer"),
        (json!({"iss": null}), "missing_claim"),
    ] {
        let token = expired(&mut a, ADA, 2, &claims);
        assert_eq!(attempt(&mut a, REFRESH, &[&token]), no(reason), "{claims}");
    }
    let token = expired(
        &mut a,
        ADA,
        2,
        &json!({"aud": ["roboledger.ai", "example.com"]}),
    );
    assert!(attempt(&mut a, REFRESH, &[&token]).is_ok());
}

#[test]
fn h3_a_logged_out_token_is_not_refreshed_in_the_grace_also_not_after_a_clean_up() {
    let adopted = Adopted::new("h3");
    let mut a = adopted.connect();
    let token = expired(&mut a, ADA, 4, &json!({}));
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&token]));
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 0);
    assert_eq!(attempt(&mut a, REFRESH, &[&token]), no("revoked"));
    let kept = "SELECT keep_until >= to_timestamp((auth.decode_jwt($1)->'payload'->>'exp')::bigint + 300) FROM auth.revoked_tokens";
    assert!(a.one::<bool>(kept, &[&token]));
}

#[test]
fn h4_a_token_that_was_verified_before_is_still_checked_for_exp_revocation_and_version() {
    let adopted = Adopted::new("h4");
    let (mut a, mut b) = (adopted.connect(), adopted.connect());
    let exp = seconds(&mut a) + 8;
    let short = pyjwt(&mut a, ADA, &json!({"exp": exp}));
    let tokens = [a.issue(ADA), a.issue(ADA)];
    for token in [&short, &tokens[0], &tokens[1]] {
        for _ in 0..10 {
            assert_eq!(b.verdict(token), "valid");
        }
    }
    a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&tokens[0]]);
    assert_eq!(b.verdict(&tokens[0]), "revoked");
    let deadline = Instant::now() + Duration::from_secs(30);
    while b.verdict(&short) == "valid" {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(50));
    }
    assert!(seconds(&mut b) >= exp);
    assert_eq!(b.verdict(&short), "expired");
    a.bump(ADA);
    assert_eq!(b.verdict(&tokens[1]), "session_version_mismatch");
}

#[test]
fn h5_an_api_key_is_refused_while_its_owner_is_inactive() {
    let adopted = Adopted::new("h5");
    let mut a = adopted.connect();
    assert_eq!(
        attempt(&mut a, KEY, &[&key("of_inactive").plain]),
        no("inactive_user")
    );
    let plain = key("lasting").plain;
    assert!(attempt(&mut a, KEY, &[&plain]).is_ok());
    a.run(&format!(
        "UPDATE users SET is_active = false WHERE id = '{ADA}'"
    ));
    assert_eq!(attempt(&mut a, KEY, &[&plain]), no("inactive_user"));
    a.run("UPDATE users SET is_active = true");
    assert!(attempt(&mut a, KEY, &[&plain]).is_ok());
}

#[test]
fn h6_keys_with_an_expiry_work_until_then_in_utc_whatever_the_sessions_time_zone() {
    let adopted = Adopted::new("h6");
    let mut a = adopted.connect();
    for zone in ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"] {
        a.run(&format!("SET TimeZone = '{zone}'"));
        assert!(
            attempt(&mut a, KEY, &[&key("lasting").plain]).is_ok(),
            "{zone}"
        );
        assert_eq!(
            attempt(&mut a, KEY, &[&key("expired").plain]),
            no("expired_api_key"),
            "{zone}"
        );
        let plain = key("lasting").plain;
        for (end, valid) in [
            ("+ interval '1 minute'", true),
            ("- interval '1 second'", false),
        ] {
            a.run(&format!("UPDATE user_api_keys SET expires_at = (now() AT TIME ZONE 'UTC') {end} WHERE id = 'uak_lasting'"));
            assert_eq!(
                attempt(&mut a, KEY, &[&plain]).is_ok(),
                valid,
                "{zone} {end}"
            );
        }
        a.run("UPDATE user_api_keys SET expires_at = '2999-12-31' WHERE id = 'uak_lasting'");
    }
}

#[test]
fn h7_an_sso_exchange_is_not_repeated() {
    let adopted = Adopted::new("h7");
    let (mut a, mut b) = (adopted.connect(), adopted.connect());
    let token: String = a.one("SELECT auth.issue_sso_token($1)", &[&ADA]);
    let exchange = "SELECT auth.exchange_sso_token($1, 'roboledger')";
    assert!(attempt(&mut a, exchange, &[&token]).is_ok());
    assert_eq!(attempt(&mut b, exchange, &[&token]), no("revoked"));
    a.one::<i64>("SELECT auth.prune()", &[]);
    assert_eq!(attempt(&mut a, exchange, &[&token]), no("revoked"));
}

#[test]
fn h9_a_one_time_token_is_consumed_by_one_of_two_who_have_both_looked() {
    let adopted = Adopted::new("h9");
    let (mut a, mut b) = (adopted.connect(), adopted.connect());
    let token: String = a.one(
        "SELECT auth.issue_one_time_token($1, 'password_reset')",
        &[&ADA],
    );
    let look = "SELECT auth.validate_one_time_token($1, 'password_reset')";
    let take = "SELECT auth.consume_one_time_token($1, 'password_reset')";
    for client in [&mut a, &mut b] {
        client.run("BEGIN");
        assert_eq!(
            client.one::<Option<String>>(look, &[&token]).as_deref(),
            Some(ADA)
        );
    }
    assert_eq!(
        a.one::<Option<String>>(take, &[&token]).as_deref(),
        Some(ADA)
    );
    a.run("COMMIT");
    assert_eq!(b.one::<Option<String>>(take, &[&token]), None);
}

#[test]
fn h10_a_changed_or_reset_password_and_a_deactivation_end_the_sessions() {
    let adopted = Adopted::new("h10");
    let mut a = adopted.connect();
    for change in [
        "UPDATE users SET password_hash = 'changed'",
        "SELECT auth.consume_one_time_token(auth.issue_one_time_token(id, 'password_reset'), 'password_reset') FROM users WHERE is_active;
         UPDATE users SET password_hash = 'reset'",
        "UPDATE users SET is_active = false; UPDATE users SET is_active = true",
        "SELECT auth.bump_session_version(id) FROM users",
    ] {
        let token = a.issue(ADA);
        assert_eq!(a.verdict(&token), "valid");
        a.run(change);
        assert_eq!(a.verdict(&token), "session_version_mismatch", "{change}");
    }
}
