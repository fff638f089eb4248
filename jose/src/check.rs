//! Step 2: the claims, against the rules of the issuer whose key verified them.

use crate::token::is_media_type;
use crate::verified::Verified;
use crate::{Refusal, UnixMicros};
use std::borrow::Cow;

/// What one issuer's tokens must claim.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What `iss` must equal.
    pub issuer: String,
    /// `aud` must have one of these. Empty: the tokens carry no `aud`, and one that does is refused.
    pub audience: Vec<String>,
    /// The claim that names the user; required.
    pub user_claim: String,
    /// The claim that carries the session version.
    pub version_claim: String,
    /// Whether a token without that claim is refused (under [`SessionCheck::Version`] only).
    pub require_session_version: bool,
    /// How far the clocks may differ, in microseconds; widens `exp`, `nbf` and `iat`.
    pub leeway_micros: i64,
    /// The kill switch: tokens issued before this moment, or at no stated moment, are refused.
    pub not_before: Option<UnixMicros>,
    /// What the caller compares the token with afterwards.
    pub session_check: SessionCheck,
}

/// How a session is known to have ended. The comparison itself is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionCheck {
    /// By the session version.
    Version,
    /// By `iat` against the user's last bump.
    IssuedAt,
    /// Not at all.
    None,
}

/// What a token is for, as its `typ` says (RFC 8725 section 3.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Access: `typ` is absent, `JWT` or `at+jwt`, and there is no claim `sso` that is true (which
    /// marked single-sign-on tokens before they had a `typ`).
    Access,
    /// `typ` is this media type.
    Named(&'static str),
}

/// The claims of a token that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims<'t> {
    /// Whose session it is: the user claim, never empty.
    pub user: Cow<'t, str>,
    /// The session version; `None` when the claim is absent.
    pub session_version: Option<i64>,
    /// `iat`.
    pub issued_at: Option<UnixMicros>,
    /// The later of `nbf` and `iat`, without leeway.
    pub starts_at: Option<UnixMicros>,
    /// `exp`, without leeway.
    pub expires_at: UnixMicros,
    /// `jti`.
    pub token_id: Option<Cow<'t, str>>,
    /// `device_hash`.
    pub device_hash: Option<Cow<'t, str>>,
    /// `sid`. Only issuers whose sessions are kept give it a meaning: one that is no string is an error for them alone.
    pub session_id: Result<Option<Cow<'t, str>>, Refusal>,
}

impl Claims<'_> {
    /// The same, independent of the token's text.
    #[must_use]
    pub fn into_owned(self) -> Claims<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Claims {
            user: owned(self.user),
            session_version: self.session_version,
            issued_at: self.issued_at,
            starts_at: self.starts_at,
            expires_at: self.expires_at,
            token_id: self.token_id.map(owned),
            device_hash: self.device_hash.map(owned),
            session_id: self.session_id.map(|id| id.map(owned)),
        }
    }

    /// Judges the clock only: the claims were accepted by the same rules at another moment.
    ///
    /// # Errors
    /// - [`Refusal::NotYetValid`] unless `nbf`, `iat` ≤ `now` + leeway;
    /// - [`Refusal::Expired`] unless `now` < `exp` + leeway.
    pub fn in_time(&self, rules: &Rules, now: UnixMicros) -> Result<(), Refusal> {
        self.has_begun(rules, now)?;
        if now < self.deadline(rules) {
            Ok(())
        } else {
            Err(Refusal::Expired)
        }
    }

    fn has_begun(&self, rules: &Rules, now: UnixMicros) -> Result<(), Refusal> {
        match self.starts_at {
            Some(start) if now.plus(rules.leeway_micros) < start => Err(Refusal::NotYetValid),
            _ => Ok(()),
        }
    }

    fn deadline(&self, rules: &Rules) -> UnixMicros {
        self.expires_at.plus(rules.leeway_micros)
    }
}

