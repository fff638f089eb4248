//! sqlx: look-ups through a pool, the listener's connection, and transactions that are somebody's.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgListener, PgPoolOptions, PgRow};
use sqlx::{PgPool, PgTransaction, Row};
use tokio::time::timeout;

use crate::api_key::ApiKeyRow;
use crate::credential::Credential;
use crate::database::{
    CHECK_TOKEN, CURSOR, Database, LISTENER, SINCE, VERIFY_API_KEY, api_key_row, fields, token_row,
};
use crate::error::Error;
use crate::listener::{Session, Source};
use crate::token::TokenRow;

/// How long an answer is waited for. (How long for a connection of the pool, says its `acquire_timeout`.)
const ANSWER: Duration = Duration::from_secs(5);

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        let said = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
            .map(|said| (said.code().to_owned(), said.detail().map(str::to_owned)));
        match said {
            None => Self::unavailable(error),
            Some((sqlstate, detail)) => {
                Self::of_response(&sqlstate, detail.as_deref(), error.into())
            }
        }
    }
}

async fn one(
    pool: &PgPool,
    sql: &'static str,
    parameters: &[Option<&str>],
) -> Result<PgRow, Error> {
    let mut connection = pool.acquire().await?;
    let query = parameters
        .iter()
        .fold(sqlx::query(sql), |query, parameter| query.bind(*parameter));
    match timeout(ANSWER, query.fetch_one(&mut *connection)).await {
        Ok(row) => Ok(row?),
        Err(_) => {
            // A network may have swallowed it: not back into the pool.
            drop(connection.detach());
            Err(Error::unavailable("no answer in time"))
        }
    }
}

impl Database for PgPool {
    async fn check_token(&self, token: &str, device: Option<&str>) -> Result<TokenRow, Error> {
        let row = one(self, CHECK_TOKEN, &[Some(token), device]).await?;
        Ok(token_row!(row))
    }

    async fn verify_api_key(&self, key: &str) -> Result<ApiKeyRow, Error> {
        let row = one(self, VERIFY_API_KEY, &[Some(key)]).await?;
        Ok(api_key_row!(row))
    }
}

impl Source for PgPool {
    type Session = SqlxSession;

    /// A connection of its own, with the options of the pool: none of the pool's.
    async fn connect(&self) -> Result<SqlxSession, Error> {
        let options = self.connect_options().as_ref().clone();
        connect(options.application_name(LISTENER)).await
    }
}

async fn connect(options: PgConnectOptions) -> Result<SqlxSession, Error> {
    let one = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options);
    let mut listener = PgListener::connect_with(&one).await?;
    // A lost connection must not come back by itself: what was missed has to be caught up.
    listener.eager_reconnect(false);
    listener.ignore_pool_close_event(true);
    Ok(SqlxSession(listener))
}

fn is_read_only(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .is_some_and(|said| said.code().as_deref() == Some("25006"))
}

/// The connection of a listener.
pub struct SqlxSession(PgListener);

impl std::fmt::Debug for SqlxSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqlxSession").finish_non_exhaustive()
    }
}

impl Session for SqlxSession {
    async fn listen(&mut self) -> Result<bool, Error> {
        match self.0.listen("auth_invalidation").await {
            Err(error) if is_read_only(&error) => Ok(false),
            listening => Ok(listening.map(|()| true)?),
        }
    }

    async fn cursor(&mut self) -> Result<String, Error> {
        let query = sqlx::query_scalar(CURSOR).persistent(false);
        Ok(query.fetch_one(&mut self.0).await?)
    }

    async fn since(&mut self, cursor: &str) -> Result<(Vec<String>, Option<String>), Error> {
        let query = sqlx::query_as::<_, (String, String)>(SINCE)
            .bind(cursor)
            .persistent(false);
        let rows = query.fetch_all(&mut self.0).await?;
        let next = rows.first().map(|(_, next)| next.clone());
        Ok((rows.into_iter().map(|(event, _)| event).collect(), next))
    }

    async fn hear(&mut self) -> Result<String, Error> {
        match self.0.try_recv().await? {
            Some(notification) => Ok(notification.payload().to_owned()),
            None => Err(Error::unavailable("the connection has ended")),
        }
    }
}

impl Credential {
    /// Begins a transaction in which this is the identity that row-level security sees. The database verifies it
    /// then, whatever a cache knows. Dropping the transaction rolls it back.
    ///
    /// # Errors
    /// A refusal, or why the database could not be asked.
    pub async fn begin_sqlx(&self, pool: &PgPool) -> Result<PgTransaction<'static>, Error> {
        let mut transaction = pool.begin().await?;
        self.authenticate_in_sqlx(&mut transaction).await?;
        Ok(transaction)
    }

    /// The same in a transaction that you have begun.
    ///
    /// # Errors
    /// A refusal, or why the database could not be asked. The transaction can only be rolled back then.
    pub async fn authenticate_in_sqlx(
        &self,
        transaction: &mut PgTransaction<'_>,
    ) -> Result<(), Error> {
        let (sql, secret) = self.authenticate();
        sqlx::query(sql)
            .bind(secret)
            .execute(&mut **transaction)
            .await?;
        Ok(())
    }
}
