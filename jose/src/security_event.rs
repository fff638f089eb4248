//! What an identity provider tells: logout tokens (OpenID Connect Back-Channel Logout 1.0) and security event tokens (RFC 8417).

use crate::audience;
use crate::json::{Object, Value};
use crate::token::is_media_type;
use crate::verified::Verified;
use crate::{Refusal, Refused, Rules, UnixMicros};
use std::borrow::Cow;

/// How old an event may be that is obeyed, in microseconds.
pub const EVENT_LIFETIME: i64 = 86_400_000_000;

const LOGOUT: (&str, &str) = (
    "http://schemas.openid.net/event/backchannel-logout",
    "backchannel-logout",
);

/// The events of CAEP 1.0 and RISC 1.0 that end a user's sessions.
const ENDING: [(&str, &str); 5] = [
    (
        "https://schemas.openid.net/secevent/caep/event-type/session-revoked",
        "session-revoked",
    ),
    (
        "https://schemas.openid.net/secevent/caep/event-type/credential-change",
        "credential-change",
    ),
    (
        "https://schemas.openid.net/secevent/risc/event-type/account-disabled",
        "account-disabled",
    ),
    (
        "https://schemas.openid.net/secevent/risc/event-type/account-purged",
        "account-purged",
    ),
    (
        "https://schemas.openid.net/secevent/risc/event-type/sessions-revoked",
        "sessions-revoked",
    ),
];

/// Whose sessions an event ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventSubject<'t> {
    /// All of the user whom the user claim of an access token would name so.
    User(Cow<'t, str>),
    /// What carries this `sid`.
    Session(Cow<'t, str>),
    /// Nobody's who could be known here; or it is no event that ends a session.
    Nobody,
}

/// An event that its issuer has signed, for us, not long ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent<'t> {
    /// The last part of its type's URI where the event is one that ends sessions; the URI of any other.
    pub name: Cow<'t, str>,
    /// `jti`, never empty.
    pub token_id: Cow<'t, str>,
    /// Whose sessions end.
    pub subject: EventSubject<'t>,
}

/// The kinds of token, as `typ` tells them apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Logout,
    SecurityEvent,
}

