//! The database: what is to be fetched, what was fetched, and what has changed. All that the profile `fetcher` may do.

use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::tls::{MakeTlsConnect, TlsStream};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, NoTls, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::failure::Failure;
use crate::place::Place;
use crate::tls;

/// What is over it counts as lost: the network may have swallowed it.
const PATIENCE: Duration = Duration::from_secs(30);

/// An issuer whose key set is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub issuer: String,
    pub jwks_uri: String,
}

/// A connection.
pub struct Database {
    client: Client,
    heard: Arc<Notify>,
    warnings: mpsc::UnboundedReceiver<String>,
    task: JoinHandle<()>,
}

impl Drop for Database {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Database {
    pub async fn connect(place: &Place) -> Result<Self, Failure> {
        if place.config.get_ssl_mode() == SslMode::Disable {
            return Self::connect_by(place, NoTls).await;
        }
        let tls = tls::config(place.roots.as_deref())?;
        Self::connect_by(place, MakeRustlsConnect::new(tls)).await
    }

    async fn connect_by<T>(place: &Place, tls: T) -> Result<Self, Failure>
    where
        T: MakeTlsConnect<Socket, Stream: Send + 'static>,
    {
        let (client, connection) = in_time(place.config.connect(tls)).await?;
        let heard = Arc::new(Notify::new());
        let (warn, warnings) = mpsc::unbounded_channel();
        let task = tokio::spawn(attend(connection, heard.clone(), warn));
        Ok(Self {
            client,
            heard,
            warnings,
            task,
        })
    }

    /// From now on [`Database::heard`] returns when an issuer may have changed.
    pub async fn listen(&self) -> Result<(), Failure> {
        in_time(self.client.batch_execute("LISTEN auth_invalidation")).await
    }

    /// An issuer may have changed, or the connection has ended.
    pub async fn heard(&self) {
        self.heard.notified().await;
    }

    /// What there is to fetch.
    pub async fn sources(&self) -> Result<Vec<Source>, Failure> {
        let sql = "SELECT issuer, jwks_uri FROM auth.jwks_sources()";
        let rows = self.query(sql, &[]).await?;
        rows.iter()
            .map(|row| {
                Ok(Source {
                    issuer: column(row, 0)?,
                    jwks_uri: column(row, 1)?,
                })
            })
            .collect()
    }

    /// The issuers of which something was committed since the cursor, which moves on: one for each transaction. Without a cursor,
    /// and with one that this server does not know, none: then the rows themselves tell what is new.
    pub async fn changed(&self, cursor: &mut Option<String>) -> Result<Vec<String>, Failure> {
        let Some(former) = cursor.clone() else {
            let rows = self.query("SELECT auth.invalidation_cursor()", &[]).await?;
            *cursor = rows.first().map(|row| column(row, 0)).transpose()?;
            return Ok(Vec::new());
        };
        let sql = "SELECT min(next_cursor), coalesce(array_agg(event ->> 'issuer') FILTER (WHERE event ->> 'kind' = 'issuer'), '{}')
                   FROM auth.invalidations_since($1)";
        let rows = match in_time_or(self.client.query_typed(sql, &[(&former, Type::TEXT)])).await? {
            Err(error) if error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE) => {
                *cursor = None;
                return Ok(Vec::new());
            }
            answer => answer.map_err(|error| failure(&error))?,
        };
        let row = rows.first().ok_or_else(|| Failure::new("no answer"))?;
        *cursor = column::<Option<String>>(row, 0)?.or(Some(former));
        column(row, 1)
    }

    /// The keys of an issuer that verify now, as a JWKS.
    pub async fn present(&self, issuer: &str) -> Result<String, Failure> {
        let rows = self.query("SELECT auth.jwks($1)::text", &[issuer]).await?;
        let row = rows.first().ok_or_else(|| Failure::new("no answer"))?;
        column(row, 0)
    }

    /// Takes a set, if it is still to be fetched from there. Answers what the database remarks.
    pub async fn refresh(
        &mut self,
        source: &Source,
        document: &str,
    ) -> Result<Vec<String>, Failure> {
        while self.warnings.try_recv().is_ok() {}
        let sql = "SELECT (SELECT count(*) FROM auth.refresh_jwks(s.issuer, $3::jsonb))
                   FROM auth.jwks_sources() AS s WHERE s.issuer = $1 AND s.jwks_uri = $2";
        let rows = self
            .query(sql, &[&source.issuer, &source.jwks_uri, document])
            .await?;
        if rows.is_empty() {
            return Err(Failure::new("the issuer's row was changed meanwhile"));
        }
        Ok(std::iter::from_fn(|| self.warnings.try_recv().ok()).collect())
    }

    /// Without a prepared statement, for poolers in transaction mode.
    async fn query(&self, sql: &str, texts: &[&str]) -> Result<Vec<Row>, Failure> {
        let parameters: Vec<_> = texts.iter().map(|text| (text as _, Type::TEXT)).collect();
        in_time(self.client.query_typed(sql, &parameters)).await
    }
}

/// Serves the connection until it ends.
async fn attend<T>(
    mut connection: Connection<Socket, T>,
    heard: Arc<Notify>,
    warn: mpsc::UnboundedSender<String>,
) where
    T: TlsStream + Unpin,
{
    while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
        match message {
            AsyncMessage::Notification(said) if may_be_of_an_issuer(said.payload()) => {
                heard.notify_one()
            }
            // Whoever no longer asks for them is about to drop the connection.
            AsyncMessage::Notice(notice) if notice.parsed_severity() == Some(Severity::Warning) => {
                drop(warn.send(notice.message().to_owned()))
            }
            _ => {}
        }
    }
    heard.notify_one();
}

/// A payload is a hint that anybody can send; the log is asked. Only what is certainly of something else is passed over.
fn may_be_of_an_issuer(payload: &str) -> bool {
    #[derive(Deserialize)]
    struct Event {
        kind: String,
    }
    let kind = serde_json::from_str(payload).map(|event: Event| event.kind);
    !matches!(
        kind.as_deref(),
        Ok("user" | "api_key" | "token" | "session")
    )
}

async fn in_time<T>(asking: impl Future<Output = Result<T, Error>>) -> Result<T, Failure> {
    in_time_or(asking).await?.map_err(|error| failure(&error))
}

async fn in_time_or<T>(asking: impl Future<Output = T>) -> Result<T, Failure> {
    let answer = timeout(PATIENCE, asking).await;
    answer.map_err(|_| Failure::new("the database did not answer in time"))
}

/// What the server says, without its details: these may quote what it was sent.
fn failure(error: &Error) -> Failure {
    match error.as_db_error() {
        Some(said) => Failure::new(format!("{} ({})", said.message(), said.code().code())),
        None => Failure::cause(error),
    }
}

fn column<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T, Failure> {
    row.try_get(index).map_err(|error| failure(&error))
}
