//! An application with tables, and a process that caches rows of them.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::{App, Ask, CachingProcess, Cluster, Value};

#[derive(Clone, Copy, Debug)]
pub enum Language {
    Python,
    Node,
    Rust,
}

pub const LANGUAGES: [Language; 3] = [Language::Python, Language::Node, Language::Rust];

impl Language {
    fn driver(self) -> Command {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        let run = |program: &str, script: &str| {
            let mut command = Command::new(tests.join(program));
            command.arg(tests.join("listeners").join(script));
            command
        };
        match self {
            Self::Python => run("python", "drive.py"),
            Self::Node => run("node", "drive.mjs"),
            Self::Rust => Command::new(env!("CARGO_BIN_EXE_listener")),
        }
    }
}

/// Users and keys by these numbers: key `k122` with fingerprint `f122` is of user 122.
pub const NUMBERS: std::ops::Range<u64> = 100..140;

/// `load` is what the process runs to fill its cache. While there is a table `slow` it waits for a lock when it has
/// read; while there is a table `lagging` it reads as from a standby that is behind.
const TABLES: &str = "
    INSERT INTO users (id) SELECT generate_series(100, 139);
    CREATE TABLE keys (id text PRIMARY KEY, user_id bigint NOT NULL, is_active boolean NOT NULL DEFAULT true,
        expires_at timestamptz);
    SELECT auth.attach_api_keys('keys');
    INSERT INTO keys (id, user_id, key_fingerprint) SELECT 'k' || n, n, 'f' || n FROM generate_series(100, 139) AS n;
    CREATE FUNCTION load(kind text, id text) RETURNS jsonb LANGUAGE plpgsql AS $$
    DECLARE
        found jsonb;
    BEGIN
        CASE kind
            WHEN 'user' THEN
                SELECT to_jsonb(u) INTO found FROM users AS u WHERE u.id = load.id::bigint;
            WHEN 'api_key' THEN
                SELECT to_jsonb(k) INTO found FROM keys AS k WHERE k.key_fingerprint = load.id;
            ELSE
                found := to_jsonb(load.id);
        END CASE;
        IF to_regclass('slow') IS NOT NULL THEN
            PERFORM pg_advisory_xact_lock_shared(1);
        END IF;
        IF to_regclass('lagging') IS NOT NULL THEN
            RETURN found || '{\"session_version\": 1}';
        END IF;
        RETURN found;
    END $$";

/// The process, with the tables that it caches.
pub struct Caches<'c> {
    pub app: App<'c>,
    pub process: CachingProcess,
}

impl<'c> Caches<'c> {
    #[track_caller]
    pub fn new(cluster: &'c Cluster, name: &str, language: Language, max_staleness: &str) -> Self {
        println!("--- {language:?}");
        let app = App::new(cluster, name);
        app.connect().run(TABLES);
        let conninfo = cluster.conninfo(&app.db, "postgres");
        let process = CachingProcess::start(language.driver().args([&conninfo, max_staleness]));
        Self { app, process }
    }

    /// What the cache answers for `KIND ID`: the row, and whether it had it.
    #[track_caller]
    pub fn get(&self, entry: &str) -> Value {
        self.process.ask(&format!("get {entry}"))
    }

    /// What the cache has, when it may use it.
    #[track_caller]
    pub fn peek(&self, entry: &str) -> Value {
        self.process.ask(&format!("peek {entry}"))
    }

    /// Gets it until it is cached.
    #[track_caller]
    pub fn fill(&self, entry: &str) {
        wait(|| self.get(entry)["cached"] == true, entry);
    }

    /// The server's process that the listener is connected to.
    #[track_caller]
    pub fn backend(&self) -> i32 {
        self.app.connect().one(
            "SELECT pid FROM pg_stat_activity
             WHERE datname = current_database() AND query ~ 'auth.?invalidation' AND pid <> pg_backend_pid()",
            &[],
        )
    }
}

/// Sends a signal to a process of the server.
#[track_caller]
pub fn signal(pid: i32, signal: &str) {
    let killed = Command::new("kill")
        .args(["-s", signal, &pid.to_string()])
        .status();
    assert!(
        killed.is_ok_and(|status| status.success()),
        "kill -s {signal} {pid}"
    );
}

/// Waits until it is so.
#[track_caller]
pub fn wait(mut is_so: impl FnMut() -> bool, what: &str) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
