//! A cluster and its life.

use std::env;
use std::fs;
use std::mem::forget;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::AtomicU32;
use std::thread;
use std::time::{Duration, Instant};

use postgres::NoTls;

use crate::place::{place, run, try_run};

mod connections;

/// How long a server may take to start. Long, for machines that are busy compiling.
const PATIENCE: Duration = Duration::from_secs(60);

/// Of the socket, too.
const PORT: u16 = 5432;

/// The cluster that tests share, each with a database of its own.
pub fn shared() -> &'static Cluster {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED.get_or_init(|| Cluster::setup("shared").start_until_exit())
}

/// A running PostgreSQL server with data, log and socket in a folder of its own. Dropping it stops the
/// server at once and removes the folder.
pub struct Cluster {
    home: PathBuf,
    port: u16,
    environment: Vec<(String, String)>,
    databases: AtomicU32,
}

/// What is special about a cluster that is about to be started.
pub struct Setup {
    name: String,
    port: u16,
    settings: Vec<(String, String)>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// A line of `postgresql.conf`. The value is quoted here.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// A variable of the server's environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Has the server listen at an address, too.
    #[must_use]
    pub fn listen(mut self, address: &str, port: u16) -> Self {
        self.port = port;
        self.setting("listen_addresses", address)
            .setting("port", &port.to_string())
    }

