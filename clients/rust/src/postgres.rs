//! tokio-postgres: look-ups, the listener's connection, and transactions that are somebody's.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Row, Socket, Transaction};

use crate::api_key::ApiKeyRow;
use crate::credential::Credential;
use crate::database::{
    CHECK_TOKEN, CURSOR, Database, LISTENER, SINCE, VERIFY_API_KEY, api_key_row, fields, token_row,
};
use crate::error::Error;
use crate::listener::{Session, Source};
use crate::token::TokenRow;

type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            None => Self::unavailable(error),
            Some(said) => {
                let (sqlstate, detail) = (
                    said.code().code().to_owned(),
                    said.detail().map(str::to_owned),
                );
                Self::of_response(&sqlstate, detail.as_deref(), error.into())
            }
        }
    }
}

/// A database, reached by tokio-postgres: for a listener, and for the look-ups of caches. Connects when it is asked,
/// and again when a connection was lost or did not answer in time. Its statements are not prepared: it works through
/// a pooler in transaction mode, too. A clone shares the connections.
#[derive(Clone)]
pub struct Postgres<T>(Arc<Inner<T>>);

struct Inner<T> {
    config: Config,
    tls: T,
    timeout: Duration,
    /// Pipelined, each used by many at once.
    connections: [Mutex<Option<Arc<Connection>>>; 2],
    next: AtomicUsize,
}

/// Ends with its last user.
struct Connection {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<T> std::fmt::Debug for Postgres<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Postgres").finish_non_exhaustive()
    }
}

impl<T> Postgres<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    /// Answers are waited for five seconds.
    pub fn new(config: Config, tls: T) -> Self {
        Self::with_timeout(config, tls, Duration::from_secs(5))
    }

    /// Answers are waited for so long; then the database counts as away, and the connection as lost.
    pub fn with_timeout(config: Config, tls: T, timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            config,
            tls,
            timeout,
            connections: Default::default(),
            next: AtomicUsize::new(0),
        }))
    }

    async fn one(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Row, Error> {
        let places = &self.0.connections;
        let number = self.0.next.fetch_add(1, Ordering::Relaxed) % places.len();
        let Some(place) = places.get(number) else {
            return Err(Error::unavailable("no connection")); // there are two
        };
        let asking = async {
            let connection = self.connection(place).await?;
            let answer = timeout(
                self.0.timeout,
                connection.client.query_typed_one(sql, parameters),
            )
            .await;
            let Ok(answer) = answer else {
                // A network may have swallowed it: whoever asks next connects again.
                let mut kept = place.lock().await;
                kept.take_if(|kept| Arc::ptr_eq(kept, &connection));
                return Err(Error::unavailable("no answer in time"));
            };
            Ok(answer?)
        };
        let all = timeout(2 * self.0.timeout, asking).await;
        all.unwrap_or_else(|_| Err(Error::unavailable("no connection in time")))
    }

    async fn connection(
        &self,
        place: &Mutex<Option<Arc<Connection>>>,
    ) -> Result<Arc<Connection>, Error> {
        let mut kept = place.lock().await;
        if let Some(connection) = kept.as_ref().filter(|kept| !kept.client.is_closed()) {
            return Ok(connection.clone());
        }
        *kept = None;
        let connecting = timeout(self.0.timeout, self.0.config.connect(self.0.tls.clone())).await;
        let Ok(connected) = connecting else {
            return Err(Error::unavailable("no connection in time"));
        };
        let (client, connection) = connected?;
        let task = tokio::spawn(async move {
            // An error also reaches whoever waits for an answer.
            connection.await.ok();
        });
        Ok(kept.insert(Arc::new(Connection { client, task })).clone())
    }
}

impl<T> Database for Postgres<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    async fn check_token(&self, token: &str, device: Option<&str>) -> Result<TokenRow, Error> {
        let row = self
            .one(CHECK_TOKEN, &[(&token, Type::TEXT), (&device, Type::TEXT)])
            .await?;
        Ok(token_row!(row))
    }

    async fn verify_api_key(&self, key: &str) -> Result<ApiKeyRow, Error> {
        let row = self.one(VERIFY_API_KEY, &[(&key, Type::TEXT)]).await?;
        Ok(api_key_row!(row))
    }
}

impl<T> Source for Postgres<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    type Session = PostgresSession;

    async fn connect(&self) -> Result<PostgresSession, Error> {
        let mut config = self.0.config.clone();
        config.application_name(LISTENER);
        let (client, mut connection) = config.connect(self.0.tls.clone()).await?;
        let (payloads, heard) = mpsc::unbounded_channel();
        // tokio-postgres hands notifications to whoever polls the connection. The channel ends with it.
        let task = tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message
                    && payloads.send(notification.payload().to_owned()).is_err()
                {
                    break;
                }
            }
        });
        Ok(PostgresSession {
            connection: Connection { client, task },
            heard,
        })
    }
}

/// The connection of a listener.
pub struct PostgresSession {
    connection: Connection,
    heard: mpsc::UnboundedReceiver<String>,
}

impl std::fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSession").finish_non_exhaustive()
    }
}

impl Session for PostgresSession {
    async fn listen(&mut self) -> Result<bool, Error> {
        let client = &self.connection.client;
        match client.batch_execute("LISTEN auth_invalidation").await {
            Err(error) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => Ok(false),
            listening => Ok(listening.map(|()| true)?),
        }
    }

    async fn cursor(&mut self) -> Result<String, Error> {
        let row = self.connection.client.query_typed_one(CURSOR, &[]).await?;
        Ok(row.try_get(0)?)
    }

    async fn since(&mut self, cursor: &str) -> Result<(Vec<String>, Option<String>), Error> {
        let rows = self
            .connection
            .client
            .query_typed(SINCE, &[(&cursor, Type::TEXT)])
            .await?;
        let next = rows.first().map(|row| row.try_get(1)).transpose()?;
        let events = rows
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        Ok((events, next))
    }

    async fn hear(&mut self) -> Result<String, Error> {
        self.heard
            .recv()
            .await
            .ok_or_else(|| Error::unavailable("the connection has ended"))
    }
}

impl Credential {
    /// Begins a transaction in which this is the identity that row-level security sees. The database verifies it
    /// then, whatever a cache knows. Dropping the transaction rolls it back.
    ///
    /// # Errors
    /// A refusal, or why the database could not be asked.
    pub async fn begin<'c>(&self, client: &'c mut Client) -> Result<Transaction<'c>, Error> {
        let transaction = client.transaction().await?;
        self.authenticate_in(&transaction).await?;
        Ok(transaction)
    }

    /// The same in a transaction that you have begun: with a pool of your own, or another isolation level.
    ///
    /// # Errors
    /// A refusal, or why the database could not be asked. The transaction can only be rolled back then.
    pub async fn authenticate_in(&self, transaction: &Transaction<'_>) -> Result<(), Error> {
        let (sql, secret) = self.authenticate();
        transaction
            .query_typed_one(sql, &[(&secret, Type::TEXT)])
            .await?;
        Ok(())
    }
}
