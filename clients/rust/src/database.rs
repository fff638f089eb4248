//! What a cache asks the database.

use std::future::Future;

use crate::api_key::ApiKeyRow;
use crate::error::Error;
use crate::token::TokenRow;

/// Asks the database about tokens and keys. Implemented by [`Postgres`](crate::Postgres) (tokio-postgres) and
/// [`sqlx::PgPool`](https://docs.rs/sqlx), and by whatever pool of your own you have.
pub trait Database: Send + Sync + 'static {
    /// One row of [`CHECK_TOKEN`], run in a transaction of its own that begins after this call. `device` is JSON text.
    ///
    /// # Errors
    /// Its `reason`, when it is not `valid`; or that the database did not answer, within a time of your choice.
    fn check_token(
        &self,
        token: &str,
        device: Option<&str>,
    ) -> impl Future<Output = Result<TokenRow, Error>> + Send;

    /// One row of [`VERIFY_API_KEY`], likewise. A refusal is an error of the server, with SQLSTATE 28000 and the reason
    /// as DETAIL.
    ///
    /// # Errors
    /// A refusal, or that the database did not answer.
    fn verify_api_key(&self, key: &str) -> impl Future<Output = Result<ApiKeyRow, Error>> + Send;
}

/// Checks token `$1` from device `$2` (JSON text, or NULL). Times are seconds since 1970.
pub const CHECK_TOKEN: &str = "
    SELECT valid, reason, user_id, session_version, current_session_version,
           extract(epoch FROM issued_at)::float8 AS issued_at, extract(epoch FROM expires_at)::float8 AS expires_at,
           token_id, issuer, kid, claims::text AS claims,
           extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining
    FROM auth.check_jwt($1, $2::text::jsonb)";

/// Verifies key `$1`: `verify_api_key`, not `check_api_key`, for the fingerprint of a key that has none yet and for the
/// time of its last use.
pub const VERIFY_API_KEY: &str = "
    SELECT id, user_id, session_version, fingerprint, extract(epoch FROM expires_at)::float8 AS expires_at,
           extract(epoch FROM expires_at - clock_timestamp())::float8 AS remaining
    FROM auth.verify_api_key($1)";

/// The `application_name` of a listener's connection.
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
pub(crate) const LISTENER: &str = "auth_ext listener";

/// The place in the log, for a listener.
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
pub(crate) const CURSOR: &str = "SELECT auth.invalidation_cursor()";

/// What was committed since the cursor `$1`.
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
pub(crate) const SINCE: &str = "SELECT event::text, next_cursor FROM auth.invalidations_since($1)";

/// Reads the fields of a struct from the columns of their names, for both drivers: their rows have the same methods, and no trait in
/// common.
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
macro_rules! fields {
    ($row:ident, $struct:ident: $($field:ident)*) => {
        $struct { $($field: $row.try_get(stringify!($field))?),* }
    };
}

/// A row of [`CHECK_TOKEN`]. Returns a refusal.
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
macro_rules! token_row {
    ($row:expr) => {{
        let row = $row;
        let valid: bool = row.try_get("valid")?;
        if !valid {
            let reason: Option<&str> = row.try_get("reason")?;
            return Err(Error::of_reason(reason.unwrap_or_default()));
        }
        fields!(row, TokenRow: user_id session_version current_session_version issued_at expires_at
            token_id issuer kid claims remaining)
    }};
}

/// A row of [`VERIFY_API_KEY`].
#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
macro_rules! api_key_row {
    ($row:expr) => {{
        let row = $row;
        fields!(row, ApiKeyRow: id user_id session_version expires_at remaining)
    }};
}

#[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
pub(crate) use {api_key_row, fields, token_row};
