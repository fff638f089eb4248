//! A day of a DBA. Load runs all the time while the server crashes, the procedures of docs/operating.md are carried out, a dump is
//! restored and a standby takes over; in the end everything is as the clients were told.
//!
//! `AUTH_EXT_LONG=1`: two million users and ten crashes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::postgres::{Client, Error, NoTls};
use auth_ext_tests::{Ask, Cluster, Value, database_with_key, readme_blocks};
use fastrand::Rng;

const WORKERS: u64 = 4;
/// Users that the load is about; the others are there.
const BUSY: u64 = 2_000;
/// A connection that ended, a server that starts or stops, a deadlock, a standby that is not promoted yet.
const PASSES: [&str; 6] = ["57P01", "57P02", "57P03", "40P01", "25006", "08006"];

struct Day {
    conninfo: RwLock<String>,
    /// Tokens whose end was confirmed.
    ended: Mutex<Vec<String>>,
    over: AtomicBool,
    /// The last change is confirmed, too.
    quiet: AtomicBool,
    changes: AtomicU64,
    verifications: AtomicU64,
}

/// What a worker was told of its users.
#[derive(Default)]
struct Told {
    /// Tokens that hold, with their users.
    good: Vec<(u64, String)>,
    /// What the users' versions are at least.
    versions: HashMap<u64, i64>,
}

