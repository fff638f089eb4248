//! A process that caches, and what tests ask it: the drivers of `tests/listeners`.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::place::run;

const PATIENCE: Duration = Duration::from_secs(60);

/// The running process. It ends with its input.
pub struct CachingProcess {
    child: Child,
    asking: Mutex<Asking>,
    answers: Answers,
    complaints: Option<JoinHandle<Vec<String>>>,
}

struct Asking {
    number: u64,
    stdin: ChildStdin,
}

type Answers = Arc<Mutex<HashMap<u64, Sender<Value>>>>;

impl CachingProcess {
    /// Starts a driver.
    #[track_caller]
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let stdin = child.stdin.take().expect("its input");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let complaints = BufReader::new(child.stderr.take().expect("its errors")).lines();
        let answers = Answers::default();
        let waiting = Arc::clone(&answers);
        thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .for_each(|line| pass_on(&waiting, &line))
        });
        Self {
            child,
            asking: Mutex::new(Asking { number: 0, stdin }),
            answers,
            complaints: Some(thread::spawn(|| complaints.map_while(Result::ok).collect())),
        }
    }

    /// Asks; the answer comes when it comes.
    #[track_caller]
    pub fn begin(&self, question: &str) -> Receiver<Value> {
        let (sender, answer) = channel();
        let mut asking = self.asking.lock().expect("no panic while asking");
        asking.number += 1;
        let number = asking.number;
        let mut answers = self.answers.lock().expect("no panic while answering");
        answers.insert(number, sender);
        drop(answers);
        writeln!(asking.stdin, "{number} {question}").expect("a process that listens");
        answer
    }

    /// Asks, and waits for the answer.
    #[track_caller]
    pub fn ask(&self, question: &str) -> Value {
        match self.begin(question).recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(error) => panic!("no answer to {question}: {error}"),
        }
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        run(Command::new("kill").args(["-s", signal, &pid]));
    }
}

fn pass_on(waiting: &Answers, line: &str) {
    let answer = line.split_once(' ').and_then(|(number, answer)| {
        Some((number.parse().ok()?, serde_json::from_str(answer).ok()?))
    });
    let Some((number, answer)) = answer else {
        panic!("not an answer: {line}");
    };
    let mut waiting = waiting.lock().expect("no panic while asking");
    if let Some(sender) = waiting.remove::<u64>(&number) {
        sender.send(answer).ok(); // who asked may have gone
    }
}

impl Drop for CachingProcess {
    fn drop(&mut self) {
        // A panic here would hide the test's own.
        self.child.kill().ok();
        self.child.wait().ok();
        let complaints = self.complaints.take().map(JoinHandle::join);
        if let (true, Some(Ok(lines))) = (thread::panicking(), complaints) {
            eprintln!("--- the process said ---\n{}", lines.join("\n"));
        }
    }
}
