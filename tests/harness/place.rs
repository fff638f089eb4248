//! What `tests/run` says about where to run, and programs run there.
//!
//! - `AUTH_EXT_PG_BIN`: the folder of `initdb`, `pg_ctl` and the rest, of an installation with the extension;
//! - `AUTH_EXT_NEIGHBOURS`: the folder of `postgrest` and `pgbouncer`;
//! - `AUTH_EXT_RUN`: the folder for clusters; short, as a socket's path has to fit in 107 bytes;
//! - `AUTH_EXT_OS_USER`: who runs the servers when we are root, which PostgreSQL refuses.
//!
//! The driver stops what still runs in that folder when the tests are over, and removes it.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(crate) struct Place {
    bin: PathBuf,
    run: PathBuf,
    /// Who the servers run as, when that is not us.
    owner: Option<Owner>,
}

#[derive(Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

pub(crate) fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| Place {
        bin: variable("AUTH_EXT_PG_BIN").into(),
        run: variable("AUTH_EXT_RUN").into(),
        owner: we_are_root().then(|| Owner::named(&variable("AUTH_EXT_OS_USER"))),
    })
}

impl Place {
    /// A new folder for a cluster, the server's own.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = (1..)
            .map(|n| self.run.join(format!("{name}.{n}")))
            .find(|path| fs::create_dir(path).is_ok() || !path.exists())
            .expect("an endless range");
        assert!(folder.is_dir(), "cannot make {}", folder.display());
        assert!(
            folder.as_os_str().len() < 90,
            "too long for a socket's path: {}",
            folder.display()
        );
        if let Some(owner) = self.owner {
            chown(&folder, Some(owner.uid), Some(owner.gid)).expect("chown the cluster's folder");
        }
        folder
    }

    /// One of PostgreSQL's programs, to be run as the server's user.
    pub(crate) fn program(&self, name: &str) -> Command {
        self.as_server(Command::new(self.path(name)))
    }

    /// Where one of them is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.bin.join(name)
    }

    /// A shell that runs a script as the server's user.
    pub(crate) fn shell(&self, script: &str) -> Command {
        let mut shell = self.as_server(Command::new("sh"));
        shell.args(["-c", script]);
        shell
    }

    /// A program to be put beside the server. It is killed when the thread that starts it ends, however that ends.
    pub(crate) fn neighbour(&self, name: &str) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        command.arg(Path::new(&variable("AUTH_EXT_NEIGHBOURS")).join(name));
        self.as_server(command)
    }

    fn as_server(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.run)
            .env("HOME", &self.run)
            .env("LC_ALL", "C")
            .env_remove("RUST_BACKTRACE")
            .stdin(Stdio::null());
        if let Some(owner) = self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

impl Owner {
    fn named(user: &str) -> Self {
        let id = |flag| {
            let out = run(Command::new("id").args([flag, user]));
            out.trim().parse().expect("id prints a number")
        };
        Self {
            uid: id("-u"),
            gid: id("-g"),
        }
    }
}

/// Runs a program to its end; its standard output. A failure is the test's.
#[track_caller]
pub(crate) fn run(command: &mut Command) -> String {
    run_with_input(command.stdin(Stdio::null()), "")
}

/// The same, with something to read.
#[track_caller]
pub(crate) fn run_with_input(command: &mut Command, input: &str) -> String {
    match try_run(command, input) {
        Ok(output) => output,
        Err(complaint) => panic!("{command:?} failed:\n{complaint}"),
    }
}

pub(crate) fn try_run(command: &mut Command, input: &str) -> Result<String, String> {
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let stdin = child.stdin.take();
    std::thread::scope(|scope| {
        if let Some(mut stdin) = stdin {
            // A program that stops reading says why by itself.
            scope.spawn(move || stdin.write_all(input.as_bytes()).ok());
        }
        let output = child
            .wait_with_output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    })
}

fn we_are_root() -> bool {
    fs::metadata(Path::new("/proc/self")).is_ok_and(|process| process.uid() == 0)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: start these tests with tests/run"))
}
