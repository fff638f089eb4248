//! A client that listens.

use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, Notification};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// Notifications of one channel, read without guessing how long to wait: the listener sends itself a mark,
/// and whatever was committed before it arrives before it.
pub struct Listener {
    client: Client,
    channel: String,
    marks: u32,
}

impl Listener {
    /// Listens from now on.
    #[track_caller]
    pub fn on(mut client: Client, channel: &str) -> Self {
        client
            .batch_execute(&format!("LISTEN \"{channel}\""))
            .expect("LISTEN");
        Self {
            client,
            channel: channel.into(),
            marks: 0,
        }
    }

    /// The payloads of all that was committed since the last call (or since the start), in commit order.
    #[track_caller]
    pub fn payloads(&mut self) -> Vec<String> {
        self.marks += 1;
        let mark = format!("mark {}", self.marks);
        self.client
            .execute("SELECT pg_notify($1, $2)", &[&self.channel, &mark])
            .expect("pg_notify");
        let mut payloads = Vec::new();
        loop {
            match self.next() {
                Some(notification) if notification.payload() == mark => return payloads,
                Some(notification) => payloads.push(notification.payload().to_owned()),
                None => panic!("the server delivers nothing; so far: {payloads:?}"),
            }
        }
    }

    /// The same, parsed.
    #[track_caller]
    pub fn events(&mut self) -> Vec<Value> {
        let parse = |payload: &String| {
            serde_json::from_str(payload).unwrap_or_else(|error| panic!("{payload}: {error}"))
        };
        self.payloads().iter().map(parse).collect()
    }

    fn next(&mut self) -> Option<Notification> {
        self.client
            .notifications()
            .timeout_iter(PATIENCE)
            .next()
            .expect("a living connection")
    }
}
