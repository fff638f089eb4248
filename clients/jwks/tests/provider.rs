//! A provider of key sets that speaks TLS (or not), and does what it is told.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::certificates::Certificate;

/// How a client begins that speaks TLS.
const TLS: [u8; 1] = [0x16];

/// Writes an answer, however wrong.
pub type Answer = Arc<dyn Fn(&mut dyn Write) -> io::Result<()> + Send + Sync>;

pub struct Provider {
    state: Arc<Mutex<State>>,
    port: u16,
    scheme: &'static str,
}

#[derive(Default)]
struct State {
    /// None: it speaks plain HTTP.
    tls: Option<Arc<ServerConfig>>,
    answers: HashMap<String, Answer>,
    /// The paths that were asked for.
    asked: Vec<String>,
}

impl Provider {
    /// One with a good certificate.
    pub fn start() -> Self {
        Self::with(Some(Certificate::good().config()), "https")
    }

    /// One without TLS.
    pub fn plain() -> Self {
        Self::with(None, "http")
    }

    fn with(tls: Option<Arc<ServerConfig>>, scheme: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State {
            tls,
            ..State::default()
        }));
        let serving = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), serving.clone());
                // Who is refused, or has waited long enough, hangs up.
                thread::spawn(move || serve(stream, &state).ok());
            }
        });
        Self {
            state,
            port,
            scheme,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", self.scheme, self.port)
    }

    /// What it answers at a path from now on.
    pub fn answer(&self, path: &str, answer: Answer) {
        self.state().answers.insert(path.to_owned(), answer);
    }

    /// Who it says that it is; None: it no longer speaks TLS.
    pub fn certify(&self, certificate: Option<&Certificate>) {
        self.state().tls = certificate.map(Certificate::config);
    }

    /// How often a path was asked for.
    pub fn asked(&self, path: &str) -> usize {
        self.state()
            .asked
            .iter()
            .filter(|asked| *asked == path)
            .count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let tls = state.lock().unwrap().tls.clone();
    match tls {
        None => respond(stream, state),
        Some(config) => {
            let connection = ServerConnection::new(config).map_err(io::Error::other)?;
            let mut stream = StreamOwned::new(connection, stream);
            respond(&mut stream, state)?;
            stream.conn.send_close_notify();
            stream.flush()
        }
    }
}

fn respond(mut stream: impl Read + Write, state: &Mutex<State>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
        if head == TLS {
            return stream.write_all(b"HTTP/1.1 400 X\r\n\r\n");
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(path.clone());
        state.answers.get(&path).cloned()
    };
    answer.unwrap_or_else(|| status(404))(&mut stream)?;
    stream.flush()
}

/// These octets.
pub fn raw(octets: impl Into<Vec<u8>>) -> Answer {
    let octets = octets.into();
    Arc::new(move |stream| stream.write_all(&octets))
}

/// A status without a body.
pub fn status(status: u16) -> Answer {
    raw(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"))
}

/// 200 with these lines of headers beside the length.
pub fn with_headers(headers: &str, body: &str) -> Answer {
    raw(format!(
        "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

pub fn ok(body: &str) -> Answer {
    with_headers("Content-Type: application/json\r\n", body)
}

pub fn redirect(location: &str) -> Answer {
    raw(format!(
        "HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    ))
}

/// A head, then the same piece again and again, with pauses, until nobody reads any more.
pub fn endless(head: &str, piece: &str, pause: Duration) -> Answer {
    let (head, piece) = (head.to_owned(), piece.to_owned());
    Arc::new(move |stream| {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(piece.as_bytes())?;
            stream.flush()?;
            thread::sleep(pause);
        }
    })
}
