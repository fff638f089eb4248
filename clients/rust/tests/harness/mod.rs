//! Servers of one's own, a proxy that can go silent, and an application's tables.
#![allow(dead_code)] // each test binary uses its part

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_postgres::{Client, NoTls};

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: see clients/rust/test"))
}

/// Ten times as long with `AUTH_EXT_LONG=1`.
pub fn scale() -> usize {
    if std::env::var("AUTH_EXT_LONG").is_ok_and(|long| long == "1") {
        10
    } else {
        1
    }
}

/// A seed that a failed run can be repeated with: `AUTH_EXT_SEED`.
pub fn seed() -> u64 {
    let seed = std::env::var("AUTH_EXT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("AUTH_EXT_SEED={seed}");
    seed
}

pub struct Server {
    home: PathBuf,
    pub port: u16,
}

impl Server {
    /// A fresh cluster, with the library preloaded, and an application's database `app`.
    pub async fn start(name: &str) -> Self {
        let server = Self::at(name);
        let arguments = "-D data -U postgres --auth=trust -E UTF8 --locale=C --no-sync";
        server.run("initdb", &arguments.split(' ').collect::<Vec<_>>());
        server.configure(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\nfsync = off\n\
             shared_preload_libraries = 'auth_ext'\nauth_ext.prune_interval = 0\nlog_min_messages = warning\n",
        );
        server.launch();
        let admin = connect(&server.url("postgres")).await;
        admin
            .batch_execute("CREATE DATABASE app")
            .await
            .expect("a database");
        connect(&server.url("app"))
            .await
            .batch_execute(APPLICATION)
            .await
            .expect("the application");
        server
    }

    /// A hot standby of this one.
    pub fn standby(&self, name: &str) -> Self {
        let standby = Self::at(name);
        let from = format!("--dbname={}", self.url("postgres"));
        let arguments = "-D data --write-recovery-conf --checkpoint=fast --no-sync";
        let arguments = arguments.split(' ').chain([&*from]);
        standby.run("pg_basebackup", &arguments.collect::<Vec<_>>());
        standby.configure("");
        standby.launch();
        standby
    }

    pub fn promote(&self) {
        self.run("pg_ctl", &["promote", "-s", "-w", "-D", "data"]);
    }

    fn at(name: &str) -> Self {
        let home = PathBuf::from(env("AUTH_EXT_RUN")).join("rust").join(name);
        std::fs::create_dir_all(&home).expect("the run folder");
        if let Some((uid, gid)) = os_user() {
            chown(&home, Some(uid), Some(gid)).expect("chown");
        }
        let port = free_port();
        Self { home, port }
    }

    fn configure(&self, settings: &str) {
        let conf = self.home.join("data/postgresql.conf");
        let old = std::fs::read_to_string(&conf).expect("postgresql.conf");
        let port = self.port;
        std::fs::write(&conf, format!("{old}{settings}port = {port}\n")).expect("postgresql.conf");
    }

    pub fn url(&self, database: &str) -> String {
        url(self.port, database)
    }

    fn command(&self, program: &str) -> Command {
        let program = PathBuf::from(env("AUTH_EXT_PG_BIN")).join(program);
        let mut command = match os_user() {
            None => Command::new(program),
            Some((uid, gid)) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={gid}"));
                command.arg("--clear-groups").arg(program);
                command
            }
        };
        command
            .current_dir(&self.home)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    fn try_run(&self, program: &str, arguments: &[&str]) -> bool {
        let status = self
            .command(program)
            .args(arguments)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success())
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        assert!(
            self.try_run(program, arguments),
            "{program} {arguments:?} in {:?}",
            self.home
        );
    }

    pub fn launch(&self) {
        // After a kill -9 the old processes need a moment to notice.
        let started = || self.try_run("pg_ctl", &["start", "-s", "-w", "-D", "data", "-l", "log"]);
        assert!((0..40).any(|_| started() || {
            sleep(Duration::from_millis(250));
            false
        }));
    }

    pub fn restart(&self) {
        self.run(
            "pg_ctl",
            &[
                "restart", "-s", "-w", "-m", "fast", "-D", "data", "-l", "log",
            ],
        );
    }

    pub fn stop(&self) {
        self.try_run("pg_ctl", &["stop", "-s", "-m", "immediate", "-D", "data"]);
    }

    pub fn kill_9(&self) {
        let pid = std::fs::read_to_string(self.home.join("data/postmaster.pid")).expect("a pid");
        signal(pid.lines().next().expect("a pid"), "KILL");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn os_user() -> Option<(u32, u32)> {
    let id = |option: &str, user: &str| {
        let said = Command::new("id")
            .arg(option)
            .args((!user.is_empty()).then_some(user))
            .output();
        String::from_utf8(said.expect("id").stdout)
            .expect("a number")
            .trim()
            .parse()
            .expect("a number")
    };
    if id("-u", "") != 0_u32 {
        return None;
    }
    let user = env("AUTH_EXT_OS_USER");
    Some((id("-u", &user), id("-g", &user)))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

pub fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

/// Sends a signal to a process of the server.
pub fn signal(pid: &str, signal: &str) {
    let killed = Command::new("kill").args(["-s", signal, pid]).status();
    assert!(
        killed.is_ok_and(|status| status.success()),
        "kill -s {signal} {pid}"
    );
}

pub async fn try_connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

pub async fn connect(url: &str) -> Client {
    try_connect(url).await.expect("a connection")
}

/// Waits until it is so.
pub async fn wait(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub const APPLICATION: &str = "
    CREATE EXTENSION auth_ext;
    CREATE TABLE users (id bigint PRIMARY KEY, email text, is_active boolean NOT NULL DEFAULT true);
    SELECT auth.attach_users('users', bump_on => '{email}');
    CREATE TABLE api_keys (id text PRIMARY KEY, user_id bigint NOT NULL, name text,
        is_active boolean NOT NULL DEFAULT true, expires_at timestamptz, last_used_at timestamptz);
    SELECT auth.attach_api_keys('api_keys');
    INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example.com', '{app}');
    SELECT auth.create_signing_key();
    INSERT INTO users (id) SELECT generate_series(100, 119);";

/// A TCP proxy in front of a server.
pub struct Proxy {
    pub port: u16,
    target: Arc<AtomicU16>,
    /// How often connections went silent.
    silences: Arc<watch::Sender<u64>>,
}

impl Proxy {
    pub async fn start(server: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(AtomicU16::new(server));
        let silences = Arc::new(watch::Sender::new(0));
        let (silent, server) = (silences.clone(), target.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut silent = silent.subscribe();
                let server = SocketAddr::from(([127, 0, 0, 1], server.load(Ordering::SeqCst)));
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(server).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
                        changed = silent.changed() => changed.expect("a proxy"),
                    }
                    // Both ends stay open.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self {
            port,
            target,
            silences,
        }
    }

    /// Whatever is connected now stays open, and nothing comes through any more: half-open. New connections pass.
    pub fn silence(&self) {
        self.silences.send_modify(|count| *count += 1);
    }

    /// New connections go to another server.
    pub fn turn(&self, server: u16) {
        self.target.store(server, Ordering::SeqCst);
    }
}
