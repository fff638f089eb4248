//! PostgreSQL's protocol, spoken here: for logins that no driver can do yet, and those that none would do.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::Cluster;

/// A connection that was opened with a token (SASL OAUTHBEARER, RFC 7628).
pub struct Wire {
    stream: UnixStream,
    /// What the server said of itself: `server_version`, `is_superuser` and so on.
    pub parameters: HashMap<String, String>,
}

/// Why there is none, or why a query failed.
#[derive(Debug, Default)]
pub struct Failure {
    /// Every field of the server's error, by its letter; none where the server just closed the connection.
    pub fields: HashMap<char, String>,
    /// What it was told before: the error of SASL, notices.
    pub before: Vec<String>,
}

impl Failure {
    /// Its SQLSTATE.
    #[must_use]
    pub fn code(&self) -> &str {
        self.field('C')
    }

    /// Its message.
    #[must_use]
    pub fn message(&self) -> &str {
        self.field('M')
    }

    /// One field; empty where the error has not got it.
    #[must_use]
    pub fn field(&self, letter: char) -> &str {
        self.fields.get(&letter).map_or("", String::as_str)
    }
}

/// A query's rows, as text; empty for NULL.
pub type Rows = Vec<Vec<String>>;

impl Wire {
    /// Opens a connection with a token.
    pub fn with_token(
        cluster: &Cluster,
        startup: &[(&str, &str)],
        token: &str,
    ) -> Result<Self, Failure> {
        Self::open(
            cluster,
            startup,
            format!("n,,\x01auth=Bearer {token}\x01\x01").as_bytes(),
            &[],
        )
    }

    /// Opens one with whatever first response, which `more` follows at once.
    pub fn open(
        cluster: &Cluster,
        startup: &[(&str, &str)],
        response: &[u8],
        more: &[u8],
    ) -> Result<Self, Failure> {
        let socket = cluster.host().join(".s.PGSQL.5432");
        let stream = UnixStream::connect(socket).expect("the server's socket");
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).expect("a time-out");
        let mut wire = Self {
            stream,
            parameters: HashMap::new(),
        };
        let mut first = 196_608_u32.to_be_bytes().to_vec();
        for (name, value) in startup {
            first.extend(format!("{name}\0{value}\0").bytes());
        }
        first.push(0);
        wire.send(None, &first).expect("the first message");
        wire.log_in(response, more)?;
        Ok(wire)
    }

    fn log_in(&mut self, response: &[u8], more: &[u8]) -> Result<(), Failure> {
        let mut before = Vec::new();
        loop {
            let Ok((kind, body)) = self.receive() else {
                let fields = HashMap::new();
                return Err(Failure { fields, before });
            };
            match (kind, number(&body)) {
                ('R', 10) => {
                    let methods = String::from_utf8_lossy(&body).into_owned();
                    assert!(methods.contains("OAUTHBEARER"), "{methods}");
                    let mut initial = b"OAUTHBEARER\0".to_vec();
                    initial.extend(length(response.len()));
                    initial.extend(response);
                    self.send(Some('p'), &initial).expect("a response");
                    // The server may have gone already.
                    self.stream.write_all(more).ok();
                }
                ('R', 11) => {
                    before.push(String::from_utf8_lossy(&body).into_owned());
                    self.send(Some('p'), b"\x01").expect("a response");
                }
                ('R', 0 | 12) | ('K', _) => {}
                ('S', _) => {
                    let mut texts = texts(&body).into_iter();
                    if let (Some(name), Some(value)) = (texts.next(), texts.next()) {
                        self.parameters.insert(name, value);
                    }
                }
                ('N', _) => before.push(String::from_utf8_lossy(&body).into_owned()),
                ('E', _) => {
                    let fields = fields(&body);
                    return Err(Failure { fields, before });
                }
                ('Z', _) => return Ok(()),
                other => panic!("the server said {other:?}"),
            }
        }
    }

    /// Runs statements; the rows of all.
    pub fn query(&mut self, sql: &str) -> Result<Rows, Failure> {
        let mut failure = None;
        let mut rows = Vec::new();
        self.send(Some('Q'), format!("{sql}\0").as_bytes())
            .map_err(|_| Failure::default())?;
        loop {
            match self.receive() {
                Err(_) => return Err(failure.unwrap_or_default()),
                Ok(('D', body)) => rows.push(columns(&body)),
                Ok(('E', body)) => {
                    failure = Some(Failure {
                        fields: fields(&body),
                        before: Vec::new(),
                    });
                }
                Ok(('Z', _)) => return failure.map_or(Ok(rows), Err),
                Ok(_) => {}
            }
        }
    }

    /// The rows of statements that hold, each row's columns with a space between.
    #[track_caller]
    pub fn show(&mut self, sql: &str) -> String {
        match self.query(sql) {
            Ok(rows) => {
                let rows: Vec<_> = rows.iter().map(|row| row.join(" ")).collect();
                rows.join(", ")
            }
            Err(failure) => panic!("{failure:?}\n{sql}"),
        }
    }

    fn send(&mut self, kind: Option<char>, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&message(kind, body))
    }

    fn receive(&mut self) -> io::Result<(char, Vec<u8>)> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let length = usize::try_from(number(&head[1..])).expect("a length");
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body)?;
        Ok((char::from(head[0]), body))
    }
}

/// A message of the client's; the first of a connection has no letter.
#[must_use]
pub fn message(kind: Option<char>, body: &[u8]) -> Vec<u8> {
    let mut message: Vec<u8> = kind.map(|kind| kind as u8).into_iter().collect();
    message.extend(length(body.len() + 4));
    message.extend(body);
    message
}

fn length(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("a short message")
        .to_be_bytes()
}

fn number(octets: &[u8]) -> u32 {
    let mut number = [0; 4];
    for (to, from) in number.iter_mut().zip(octets) {
        *to = *from;
    }
    u32::from_be_bytes(number)
}

fn texts(body: &[u8]) -> Vec<String> {
    body.split(|octet| *octet == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned())
        .collect()
}

fn fields(body: &[u8]) -> HashMap<char, String> {
    let field = |text: String| {
        let letter = text.chars().next()?;
        Some((letter, text[letter.len_utf8()..].to_owned()))
    };
    texts(body).into_iter().filter_map(field).collect()
}

fn columns(body: &[u8]) -> Vec<String> {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while !rest.is_empty() {
        let (head, tail) = rest.split_at(4);
        // -1 is NULL.
        let length = usize::try_from(number(head).cast_signed()).unwrap_or(0);
        let (text, tail) = tail.split_at(length);
        columns.push(String::from_utf8_lossy(text).into_owned());
        rest = tail;
    }
    columns
}
