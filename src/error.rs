//! The one error type of the extension, and the only place that maps it to SQLSTATE, DETAIL and HINT.
//!
//! Nothing here carries a token, a key, a secret or a claim: messages name rules and the
//! administrator's own names (an issuer, a kid, a table, a column).

use jose::{KeyError, Refusal, Refused};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// Why a call fails.
#[derive(Clone, Debug)]
pub enum Error {
    /// A credential is refused: SQLSTATE 28000, DETAIL is the reason code.
    Refused(Refused),
    /// Something is missing that an administrator sets up: SQLSTATE 55000, with the call to make.
    NotSetUp(&'static str, &'static str),
    /// A wrong argument: SQLSTATE 22023.
    Argument(String),
    /// The caller may not: SQLSTATE 42501.
    Forbidden(String),
    /// What the extension relies on is not so: SQLSTATE XX000.
    Internal(String),
    /// Another transaction was in the way of this one's snapshot: SQLSTATE 40001.
    Retry,
}

/// The result of everything that can be refused.
pub type Result<T, E = Error> = core::result::Result<T, E>;

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Argument(error.to_string())
    }
}

impl Error {
    /// The library was called in a database without its tables.
    pub const NO_EXTENSION: Self = Self::NotSetUp(
        "extension auth_ext is not installed in this database",
        "CREATE EXTENSION auth_ext;",
    );
    /// A table or function that this library needs is not there.
    pub const OLD_EXTENSION: Self = Self::NotSetUp(
        "a table or function of auth_ext is missing",
        "ALTER EXTENSION auth_ext UPDATE;",
    );
    /// What is in shared memory is there with the preloaded library only.
    pub const NOT_PRELOADED: Self = Self::NotSetUp(
        "auth_ext is not preloaded",
        "Add auth_ext to shared_preload_libraries and restart the server.",
    );
    /// No issuer was named and none is the default.
    pub const NO_ISSUER: Self = Self::NotSetUp(
        "no default issuer is set up",
        "INSERT INTO auth.issuers (issuer, audience) VALUES ('https://api.example.com', '{example.com}');",
    );
    /// There are issuers, and none of them is the default: its row was deleted, say.
    pub const NO_DEFAULT_ISSUER: Self = Self::NotSetUp(
        "no issuer is the default one",
        "UPDATE auth.issuers SET is_default = true WHERE issuer = '…'; or name the issuer in the call.",
    );
    /// The issuer has no key to sign with.
    pub const NO_KEY: Self = Self::NotSetUp(
        "the issuer has no active signing key",
        "SELECT auth.create_signing_key();",
    );
    /// The secret of the key was left out by a restore: no dump has it.
    pub const NO_SECRET: Self = Self::NotSetUp(
        "the secret of the issuer's key is not here",
        "Import the key again with auth.import_keys() or auth.import_signing_key(), or SELECT auth.rotate_signing_key();",
    );
    /// The key came with a dump of which something that can end a token is not here yet.
    pub const PARTLY_RESTORED: Self = Self::NotSetUp(
        "the restore that the key came with is not complete",
        "Restore auth.revoking_issuers, auth.revoked_tokens, auth.session_issuers and auth.user_history of the same dump; SELECT restore_lacks FROM auth.health();",
    );
    /// The extension's tables are those of an older version.
    pub const NOT_UPDATED: Self = Self::NotSetUp(
        "the extension of this database is older than its library",
        "ALTER EXTENSION auth_ext UPDATE;",
    );
    /// No users table is attached, or the attached one is gone.
    pub const NO_USERS: Self = Self::NotSetUp(
        "no users table is attached",
        "SELECT auth.attach_users('your_schema.users');",
    );

