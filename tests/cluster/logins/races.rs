//! Refreshes of one session at the same time, and beside what ends it.

use std::collections::HashSet;
use std::time::{Duration, Instant};
use std::{iter, thread};

use super::{let_the_window_pass, open, refresh, why};
use auth_ext_tests::{App, Ask, Client, Reader, race, second, shared};

#[test]
fn fifty_tabs_that_refresh_at_once_all_get_a_working_pair() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    let pairs = race(&app, 50, |_, client| refresh(client, &login.refresh));
    let mut tokens = HashSet::new();
    for pair in pairs {
        let pair = pair.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(a.verdict(&pair.access), "valid");
        assert!(tokens.insert(pair.refresh));
    }
    let again = race(&app, 50, |n, client| {
        let token = tokens.iter().nth(n).expect("a token of its own");
        refresh(client, token)
    });
    assert!(again.iter().all(Result::is_ok));
}

#[test]
fn fifty_that_come_too_late_are_all_refused_and_the_session_ends_once() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    refresh(&mut a, &login.refresh).expect("a pair");
    let_the_window_pass(&mut a);
    let mut reader = Reader::now(&mut a);
    let mut outcomes: Vec<_> = race(&app, 50, |_, client| why(refresh(client, &login.refresh)));
    outcomes.sort();
    assert_eq!(outcomes[0], "revoked");
    assert!(
        outcomes[1..].iter().all(|why| why == "session_ended"),
        "{outcomes:?}"
    );
    assert_eq!(reader.catch_up(&mut a).len(), 1);
}

#[test]
fn a_refresh_waits_for_what_ends_the_session_and_obeys_it() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    let login = open(&mut a, app.ada);
    a.run("BEGIN");
    a.one::<bool>("SELECT auth.end_session($1)", &[&login.id]);
    let outcome = second(&app, &mut a, "COMMIT", |b| why(refresh(b, &login.refresh)));
    assert_eq!(outcome, "session_ended");
    let login = open(&mut a, app.ada);
    a.run("BEGIN");
    a.one::<bool>("SELECT auth.end_session($1)", &[&login.id]);
    let outcome = second(&app, &mut a, "ROLLBACK", |b| {
        why(refresh(b, &login.refresh))
    });
    assert_eq!(outcome, "valid");
}

#[test]
fn every_token_of_a_session_says_the_version_that_the_session_was_opened_with() {
    let app = App::new(shared(), "logins");
    let until = Instant::now() + Duration::from_secs(5);
    let version = |client: &mut Client, token: &str| -> i64 {
        client.one("SELECT session_version FROM auth.check_jwt($1)", &[&token])
    };
    let refreshed = race(&app, 4, |n, client| {
        let mut refreshed = 0;
        while Instant::now() < until {
            // Ended at any moment: also between two reads of a refresh, if there are two.
            if n == 0 {
                client.bump(app.ada);
                continue;
            }
            let login = open(client, app.ada);
            if let Ok(next) = refresh(client, &login.refresh) {
                assert_eq!(
                    version(client, &next.access),
                    version(client, &login.access)
                );
                refreshed += 1;
            }
        }
        refreshed
    });
    assert!(refreshed.into_iter().sum::<u32>() > 50);
}

#[test]
fn no_token_of_a_refresh_outlives_what_ended_the_session_meanwhile() {
    let app = App::new(shared(), "logins");
    let mut a = app.connect();
    for end in [
        "SELECT auth.bump_session_version('41')",
        "UPDATE users SET is_active = false WHERE id = 41",
        "DELETE FROM users WHERE id = 41",
    ] {
        a.run("UPDATE users SET is_active = true WHERE id = 41");
        let login = open(&mut a, app.ada);
        // Somebody is always in the middle of it when the end comes.
        let pairs = race(&app, 4, |n, client| {
            if n == 0 {
                thread::sleep(Duration::from_millis(20));
                client.run(end);
                return Vec::new();
            }
            iter::from_fn(|| refresh(client, &login.refresh).ok()).collect()
        });
        for pair in pairs.into_iter().flatten() {
            assert_ne!(a.verdict(&pair.access), "valid", "after {end}");
            assert!(refresh(&mut a, &pair.refresh).is_err());
        }
    }
}
