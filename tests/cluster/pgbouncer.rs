//! A real PgBouncer, whose clients share one connection to the server.

use std::collections::HashSet;
use std::sync::Once;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use auth_ext_tests::postgres::SimpleQueryMessage;
use auth_ext_tests::{App, Ask, Client, PgBouncer, shared};

const TRANSACTION: &[(&str, &str)] = &[("pool_mode", "transaction")];
const ME: &str = "SELECT auth.user_id()";
const NOTES: &str = "SELECT string_agg(body, ',') FROM notes";

/// An application with a note of Ada's and one of Bob's, and statements that authenticate them.
fn notes() -> (App<'static>, [String; 2]) {
    static ROLE: Once = Once::new();
    let app = App::new(shared(), "notes");
    let mut admin = app.connect();
    ROLE.call_once(|| admin.run("CREATE ROLE app LOGIN"));
    admin.run(
        "CREATE TABLE notes (owner text, body text);
         INSERT INTO notes VALUES ('41', 'ada''s'), ('42', 'bob''s');
         ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
         CREATE POLICY own ON notes USING (owner = auth.user_id());
         GRANT SELECT ON notes TO app",
    );
    let tokens = [app.ada, app.bob].map(|user| admin.issue(user));
    (
        app,
        tokens.map(|token| format!("SELECT auth.authenticate('{token}')")),
    )
}

/// The first value that statements answer with. Without a prepared statement, which would be the connection's.
#[track_caller]
fn ask(client: &mut Client, sql: &str) -> Option<String> {
    let messages = client
        .simple_query(sql)
        .unwrap_or_else(|error| panic!("{error:?}\n{sql}"));
    let mut rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.next().expect("a row").get(0).map(str::to_owned)
}

fn connection(client: &mut Client) -> Option<String> {
    ask(client, "SELECT pg_backend_pid()")
}

#[track_caller]
fn assert_nobody(client: &mut Client) {
    assert_eq!((ask(client, ME), ask(client, NOTES)), (None, None));
}

#[test]
fn the_identity_of_a_transaction_is_never_the_next_clients() {
    let (app, [ada, bob]) = notes();
    let bouncer = PgBouncer::start(&app, "app", TRANSACTION);
    let (mut a, mut b) = (bouncer.connect(), bouncer.connect());
    let shared = connection(&mut a);
    for end in ["COMMIT", "ROLLBACK", "SAVEPOINT s; COMMIT"] {
        for (authenticate, user, body) in [(&ada, app.ada, "ada's"), (&bob, app.bob, "bob's")] {
            a.run(&format!("BEGIN; {authenticate}"));
            assert_eq!(ask(&mut a, ME).as_deref(), Some(user));
            assert_eq!(ask(&mut a, NOTES).as_deref(), Some(body));
            a.run(end);
            assert_nobody(&mut b);
            assert_nobody(&mut a);
            std::mem::swap(&mut a, &mut b);
        }
        // A statement by itself is a transaction.
        a.run(&ada);
        assert_nobody(&mut b);
        assert_nobody(&mut a);
        // One that fails ends the identity, too.
        a.run(&format!("BEGIN; {bob}"));
        a.batch_execute("SELECT 1 / 0")
            .expect_err("division by zero");
        a.run("ROLLBACK");
        assert_nobody(&mut b);
    }
    assert_eq!(
        [connection(&mut a), connection(&mut b)],
        [shared.clone(), shared]
    );
}

#[test]
fn a_client_that_waits_for_the_connection_gets_it_without_the_identity() {
    let (app, [ada, _]) = notes();
    let bouncer = PgBouncer::start(&app, "app", TRANSACTION);
    let (mut a, mut b) = (bouncer.connect(), bouncer.connect());
    for leaves in [false, true] {
        a.run(&format!("BEGIN; {ada}"));
        let (sender, answer) = channel();
        let waiting = thread::spawn(move || {
            sender.send(ask(&mut b, ME)).expect("who asked");
            b
        });
        answer
            .recv_timeout(Duration::from_millis(200))
            .expect_err("still waiting");
        assert_eq!(ask(&mut a, ME).as_deref(), Some(app.ada));
        if leaves {
            drop(a);
            a = bouncer.connect();
        } else {
            a.run("COMMIT");
        }
        assert_eq!(answer.recv().expect("an answer"), None);
        b = waiting.join().expect("the second client");
        assert_nobody(&mut b);
    }
}

#[test]
fn transactions_of_many_clients_never_see_each_others_rows() {
    let (app, [ada, bob]) = notes();
    let bouncer = PgBouncer::start(&app, "app", TRANSACTION);
    let work = |authenticate: &str, mine: Option<&str>| {
        let mut client = bouncer.connect();
        let connections = (0..50).map(|_| {
            client.run(&format!("BEGIN; {authenticate}"));
            assert_eq!(ask(&mut client, NOTES).as_deref(), mine);
            let connection = connection(&mut client);
            client.run("COMMIT");
            connection
        });
        connections.collect::<HashSet<_>>()
    };
    let clients = [
        (ada.as_str(), Some("ada's")),
        (bob.as_str(), Some("bob's")),
        ("", None),
    ];
    let connections: HashSet<_> = thread::scope(|scope| {
        let clients = clients.repeat(2).into_iter();
        let clients: Vec<_> = clients
            .map(|(who, mine)| scope.spawn(move || work(who, mine)))
            .collect();
        clients
            .into_iter()
            .flat_map(|client| client.join().expect("a client"))
            .collect()
    });
    assert_eq!(connections.len(), 1);
}

#[test]
fn the_identity_of_a_session_is_gone_when_discard_all_hands_the_connection_on() {
    let (app, authenticate) = notes();
    let settings = [
        ("pool_mode", "session"),
        ("server_reset_query", "DISCARD ALL"),
    ];
    let bouncer = PgBouncer::start(&app, "app", &settings);
    let mut connections = HashSet::new();
    for (authenticate, user) in authenticate.iter().zip([app.ada, app.bob]) {
        let mut client = bouncer.connect();
        assert_nobody(&mut client);
        client.run(&authenticate.replace(')', ", 'session')"));
        for _ in 0..2 {
            assert_eq!(ask(&mut client, ME).as_deref(), Some(user));
        }
        connections.insert(connection(&mut client));
    }
    let mut last = bouncer.connect();
    assert_nobody(&mut last);
    connections.insert(connection(&mut last));
    assert_eq!(connections.len(), 1);
}
