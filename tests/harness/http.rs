//! HTTP, as much as it takes to ask PostgREST: version 1.0, where a response simply ends with the connection.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    head: String,
    body: String,
}

/// The answer to one.
#[derive(Debug)]
pub struct Response {
    /// 200, say.
    pub status: u16,
    /// JSON, or null where there is none.
    pub body: Value,
}

impl Request {
    /// Reads.
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self::new("GET", path, String::new())
    }

    /// Sends JSON.
    #[must_use]
    pub fn post(path: &str, body: &Value) -> Self {
        Self::new("POST", path, body.to_string())
    }

    /// Sends JSON with another method.
    #[must_use]
    pub fn patch(path: &str, body: &Value) -> Self {
        Self::new("PATCH", path, body.to_string())
    }

    fn new(method: &str, path: &str, body: String) -> Self {
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\n");
        let request = Self { head, body };
        let length = request.body.len().to_string();
        request
            .header("Content-Type", "application/json")
            .header("Content-Length", length)
    }

    /// Adds a header, also one that is there.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Self {
        self.head += &format!("{name}: {}\r\n", value.as_ref());
        self
    }

    /// Adds a token as the header that OAuth 2.0 has for it.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", format!("Bearer {token}"))
    }

    #[track_caller]
    pub(crate) fn send(&self, mut stream: UnixStream) -> Response {
        let request = format!("{}\r\n{}", self.head, self.body);
        stream.write_all(request.as_bytes()).expect("a reader");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Response {
            status: status.unwrap_or_else(|| panic!("no status: {answer}")),
            body: serde_json::from_str(body).unwrap_or(Value::Null),
        }
    }
}
