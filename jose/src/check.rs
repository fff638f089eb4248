//! Step 2: the claims, against the rules of the issuer whose key verified them.

use crate::audience;
use crate::token::is_media_type;
use crate::verified::Verified;
use crate::{Refusal, Refused, Rules, SessionVersion, UnixMicros};
use std::borrow::Cow;

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
    /// Access: `typ` is one of the rules' `token_types`, there is no claim `sso` that is true (which
    /// marked single-sign-on tokens before they had a `typ`), and no `events`, which makes a token a
    /// security event token (RFC 8417 section 2.2).
    Access,
    /// `typ` is this media type.
    Named(&'static str),
}

/// The claims of a token that passed. Only [`Verified::check`] makes them, and what was kept of such ([`Claims::keep`]):
///
/// ```compile_fail
/// let forged = jose::Claims {
///     user: Some("ada".into()),
///     session_version: None,
///     issued_at: None,
///     starts_at: None,
///     expires_at: jose::UnixMicros(i64::MAX),
///     token_id: None,
///     device_hash: None,
///     role: None,
///     issuer: None,
///     session_id: Ok(None),
/// };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claims<'t> {
    /// Whose session it is: the user claim, never empty. `None` where the rules take a token of nobody and it is one.
    pub user: Option<Cow<'t, str>>,
    /// The session version; `None` when the claim is absent.
    pub session_version: Option<SessionVersion>,
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
    /// The role claim: the text of its JSON value.
    pub role: Option<Cow<'t, str>>,
    /// `iss`, where the rules have a template for it.
    pub issuer: Option<Cow<'t, str>>,
    /// `sid`. Only issuers whose sessions are kept give it a meaning: one that is no string is an error for them alone.
    pub session_id: Result<Option<Cow<'t, str>>, Refusal>,
}

