//! Tables that change at random while the server and the connections to it come and go.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use auth_ext_tests::postgres::error::SqlState;
use auth_ext_tests::postgres::{Client, Error, NoTls};
use auth_ext_tests::{Ask, Cluster, Value};
use fastrand::Rng;

use super::setup::{Caches, Language, NUMBERS, wait};

const WRITERS: u64 = 2;
const READERS: u64 = 2;
/// Changes before, during and after each trouble.
const WHILE: Duration = Duration::from_millis(150);
const BETWEEN: Duration = Duration::from_millis(10);
const TROUBLES: [&str; 7] = [
    "none",
    "terminate",
    "terminate again and again",
    "restart",
    "kill -9",
    "pause",
    "end the relay",
];

/// What is known of a run while it goes on.
struct Run<'a> {
    caches: &'a Caches<'a>,
    conninfo: String,
    /// Versions of users that were committed.
    committed: Mutex<HashMap<u64, i64>>,
    changes: AtomicU32,
    hits: AtomicU32,
    over: AtomicBool,
}

/// Whatever is cached after a question to catch up is as in the tables, in each pause and in the end.
pub fn ends_equal(language: Language, cluster: &Cluster) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    // A bulk is more than twelve users. Nothing but events and catching up evicts within this time.
    let caches = Caches::new(cluster, "chaos", language, "300");
    let db = &caches.app.db;
    caches.app.connect().run(&format!(
        "ALTER DATABASE \"{db}\" SET auth_ext.bulk_threshold = 12"
    ));
    let mut run = Run {
        caches: &caches,
        conninfo: cluster.conninfo(db, "postgres"),
        committed: Mutex::default(),
        changes: AtomicU32::new(0),
        hits: AtomicU32::new(0),
        over: AtomicBool::new(false),
    };
    let mut troubles = TROUBLES;
    Rng::with_seed(seed).shuffle(&mut troubles);
    for (round, trouble) in (1..).zip(troubles) {
        println!("--- {trouble}");
        *run.over.get_mut() = false;
        thread::scope(|scope| {
            for n in 0..WRITERS {
                let run = &run;
                scope.spawn(move || run.write(Rng::with_seed(seed ^ n)));
            }
            for n in 0..READERS {
                let run = &run;
                scope.spawn(move || run.read(Rng::with_seed(seed ^ (n + WRITERS))));
            }
            thread::sleep(WHILE);
            run.make_trouble(trouble, cluster);
            thread::sleep(WHILE);
            // However slow the machine is.
            let done = |count: &AtomicU32| count.load(Ordering::Relaxed) > 20 * round;
            wait(
                || done(&run.changes) && done(&run.hits),
                "twenty more of each",
            );
            run.over.store(true, Ordering::Relaxed);
        });
        run.is_equal();
    }
    println!("{:?} changes, {:?} hits", run.changes, run.hits);
}

