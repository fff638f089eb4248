//! Whom we trust, over several connections: what is committed holds with the next statement, everywhere.

use std::thread;
use std::time::Duration;

use auth_ext_tests::{App, Ask, Client, refused, shared};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Sessions that are open in every way: idle, in a transaction, in REPEATABLE READ and in SERIALIZABLE; each
/// has verified something before.
fn open_sessions(app: &App<'_>, token: &str) -> Vec<Client> {
    [
        "SELECT",
        "BEGIN",
        "BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE",
        "BEGIN READ ONLY",
    ]
    .iter()
    .map(|begin| {
        let mut session = app.connect();
        session.run(begin);
        assert_eq!(session.verdict(token), "valid");
        session
    })
    .collect()
}

#[test]
fn a_key_that_was_rolled_back_never_verifies() {
    let app = App::new(shared(), "rolled_back");
    let (mut a, mut b) = (app.connect(), app.connect());
    for [create, undo] in [
        ["BEGIN", "ROLLBACK"],
        ["BEGIN; SAVEPOINT s", "ROLLBACK TO s"],
    ] {
        a.run(create);
        a.run("SELECT auth.create_signing_key(kid => 'ghost'); SELECT auth.activate_signing_key('ghost')");
        let token = a.issue("41");
        assert_eq!(a.verdict(&token), "valid");
        assert_eq!(b.verdict(&token), "unknown_key");
        a.run(undo);
        assert_eq!(a.verdict(&token), "unknown_key");
        a.run("COMMIT");
        assert_eq!(a.verdict(&token), "unknown_key");
        assert_eq!(b.verdict(&token), "unknown_key");
        // What signs is not the ghost, either.
        let token = a.issue("41");
        assert_eq!(b.verdict(&token), "valid");
    }
}

#[test]
fn an_issuer_that_was_rolled_back_is_no_issuer() {
    let app = App::new(shared(), "ghost_issuer");
    let (mut a, mut b) = (app.connect(), app.connect());
    a.run(&format!(
        "BEGIN; SAVEPOINT s; INSERT INTO auth.issuers (issuer, audience) VALUES ('ghost', '{{x}}');
         SELECT auth.import_signing_key('{SECRET}', 'HS256', 'ghost')"
    ));
    let token: String = a.one("SELECT auth.issue_jwt('41', issuer => 'ghost')", &[]);
    assert_eq!(a.verdict(&token), "valid");
    assert_eq!(b.verdict(&token), "wrong_issuer");
    a.run("ROLLBACK TO s");
    assert_eq!(a.verdict(&token), "wrong_issuer");
    a.run("COMMIT");
    assert_eq!(a.verdict(&token), "wrong_issuer");
}

#[test]
fn every_open_session_obeys_a_change_of_trust_with_its_next_statement() {
    let changes = [
        ("SELECT auth.retire_signing_key('first')", "unknown_key"),
        (
            "DELETE FROM auth.signing_key_store WHERE kid = 'first'",
            "unknown_key",
        ),
        (
            "UPDATE auth.issuers SET not_before = now() + interval '2 s'",
            "issued_before_cutoff",
        ),
        (
            "UPDATE auth.issuers SET audience = '{other}'",
            "wrong_audience",
        ),
        ("UPDATE auth.issuers SET audience = '{}'", "wrong_audience"),
        (
            "UPDATE auth.issuers SET user_claim = 'uid'",
            "missing_claim",
        ),
        (
            "UPDATE auth.issuers SET version_claim = 'sv', require_session_version = true",
            "session_version_missing",
        ),
        (
            "UPDATE auth.issuers SET issuer = 'https://new' WHERE is_default",
            "wrong_issuer",
        ),
        ("DELETE FROM auth.issuers WHERE is_default", "wrong_issuer"),
        (
            "SET session_replication_role = replica; DELETE FROM auth.signing_key_store; RESET session_replication_role",
            "unknown_key",
        ),
    ];
    for (change, reason) in changes {
        let app = App::new(shared(), "obeys");
        let mut admin = app.connect();
        admin.run("INSERT INTO auth.issuers (issuer, audience) VALUES ('other', '{x}')");
        admin.run("SELECT auth.create_signing_key(kid => 'first'); SELECT auth.activate_signing_key('first')");
        let token = admin.issue("41");
        let mut sessions = open_sessions(&app, &token);
        admin.run("BEGIN");
        admin.run(change);
        assert_eq!(admin.verdict(&token), reason, "{change}");
        for session in &mut sessions {
            assert_eq!(
                session.verdict(&token),
                "valid",
                "before the commit of {change}"
            );
        }
        admin.run("COMMIT");
        for (n, session) in sessions.iter_mut().enumerate() {
            assert_eq!(session.verdict(&token), reason, "session {n}, {change}");
        }
    }
}

