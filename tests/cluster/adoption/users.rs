//! Rows 12 to 14: what happens to a user's row.

use auth_ext_tests::{Ask, Value, attempt, json, no};

use super::service::{ADA, Adopted, BOB, pyjwt};

const VERIFY: &str = "SELECT auth.verify_jwt($1)::text";

#[test]
fn row_12_a_changed_password_raises_the_version_with_one_notification_at_commit_and_neither_after_rollback()
 {
    let adopted = Adopted::new("row_12");
    let (mut a, mut listener) = (adopted.connect(), adopted.listener());
    let token = pyjwt(&mut a, ADA, &json!({}));
    let update =
        format!("UPDATE users SET password_hash = 'new', updated_at = now() WHERE id = '{ADA}'");
    a.run("BEGIN");
    a.run(&update);
    assert_eq!(a.version(ADA), Some(1));
    assert_eq!(listener.payloads(), Vec::<String>::new());
    a.run("ROLLBACK");
    assert_eq!(a.version(ADA), Some(0));
    assert_eq!(listener.payloads(), Vec::<String>::new());
    assert_eq!(a.verdict(&token), "valid");
    a.run("BEGIN");
    a.run(&update);
    assert_eq!(listener.payloads(), Vec::<String>::new());
    a.run("COMMIT");
    assert_eq!(a.version(ADA), Some(1));
    let event =
        format!(r#"{{"v":1,"kind":"user","id":"{ADA}","session_version":1,"reason":"updated"}}"#);
    assert_eq!(listener.payloads(), [event]);
    assert_eq!(a.verdict(&token), "session_version_mismatch");
    // What is no password is no news.
    a.run("UPDATE users SET name = 'X', email_verified = false, updated_at = now()");
    assert_eq!(listener.payloads(), Vec::<String>::new());
    assert_eq!(a.version(ADA), Some(1));
}

#[test]
fn row_13_the_old_token_of_a_user_who_was_deactivated_and_activated_stays_refused() {
    let adopted = Adopted::new("row_13");
    let (mut a, mut listener) = (adopted.connect(), adopted.listener());
    let token = pyjwt(&mut a, ADA, &json!({}));
    a.run(&format!(
        "UPDATE users SET is_active = false WHERE id = '{ADA}'"
    ));
    assert_eq!(attempt(&mut a, VERIFY, &[&token]), no("inactive_user"));
    a.run(&format!(
        "UPDATE users SET is_active = true WHERE id = '{ADA}'"
    ));
    assert_eq!(
        attempt(&mut a, VERIFY, &[&token]),
        no("session_version_mismatch")
    );
    let reasons: Vec<Value> = listener
        .events()
        .iter()
        .map(|event| event["reason"].clone())
        .collect();
    assert_eq!(reasons, ["deactivated", "activated"]);
    let new = a.issue(ADA);
    assert_eq!(a.verdict(&new), "valid");
}

#[test]
fn row_14_the_old_token_of_a_user_who_was_deleted_and_inserted_again_stays_refused() {
    let adopted = Adopted::new("row_14");
    let mut a = adopted.connect();
    let tokens = [pyjwt(&mut a, BOB, &json!({})), a.issue(BOB)];
    a.run(&format!("CREATE TEMP TABLE bob AS SELECT * FROM users WHERE id = '{BOB}'; DELETE FROM users WHERE id = '{BOB}'"));
    for token in &tokens {
        assert_eq!(attempt(&mut a, VERIFY, &[token]), no("unknown_user"));
    }
    a.run("INSERT INTO users TABLE bob");
    for token in &tokens {
        assert_eq!(
            attempt(&mut a, VERIFY, &[token]),
            no("session_version_mismatch")
        );
    }
    let new = a.issue(BOB);
    assert_eq!(a.verdict(&new), "valid");
}