    /// Makes the cluster and starts its server.
    #[must_use]
    pub fn start(self) -> Cluster {
        let mut cluster = Cluster::at(place().folder(&self.name), self.environment);
        cluster.port = self.port;
        run(place()
            .program("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(cluster.data()));
        cluster.configure(&[
            ("listen_addresses", ""),
            ("fsync", "off"),
            ("max_connections", "200"),
            ("shared_buffers", "32MB"),
            ("log_line_prefix", "%m [%p] %d %u "),
        ]);
        // To see what only happens where the server logs everything.
        if let Ok(level) = env::var("AUTH_EXT_LOG") {
            cluster.configure(&[("log_min_messages", &level)]);
        }
        for (name, value) in &self.settings {
            cluster.configure(&[(name, value)]);
        }
        cluster.launch();
        cluster
    }

    /// The same for a static, which is never dropped: the server stops when this process has ended, however it ends.
    #[must_use]
    pub fn start_until_exit(self) -> Cluster {
        let cluster = self.start();
        // Nobody writes to this program: its input ends with us, and a signal to all of the run does not.
        let mut guard = place()
            .shell("trap '' INT TERM HUP; cat; exec \"$0\" stop --mode fast --pgdata \"$1\"");
        guard.arg(place().path("pg_ctl")).arg(cluster.data());
        guard
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        forget(guard.spawn().expect("a shell"));
        cluster
    }
}

impl Cluster {
    /// A cluster with nothing special about it.
    #[must_use]
    pub fn start(name: &str) -> Self {
        Self::setup(name).start()
    }

    /// A cluster with settings, as in `postgresql.conf`.
    #[must_use]
    pub fn with_config(name: &str, settings: &[(&str, &str)]) -> Self {
        settings
            .iter()
            .fold(Self::setup(name), |setup, (name, value)| {
                setup.setting(name, value)
            })
            .start()
    }

    /// A cluster to be described further, then started.
    #[must_use]
    pub fn setup(name: &str) -> Setup {
        Setup {
            name: name.into(),
            port: PORT,
            settings: Vec::new(),
            environment: Vec::new(),
        }
    }

    pub(crate) fn at(home: PathBuf, environment: Vec<(String, String)>) -> Self {
        Self {
            home,
            port: PORT,
            environment,
            databases: AtomicU32::new(1),
        }
    }

    /// Stops the server in order: connections are ended, a checkpoint is written.
    pub fn stop_fast(&self) {
        self.stop("fast");
    }

    /// Stops in order and starts again.
    pub fn restart(&self) {
        self.stop_fast();
        self.launch();
    }

    /// Ends the postmaster as a crash would. [`Cluster::launch`] then recovers.
    pub fn kill_9(&self) {
        let pid_file =
            fs::read_to_string(self.data().join("postmaster.pid")).expect("a running server");
        let pid: u32 = pid_file
            .lines()
            .next()
            .and_then(|line| line.parse().ok())
            .expect("a process id");
        run(Command::new("sh").arg("-c").arg(format!("kill -9 {pid}")));
    }

    /// Stops the server, and keeps its data as a snapshot of the storage does.
    pub fn keep_storage(&self) {
        self.stop_fast();
        run(Command::new("cp")
            .arg("-a")
            .arg(self.data())
            .arg(self.kept()));
        self.launch();
    }

    /// Crashes the server, and brings back the data that was kept.
    pub fn roll_back_storage(&self) {
        self.stop("immediate");
        fs::remove_dir_all(self.data()).expect("the data");
        fs::rename(self.kept(), self.data()).expect("the data that was kept");
        self.launch();
    }

    fn kept(&self) -> PathBuf {
        self.home.join("kept")
    }

    /// Waits for a server that starts again by itself.
    #[track_caller]
    pub fn wait_until_it_answers(&self) {
        let deadline = Instant::now() + PATIENCE;
        while self.config("postgres", "postgres").connect(NoTls).is_err() {
            assert!(Instant::now() < deadline, "no server:\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Starts the server of a stopped or killed cluster.
    #[track_caller]
    pub fn launch(&self) {
        let deadline = Instant::now() + PATIENCE;
        // After a crash the old backends may hold the shared memory for a moment.
        while let Err(complaint) = self.try_launch("") {
            assert!(
                Instant::now() < deadline,
                "no server:\n{complaint}\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Starts the server of a stopped cluster as pg_upgrade does, for superusers only.
    pub fn launch_for_pg_upgrade(&self) {
        if let Err(complaint) = self.try_launch("-b") {
            panic!("no server:\n{complaint}\n{}", self.log());
        }
    }

    fn try_launch(&self, options: &str) -> Result<String, String> {
        let patience = PATIENCE.as_secs().to_string();
        let mut pg_ctl = place().program("pg_ctl");
        pg_ctl.envs(self.environment.iter().map(|(name, value)| (name, value)));
        pg_ctl.args(["start", "--silent", "--wait", "--timeout", &patience]);
        pg_ctl
            .arg("--pgdata")
            .arg(self.data())
            .arg("--log")
            .arg(self.log_file());
        pg_ctl.arg("--options").arg(format!(
            "{options} -c unix_socket_directories='{}'",
            self.home.display()
        ));
        try_run(&mut pg_ctl, "")
    }

    fn stop(&self, mode: &str) {
        let mut pg_ctl = place().program("pg_ctl");
        pg_ctl
            .args(["stop", "--silent", "--mode", mode, "--pgdata"])
            .arg(self.data());
        run(&mut pg_ctl);
    }

    fn is_running(&self) -> bool {
        self.data().join("postmaster.pid").exists()
    }

    /// Adds to `postgresql.conf`; a later line wins. Takes effect with the next start or reload.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let path = self.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&path).expect("the cluster's configuration");
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        fs::write(&path, text).expect("the cluster's configuration");
    }

    /// Replaces `pg_hba.conf` and `pg_ident.conf`. Takes effect with the next start or reload.
    pub fn authenticate_by(&self, hba: &str, ident: &str) {
        for (name, text) in [("pg_hba.conf", hba), ("pg_ident.conf", ident)] {
            fs::write(self.data().join(name), text).expect("the cluster's configuration");
        }
    }

    /// Has the running server read its configuration again. It does so before it takes the next connection.
    #[track_caller]
    pub fn reload(&self) {
        let mut pg_ctl = place().program("pg_ctl");
        run(pg_ctl
            .args(["reload", "--silent", "--pgdata"])
            .arg(self.data()));
    }

    /// All that the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.home.join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.home.join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(20)..];
            eprintln!("--- the server's last words ---\n{}", tail.join("\n"));
        }
        // A panic here would hide the test's own.
        if self.is_running() {
            let mut pg_ctl = place().program("pg_ctl");
            pg_ctl
                .args(["stop", "--silent", "--mode", "immediate", "--pgdata"])
                .arg(self.data());
            try_run(&mut pg_ctl, "").ok();
        }
        fs::remove_dir_all(&self.home).ok();
    }
}