impl Run<'_> {
    fn make_trouble(&self, trouble: &str, cluster: &Cluster) {
        let terminate = || {
            self.caches.app.connect().run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE query ~ 'invalidation' AND backend_type = 'client backend' AND pid <> pg_backend_pid()",
            );
            thread::sleep(WHILE);
        };
        match trouble {
            "terminate" => terminate(),
            "terminate again and again" => (0..3).for_each(|_| terminate()),
            // Nothing where there is none.
            "end the relay" => self.caches.app.connect().run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'auth_ext relay'",
            ),
            "restart" => cluster.restart(),
            "kill -9" => {
                cluster.kill_9();
                cluster.launch();
            }
            "pause" => {
                self.caches.process.signal("STOP");
                thread::sleep(2 * WHILE);
                self.caches.process.signal("CONT");
            }
            _ => {}
        }
    }

    /// Changes the tables until the round is over.
    fn write(&self, mut random: Rng) {
        let mut client = None;
        while !self.over.load(Ordering::Relaxed) {
            thread::sleep(BETWEEN);
            let Err(error) = self.change(&mut client, &mut random) else {
                continue;
            };
            match (&mut client, error.code().map(SqlState::code)) {
                // A deadlock, or an unknown user: the other writer was at the same rows.
                (Some(client), Some("40P01" | "28000")) => client.run("ROLLBACK"),
                // Committed or not, nobody knows.
                (_, None | Some("57P01" | "57P02" | "57P03")) => client = None,
                _ => panic!("{error:?}"),
            }
        }
    }

    fn change(&self, client: &mut Option<Client>, random: &mut Rng) -> Result<(), Error> {
        let client = match client {
            Some(client) => client,
            None => client.insert(Client::connect(&self.conninfo, NoTls)?),
        };
        client.batch_execute(&one_change(random))?;
        self.changes.fetch_add(1, Ordering::Relaxed);
        let rows = client.query("SELECT id, session_version::bigint FROM users", &[])?;
        let mut committed = self.committed.lock().expect("no panic");
        for row in rows {
            let known = committed
                .entry(row.get::<_, i64>(0).cast_unsigned())
                .or_default();
            *known = row.get::<_, i64>(1).max(*known);
        }
        Ok(())
    }

    /// Reads through the cache until the round is over. Who has asked to catch up gets nothing older than what was
    /// committed before.
    fn read(&self, mut random: Rng) {
        while !self.over.load(Ordering::Relaxed) {
            let number = random.u64(NUMBERS);
            let known = self
                .committed
                .lock()
                .expect("no panic")
                .get(&number)
                .copied();
            let known = known.filter(|_| random.u8(..) < 32);
            if known.is_some() {
                self.caches.process.ask("sync");
            }
            let answer = self.caches.get(&format!("user {number}"));
            let version = answer["row"]["session_version"].as_i64();
            if let (Some(known), Some(version)) = (known, version) {
                assert!(
                    version >= known,
                    "user {number}, {known} was committed: {answer}"
                );
            }
            if answer["cached"] == true {
                self.hits.fetch_add(1, Ordering::Relaxed);
            }
            self.caches
                .get(&format!("api_key f{}", random.u64(NUMBERS)));
        }
    }

    /// While nothing changes, what is cached is what the tables have.
    fn is_equal(&self) {
        let process = &self.caches.process;
        // A relay may send a flush after the answer, which makes the cache ask once more.
        wait(
            || process.ask("sync") == true && process.ask("fresh") == true,
            "a fresh cache",
        );
        let mut client = self.caches.app.connect();
        let mut cached = 0;
        for (kind, prefix) in [("user", ""), ("api_key", "f")] {
            for number in NUMBERS {
                let id = format!("{prefix}{number}");
                let entry = self.caches.peek(&format!("{kind} {id}"));
                if !entry.is_null() {
                    cached += 1;
                    let row: Option<Value> = client.one("SELECT load($1, $2)", &[&kind, &id]);
                    assert_eq!(Some(entry), row, "{kind} {id}");
                }
            }
        }
        println!("{cached} entries are as in the tables");
    }
}

fn one_change(random: &mut Rng) -> String {
    let n = random.u64(NUMBERS);
    let other = random.u64(NUMBERS);
    match random.u8(..40) {
        0..=21 => format!("SELECT auth.bump_session_version(id::text) FROM users WHERE id = {n}"),
        22..=23 => format!("UPDATE users SET is_active = NOT is_active WHERE id = {n}"),
        24..=25 => format!("UPDATE users SET email = random()::text WHERE id IN ({n}, {other})"),
        26..=27 => format!("DELETE FROM users WHERE id = {n}"),
        28..=29 => format!("INSERT INTO users (id) VALUES ({n}), ({other}) ON CONFLICT DO NOTHING"),
        30..=31 => {
            format!("UPDATE keys SET is_active = NOT is_active WHERE id IN ('k{n}', 'k{other}')")
        }
        32..=33 => format!("UPDATE keys SET expires_at = clock_timestamp() WHERE id = 'k{n}'"),
        34..=35 => format!("DELETE FROM keys WHERE id = 'k{n}'"),
        36..=37 => format!(
            "INSERT INTO keys (id, user_id, key_fingerprint) VALUES ('k{n}', {n}, 'f{n}') ON CONFLICT DO NOTHING"
        ),
        38 => format!(
            "BEGIN; DELETE FROM users WHERE id <> {n}; UPDATE keys SET is_active = NOT is_active; ROLLBACK"
        ),
        _ => format!(
            "UPDATE users SET email = random()::text WHERE id % 3 = {}",
            n % 3
        ),
    }
}
