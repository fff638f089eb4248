//! What is enough to ask whether a token that was verified still holds, by whoever does not have the token.

use std::borrow::Cow;

use jose::{Claims, Refusal, UnixMicros};
use serde::{Deserialize, Serialize};

use super::verified_cache::VerifiedToken;
use super::{session, verify};
use crate::error::Result;
use crate::trust;

/// What was verified of a token, and can come to an end. Neither its text nor its signature.
#[derive(Serialize, Deserialize)]
pub struct Standing {
    /// The row that it was verified by.
    issuer: String,
    /// Its `iss`, where the row's name is a template.
    iss: Option<String>,
    /// Its `exp`, in microseconds.
    pub expires_at: i64,
    /// Its `jti`.
    pub token_id: Option<String>,
    /// Its `sid`, whether or not the session is kept here.
    pub session_id: Option<String>,
    kid: String,
    user: Option<String>,
    session_version: Option<i64>,
    issued_at: Option<i64>,
    starts_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Standing {
    /// That of a token which holds now, by that link.
    pub fn of(token: &VerifiedToken, link: Option<&str>) -> Self {
        let claims = &token.claims;
        let owned = |text: &Option<Cow<'_, str>>| text.as_deref().map(str::to_owned);
        Self {
            issuer: token.issuer.rules.issuer.clone(),
            iss: owned(&claims.issuer),
            expires_at: claims.expires_at.0,
            token_id: owned(&claims.token_id),
            session_id: (claims.session_id.as_ref().ok()).and_then(owned),
            kid: token.kid.clone(),
            user: owned(&claims.user),
            session_version: claims.session_version,
            issued_at: claims.issued_at.map(|time| time.0),
            starts_at: claims.starts_at.map(|time| time.0),
            link: link.map(str::to_owned),
        }
    }

    /// Whose token it is.
    pub fn issuer(&self) -> &str {
        self.iss.as_deref().unwrap_or(&self.issuer)
    }

    /// Does it hold now, for the user whose it was: issuer, key, time, cutoff, revocation, the user's row, the login?
    pub fn verify(&self, user_id: &str, now: UnixMicros) -> Result<()> {
        let trust = trust::current();
        let issuer = trust.issuer(&self.issuer).ok_or(Refusal::WrongIssuer)?;
        if !issuer.has_live_key(&self.kid, now) {
            return Err(Refusal::UnknownKey.into());
        }
        let claims = Claims {
            user: self.user.as_deref().map(Cow::Borrowed),
            session_version: self.session_version,
            issued_at: self.issued_at.map(UnixMicros),
            starts_at: self.starts_at.map(UnixMicros),
            expires_at: UnixMicros(self.expires_at),
            token_id: self.token_id.as_deref().map(Cow::Borrowed),
            device_hash: None,
            role: None,
            issuer: self.iss.as_deref().map(Cow::Borrowed),
            session_id: Ok(self.session_id.as_deref().map(Cow::Borrowed)),
        };
        let rules = &issuer.rules;
        if rules.not_before.is_some() && claims.issued_at < rules.not_before {
            return Err(Refusal::IssuedBeforeCutoff.into());
        }
        claims.in_time(rules, now)?;
        let session = verify::verify_session(issuer, &claims, now)?;
        if session.user_id.as_deref().or(self.user.as_deref()) != Some(user_id)
            || session::link(issuer, &claims)? != self.link
        {
            return Err(Refusal::UnknownUser.into());
        }
        Ok(())
    }
}
