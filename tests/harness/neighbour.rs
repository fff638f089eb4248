//! Programs beside the server, as applications have them: PostgREST and PgBouncer.

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

use crate::place::place;
use crate::{App, Request, Response};

/// How long one may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running program with a folder of its own. Dropping it ends the program at once and removes the folder.
struct Neighbour {
    child: Child,
    home: PathBuf,
}

impl Neighbour {
    /// Starts a program on a configuration file. It ends with the thread that starts it, too, should that be killed.
    #[track_caller]
    fn start(name: &str, configuration: impl FnOnce(&Path) -> String) -> Self {
        let home = place().folder(name);
        let file = home.join("conf");
        fs::write(&file, configuration(&home)).expect("a configuration");
        let log = File::create(home.join("log")).expect("a log");
        let mut command = place().neighbour(name);
        command.arg(&file);
        command
            .stdout(log.try_clone().expect("the log"))
            .stderr(log);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, home }
    }

    /// Waits until `answers` gives something.
    #[track_caller]
    fn wait<T>(&mut self, answers: impl Fn(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = answers(self) {
                return answer;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "no answer, {ended:?}:\n{}",
                self.log()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.join("log")).unwrap_or_default()
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- a neighbour's last words ---\n{}", self.log());
        }
        // A panic here would hide the test's own.
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.home).ok();
    }
}

/// A PostgREST for an application's database, on a socket of its own.
pub struct Postgrest {
    neighbour: Neighbour,
}

impl Postgrest {
    /// Logs in as `authenticator`, serves schema `public`, and is `anon` without a role claim. Settings as in its
    /// configuration file.
    #[track_caller]
    #[must_use]
    pub fn start(app: &App<'_>, settings: &[(&str, &str)]) -> Self {
        let database = app.conninfo("authenticator");
        let neighbour = Neighbour::start("postgrest", |home| {
            let socket = home.join("http").display().to_string();
            let own = [
                ("db-uri", database.as_str()),
                ("db-schemas", "public"),
                ("db-anon-role", "anon"),
                ("server-unix-socket", &socket),
            ];
            let lines = own.iter().chain(settings);
            lines
                .map(|(name, value)| format!("{name} = {value:?}\n"))
                .collect()
        });
        let mut postgrest = Self { neighbour };
        // Whoever asks before that makes it connect again, while it answers already.
        postgrest
            .neighbour
            .wait(|running| running.log().contains("Schema cache loaded").then_some(()));
        postgrest
    }

    /// Its answer.
    #[track_caller]
    #[must_use]
    pub fn answer(&self, request: &Request) -> Response {
        let stream = UnixStream::connect(self.socket()).expect("PostgREST's socket");
        request.send(stream)
    }

    fn socket(&self) -> PathBuf {
        self.neighbour.home.join("http")
    }
}

/// A PgBouncer in front of an application's database, with one connection to it.
pub struct PgBouncer {
    neighbour: Neighbour,
}

impl PgBouncer {
    /// Settings as in its configuration file.
    #[track_caller]
    #[must_use]
    pub fn start(app: &App<'_>, role: &str, settings: &[(&str, &str)]) -> Self {
        let database = app.conninfo(role);
        let neighbour = Neighbour::start("pgbouncer", |home| {
            let settings: String = settings
                .iter()
                .map(|(name, value)| format!("{name} = {value}\n"))
                .collect();
            format!(
                "[databases]\napp = {database}\n\
                 [pgbouncer]\nauth_type = any\nunix_socket_dir = {}\nlisten_port = 5432\ndefault_pool_size = 1\n{settings}",
                home.display()
            )
        });
        let mut bouncer = Self { neighbour };
        bouncer
            .neighbour
            .wait(|running| connect(&running.home).ok());
        bouncer
    }

    /// A client of it.
    #[track_caller]
    #[must_use]
    pub fn connect(&self) -> Client {
        connect(&self.neighbour.home)
            .unwrap_or_else(|error| panic!("{error:?}\n{}", self.neighbour.log()))
    }
}

fn connect(home: &Path) -> Result<Client, postgres::Error> {
    Client::configure()
        .host_path(home)
        .user("any")
        .dbname("app")
        .connect(NoTls)
}
