//! Several connections at once, and what comes of a statement.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use postgres::types::ToSql;

use crate::{App, Ask};

/// The outcome of a query of one text: its value, or why it failed: the DETAIL of a refusal, or the SQLSTATE.
pub type Outcome = Result<Option<String>, String>;

/// A refusal with this reason.
pub fn no(reason: &str) -> Outcome {
    Err(reason.to_owned())
}

/// Runs a query of one text.
pub fn attempt(client: &mut Client, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Outcome {
    match client.query_one(sql, params) {
        Ok(row) => Ok(row.get(0)),
        Err(error) => {
            let error = error.as_db_error().expect("an error of the server");
            Err(match error.code().code() {
                "28000" => error.detail().unwrap_or("no reason").to_owned(),
                code => code.to_owned(),
            })
        }
    }
}

/// `count` connections run `body` at the same moment; what each made of it.
#[track_caller]
pub fn race<T: Send>(
    app: &App<'_>,
    count: usize,
    body: impl Fn(usize, &mut Client) -> T + Sync,
) -> Vec<T> {
    let clients: Vec<Client> = (0..count).map(|_| app.connect()).collect();
    let start = Barrier::new(count);
    let (body, start) = (&body, &start);
    thread::scope(|scope| {
        let racers: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(n, mut client)| {
                scope.spawn(move || {
                    start.wait();
                    body(n, &mut client)
                })
            })
            .collect();
        racers
            .into_iter()
            .map(|racer| racer.join().expect("a racer"))
            .collect()
    })
}

/// The second of two connections runs `body` and has to wait for the first; then the first runs `end`. What the
/// second made of it.
#[track_caller]
pub fn second<T: Send>(
    app: &App<'_>,
    first: &mut Client,
    end: &str,
    body: impl FnOnce(&mut Client) -> T + Send,
) -> T {
    let mut client = app.connect();
    let pid: i32 = client.one("SELECT pg_backend_pid()", &[]);
    let mut observer = app.connect();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || body(&mut client));
        let blocked =
            "SELECT wait_event_type = 'Lock' IS TRUE FROM pg_stat_activity WHERE pid = $1";
        let deadline = Instant::now() + Duration::from_secs(30);
        while !waiting.is_finished() && !observer.one::<bool>(blocked, &[&pid]) {
            assert!(Instant::now() < deadline, "the second does not wait");
            thread::sleep(Duration::from_millis(2));
        }
        assert!(!waiting.is_finished(), "the second does not wait");
        first.run(end);
        waiting.join().expect("the second")
    })
}
