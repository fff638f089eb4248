//! A token whose signature holds, and its claims one by one.

use crate::json::{Object, Value};
use crate::token::Content;
use crate::{
    ClaimPath, Kid, Purpose, Refusal, Refused, Rules, SessionVersion, TrustedKey, UnixMicros,
};
use std::borrow::Cow;
use std::fmt;

/// A token whose signature was verified: only [`KeySet::verify`](crate::KeySet::verify) makes it.
///
/// What it says is its issuer's word, but its claims have not been judged: see
/// [`Verified::check`]. The single claims below are for reports on tokens that the check refuses.
pub struct Verified<'t> {
    pub(crate) content: Content<'t>,
    kid: Kid,
    key_until: Option<UnixMicros>,
}

/// Whether an access token of this payload and `typ` would be accepted under `rules`, but for its
/// time: to be asked before it is signed.
///
/// # Errors
/// As [`Verified::check`]; [`Refusal::Malformed`] for a payload that is no strict JSON object.
pub fn judge_payload(payload_json: &str, typ: &str, rules: &Rules) -> Result<(), Refused> {
    let content = Content::of_payload(payload_json, typ).ok_or(Refusal::Malformed)?;
    Verified::of_content(content)
        .judge(rules, Purpose::Access)
        .map(drop)
}

impl<'t> Verified<'t> {
    pub(crate) fn new(content: Content<'t>, signer: &TrustedKey) -> Self {
        Self {
            content,
            kid: signer.kid.clone(),
            key_until: signer.until,
        }
    }

    /// Of what nobody has signed, to be judged before that.
    pub(crate) fn of_content(content: Content<'t>) -> Self {
        Self {
            content,
            kid: Kid::default(),
            key_until: None,
        }
    }

    /// The payload, exactly as it was signed.
    #[must_use]
    pub fn payload_json(&self) -> &str {
        self.payload().text()
    }

    /// The payload's members in order: each name, unescaped, and the text of its value.
    pub fn members(&self) -> impl Iterator<Item = (&str, &str)> {
        let members = self.payload().members();
        members.map(|(name, value)| (name, value.text()))
    }

    /// The id of the key that verified the token, whether or not the header named it.
    #[must_use]
    pub fn kid(&self) -> &Kid {
        &self.kid
    }

    /// The moment that key stops to verify, as it was known when it did.
    #[must_use]
    pub fn key_until(&self) -> Option<UnixMicros> {
        self.key_until
    }

    /// The claim that `rules.user_claim` names: a non-empty string, or, unless it is `sub`
    /// (RFC 7519 section 4.1.2) and `rules` want no numeric one, the literal text of an integer. `None` when it is absent.
    ///
    /// # Errors
    /// [`Refusal::InvalidClaim`] for anything else.
    pub fn user<'a>(&'a self, rules: &Rules) -> Result<Option<Cow<'a, str>>, Refused> {
        let takes_integers = rules.numeric_subject || rules.user_claim.name() != Some("sub");
        self.claim_at(&rules.user_claim, |value| {
            let text = match value.string() {
                Some(text) => text,
                None if takes_integers && is_integer(value.text()) => value.text().into(),
                None => return None,
            };
            (!text.is_empty()).then_some(text)
        })
    }

    /// The claim that `rules.version_claim` names: an integer literal without sign, fraction or
    /// exponent, from 0 to 2^63-1. `None` when it is absent.
    ///
    /// # Errors
    /// [`Refusal::InvalidClaim`] for anything else.
    pub fn session_version(&self, rules: &Rules) -> Result<Option<SessionVersion>, Refused> {
        self.claim_at(&rules.version_claim, |value| {
            let digits = value.text();
            let is_unsigned = digits.bytes().all(|b| b.is_ascii_digit());
            is_unsigned
                .then(|| digits.parse().ok().map(SessionVersion::new))
                .flatten()
        })
    }

    /// Whose token it is: `iss`, as the token says it where the rules have a template.
    #[must_use]
    pub fn issuer_name(&self, rules: &Rules) -> String {
        let said = self.claim("iss", Value::string).ok().flatten();
        match said.filter(|_| rules.template.is_some()) {
            Some(issuer) => issuer.into_owned(),
            None => rules.issuer.clone(),
        }
    }

    /// `exp` (RFC 7519 section 4.1.4). `None` when it is absent.
    ///
    /// # Errors
    /// [`Refusal::InvalidClaim`] when it is no number from 0 to the end of year 9999.
    pub fn expires_at(&self) -> Result<Option<UnixMicros>, Refused> {
        self.moment("exp")
    }

    /// `iat` (RFC 7519 section 4.1.6). `None` when it is absent.
    ///
    /// # Errors
    /// As [`Verified::expires_at`].
    pub fn issued_at(&self) -> Result<Option<UnixMicros>, Refused> {
        self.moment("iat")
    }

    /// `nbf` (RFC 7519 section 4.1.5). `None` when it is absent.
    ///
    /// # Errors
    /// As [`Verified::expires_at`].
    pub fn not_before(&self) -> Result<Option<UnixMicros>, Refused> {
        self.moment("nbf")
    }

    /// `jti` (RFC 7519 section 4.1.7). `None` when it is absent.
    ///
    /// # Errors
    /// [`Refusal::InvalidClaim`] when it is no string.
    pub fn token_id(&self) -> Result<Option<Cow<'_, str>>, Refused> {
        self.claim("jti", Value::string)
    }

    /// `device_hash`, the device that the token is bound to. `None` when it is absent.
    ///
    /// # Errors
    /// [`Refusal::InvalidClaim`] when it is no string.
    pub fn device_hash(&self) -> Result<Option<Cow<'_, str>>, Refused> {
        self.claim("device_hash", Value::string)
    }

    pub(crate) fn payload(&self) -> &Object<'t> {
        &self.content.payload
    }

    /// The claim `name` as `read` reads it. A JSON `null` is a value of the wrong type, not an
    /// absent claim.
    pub(crate) fn claim<'a, T>(
        &'a self,
        name: &str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        match self.payload().get(name) {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| Refusal::InvalidClaim.of(name)),
        }
    }

    /// The claim at `path` as `read` reads it.
    pub(crate) fn claim_at<'a, T>(
        &'a self,
        path: &ClaimPath,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Refused> {
        match path.find(self.payload())? {
            None => Ok(None),
            Some(value) => read(value)
                .map(Some)
                .ok_or_else(|| Refusal::InvalidClaim.of(path.as_str())),
        }
    }

    fn moment(&self, name: &str) -> Result<Option<UnixMicros>, Refused> {
        self.claim(name, |v| v.number().and_then(UnixMicros::from_numeric_date))
    }
}

/// Shows which key verified it, and no claims.
impl fmt::Debug for Verified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// Whether valid JSON is an integer literal with one spelling only: `-0` would be a second 0.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    text != "-0" && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}