impl Claims<'_> {
    /// The same, independent of the token's text.
    #[must_use]
    pub fn into_owned(self) -> Claims<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Claims {
            user: self.user.map(owned),
            session_version: self.session_version,
            issued_at: self.issued_at,
            starts_at: self.starts_at,
            expires_at: self.expires_at,
            token_id: self.token_id.map(owned),
            device_hash: self.device_hash.map(owned),
            role: self.role.map(owned),
            issuer: self.issuer.map(owned),
            session_id: self.session_id.map(|id| id.map(owned)),
        }
    }

    /// Whose token it is: `iss`, as the token says it.
    #[must_use]
    pub fn issuer_name<'a>(&'a self, rules: &'a Rules) -> &'a str {
        self.issuer.as_deref().unwrap_or(&rules.issuer)
    }

    /// Judges the clock only: the claims were accepted by the same rules at another moment.
    ///
    /// # Errors
    /// - [`Refusal::NotYetValid`] unless `nbf`, `iat` ≤ `now` + leeway;
    /// - [`Refusal::Expired`] unless `now` < `exp` + leeway.
    pub fn in_time(&self, rules: &Rules, now: UnixMicros) -> Result<(), Refused> {
        self.has_begun(rules, now)?;
        if now < self.deadline(rules) {
            Ok(())
        } else {
            Err(Refusal::Expired.of("exp"))
        }
    }

    fn has_begun(&self, rules: &Rules, now: UnixMicros) -> Result<(), Refused> {
        match self.starts_at {
            Some(start) if now.plus(rules.leeway_micros) < start => {
                let is_issued = self.issued_at.is_none_or(|at| at < start);
                Err(Refusal::NotYetValid.of(if is_issued { "nbf" } else { "iat" }))
            }
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
    /// - [`Refusal::MissingClaim`] or [`Refusal::InvalidClaim`] for the rules' `required_claims`, of
    ///   access tokens only;
    /// - [`Refusal::SessionVersionMissing`];
    /// - [`Refusal::IssuedBeforeCutoff`];
    /// - [`Refusal::NotYetValid`] unless `nbf`, `iat` ≤ `now` + leeway;
    /// - [`Refusal::Expired`] unless `now` < `exp` + leeway.
    pub fn check(
        &self,
        rules: &Rules,
        purpose: Purpose,
        now: UnixMicros,
    ) -> Result<Claims<'_>, Refused> {
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
    ) -> Result<Claims<'_>, Refused> {
        let claims = self.judge(rules, purpose)?;
        claims.has_begun(rules, now)?;
        let deadline = claims.deadline(rules);
        if now < deadline || now <= deadline.plus(grace_micros) {
            Ok(claims)
        } else {
            Err(Refusal::Expired.of("exp"))
        }
    }

    /// Everything but the clock.
    pub(crate) fn judge(&self, rules: &Rules, purpose: Purpose) -> Result<Claims<'_>, Refused> {
        if !self.is_for(purpose, rules) {
            return Err(Refusal::WrongPurpose.into());
        }
        let mut claims = self.read(rules)?;
        let issuer = self.issuer(rules)?;
        let audience = self.audience(rules)?;
        self.judge_issuer(rules, issuer.as_deref())?;
        claims.issuer = issuer.filter(|_| rules.template.is_some());
        if audience.is_some() || !rules.audience.is_empty() {
            let claim = rules.audience_claim.as_str();
            audience::judge(audience.as_deref(), &rules.audience, claim)?;
        }
        if purpose == Purpose::Access {
            rules.required_claims.judge(self.payload())?;
        }
        let needs_version =
            rules.require_session_version && rules.session_check == SessionCheck::Version;
        if needs_version && claims.user.is_some() && claims.session_version.is_none() {
            return Err(Refusal::SessionVersionMissing.into());
        }
        if rules.cuts_off(claims.issued_at) {
            return Err(Refusal::IssuedBeforeCutoff.into());
        }
        Ok(claims)
    }

    fn is_for(&self, purpose: Purpose, rules: &Rules) -> bool {
        let typ = self.content.typ.as_deref();
        match purpose {
            Purpose::Named(name) => typ.is_some_and(|typ| is_media_type(typ, name)),
            Purpose::Access => {
                rules.token_types.accept(typ)
                    && self.payload().get("events").is_none()
                    && !self.payload().get("sso").is_some_and(|sso| sso.is_true())
            }
        }
    }

    fn read(&self, rules: &Rules) -> Result<Claims<'_>, Refused> {
        let issued_at = self.issued_at()?;
        Ok(Claims {
            user: match self.user(rules)? {
                None if rules.require_user => {
                    return Err(Refusal::MissingClaim.of(rules.user_claim.as_str()));
                }
                user => user,
            },
            session_version: self.session_version(rules)?,
            issued_at,
            starts_at: self.not_before()?.max(issued_at),
            expires_at: self
                .expires_at()?
                .ok_or_else(|| Refusal::MissingClaim.of("exp"))?,
            token_id: self.token_id()?,
            device_hash: self.device_hash()?,
            issuer: None,
            role: rules
                .role_claim
                .find(self.payload())?
                .map(|role| role.text().into()),
            session_id: self
                .claim("sid", |value| value.string())
                .map_err(|refused| refused.reason),
        })
    }

    /// `iss`, which is the rules' own.
    pub(crate) fn judged_issuer(&self, rules: &Rules) -> Result<Option<Cow<'_, str>>, Refused> {
        let issuer = self.issuer(rules)?;
        self.judge_issuer(rules, issuer.as_deref())?;
        Ok(issuer)
    }

    fn judge_issuer(&self, rules: &Rules, issuer: Option<&str>) -> Result<(), Refused> {
        let is_named = match (&rules.template, issuer) {
            (Some(template), Some(issuer)) => template.names(issuer, self.payload()),
            _ => issuer.unwrap_or_default() == rules.issuer,
        };
        if is_named {
            Ok(())
        } else {
            Err(Refusal::WrongIssuer.of("iss"))
        }
    }

    /// `iss`: absent exactly where the rules have none.
    fn issuer(&self, rules: &Rules) -> Result<Option<Cow<'_, str>>, Refused> {
        match self.claim("iss", |value| value.string())? {
            None if !rules.issuer.is_empty() => Err(Refusal::MissingClaim.of("iss")),
            Some(_) if rules.issuer.is_empty() => Err(Refusal::WrongIssuer.of("iss")),
            issuer => Ok(issuer),
        }
    }

    /// A string or an array of strings (RFC 7519 section 4.1.3). Where the rules have no audience,
    /// null and an empty array are none.
    fn audience(&self, rules: &Rules) -> Result<Option<Vec<Cow<'_, str>>>, Refused> {
        let audience = self.claim_at(&rules.audience_claim, |value| {
            if rules.audience.is_empty() && value.text() == "null" {
                return Some(None);
            }
            audience::read(value).map(Some)
        })?;
        Ok(audience
            .flatten()
            .filter(|audience| !(rules.audience.is_empty() && audience.is_empty())))
    }
}
