//! An event and its payload: ids and versions only, no secret.

use jose::SessionVersion;
use serde::{Serialize, Serializer};

use crate::attach::UserId;
use crate::statistics::Kind;

/// The channel of every event.
pub const CHANNEL: &str = "auth_invalidation";

/// The payload that says: whatever you cached, forget it.
pub const FLUSH: &str = r#"{"v":1,"kind":"flush"}"#;

/// PostgreSQL refuses payloads of 8000 bytes and more.
const MAX_PAYLOAD: usize = 7999;
const MAX_REASON: usize = 200;

/// Why a user or key changed: one of the contract's words or the caller's own, cut to 200 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Reason(String);

impl Reason {
    /// Takes a reason, cut at a character's border.
    pub fn new(reason: &str) -> Self {
        Self(reason[..reason.floor_char_boundary(MAX_REASON)].to_owned())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What listeners are told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A user's sessions or state changed.
    User {
        /// The user.
        id: UserId,
        /// The version now; for a deleted user the one that a new row of that id would start at.
        session_version: SessionVersion,
        /// Why.
        reason: Reason,
    },
    /// An API key changed.
    ApiKey {
        /// Lower-case hex SHA-256 of the key.
        fingerprint: String,
        /// Its owner.
        #[serde(serialize_with = "or_empty")]
        user_id: Option<UserId>,
        /// Why.
        reason: Reason,
    },
    /// A single token was revoked.
    Token {
        /// Its id.
        jti: String,
        /// Whose it was; None where that is not known.
        #[serde(serialize_with = "or_empty")]
        user_id: Option<UserId>,
        /// When it would have expired, in seconds since 1970.
        exp: i64,
    },
    /// A session was ended.
    Session {
        /// Its id, the claim `sid`.
        sid: String,
        /// Whose it was; None where that is not known.
        #[serde(serialize_with = "or_empty")]
        user_id: Option<UserId>,
        /// Why.
        reason: Reason,
    },
    /// An issuer's row, keys or kill switch changed.
    Issuer {
        /// Its name.
        issuer: String,
    },
    /// Anything may have changed.
    Flush,
}

/// A payload says of nobody that the id is empty.
fn or_empty<S: Serializer>(user_id: &Option<UserId>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(user_id.as_ref().map_or("", UserId::as_str))
}

#[derive(Serialize)]
struct Envelope<'a> {
    v: u8,
    #[serde(flatten)]
    event: &'a Event,
}

impl Event {
    /// The JSON text that is sent; one that would not fit becomes a flush.
    pub fn payload(&self) -> String {
        serde_json::to_string(&Envelope { v: 1, event: self })
            .ok()
            .filter(|payload| payload.len() <= MAX_PAYLOAD)
            .unwrap_or_else(|| FLUSH.to_owned())
    }

    /// What it is, and its payload.
    pub fn told(&self) -> (Kind, String) {
        let payload = self.payload();
        let is_flush = payload == FLUSH;
        (if is_flush { Kind::Flush } else { self.kind() }, payload)
    }

    fn kind(&self) -> Kind {
        match self {
            Self::User { .. } => Kind::User,
            Self::ApiKey { .. } => Kind::ApiKey,
            Self::Token { .. } => Kind::Token,
            Self::Session { .. } => Kind::Session,
            Self::Issuer { .. } => Kind::Issuer,
            Self::Flush => Kind::Flush,
        }
    }
}