#[test]
fn a_new_key_is_known_to_every_open_session_at_once() {
    let app = App::new(shared(), "new_key");
    let mut admin = app.connect();
    let old = admin.issue("41");
    let mut sessions = open_sessions(&app, &old);
    admin.run("SELECT auth.rotate_signing_key()");
    let new = admin.issue("41");
    for session in &mut sessions {
        assert_eq!(session.verdict(&new), "valid");
        assert_eq!(session.verdict(&old), "valid");
        let issued = session.issue("41");
        assert_eq!(kid(session, &issued), kid(&mut admin, &new));
    }
}

fn kid(client: &mut Client, token: &str) -> String {
    client.one("SELECT auth.decode_jwt($1)->'header'->>'kid'", &[&token])
}

#[test]
fn after_a_rotation_the_old_key_verifies_for_the_overlap_and_no_longer() {
    let app = App::new(shared(), "overlap");
    let (mut a, mut b) = (app.connect(), app.connect());
    let old = a.issue("41");
    a.run("SELECT auth.rotate_signing_key(overlap => '1.5 s')");
    assert_eq!(b.verdict(&old), "valid");
    let new = a.issue("41");
    assert_ne!(kid(&mut a, &old), kid(&mut a, &new));
    // It lapses without any change, in an open transaction, too.
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
    assert_eq!(b.verdict(&old), "valid");
    while b.verdict(&old) == "valid" {
        let lapsed: bool = a.one(
            "SELECT verify_until + interval '10 s' < clock_timestamp() FROM auth.signing_keys WHERE verify_until IS NOT NULL",
            &[],
        );
        assert!(!lapsed, "the key verifies beyond its overlap");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(b.verdict(&old), "unknown_key");
    assert_eq!(a.verdict(&old), "unknown_key");
    assert_eq!(b.verdict(&new), "valid");
    let keys: i32 = a.one("SELECT jsonb_array_length(auth.jwks()->'keys')", &[]);
    assert_eq!(keys, 1);
    let status: String = a.one(
        "SELECT string_agg(status, ' ' ORDER BY created_at) FROM auth.signing_keys",
        &[],
    );
    assert_eq!(status, "retired active");
}

#[test]
fn without_an_overlap_it_is_token_ttl_and_refresh_grace_and_zero_is_at_once() {
    let app = App::new(shared(), "default_overlap");
    let mut a = app.connect();
    let old = a.issue("41");
    a.run("SELECT auth.rotate_signing_key()");
    let minutes: f64 = a.one(
        "SELECT (extract(epoch FROM verify_until - clock_timestamp()) / 60)::float8
         FROM auth.signing_keys WHERE status = 'verifying'",
        &[],
    );
    assert!((34.9..=35.0).contains(&minutes), "{minutes}");
    assert_eq!(a.verdict(&old), "valid");
    let second = a.issue("41");
    a.run("SELECT auth.rotate_signing_key(overlap => '0')");
    assert_eq!(a.verdict(&second), "unknown_key");
    assert_eq!(a.verdict(&old), "valid");
    refused(
        a.batch_execute("SELECT auth.rotate_signing_key(overlap => '-1 s')"),
        "22023",
        None,
    );
}

#[test]
fn a_key_that_is_newer_than_the_snapshot_is_not_left_when_it_is_retired() {
    let app = App::new(shared(), "newer");
    let (mut a, mut b) = (app.connect(), app.connect());
    let retire = "SELECT auth.retire_signing_key('new')";
    b.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM users");
    a.run("SELECT auth.create_signing_key(kid => 'new')");
    refused(b.query(retire, &[]), "40001", None);
    b.run("ROLLBACK");
    assert!(b.one::<bool>(retire, &[]));
}

#[test]
fn a_key_retired_for_a_later_time_works_until_then() {
    let app = App::new(shared(), "later");
    let (mut a, mut b) = (app.connect(), app.connect());
    let token = a.issue("41");
    let retire = |at: &str| {
        format!("SELECT auth.retire_signing_key((SELECT kid FROM auth.signing_keys), at => {at})")
    };
    assert!(a.one::<bool>(&retire("now() + interval '1 hour'"), &[]));
    assert_eq!(b.verdict(&token), "valid");
    let again = a.issue("41");
    assert_eq!(b.verdict(&again), "valid");
    assert!(
        !a.one::<bool>(&retire("now() + interval '2 hours'"), &[]),
        "no later than before"
    );
    assert!(a.one::<bool>(&retire("clock_timestamp() + interval '1 s'"), &[]));
    while b.verdict(&token) == "valid" {
        let overdue: bool = a.one(
            "SELECT verify_until + interval '10 s' < clock_timestamp() FROM auth.signing_keys",
            &[],
        );
        assert!(!overdue, "the key verifies beyond its end");
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(b.verdict(&token), "unknown_key");
    let error = refused(a.query("SELECT auth.issue_jwt('41')", &[]), "55000", None);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("auth.create_signing_key"))
    );
    assert!(!a.one::<bool>("SELECT auth.retire_signing_key('no such kid')", &[]));
    // The next key takes its place.
    a.run("SELECT auth.create_signing_key()");
    let token = a.issue("41");
    assert_eq!(b.verdict(&token), "valid");
}

