//! What a caller brings, and transactions that run as that caller.

use std::fmt;

/// A token or an API key. Its `Debug` shows neither.
#[derive(Clone)]
#[non_exhaustive]
pub enum Credential {
    /// An access token.
    Token(String),
    /// An API key.
    ApiKey(String),
}

impl Credential {
    /// The function that makes it the identity of a transaction, and its argument.
    #[cfg(any(feature = "tokio-postgres", feature = "sqlx"))]
    pub(crate) fn authenticate(&self) -> (&'static str, &str) {
        match self {
            Self::Token(token) => ("SELECT auth.authenticate($1) IS NOT NULL", token),
            Self::ApiKey(key) => ("SELECT auth.authenticate_api_key($1) IS NOT NULL", key),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::ApiKey(_) => "ApiKey(…)",
        })
    }
}
