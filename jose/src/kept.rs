//! What is kept of claims that passed, to be judged again by whoever does not have the token.

use crate::{Claims, SessionVersion, UnixMicros};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The claims by which a token can come to an end. [`Claims::keep`] makes them; reading them back is for text that nobody else
/// can have written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeptClaims {
    user: Option<String>,
    session_version: Option<SessionVersion>,
    issued_at: Option<i64>,
    starts_at: Option<i64>,
    expires_at: i64,
    token_id: Option<String>,
    issuer: Option<String>,
    session_id: Option<String>,
}

impl Claims<'_> {
    /// What is to be kept of them.
    #[must_use]
    pub fn keep(&self) -> KeptClaims {
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        KeptClaims {
            user: owned(&self.user),
            session_version: self.session_version,
            issued_at: self.issued_at.map(|time| time.0),
            starts_at: self.starts_at.map(|time| time.0),
            expires_at: self.expires_at.0,
            token_id: owned(&self.token_id),
            issuer: owned(&self.issuer),
            session_id: self.session_id.as_ref().ok().and_then(owned),
        }
    }
}

impl KeptClaims {
    /// The claims, without role and device.
    #[must_use]
    pub fn claims(&self) -> Claims<'_> {
        Claims {
            user: borrowed(&self.user),
            session_version: self.session_version,
            issued_at: self.issued_at.map(UnixMicros),
            starts_at: self.starts_at.map(UnixMicros),
            expires_at: UnixMicros(self.expires_at),
            token_id: borrowed(&self.token_id),
            device_hash: None,
            role: None,
            issuer: borrowed(&self.issuer),
            session_id: Ok(borrowed(&self.session_id)),
        }
    }
}

fn borrowed(text: &Option<String>) -> Option<Cow<'_, str>> {
    text.as_deref().map(Cow::Borrowed)
}
