//! The program, as a process: what it says, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use auth_ext_tests::Cluster;

use crate::certificates::Authority;

/// Long, for machines that are busy.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Program(Command);

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    pub code: Option<i32>,
    pub said: Vec<String>,
}

/// A service that runs until it is told to stop, or goes out of scope.
pub struct Running {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Program {
    /// It believes the tests' authority, and finds nothing else in its environment.
    pub fn new(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_auth-ext-jwks"));
        command
            .env_clear()
            .env("SSL_CERT_FILE", believed(cluster))
            .args(arguments);
        Self(command)
    }

    pub fn argument(&mut self, argument: &str) {
        self.0.arg(argument);
    }

    pub fn variable(&mut self, name: &str, value: &str) {
        self.0.env(name, value);
    }

    #[track_caller]
    pub fn run(mut self) -> Outcome {
        let output = self.0.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        Outcome {
            code: output.status.code(),
            said: said.lines().map(str::to_owned).collect(),
        }
    }

    /// The same where nothing may fail.
    #[track_caller]
    pub fn run_well(self) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.code, Some(0), "{outcome:#?}");
        outcome
    }

    /// The same where there is nothing to say, either.
    #[track_caller]
    pub fn run_in_silence(self) {
        let outcome = self.run_well();
        assert!(outcome.said.is_empty(), "{outcome:?}");
    }

    #[track_caller]
    pub fn start(mut self) -> Running {
        let mut child = self
            .0
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| heard.lock().unwrap().push(line))
        });
        Running { child, said }
    }
}

impl Outcome {
    /// What was said of an issuer.
    pub fn of(&self, issuer: &str) -> Vec<&str> {
        let said = self.said.iter();
        said.filter_map(|line| line.strip_prefix(issuer)?.strip_prefix(": "))
            .collect()
    }
}

impl Running {
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits for a line that has all of these parts.
    #[track_caller]
    pub fn says(&self, parts: &[&str]) -> String {
        let mut found = None;
        self.until(&format!("said {parts:?}"), || {
            found = self
                .said()
                .into_iter()
                .find(|line| parts.iter().all(|part| line.contains(part)));
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until it is so.
    #[track_caller]
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(
                Instant::now() < deadline,
                "never: {what}\n{:#?}",
                self.said()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends it by a signal; its exit code.
    #[track_caller]
    pub fn stop(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it goes on after SIG{signal}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the program's words ---\n{}", self.said().join("\n"));
        }
        // It may have ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A file with the certificate of the authority.
pub fn believed(cluster: &Cluster) -> PathBuf {
    let file = cluster.scratch("authority").join("ca.pem");
    fs::write(&file, Authority::believed().pem()).unwrap();
    file
}