#[test]
fn a_retired_key_is_not_activated_again() {
    let app = App::new(shared(), "retired");
    let mut a = app.connect();
    a.run("SELECT auth.create_signing_key(kid => 'x'); SELECT auth.retire_signing_key('x')");
    let activate = "SELECT auth.activate_signing_key('x')";
    refused(a.batch_execute(activate), "22023", None);
    let activate = "SELECT auth.activate_signing_key('no such kid')";
    refused(a.batch_execute(activate), "22023", None);
    let taken = "SELECT auth.create_signing_key(kid => 'x')";
    refused(a.batch_execute(taken), "22023", None);
}

#[test]
fn the_first_keys_of_two_sessions_at_once_leave_one_active() {
    for _ in 0..5 {
        let db = shared().database("first");
        shared()
            .connect(&db)
            .run("INSERT INTO auth.issuers (issuer, audience) VALUES ('i', '{}')");
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    shared()
                        .connect(&db)
                        .run("SELECT auth.create_signing_key()")
                });
            }
        });
        let status: String = shared().connect(&db).one(
            "SELECT string_agg(status, ' ' ORDER BY status) FROM auth.signing_keys",
            &[],
        );
        let verifying = " verifying".repeat(7);
        assert_eq!(status, format!("active{verifying}"));
    }
}

#[test]
fn rotations_at_once_leave_one_active() {
    let app = App::new(shared(), "rotations");
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| app.connect().run("SELECT auth.rotate_signing_key()"));
        }
    });
    let mut a = app.connect();
    let active: i64 = a.one(
        "SELECT count(*) FROM auth.signing_keys WHERE status = 'active'",
        &[],
    );
    assert_eq!(active, 1);
    let token = a.issue("41");
    assert_eq!(a.verdict(&token), "valid");
}

