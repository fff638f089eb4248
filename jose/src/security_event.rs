//! What an identity provider tells: logout tokens (OpenID Connect Back-Channel Logout 1.0) and security event tokens (RFC 8417).

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
        let members = events.members();
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
        let claimed = self.claim("aud", |value| match value.string() {
            Some(one) => Some(vec![one]),
            None => value.strings(),
        })?;
        // Where access tokens have no audience, and no other was set, the event could be for anybody.
        if accepted.is_empty() {
            return Err(Refusal::WrongAudience.of("aud"));
        }
        let claimed = claimed.ok_or_else(|| Refusal::MissingClaim.of("aud"))?;
        let is_ours = claimed
            .iter()
            .any(|claim| accepted.iter().any(|audience| audience == claim));
        if is_ours {
            Ok(())
        } else {
            Err(Refusal::WrongAudience.of("aud"))
        }
    }

    fn judge_event_time(&self, rules: &Rules, now: UnixMicros) -> Result<(), Refused> {
        let issued_at = self
            .issued_at()?
            .ok_or_else(|| Refusal::MissingClaim.of("iat"))?;
        let (not_before, expires_at) = (self.not_before()?, self.expires_at()?);
        if rules.not_before.is_some_and(|cutoff| issued_at < cutoff) {
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
mod tests {
    use super::*;
    use crate::token::Content;

    const NOW: i64 = 1_800_000_000;

    fn rules() -> Rules {
        Rules {
            security_events: true,
            ..Rules::new("https://idp".to_owned(), vec!["app".to_owned()])
        }
    }

    /// Name and subject, or the code of the refusal, of a payload of `iss`, `aud`, `iat`, `jti` and these members.
    fn told_by(rules: &Rules, typ: &str, base: &str, members: &str) -> String {
        let payload = format!("{{{base}{members}}}");
        let content = Content::of_payload(&payload, typ).unwrap();
        let token = Verified::of_content(content);
        match token.security_event(rules, UnixMicros(NOW * 1_000_000)) {
            Err(refused) => refused.reason.code().to_owned(),
            Ok(event) => match event.subject {
                EventSubject::User(user) => format!("{} of {user}", event.name),
                EventSubject::Session(sid) => format!("{} of session {sid}", event.name),
                EventSubject::Nobody => format!("{} of nobody", event.name),
            },
        }
    }

    const BASE: &str = r#""iss":"https://idp","aud":"app","iat":1799999999,"jti":"j","#;
    const LOGOUT_EVENT: &str =
        r#""events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#;

    fn told(typ: &str, members: &str) -> String {
        told_by(&rules(), typ, BASE, members)
    }

    fn logout(members: &str) -> String {
        told("logout+jwt", &format!("{LOGOUT_EVENT}{members}"))
    }

    #[test]
    fn a_logout_token_names_a_user_or_a_session() {
        for typ in ["", "JWT", "logout+jwt", "application/LOGOUT+jwt"] {
            let members = format!(r#"{LOGOUT_EVENT},"sub":"u""#);
            assert_eq!(told(typ, &members), "backchannel-logout of u", "{typ}");
        }
        assert_eq!(logout(r#","sid":"s""#), "backchannel-logout of session s");
        assert_eq!(logout(r#","sub":"u","sid":"s""#), "backchannel-logout of u");
        assert_eq!(logout(""), "missing_claim");
        assert_eq!(logout(r#","sid":7"#), "invalid_claim");
        assert_eq!(logout(r#","sub":"""#), "invalid_claim");
        assert_eq!(logout(r#","sub":"u","nonce":"n""#), "invalid_claim");
        assert_eq!(logout(r#","sub":"u","nonce":null"#), "invalid_claim");
    }

    #[test]
    fn each_known_event_has_its_name_and_any_other_ends_nothing() {
        for (uri, name) in ENDING {
            let members = format!(r#""sub":"u","events":{{"{uri}":{{"reason":"x"}}}}"#);
            assert_eq!(told("secevent+jwt", &members), format!("{name} of u"));
            // Its own type only.
            assert_eq!(told("JWT", &members), format!("{uri} of nobody"));
        }
        let other = r#""sub":"u","events":{"urn:x":{},"urn:y":{}}"#;
        assert_eq!(told("secevent+jwt", other), "urn:x of nobody");
        let (uri, _) = LOGOUT;
        let members = format!(r#""sub":"u",{LOGOUT_EVENT}"#);
        assert_eq!(told("secevent+jwt", &members), format!("{uri} of nobody"));
        let (uri, name) = ENDING[0];
        let two = format!(r#""sub":"u","events":{{"urn:x":{{}},"{uri}":{{}}}}"#);
        assert_eq!(told("secevent+jwt", &two), format!("{name} of u"));
    }

    #[test]
    fn what_has_no_events_or_another_type_is_for_another_purpose() {
        assert_eq!(
            told("JWT", r#""sub":"u","exp":1900000000"#),
            "wrong_purpose"
        );
        assert_eq!(told("JWT", r#""sub":"u","nonce":"n""#), "wrong_purpose");
        for typ in ["at+jwt", "sso+jwt", "X"] {
            let members = format!(r#"{LOGOUT_EVENT},"sub":"u""#);
            assert_eq!(told(typ, &members), "wrong_purpose", "{typ}");
        }
        for events in [
            "{}",
            "[]",
            "null",
            "7",
            r#""x""#,
            r#"{"urn:x":null}"#,
            r#"{"urn:x":[]}"#,
            r#"{"urn:x":{},"urn:x":{}}"#,
        ] {
            for typ in ["JWT", "logout+jwt", "secevent+jwt"] {
                let members = format!(r#""sub":"u","events":{events}"#);
                assert_eq!(told(typ, &members), "invalid_claim", "{typ} {events}");
            }
        }
    }

    #[test]
    fn sub_id_names_the_user_of_the_tokens_issuer_and_does_not_contradict_sub() {
        let event = |members: &str| {
            let (uri, _) = ENDING[0];
            told(
                "secevent+jwt",
                &format!(r#""events":{{"{uri}":{{}}}},{members}"#),
            )
        };
        let of = |iss: &str, sub: &str| {
            format!(r#""sub_id":{{"format":"iss_sub","iss":"{iss}","sub":"{sub}"}}"#)
        };
        assert_eq!(event(&of("https://idp", "u")), "session-revoked of u");
        assert_eq!(
            event(&of("https://other", "u")),
            "session-revoked of nobody"
        );
        let both = |iss, sub| event(&format!(r#"{},"sub":"u""#, of(iss, sub)));
        assert_eq!(both("https://idp", "u"), "session-revoked of u");
        assert_eq!(both("https://idp", "v"), "invalid_claim");
        assert_eq!(both("https://other", "u"), "invalid_claim");
        let email = r#""sub_id":{"format":"email","email":"a@b"}"#;
        assert_eq!(event(email), "session-revoked of nobody");
        for bad in [
            r#""sub_id":"u""#,
            r#""sub_id":{}"#,
            r#""sub_id":{"format":"iss_sub","sub":"u"}"#,
            r#""sub_id":{"format":"iss_sub","iss":"https://idp","sub":7}"#,
            r#""sub_id":{"format":"iss_sub","iss":"https://idp","sub":""}"#,
        ] {
            assert_eq!(event(bad), "invalid_claim", "{bad}");
        }
    }

    #[test]
    fn another_user_claim_names_the_user_and_sub_does_not() {
        let rules = Rules {
            user_claim: crate::ClaimPath::parse("uid").unwrap(),
            ..rules()
        };
        let told = |members: &str| {
            told_by(
                &rules,
                "logout+jwt",
                BASE,
                &format!("{LOGOUT_EVENT}{members}"),
            )
        };
        assert_eq!(told(r#","uid":7,"sub":"u""#), "backchannel-logout of 7");
        assert_eq!(told(r#","sub":"u""#), "missing_claim");
    }

    #[test]
    fn issuer_audience_time_and_id_are_judged() {
        let said = |rules: &Rules, base: &str| {
            told_by(
                rules,
                "logout+jwt",
                base,
                &format!(r#"{LOGOUT_EVENT},"sub":"u""#),
            )
        };
        let good = "backchannel-logout of u";
        for (base, expected) in [
            (
                r#""iss":"https://idp","aud":["x","app"],"iat":1799913600,"jti":"j","#,
                good,
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1799913599,"jti":"j","#,
                "expired",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000001,"jti":"j","#,
                "not_yet_valid",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000000,"nbf":1800000001,"jti":"j","#,
                "not_yet_valid",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000000,"exp":1800000000,"jti":"j","#,
                "expired",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000000,"exp":1800000001,"jti":"j","#,
                good,
            ),
            (
                r#""iss":"https://idp","aud":"app","jti":"j","#,
                "missing_claim",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":"1800000000","jti":"j","#,
                "invalid_claim",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000000,"#,
                "missing_claim",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000000,"jti":"","#,
                "invalid_claim",
            ),
            (
                r#""iss":"https://idp","aud":"app","iat":1800000000,"jti":7,"#,
                "invalid_claim",
            ),
            (
                r#""iss":"https://idp","iat":1800000000,"jti":"j","#,
                "missing_claim",
            ),
            (
                r#""iss":"https://idp","aud":"x","iat":1800000000,"jti":"j","#,
                "wrong_audience",
            ),
            (
                r#""iss":"https://idp","aud":[],"iat":1800000000,"jti":"j","#,
                "wrong_audience",
            ),
            (
                r#""iss":"https://idp","aud":7,"iat":1800000000,"jti":"j","#,
                "invalid_claim",
            ),
            (
                r#""iss":"https://other","aud":"app","iat":1800000000,"jti":"j","#,
                "wrong_issuer",
            ),
            (
                r#""aud":"app","iat":1800000000,"jti":"j","#,
                "missing_claim",
            ),
        ] {
            assert_eq!(said(&rules(), base), expected, "{base}");
        }
        let with = |change: fn(&mut Rules)| {
            let mut rules = rules();
            change(&mut rules);
            said(&rules, BASE)
        };
        assert_eq!(with(|rules| rules.security_events = false), "wrong_issuer");
        assert_eq!(with(|rules| rules.audience.clear()), "wrong_audience");
        let other = |rules: &mut Rules| rules.event_audience = Some(vec!["client".to_owned()]);
        assert_eq!(with(other), "wrong_audience");
        let ours = |rules: &mut Rules| {
            rules.audience.clear();
            rules.event_audience = Some(vec!["app".to_owned()]);
        };
        assert_eq!(with(ours), good);
        let cutoff = |rules: &mut Rules| rules.not_before = Some(UnixMicros(NOW * 1_000_000));
        assert_eq!(with(cutoff), "issued_before_cutoff");
    }
}
