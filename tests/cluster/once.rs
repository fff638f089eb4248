//! What can be done once is done once, also when many try at the same moment.

use auth_ext_tests::{App, Ask, attempt, no, race, second, shared};

#[test]
fn of_fifty_concurrent_consumers_of_a_one_time_token_one_gets_the_user() {
    let app = App::new(shared(), "fifty");
    let token: String = app.connect().one(
        "SELECT auth.issue_one_time_token($1, 'password_reset')",
        &[&app.ada],
    );
    let outcomes = race(&app, 50, |_, client| {
        attempt(
            client,
            "SELECT auth.consume_one_time_token($1, 'password_reset')",
            &[&token],
        )
    });
    let winners = outcomes
        .iter()
        .filter(|outcome| **outcome == Ok(Some(app.ada.to_owned())))
        .count();
    let losers = outcomes
        .iter()
        .filter(|outcome| **outcome == Ok(None))
        .count();
    assert_eq!((winners, losers), (1, 49), "{outcomes:?}");
}

#[test]
fn of_concurrent_refreshes_of_one_token_one_wins_and_the_others_are_refused() {
    let app = App::new(shared(), "refreshes");
    let token = app.connect().issue(app.ada);
    let outcomes = race(&app, 8, |_, client| {
        attempt(client, "SELECT auth.refresh_jwt($1)", &[&token])
    });
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == no("revoked"))
            .count(),
        7,
        "{outcomes:?}"
    );
}

#[test]
fn the_second_refresh_waits_for_the_first_and_wins_if_that_is_rolled_back() {
    for (end, wins) in [("COMMIT", false), ("ROLLBACK", true)] {
        let app = App::new(shared(), "second");
        let mut first = app.connect();
        let token = first.issue(app.ada);
        first.run("BEGIN");
        first.rows("SELECT auth.refresh_jwt($1)", &[&token]);
        let outcome = second(&app, &mut first, end, |client| {
            attempt(client, "SELECT auth.refresh_jwt($1)", &[&token])
        });
        assert_eq!(outcome.is_ok(), wins, "{end}: {outcome:?}");
    }
}

#[test]
fn of_concurrent_exchanges_and_completions_one_wins() {
    let app = App::new(shared(), "sso");
    let token: String = app
        .connect()
        .one("SELECT auth.issue_sso_token($1)", &[&app.ada]);
    let outcomes = race(&app, 8, |_, client| {
        attempt(
            client,
            "SELECT auth.exchange_sso_token($1, 'app')",
            &[&token],
        )
    });
    let handoffs: Vec<_> = outcomes
        .into_iter()
        .filter_map(Result::ok)
        .flatten()
        .collect();
    assert_eq!(handoffs.len(), 1);
    let outcomes = race(&app, 8, |_, client| {
        attempt(
            client,
            "SELECT user_id FROM auth.complete_sso($1)",
            &[&handoffs[0]],
        )
    });
    assert_eq!(
        outcomes.iter().filter(|outcome| outcome.is_ok()).count(),
        1,
        "{outcomes:?}"
    );
    assert_eq!(
        outcomes
            .iter()
            .filter(|outcome| **outcome == no("revoked"))
            .count(),
        7,
        "{outcomes:?}"
    );
}

#[test]
fn the_first_revocation_of_an_issuer_is_seen_by_every_open_session_at_once() {
    let app = App::new(shared(), "first_revocation");
    let (mut a, mut open, mut old) = (app.connect(), app.connect(), app.connect());
    let token = a.issue(app.ada);
    old.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    open.run("BEGIN");
    assert_eq!(
        (open.verdict(&token), old.verdict(&token)),
        ("valid".to_owned(), "valid".to_owned())
    );
    a.run("BEGIN");
    assert!(a.one::<bool>("SELECT auth.revoke_jwt($1)", &[&token]));
    assert_eq!(
        (a.verdict(&token), open.verdict(&token)),
        ("revoked".to_owned(), "valid".to_owned())
    );
    a.run("COMMIT");
    assert_eq!(
        (open.verdict(&token), old.verdict(&token)),
        ("revoked".to_owned(), "revoked".to_owned())
    );
}

#[test]
fn what_must_write_says_25006_where_nothing_can_be_written_and_the_rest_works() {
    let app = App::new(shared(), "read_only");
    let mut a = app.connect();
    let (token, sso) = (
        a.issue(app.ada),
        a.one::<String>("SELECT auth.issue_sso_token($1)", &[&app.ada]),
    );
    let read_only = no("25006");
    for (sql, argument) in [
        ("SELECT auth.refresh_jwt($1)", &token),
        ("SELECT auth.revoke_jwt($1)::text", &token),
        ("SELECT auth.exchange_sso_token($1, 'app')", &sso),
    ] {
        a.run("BEGIN READ ONLY");
        assert_eq!(a.verdict(&token), "valid");
        assert_eq!(attempt(&mut a, sql, &[argument]), read_only, "{sql}");
        a.run("ROLLBACK");
    }
}