#[test]
fn the_first_issuer_is_the_default_and_another_can_be_made_it() {
    let db = shared().database("default");
    let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
    let error = refused(
        a.query("SELECT auth.create_signing_key()", &[]),
        "55000",
        None,
    );
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("auth.issuers"))
    );
    a.run("INSERT INTO auth.issuers (issuer, audience) VALUES ('one', '{x}'), ('two', '{x}'), ('three', '{x}')");
    let default = "SELECT string_agg(issuer, ' ') FROM auth.issuers WHERE is_default";
    assert_eq!(a.one::<String>(default, &[]), "one");
    a.run("SELECT auth.create_signing_key(), auth.create_signing_key('two')");
    let issuer = |client: &mut Client| -> String {
        client.one(
            "SELECT auth.decode_jwt(auth.issue_jwt('s', 0))->'payload'->>'iss'",
            &[],
        )
    };
    assert_eq!(issuer(&mut b), "one");
    a.run("UPDATE auth.issuers SET is_default = true WHERE issuer = 'two'");
    assert_eq!(a.one::<String>(default, &[]), "two");
    assert_eq!(issuer(&mut b), "two");
    a.run("INSERT INTO auth.issuers (issuer, audience, is_default) VALUES ('four', '{x}', true)");
    assert_eq!(a.one::<String>(default, &[]), "four");
    // Without one, a function that needs it says so, and an issuer that is named still works.
    a.run("DELETE FROM auth.issuers WHERE is_default");
    refused(b.query("SELECT auth.issue_jwt('s', 0)", &[]), "55000", None);
    b.run("SELECT auth.issue_jwt('s', 0, issuer => 'two')");
    refused(
        b.query("SELECT auth.issue_jwt('s', 0, issuer => 'nobody')", &[]),
        "22023",
        None,
    );
    a.run("INSERT INTO auth.issuers (issuer, audience) VALUES ('five', '{x}')");
    assert_eq!(a.one::<String>(default, &[]), "five");
}

#[test]
fn two_sessions_that_insert_the_first_issuer_at_once_both_succeed() {
    let db = shared().database("two_firsts");
    let (mut a, mut b) = (shared().connect(&db), shared().connect(&db));
    a.run("BEGIN; INSERT INTO auth.issuers (issuer, audience) VALUES ('one', '{x}')");
    let second = thread::scope(|scope| {
        let second = scope.spawn(|| {
            b.batch_execute("INSERT INTO auth.issuers (issuer, audience) VALUES ('two', '{x}')")
        });
        thread::sleep(Duration::from_millis(100));
        a.run("COMMIT");
        second.join().unwrap()
    });
    assert!(second.is_ok(), "{second:?}");
    let defaults: i64 = a.one("SELECT count(*) FROM auth.issuers WHERE is_default", &[]);
    assert_eq!(defaults, 1);
}

#[test]
fn a_cancelled_look_at_the_keys_does_not_leave_old_ones_in_trust() {
    let app = App::new(shared(), "cancelled");
    let (mut a, mut open, mut blocker) = (app.connect(), app.connect(), app.connect());
    let token = a.issue(app.ada);
    assert_eq!(open.verdict(&token), "valid");
    a.run("SELECT auth.retire_signing_key(kid) FROM auth.signing_keys");
    blocker.run("BEGIN; LOCK TABLE auth.signing_key_store");
    open.run("SET statement_timeout = '100ms'");
    let cancelled = open.query("SELECT auth.verify_jwt($1)", &[&token]);
    refused(cancelled, "57014", None);
    blocker.run("ROLLBACK");
    open.run("RESET statement_timeout");
    assert_eq!(open.verdict(&token), "unknown_key");
}