impl Verified<'_> {
    /// The event that the token tells, if it is a logout or security event token that the issuer's rules accept now.
    ///
    /// # Errors
    /// The first that applies:
    /// - [`Refusal::WrongIssuer`] where the rules obey no events;
    /// - [`Refusal::WrongPurpose`] for another `typ`, or no `events`;
    /// - [`Refusal::InvalidClaim`], [`Refusal::MissingClaim`] (`iss`, `aud`, `iat` and `jti` are needed), [`Refusal::WrongIssuer`],
    ///   [`Refusal::WrongAudience`];
    /// - [`Refusal::IssuedBeforeCutoff`], [`Refusal::NotYetValid`], [`Refusal::Expired`].
    pub fn security_event(
        &self,
        rules: &Rules,
        now: UnixMicros,
    ) -> Result<SecurityEvent<'_>, Refused> {
        if !rules.security_events {
            return Err(Refusal::WrongIssuer.of("iss"));
        }
        let kind = self.event_kind().ok_or(Refusal::WrongPurpose)?;
        let (uri, known) = self.event(kind)?;
        let issuer = self.judged_issuer(rules)?;
        self.judge_event_audience(rules)?;
        self.judge_event_time(rules, now)?;
        let token_id = self
            .token_id()?
            .ok_or_else(|| Refusal::MissingClaim.of("jti"))?;
        if token_id.is_empty() {
            return Err(Refusal::InvalidClaim.of("jti"));
        }
        if kind == Kind::Logout && self.payload().get("nonce").is_some() {
            return Err(Refusal::InvalidClaim.of("nonce"));
        }
        let user = self.event_user(rules, issuer.as_deref())?;
        let session = match kind {
            Kind::Logout => self.claim("sid", Value::string)?,
            Kind::SecurityEvent => None,
        };
        let subject = match (known, user, session) {
            (None, ..) => EventSubject::Nobody,
            (_, Some(user), _) => EventSubject::User(user),
            (_, None, Some(session)) => EventSubject::Session(session),
            (_, None, None) if kind == Kind::Logout => {
                return Err(Refusal::MissingClaim.of(rules.user_claim.as_str()));
            }
            (_, None, None) => EventSubject::Nobody,
        };
        Ok(SecurityEvent {
            name: known.map_or(uri, Cow::Borrowed),
            token_id,
            subject,
        })
    }

    fn event_kind(&self) -> Option<Kind> {
        self.payload().get("events")?;
        match self.content.typ.as_deref() {
            Some(typ) if is_media_type(typ, "secevent+jwt") => Some(Kind::SecurityEvent),
            Some(typ) if !is_media_type(typ, "logout+jwt") && !is_media_type(typ, "jwt") => None,
            _ => Some(Kind::Logout),
        }
    }

    /// The URI of the event's type, and its name where that ends sessions. Several members tell one event (RFC 8417 section 2).
    fn event(&self, kind: Kind) -> Result<(Cow<'_, str>, Option<&'static str>), Refused> {
        let invalid = || Refusal::InvalidClaim.of("events");
        let events = self.payload().get("events").ok_or(Refusal::WrongPurpose)?;
        let events = object(events).ok_or_else(invalid)?;
        let members: Vec<_> = events.members().collect();
        if members.iter().any(|(_, value)| object(*value).is_none()) {
            return Err(invalid());
        }
        let known: &[(&str, &'static str)] = match kind {
            Kind::Logout => &[LOGOUT],
            Kind::SecurityEvent => &ENDING,
        };
        let found = known
            .iter()
            .find(|(uri, _)| members.iter().any(|(name, _)| name == uri));
        match (found, members.first()) {
            (Some((uri, name)), _) => Ok((Cow::Borrowed(*uri), Some(*name))),
            (None, Some((uri, _))) => Ok((Cow::Owned((*uri).to_owned()), None)),
            (None, None) => Err(invalid()),
        }
    }

    fn judge_event_audience(&self, rules: &Rules) -> Result<(), Refused> {
        let accepted = rules.event_audience.as_ref().unwrap_or(&rules.audience);
        let claimed = self.claim("aud", audience::read)?;
        // Where access tokens have no audience, and no other was set, the event could be for anybody.
        if accepted.is_empty() {
            return Err(Refusal::WrongAudience.of("aud"));
        }
        audience::judge(claimed.as_deref(), accepted, "aud")
    }

    fn judge_event_time(&self, rules: &Rules, now: UnixMicros) -> Result<(), Refused> {
        let issued_at = self
            .issued_at()?
            .ok_or_else(|| Refusal::MissingClaim.of("iat"))?;
        let (not_before, expires_at) = (self.not_before()?, self.expires_at()?);
        if rules.cuts_off(Some(issued_at)) {
            return Err(Refusal::IssuedBeforeCutoff.into());
        }
        let latest = now.plus(rules.leeway_micros);
        if latest < issued_at {
            return Err(Refusal::NotYetValid.of("iat"));
        }
        if not_before.is_some_and(|start| latest < start) {
            return Err(Refusal::NotYetValid.of("nbf"));
        }
        if now > issued_at.plus(EVENT_LIFETIME).plus(rules.leeway_micros) {
            return Err(Refusal::Expired.of("iat"));
        }
        if expires_at.is_some_and(|end| now >= end.plus(rules.leeway_micros)) {
            return Err(Refusal::Expired.of("exp"));
        }
        Ok(())
    }

    /// The user claim, or else the `sub` of a `sub_id` of format `iss_sub` (RFC 9493 section 3.2.2) that names the token's issuer.
    fn event_user(
        &self,
        rules: &Rules,
        issuer: Option<&str>,
    ) -> Result<Option<Cow<'_, str>>, Refused> {
        let claimed = self.user(rules)?;
        let Some(sub_id) = self.payload().get("sub_id") else {
            return Ok(claimed);
        };
        let invalid = || Refusal::InvalidClaim.of("sub_id");
        let sub_id = object(sub_id).ok_or_else(invalid)?;
        let member = |name| sub_id.get(name).and_then(Value::string);
        if member("format").ok_or_else(invalid)? != "iss_sub" {
            return Ok(claimed);
        }
        let (iss, sub) = member("iss").zip(member("sub")).ok_or_else(invalid)?;
        if sub.is_empty() {
            return Err(invalid());
        }
        let is_the_issuers = issuer == Some(iss.as_ref());
        if let Some(own) = self.payload().get("sub") {
            let own = own.string().unwrap_or_else(|| own.text().into());
            if !is_the_issuers || own != sub {
                return Err(Refusal::InvalidClaim.of("sub"));
            }
        }
        Ok(claimed.or_else(|| is_the_issuers.then(|| Cow::Owned(sub.into_owned()))))
    }
}

fn object(value: Value<'_>) -> Option<Object<'_>> {
    Object::parse(value.text())
}

#[cfg(test)]
mod tests;
