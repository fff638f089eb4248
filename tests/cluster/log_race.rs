//! Writers that commit and roll back at random, readers that catch up in random steps: each committed event once,
//! none of the others.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, Client, Cluster, Reader, Value};

const WRITERS: u64 = 32;

/// xorshift64*: enough to be irregular, the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }
}

type Seen = (String, i64);

fn seen(event: &Value) -> Seen {
    (
        event["id"].as_str().expect("a user's id").to_owned(),
        event["session_version"].as_i64().expect("a version"),
    )
}

/// Commits and rolls back whole transactions and savepoints; what was committed.
fn write(client: &mut Client, number: u64, end: Instant) -> Vec<Seen> {
    let mut dice = Dice(number * 7919 + 1);
    let mut committed = Vec::new();
    client.run("SET auth_ext.notify = off");
    while Instant::now() < end {
        client.run("BEGIN");
        let mut mine = Vec::new();
        for _ in 0..=dice.below(3) {
            // Users of its own mostly, so that writers overlap; at times one of everybody.
            let id = if dice.below(8) == 0 {
                1
            } else {
                100 + number * 10 + dice.below(10)
            };
            let savepoint = dice.below(3);
            if savepoint > 0 {
                client.run("SAVEPOINT s");
            }
            let version = client.bump(&id.to_string());
            if savepoint == 1 {
                client.run("ROLLBACK TO s");
            } else {
                mine.push((id.to_string(), version));
            }
            // Whoever holds the row of everybody goes on at once, and nobody waits for two.
            if id == 1 {
                break;
            }
            thread::sleep(Duration::from_millis(dice.below(4)));
        }
        if dice.below(3) == 0 {
            client.run("ROLLBACK");
        } else {
            client.run("COMMIT");
            committed.append(&mut mine);
        }
    }
    committed
}

/// Catches up until nobody writes any more; all that was read.
fn read(clients: &mut [Client], number: u64, done: &AtomicBool) -> Vec<Seen> {
    let mut dice = Dice(number * 104_729 + 3);
    let mut reader = Reader::now(&mut clients[0]);
    let mut events = Vec::new();
    loop {
        let last = done.load(Ordering::Acquire);
        // The last one is the primary, which has all.
        let which = if last {
            clients.len() - 1
        } else {
            usize::try_from(dice.below(clients.len() as u64)).unwrap()
        };
        let client = &mut clients[which];
        if dice.below(4) == 0 {
            client.run("BEGIN ISOLATION LEVEL REPEATABLE READ");
            events.extend(reader.catch_up(client).iter().map(seen));
            events.extend(reader.catch_up(client).iter().map(seen));
            client.run("COMMIT");
        } else {
            events.extend(reader.catch_up(client).iter().map(seen));
        }
        if last {
            return events;
        }
        thread::sleep(Duration::from_millis(dice.below(30)));
    }
}

#[test]
fn with_32_writers_each_committed_event_is_read_exactly_once_also_from_primary_and_standby_by_turns()
 {
    let primary = Cluster::start("race_primary");
    let app = App::new(&primary, "race");
    let mut admin = app.connect();
    admin.run(
        "INSERT INTO users (id) SELECT g FROM generate_series(1, 500) AS g ON CONFLICT DO NOTHING",
    );
    let standby = Cluster::start_standby(&primary);
    standby.wait_replay(&primary);
    let done = AtomicBool::new(false);
    let (written, read) = thread::scope(|scope| {
        let readers: Vec<_> = (0..6)
            .map(|n| {
                let mut clients = Vec::new();
                if n >= 3 {
                    clients.push(standby.connect(&app.db));
                }
                clients.push(app.connect());
                let done = &done;
                scope.spawn(move || read(&mut clients, n, done))
            })
            .collect();
        thread::sleep(Duration::from_millis(200));
        let end = Instant::now() + Duration::from_secs(6);
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| {
                let mut client = app.connect();
                scope.spawn(move || write(&mut client, n, end))
            })
            .collect();
        let written: Vec<Seen> = writers
            .into_iter()
            .flat_map(|writer| writer.join().expect("a writer"))
            .collect();
        done.store(true, Ordering::Release);
        let read: Vec<Vec<Seen>> = readers
            .into_iter()
            .map(|reader| reader.join().expect("a reader"))
            .collect();
        (written, read)
    });
    let expected: HashSet<Seen> = written.iter().cloned().collect();
    assert!(written.len() > 500, "only {} events", written.len());
    println!("{} events", written.len());
    for events in read {
        let unique: HashSet<Seen> = events.iter().cloned().collect();
        let missing: Vec<_> = expected.difference(&unique).collect();
        let invented: Vec<_> = unique.difference(&expected).collect();
        assert!(missing.is_empty(), "lost: {missing:?}");
        assert!(invented.is_empty(), "never committed: {invented:?}");
        assert_eq!(events.len(), unique.len(), "repeated");
    }
}

#[test]
fn after_a_crash_no_cursor_takes_a_new_transaction_for_one_that_it_has_seen() {
    // Nothing reaches the disk by itself: ids of transactions that the crash forgets are used again.
    let cluster = Cluster::with_config(
        "crash",
        &[("synchronous_commit", "off"), ("wal_writer_delay", "10s")],
    );
    let app = App::new(&cluster, "crash");
    let mut reader = {
        let mut a = app.connect();
        a.run("CHECKPOINT");
        burn(&mut a);
        let reader = Reader::now(&mut a);
        cluster.kill_9();
        reader
    };
    cluster.launch();
    let mut a = app.connect();
    a.bump("41");
    burn(&mut a);
    burn(&mut a);
    let events = reader.catch_up(&mut a);
    assert_eq!(
        events.iter().map(|event| &event["id"]).collect::<Vec<_>>(),
        ["41"]
    );
}

/// Fifty transactions that leave nothing.
fn burn(client: &mut Client) {
    for _ in 0..50 {
        client.run("BEGIN; SELECT pg_current_xact_id(); ROLLBACK");
    }
}
