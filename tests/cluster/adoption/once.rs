//! Rows 23 to 25: one-time tokens, and the clean-up.

use std::thread;

use auth_ext_tests::{Ask, Client, shared};

use super::service::{ADA, Adopted};

fn issue(client: &mut Client, purpose: &str) -> String {
    client.one(
        "SELECT auth.issue_one_time_token($1, $2)",
        &[&ADA, &purpose],
    )
}

fn consume(client: &mut Client, token: &str, purpose: &str) -> Option<String> {
    client.one(
        "SELECT auth.consume_one_time_token($1, $2)",
        &[&token, &purpose],
    )
}

#[test]
fn row_23_a_one_time_token_succeeds_exactly_once_also_concurrently() {
    let adopted = Adopted::new("row_23");
    let mut a = adopted.connect();
    for purpose in ["email_verification", "password_reset"] {
        let token = issue(&mut a, purpose);
        assert_eq!(consume(&mut a, &token, purpose).as_deref(), Some(ADA));
        assert_eq!(consume(&mut a, &token, purpose), None);
        let token = issue(&mut a, purpose);
        let won = thread::scope(|scope| {
            let callers: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| consume(&mut shared().connect(&adopted.db), &token, purpose))
                })
                .collect();
            callers
                .into_iter()
                .filter_map(|caller| caller.join().unwrap())
                .count()
        });
        assert_eq!(won, 1);
    }
}

#[test]
fn row_24_a_one_time_token_of_another_type_expired_or_superseded_is_refused() {
    let adopted = Adopted::new("row_24");
    let mut a = adopted.connect();
    let old = issue(&mut a, "password_reset");
    let new = issue(&mut a, "password_reset");
    assert_eq!(consume(&mut a, &new, "email_verification"), None);
    assert_eq!(consume(&mut a, &old, "password_reset"), None);
    a.run("UPDATE auth.one_time_tokens SET expires_at = now() - interval '1 s'");
    assert_eq!(consume(&mut a, &new, "password_reset"), None);
}

#[test]
fn row_25_clean_up_removes_expired_unused_tokens_and_those_used_30_days_ago() {
    let adopted = Adopted::new("row_25");
    let mut a = adopted.connect();
    let (expired, used, open) = (
        issue(&mut a, "password_reset"),
        issue(&mut a, "email_verification"),
        "invitation",
    );
    consume(&mut a, &used, "email_verification").unwrap();
    let open: String = a.one(
        "SELECT auth.issue_one_time_token($1, $2, '1 h')",
        &[&ADA, &open],
    );
    a.run("UPDATE auth.one_time_tokens SET expires_at = now() - interval '1 s' WHERE purpose <> 'invitation'");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 1);
    assert_eq!(consume(&mut a, &expired, "password_reset"), None);
    a.run("UPDATE auth.one_time_tokens SET used_at = now() - interval '30 days 1 s' WHERE used_at IS NOT NULL");
    assert_eq!(a.one::<i64>("SELECT auth.prune()", &[]), 1);
    assert_eq!(consume(&mut a, &open, "invitation").as_deref(), Some(ADA));
    // The service's own table, whose tokens it still takes itself while it moves, is left alone.
    assert_eq!(a.one::<i64>("SELECT count(*) FROM user_tokens", &[]), 0);
}