impl Day {
    /// Runs `ask` until it succeeds, however often the server goes away.
    fn insist<T>(
        &self,
        kept: &mut Option<Client>,
        mut ask: impl FnMut(&mut Client) -> Result<T, Error>,
    ) -> T {
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let error = match kept {
                Some(client) => match ask(client) {
                    Ok(answer) => return answer,
                    Err(error) => error,
                },
                None => match Client::connect(&self.conninfo.read().expect("no panic"), NoTls) {
                    Ok(client) => {
                        *kept = Some(client);
                        continue;
                    }
                    Err(error) => error,
                },
            };
            if let Some(code) = error.code() {
                assert!(PASSES.contains(&code.code()), "{error:?}");
            }
            assert!(Instant::now() < deadline, "for two minutes: {error:?}");
            *kept = None;
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn verdict(&self, kept: &mut Option<Client>, token: &str) -> String {
        self.verifications.fetch_add(1, Ordering::Relaxed);
        let sql =
            "SELECT CASE WHEN valid THEN 'valid' ELSE reason END FROM auth.check_jwt($1::text)";
        self.insist(kept, |client| Ok(client.query_one(sql, &[&token])?.get(0)))
    }

    /// Issues and ends tokens of its own users until the day is over. After each confirmation it holds the server to it.
    fn work(&self, number: u64) -> Told {
        let mut random = Rng::with_seed(number);
        let mut kept = None;
        let mut told = Told::default();
        while !self.over.load(Ordering::Relaxed) {
            let user = random.u64(..BUSY / WORKERS) * WORKERS + number + 1;
            let id = user.to_string();
            let what = random.u8(..10);
            match what {
                0..=4 => {
                    let sql = "SELECT auth.issue_jwt($1, ttl => '1 day')";
                    let token = self.insist(&mut kept, |client| {
                        Ok(client.query_one(sql, &[&id])?.get(0))
                    });
                    told.good.push((user, token));
                }
                5 => {
                    let sql = "SELECT auth.bump_session_version($1)";
                    let version = self.insist(&mut kept, |client| {
                        Ok(client.query_one(sql, &[&id])?.get(0))
                    });
                    self.all_ended(&mut told, user, version, what);
                }
                6 => {
                    let sql = "UPDATE users SET password_hash = gen_random_uuid()::text WHERE id = $1::text::bigint RETURNING session_version";
                    let version = self.insist(&mut kept, |client| {
                        Ok(client.query_one(sql, &[&id])?.get(0))
                    });
                    self.all_ended(&mut told, user, version, what);
                }
                7 => {
                    let delete = "DELETE FROM users WHERE id = $1::text::bigint";
                    self.insist(&mut kept, |client| client.execute(delete, &[&id]));
                    let insert =
                        "INSERT INTO users (id) VALUES ($1::text::bigint) ON CONFLICT DO NOTHING";
                    self.insist(&mut kept, |client| client.execute(insert, &[&id]));
                    let sql = "SELECT session_version FROM users WHERE id = $1::text::bigint";
                    let version = self.insist(&mut kept, |client| {
                        Ok(client.query_one(sql, &[&id])?.get(0))
                    });
                    self.all_ended(&mut told, user, version, what);
                }
                _ if told.good.is_empty() => {}
                8 => {
                    let (_, token) = told.good.swap_remove(random.usize(..told.good.len()));
                    let sql = "SELECT auth.revoke_jwt($1)";
                    self.insist(&mut kept, |client| client.execute(sql, &[&token]));
                    self.ended.lock().expect("no panic").push(token);
                }
                _ => {
                    let (_, token) = &told.good[random.usize(..told.good.len())];
                    assert_eq!(self.verdict(&mut kept, token), "valid");
                }
            }
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
        told
    }

    fn all_ended(&self, told: &mut Told, user: u64, version: i64, what: u8) {
        let before = told.versions.insert(user, version).unwrap_or(0);
        assert!(
            version > before,
            "user {user}: {version} after {before} by {what}"
        );
        let mut ended = self.ended.lock().expect("no panic");
        told.good.retain(|(of, token)| {
            if *of == user {
                ended.push(token.clone());
            }
            *of != user
        });
    }

    /// Whose end was confirmed to somebody is refused to everybody.
    fn refuse(&self) {
        let mut random = Rng::with_seed(WORKERS);
        let mut kept = None;
        while !self.over.load(Ordering::Relaxed) {
            let token = {
                let ended = self.ended.lock().expect("no panic");
                random.choice(ended.iter()).cloned()
            };
            match token {
                Some(token) => assert_ne!(self.verdict(&mut kept, &token), "valid"),
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
    }

    /// A cache of versions that evicts by cursor; what is in it in the end.
    fn cache(&self) -> HashMap<i64, i64> {
        let mut random = Rng::with_seed(WORKERS + 1);
        let mut kept = None;
        let mut cached: HashMap<i64, i64> = HashMap::new();
        let mut cursor: String = self.insist(&mut kept, |client| {
            Ok(client
                .query_one("SELECT auth.invalidation_cursor()", &[])?
                .get(0))
        });
        loop {
            let is_last = self.quiet.load(Ordering::Relaxed);
            let sql = "SELECT event, next_cursor FROM auth.invalidations_since($1)";
            let rows = self.insist(&mut kept, |client| client.query(sql, &[&cursor]));
            for row in &rows {
                let event: Value = row.get(0);
                match event["kind"].as_str() {
                    Some("flush") => cached.clear(),
                    Some("user") => {
                        let id = event["id"].as_str().expect("a user's id");
                        cached.remove(&id.parse().expect("a number"));
                    }
                    _ => {}
                }
                cursor = row.get(1);
            }
            if is_last {
                return cached;
            }
            let ids: Vec<i64> = (0..50)
                .map(|_| random.i64(1..=BUSY.cast_signed()))
                .collect();
            let sql = "SELECT id, session_version FROM users WHERE id = ANY($1)";
            let rows = self.insist(&mut kept, |client| client.query(sql, &[&ids]));
            cached.extend(rows.iter().map(|row| (row.get::<_, i64>(0), row.get(1))));
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The SQL of docs/operating.md that has this statement in it.
fn procedure(statement: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let blocks = readme_blocks(docs);
    let block = blocks.iter().find(|block| block.sql.contains(statement));
    block.expect("a procedure").sql.clone()
}

/// A dump that is made under load, restored by several at once: what had ended before has ended there.
fn restore(day: &Day, primary: &Cluster, db: &str) {
    let ended = day.ended.lock().expect("no panic").clone();
    let folder = primary.scratch("dump");
    let dump = folder.join("day");
    let dump = dump.to_str().expect("a path");
    let options = ["-Fd", "-j2", "--compress=1", "--file", dump];
    primary.tool("pg_dump", db, "postgres", &options).unwrap();
    let back = primary.empty_database("back");
    let options = ["--exit-on-error", "-j2", dump];
    primary
        .tool("pg_restore", &back, "postgres", &options)
        .unwrap();
    let mut client = primary.connect(&back);
    let lacks: Option<Vec<String>> = client.one("SELECT restore_lacks FROM auth.health()", &[]);
    assert_eq!(lacks, None);
    for token in ended.iter().take(5_000) {
        assert_ne!(client.verdict(token), "valid", "in what was restored");
    }
    println!("{} ended tokens asked in what was restored", ended.len());
    drop(client);
    primary
        .connect("postgres")
        .run(&format!("DROP DATABASE \"{back}\""));
}

#[test]
fn a_day_of_a_dba_under_load_ends_as_everybody_was_told() {
    let long = std::env::var_os("AUTH_EXT_LONG").is_some();
    let (users, crashes, pause) = if long {
        (2_000_000, 10, Duration::from_secs(3))
    } else {
        (20_000, 2, Duration::from_millis(300))
    };
    let settings = [
        ("shared_preload_libraries", "auth_ext"),
        ("auth_ext.prune_interval", "1s"),
        ("wal_retrieve_retry_interval", "100ms"),
        ("max_wal_size", "4GB"),
    ];
    let primary = Cluster::with_config("day", &settings);
    let db = database_with_key(&primary, "day");
    primary.connect(&db).run(&format!(
        "CREATE TABLE users (id bigint PRIMARY KEY, password_hash text, is_active boolean NOT NULL DEFAULT true);
         SELECT auth.attach_users('users', bump_on => '{{password_hash}}');
         INSERT INTO users (id) SELECT generate_series(1, {users})"
    ));
    let standby = Cluster::start_standby(&primary);
    primary.configure(&[("synchronous_standby_names", "*")]);
    primary.reload();

    let day = Day {
        conninfo: RwLock::new(primary.conninfo(&db, "postgres")),
        ended: Mutex::default(),
        over: AtomicBool::new(false),
        quiet: AtomicBool::new(false),
        changes: AtomicU64::new(0),
        verifications: AtomicU64::new(0),
    };
    let (told, cached) = thread::scope(|scope| {
        let day = &day;
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| scope.spawn(move || day.work(number)))
            .collect();
        scope.spawn(|| day.refuse());
        let cache = scope.spawn(|| day.cache());
        let run = |sql: &str| primary.connect(&db).run(sql);
        let step = |name: &str, step: &dyn Fn()| {
            let before = day.changes.load(Ordering::Relaxed);
            println!("--- {name}");
            step();
            thread::sleep(pause);
            println!("{} changes", day.changes.load(Ordering::Relaxed) - before);
        };
        let crash = || {
            primary.kill_9();
            primary.launch();
        };
        // Whatever fails, the others are to end.
        let _over = Over(day);
        step("nothing", &|| ());
        for _ in 0..crashes / 2 {
            step("a crash", &crash);
        }
        step("rename", &|| {
            run(&procedure("ALTER TABLE users RENAME TO people;"))
        });
        step("change a type", &|| {
            run(&procedure("ALTER TABLE users ALTER COLUMN id TYPE bigint"))
        });
        step("swap tables", &|| {
            run(&procedure("CREATE TABLE users_new"));
            run("DROP TABLE users_old");
        });
        step("attach again", &|| {
            run("SELECT auth.attach_users('users', bump_on => '{password_hash}')");
        });
        step("terminate everything", &|| {
            run(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type <> 'walsender'",
            );
        });
        step("dump and restore", &|| restore(day, &primary, &db));
        step("vacuum and prune", &|| {
            run("VACUUM ANALYZE users");
            run("SELECT auth.prune()");
        });
        for _ in 0..crashes / 2 {
            step("a crash", &crash);
        }
        step("a promotion", &|| {
            primary.kill_9();
            standby.promote();
            *day.conninfo.write().expect("no panic") = standby.conninfo(&db, "postgres");
        });
        day.over.store(true, Ordering::Relaxed);
        let told: Vec<Told> = (workers.into_iter())
            .map(|worker| worker.join().expect("a worker"))
            .collect();
        day.quiet.store(true, Ordering::Relaxed);
        (told, cache.join().expect("the cache"))
    });

    let mut a = standby.connect(&db);
    let versions: HashMap<i64, i64> = a
        .rows("SELECT id, session_version FROM users", &[])
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert_eq!(versions.len(), users);
    let mut good = 0;
    for told in &told {
        for (user, version) in &told.versions {
            let is = versions[&user.cast_signed()];
            assert!(is >= *version, "user {user}: {is} and not {version}");
        }
        for (user, token) in &told.good {
            assert_eq!(a.verdict(token), "valid", "of user {user}");
        }
        good += told.good.len();
    }
    let ended = day.ended.into_inner().expect("no panic");
    for token in &ended {
        assert_ne!(a.verdict(token), "valid");
    }
    for (id, version) in &cached {
        assert_eq!(versions[id], *version, "cached of user {id}");
    }
    let (changes, verifications) = (day.changes.into_inner(), day.verifications.into_inner());
    println!(
        "{changes} changes, {verifications} verifications, {good} tokens hold, {} have ended, {} cached",
        ended.len(),
        cached.len()
    );
    assert!(good > 0 && !ended.is_empty() && !cached.is_empty());
}

/// Ends the load when it goes out of scope.
struct Over<'a>(&'a Day);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        self.0.quiet.store(true, Ordering::Relaxed);
    }
}
