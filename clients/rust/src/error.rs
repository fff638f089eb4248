//! What can go wrong: a refusal, a database that is away, or one that is not set up.

use std::fmt;
use std::sync::Arc;

/// Why a token or a key was not accepted, or could not be checked.
///
/// The three are answered differently: a refusal is the caller's fault (401), a database that is away nobody's
/// (503), and the last one the application's (500).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// The database looked, and refused.
    Refused(Refusal),
    /// The database could not be asked, or did not answer in time. Nothing is known about the token.
    Unavailable(Cause),
    /// The database answered with an error that is no refusal: no issuer, no key table, no privilege, a wrong argument.
    Database(Cause),
}

impl Error {
    /// The refusal, when it is one.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// A refusal for this reason.
    pub fn refused(reason: Reason) -> Self {
        Self::Refused(Refusal { reason })
    }

    /// The database is away.
    pub fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }

    /// What a reason means: a standby that cannot show how far it is says nothing about the token.
    pub(crate) fn of_reason(reason: &str) -> Self {
        match Reason::from(reason) {
            Reason::StaleStandby => Self::unavailable("stale_standby"),
            reason => Self::refused(reason),
        }
    }

    /// What an error response of the server means. `detail` is the DETAIL field, a refusal's reason.
    pub(crate) fn of_response(sqlstate: &str, detail: Option<&str>, cause: Cause) -> Self {
        // Connections, resources, an operator, the system; a server that is read-only, or too busy with others.
        let away = ["08", "53", "57", "58", "25006", "40001"];
        match (sqlstate, detail) {
            ("28000" | "PT401", Some(reason)) => Self::of_reason(reason),
            _ if away.iter().any(|class| sqlstate.starts_with(class)) => Self::Unavailable(cause),
            _ => Self::Database(cause),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => refusal.fmt(f),
            Self::Unavailable(cause) => write!(f, "the database is unavailable: {cause}"),
            Self::Database(cause) => write!(f, "the database failed: {cause}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// An error of a driver, or a text. The extension puts no token, key or claim into its errors.
#[derive(Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    /// The driver's error.
    pub fn get(&self) -> &(dyn std::error::Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl<E: Into<Box<dyn std::error::Error + Send + Sync>>> From<E> for Cause {
    fn from(error: E) -> Self {
        Self(Arc::from(error.into()))
    }
}

/// A token or key that the database refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.reason)
    }
}

impl std::error::Error for Refusal {}

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $code:literal,)*) => {
        /// Why a token or key was refused: the reason codes of the extension.
        #[derive(Clone, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $(#[doc = concat!("`", $code, "`")] $(#[$meta])* $variant,)*
            /// A code that this version of the crate does not know. A refusal like any other.
            Other(String),
        }

        impl Reason {
            /// The code, as the database says it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $code,)*
                    Self::Other(code) => code,
                }
            }
        }

        impl From<&str> for Reason {
            fn from(code: &str) -> Self {
                match code {
                    $($code => Self::$variant,)*
                    _ => Self::Other(code.to_owned()),
                }
            }
        }

        #[cfg(test)]
        const CODES: &[&str] = &[$($code),*];
    };
}

reasons! {
    Malformed = "malformed",
    TooLarge = "too_large",
    UnsupportedAlgorithm = "unsupported_algorithm",
    AlgorithmMismatch = "algorithm_mismatch",
    UnknownKey = "unknown_key",
    BadSignature = "bad_signature",
    InvalidClaim = "invalid_claim",
    MissingClaim = "missing_claim",
    Expired = "expired",
    NotYetValid = "not_yet_valid",
    WrongIssuer = "wrong_issuer",
    WrongAudience = "wrong_audience",
    WrongPurpose = "wrong_purpose",
    IssuedBeforeCutoff = "issued_before_cutoff",
    Revoked = "revoked",
    DeviceMismatch = "device_mismatch",
    UnknownUser = "unknown_user",
    InactiveUser = "inactive_user",
    SessionVersionMissing = "session_version_missing",
    SessionVersionMismatch = "session_version_mismatch",
    UnknownApiKey = "unknown_api_key",
    InactiveApiKey = "inactive_api_key",
    ExpiredApiKey = "expired_api_key",
    NotAuthenticated = "not_authenticated",
    SessionEnded = "session_ended",
    UnknownSession = "unknown_session",
    NotRecent = "not_recent",
    StaleStandby = "stale_standby",
    /// Of `ended` alone: it verifies, but for another user.
    Unlinked = "unlinked",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_code_that_it_was_read_from() {
        assert_eq!(CODES.len(), 29);
        for code in CODES {
            let reason = Reason::from(*code);
            assert_eq!(reason.as_str(), *code);
            assert!(!matches!(reason, Reason::Other(_)), "{code}");
        }
        assert_eq!(
            Reason::from("new_in_0.3"),
            Reason::Other("new_in_0.3".to_owned())
        );
    }

    #[test]
    fn a_refusal_a_database_away_and_one_not_set_up_are_three_errors() {
        let of = |sqlstate, detail| Error::of_response(sqlstate, detail, "x".into());
        assert_eq!(
            of("28000", Some("expired")).refusal().map(|r| &r.reason),
            Some(&Reason::Expired)
        );
        for sqlstate in [
            "57P01", "57P03", "57014", "08006", "53300", "58030", "25006", "40001",
        ] {
            assert!(
                matches!(of(sqlstate, None), Error::Unavailable(_)),
                "{sqlstate}"
            );
        }
        assert!(matches!(
            of("28000", Some("stale_standby")),
            Error::Unavailable(_)
        ));
        for sqlstate in [
            "55000", "22023", "42501", "42883", "XX000", "28P01", "28000", "3D000",
        ] {
            assert!(
                matches!(of(sqlstate, None), Error::Database(_)),
                "{sqlstate}"
            );
        }
    }
}
