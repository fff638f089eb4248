//! Why a token, key or hand-off is refused: the public reason codes, and nothing else.

use std::fmt;

/// One reason for a refusal. It carries no data, so it can go into any message or log line.
///
/// The list is the public contract's: this crate itself gives the first fourteen (up to and
/// including [`Refusal::IssuedBeforeCutoff`]) and [`Refusal::SessionVersionMissing`]; the layers
/// that know users, devices and API keys give the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("{}", self.explanation())]
pub enum Refusal {
    /// Not a well-formed compact JWS under this project's rules.
    Malformed,
    /// Longer than the configured limit; it was not decoded.
    TooLarge,
    /// The header names an algorithm that is not supported (`none` included).
    UnsupportedAlgorithm,
    /// The header's algorithm is not the key's.
    AlgorithmMismatch,
    /// No trusted key of that id verifies now.
    UnknownKey,
    /// The signature does not hold.
    BadSignature,
    /// A claim breaks its rule.
    InvalidClaim,
    /// A required claim is absent.
    MissingClaim,
    /// `exp` has passed.
    Expired,
    /// `nbf` or `iat` lies in the future.
    NotYetValid,
    /// `iss` is not the expected issuer.
    WrongIssuer,
    /// `aud` does not meet the issuer's audience.
    WrongAudience,
    /// The token was made for another purpose.
    WrongPurpose,
    /// Issued before the issuer's kill switch.
    IssuedBeforeCutoff,
    /// Revoked by itself.
    Revoked,
    /// Bound to another device.
    DeviceMismatch,
    /// No such user.
    UnknownUser,
    /// The user is not active.
    InactiveUser,
    /// The issuer requires a session version, and the token has none.
    SessionVersionMissing,
    /// The session version is not the user's current one.
    SessionVersionMismatch,
    /// No such API key.
    UnknownApiKey,
    /// The API key is not active.
    InactiveApiKey,
    /// The API key has expired.
    ExpiredApiKey,
    /// Nobody is authenticated.
    NotAuthenticated,
    /// The login that the token is of is over.
    SessionEnded,
    /// No such session.
    UnknownSession,
    /// The login is not as recent as was asked for.
    NotRecent,
    /// A standby cannot show that it is near enough to its primary.
    StaleStandby,
}

impl Refusal {
    /// Every refusal, in the contract's order.
    pub const ALL: [Self; 28] = [
        Self::Malformed,
        Self::TooLarge,
        Self::UnsupportedAlgorithm,
        Self::AlgorithmMismatch,
        Self::UnknownKey,
        Self::BadSignature,
        Self::InvalidClaim,
        Self::MissingClaim,
        Self::Expired,
        Self::NotYetValid,
        Self::WrongIssuer,
        Self::WrongAudience,
        Self::WrongPurpose,
        Self::IssuedBeforeCutoff,
        Self::Revoked,
        Self::DeviceMismatch,
        Self::UnknownUser,
        Self::InactiveUser,
        Self::SessionVersionMissing,
        Self::SessionVersionMismatch,
        Self::UnknownApiKey,
        Self::InactiveApiKey,
        Self::ExpiredApiKey,
        Self::NotAuthenticated,
        Self::SessionEnded,
        Self::UnknownSession,
        Self::NotRecent,
        Self::StaleStandby,
    ];

    /// The contract's reason code, for DETAIL and for `check_jwt`'s `reason` column.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.code_and_explanation().0
    }

    /// A short sentence for people, without data.
    #[must_use]
    pub const fn explanation(self) -> &'static str {
        self.code_and_explanation().1
    }

    const fn code_and_explanation(self) -> (&'static str, &'static str) {
        match self {
            Self::Malformed => ("malformed", "the token is malformed"),
            Self::TooLarge => ("too_large", "the token is too large"),
            Self::UnsupportedAlgorithm => (
                "unsupported_algorithm",
                "the token's algorithm is not supported",
            ),
            Self::AlgorithmMismatch => (
                "algorithm_mismatch",
                "the token's algorithm is not its key's",
            ),
            Self::UnknownKey => ("unknown_key", "no trusted key verifies the token"),
            Self::BadSignature => ("bad_signature", "the token's signature does not hold"),
            Self::InvalidClaim => ("invalid_claim", "a claim of the token breaks a rule"),
            Self::MissingClaim => ("missing_claim", "the token lacks a required claim"),
            Self::Expired => ("expired", "the token has expired"),
            Self::NotYetValid => ("not_yet_valid", "the token is not valid yet"),
            Self::WrongIssuer => ("wrong_issuer", "the token is from another issuer"),
            Self::WrongAudience => ("wrong_audience", "the token is for another audience"),
            Self::WrongPurpose => ("wrong_purpose", "the token was made for another purpose"),
            Self::IssuedBeforeCutoff => (
                "issued_before_cutoff",
                "the token was issued before its issuer's cutoff",
            ),
            Self::Revoked => ("revoked", "the token has been revoked or used"),
            Self::DeviceMismatch => ("device_mismatch", "the token is bound to another device"),
            Self::UnknownUser => ("unknown_user", "the user does not exist"),
            Self::InactiveUser => ("inactive_user", "the user is not active"),
            Self::SessionVersionMissing => (
                "session_version_missing",
                "the token carries no session version",
            ),
            Self::SessionVersionMismatch => (
                "session_version_mismatch",
                "the token belongs to a session that has ended",
            ),
            Self::UnknownApiKey => ("unknown_api_key", "the API key does not exist"),
            Self::InactiveApiKey => ("inactive_api_key", "the API key is not active"),
            Self::ExpiredApiKey => ("expired_api_key", "the API key has expired"),
            Self::NotAuthenticated => ("not_authenticated", "nobody is authenticated"),
            Self::SessionEnded => ("session_ended", "the session has ended"),
            Self::UnknownSession => ("unknown_session", "the session does not exist"),
            Self::NotRecent => ("not_recent", "the login is not recent"),
            Self::StaleStandby => (
                "stale_standby",
                "the standby cannot show that it is near enough to its primary",
            ),
        }
    }
}

impl Refusal {
    /// This refusal, because of the claim of that name: a registered one, or one that the issuer's rules name. Never anything that
    /// only the token says.
    #[must_use]
    pub fn of(self, claim: &str) -> Refused {
        Refused {
            reason: self,
            claim: Some(claim.into()),
        }
    }
}

/// A refusal, and the claim that it is about where it is about one.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    claim: Option<Box<str>>,
}

impl From<Refusal> for Refused {
    fn from(reason: Refusal) -> Self {
        Self {
            reason,
            claim: None,
        }
    }
}

/// The sentence for people, with the name of the claim.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason.explanation())?;
        match &self.claim {
            Some(claim) => write!(f, ": {claim}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;
    use std::collections::HashSet;

    #[test]
    fn every_refusal_has_its_own_code_and_sentence() {
        let codes: HashSet<_> = Refusal::ALL.iter().map(|r| r.code()).collect();
        let sentences: HashSet<_> = Refusal::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(codes.len(), Refusal::ALL.len());
        assert_eq!(sentences.len(), Refusal::ALL.len());
    }
}