    /// No API-key table is attached, or the attached one is gone.
    pub const NO_API_KEYS: Self = Self::NotSetUp(
        "no API-key table is attached",
        "SELECT auth.attach_api_keys('your_schema.api_keys');",
    );
    /// An issuer's users are found by an identities table, and none is attached, or the attached one is gone.
    pub const NO_IDENTITIES: Self = Self::NotSetUp(
        "no identities table is attached",
        "SELECT auth.attach_identities('your_schema.identities');",
    );
    /// The users table lacks a column or trigger that it had when it was attached.
    pub const BROKEN_USERS: Self = Self::NotSetUp(
        "a column or trigger of the attached users table is gone, renamed or disabled",
        "SELECT auth.attach_users('your_schema.users', …); again, naming its columns.",
    );
    /// The same of the identities table, whose unique index counts as well.
    pub const BROKEN_IDENTITIES: Self = Self::NotSetUp(
        "a column, the unique index or a trigger of the attached identities table is gone, renamed or disabled",
        "SELECT auth.attach_identities('your_schema.identities', …); again, naming its columns.",
    );
    /// An issuer's `user_column` cannot tell the users apart.
    pub const NO_USER_COLUMN: Self = Self::NotSetUp(
        "the issuer's user_column is no text, varchar, uuid, bigint or integer column of the users table with a unique index on it alone",
        "CREATE UNIQUE INDEX ON your_schema.users (your_column); or correct user_column in auth.issuers.",
    );
    /// The same of the API-key table.
    pub const BROKEN_API_KEYS: Self = Self::NotSetUp(
        "a column or trigger of the attached API-key table is gone, renamed or disabled",
        "SELECT auth.attach_api_keys('your_schema.api_keys', …); again, naming its columns.",
    );

    /// The error as a line of the server's log names it.
    #[cfg(feature = "pg18")]
    pub fn into_reason(self) -> String {
        match self {
            Self::Refused(refused) => refused.reason.code().to_owned(),
            Self::NotSetUp(message, _) => message.to_owned(),
            Self::Argument(message) | Self::Forbidden(message) | Self::Internal(message) => message,
            Self::Retry => "a concurrent update was in the way".to_owned(),
        }
    }

    /// The error as PostgreSQL reports it.
    pub fn report(self) -> ErrorReport {
        let (code, message, detail, hint) = match self {
            Self::Refused(refused) => (
                PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
                refused.to_string(),
                Some(refused.reason.code()),
                None,
            ),
            Self::NotSetUp(message, hint) => (
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                message.to_owned(),
                None,
                Some(hint),
            ),
            Self::Argument(message) => (
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                message,
                None,
                None,
            ),
            Self::Internal(message) => (
                PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
                format!("internal error in auth_ext: {message}"),
                None,
                None,
            ),
            Self::Forbidden(message) => (
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
                message,
                None,
                None,
            ),
            Self::Retry => (
                PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
                "could not serialize access due to concurrent update".to_owned(),
                None,
                None,
            ),
        };
        let mut report = ErrorReport::new(code, message, "auth_ext").set_domain(DOMAIN);
        if let Some(detail) = detail {
            report = report.set_detail(detail);
        }
        if let Some(hint) = hint {
            report = report.set_hint(hint);
        }
        report
    }
}

/// A caller's name for something, as a message quotes it: not more of it than a name is long.
pub fn quoted(name: &str) -> String {
    const LONGEST: usize = 80;
    match name.get(..name.floor_char_boundary(LONGEST)) {
        Some(cut) if cut.len() < name.len() => format!("\"{cut}…\""),
        _ => format!("\"{name}\""),
    }
}

/// Writes a line to the server log; no client sees it, whatever it asked for.
pub fn log(message: String) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        message,
        "auth_ext",
    )
    .set_domain(DOMAIN)
    .report(PgLogLevel::LOG_SERVER_ONLY);
}

/// Raises a WARNING about the administrator's own input.
pub fn warn(message: String) {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_WARNING, message, "auth_ext")
        .set_domain(DOMAIN)
        .report(PgLogLevel::WARNING);
}

/// Raises a NOTICE about what the administrator may not have meant.
pub fn notice(message: &str) {
    ErrorReport::new(
        PgSqlErrorCode::ERRCODE_SUCCESSFUL_COMPLETION,
        message.to_owned(),
        "auth_ext",
    )
    .set_domain(DOMAIN)
    .report(PgLogLevel::NOTICE);
}

/// The message domain of our reports, by which the log hook knows them.
pub const DOMAIN: &str = "auth_ext";
