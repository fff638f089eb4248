//! What a process that does not have a verified token needs to ask whether the token still holds.

use std::borrow::Cow;

use jose::{Claims, KeptClaims, Kid, Refusal, UnixMicros};
use serde::{Deserialize, Serialize};

use super::verified_cache::VerifiedToken;
use super::{session, verify};
use crate::attach::UserId;
use crate::error::Result;
use crate::trust;

/// What was verified of a token, and can come to an end. Neither its text nor its signature.
#[derive(Serialize, Deserialize)]
pub struct Standing {
    /// The row that it was verified by.
    issuer: String,
    kid: Kid,
    claims: KeptClaims,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    link: Option<String>,
}

impl Standing {
    /// That of a token which holds now, by that link.
    pub fn of(token: &VerifiedToken, link: Option<&str>) -> Self {
        Self {
            issuer: token.issuer.rules.issuer.clone(),
            kid: token.kid.clone(),
            claims: token.claims.keep(),
            link: link.map(str::to_owned),
        }
    }

    /// Whose token it is.
    pub fn issuer(&self) -> String {
        let issuer = self.claims().issuer.map(Cow::into_owned);
        issuer.unwrap_or_else(|| self.issuer.clone())
    }

    /// Its claims, but for role and device.
    pub fn claims(&self) -> Claims<'_> {
        self.claims.claims()
    }

    /// Does it hold now, for the user whose it was: issuer, key, time, cutoff, revocation, the user's row, the login?
    pub fn verify(&self, user_id: &UserId, now: UnixMicros) -> Result<()> {
        let trust = trust::current();
        let issuer = trust.issuer(&self.issuer).ok_or(Refusal::WrongIssuer)?;
        if !issuer.keys.is_live(&self.kid, now) {
            return Err(Refusal::UnknownKey.into());
        }
        let claims = self.claims();
        let rules = &issuer.rules;
        if rules.cuts_off(claims.issued_at) {
            return Err(Refusal::IssuedBeforeCutoff.into());
        }
        claims.in_time(rules, now)?;
        let session = verify::verify_session(issuer, &claims, now)?;
        if session.user_id.as_ref() != Some(user_id) || session::link(issuer, &claims)? != self.link
        {
            return Err(Refusal::UnknownUser.into());
        }
        Ok(())
    }
}