impl Verified<'_> {
    /// Judges the claims at the moment `now`.
    ///
    /// # Errors
    /// The first that applies, in this order, so that expiry never hides a graver fault:
    /// - [`Refusal::WrongPurpose`];
    /// - [`Refusal::InvalidClaim`] or [`Refusal::MissingClaim`] (`iss`, `exp`, the user claim, and
    ///   `aud` if the rules have an audience, are required), then [`Refusal::WrongIssuer`];
    /// - [`Refusal::WrongAudience`];
    /// - [`Refusal::SessionVersionMissing`];
    /// - [`Refusal::IssuedBeforeCutoff`];
    /// - [`Refusal::NotYetValid`] unless `nbf`, `iat` ≤ `now` + leeway;
    /// - [`Refusal::Expired`] unless `now` < `exp` + leeway.
    pub fn check(
        &self,
        rules: &Rules,
        purpose: Purpose,
        now: UnixMicros,
    ) -> Result<Claims<'_>, Refusal> {
        let claims = self.judge(rules, purpose)?;
        claims.in_time(rules, now)?;
        Ok(claims)
    }

    /// As [`Verified::check`], but a token still passes up to and including `grace_micros`
    /// microseconds after its leeway has run out: for refreshing, and only for that. A negative
    /// grace is none.
    ///
    /// # Errors
    /// As [`Verified::check`].
    pub fn check_with_grace(
        &self,
        rules: &Rules,
        purpose: Purpose,
        now: UnixMicros,
        grace_micros: i64,
    ) -> Result<Claims<'_>, Refusal> {
        let claims = self.judge(rules, purpose)?;
        claims.has_begun(rules, now)?;
        let deadline = claims.deadline(rules);
        if now < deadline || now <= deadline.plus(grace_micros) {
            Ok(claims)
        } else {
            Err(Refusal::Expired)
        }
    }

    /// Everything but the clock.
    fn judge(&self, rules: &Rules, purpose: Purpose) -> Result<Claims<'_>, Refusal> {
        if !self.is_for(purpose) {
            return Err(Refusal::WrongPurpose);
        }
        let claims = self.read(rules)?;
        let issuer = self.issuer()?;
        let audience = self.audience()?;

        if issuer != rules.issuer {
            return Err(Refusal::WrongIssuer);
        }
        match audience {
            None if !rules.audience.is_empty() => return Err(Refusal::MissingClaim),
            Some(audience) if !overlap(&audience, &rules.audience) => {
                return Err(Refusal::WrongAudience);
            }
            _ => {}
        }
        let needs_version =
            rules.require_session_version && rules.session_check == SessionCheck::Version;
        if needs_version && claims.session_version.is_none() {
            return Err(Refusal::SessionVersionMissing);
        }
        // An absent `iat` is `None`, which orders before every moment: it is refused too.
        if rules.not_before.is_some() && claims.issued_at < rules.not_before {
            return Err(Refusal::IssuedBeforeCutoff);
        }
        Ok(claims)
    }

    fn is_for(&self, purpose: Purpose) -> bool {
        let typ = self.content.typ.as_deref();
        match purpose {
            Purpose::Named(name) => typ.is_some_and(|typ| is_media_type(typ, name)),
            Purpose::Access => {
                typ.is_none_or(|typ| is_media_type(typ, "jwt") || is_media_type(typ, "at+jwt"))
                    && !self.payload().get("sso").is_some_and(|sso| sso.is_true())
            }
        }
    }

    fn read(&self, rules: &Rules) -> Result<Claims<'_>, Refusal> {
        let issued_at = self.issued_at()?;
        Ok(Claims {
            user: self.user(rules)?.ok_or(Refusal::MissingClaim)?,
            session_version: self.session_version(rules)?,
            issued_at,
            starts_at: self.not_before()?.max(issued_at),
            expires_at: self.expires_at()?.ok_or(Refusal::MissingClaim)?,
            token_id: self.token_id()?,
            device_hash: self.device_hash()?,
            session_id: self.claim("sid", |value| value.string()),
        })
    }

    fn issuer(&self) -> Result<Cow<'_, str>, Refusal> {
        let issuer = self.claim("iss", |value| value.string())?;
        issuer.ok_or(Refusal::MissingClaim)
    }

    /// `aud`: a string or an array of strings (RFC 7519 section 4.1.3).
    fn audience(&self) -> Result<Option<Vec<Cow<'_, str>>>, Refusal> {
        self.claim("aud", |value| match value.string() {
            Some(one) => Some(vec![one]),
            None => value.strings(),
        })
    }
}

/// Whether the two share a member. The rules' side is short and the administrator's own.
fn overlap(claimed: &[Cow<'_, str>], accepted: &[String]) -> bool {
    claimed
        .iter()
        .any(|claim| accepted.iter().any(|audience| audience == claim))
}
