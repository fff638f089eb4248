//! What one issuer's tokens must claim, as its row says it.

use crate::claim_path::ClaimPath;
use crate::json::{Object, Value, equal};
use crate::token::bare_media_type;
use crate::{IssuerTemplate, Refusal, Refused, SessionCheck, UnixMicros};

/// What one issuer's tokens must claim.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What `iss` must equal. Empty: the tokens have no `iss`.
    pub issuer: String,
    /// The template that `issuer` is, if it is one: `iss` is one of it then.
    pub template: Option<IssuerTemplate>,
    /// The audience claim must have one of these. Empty: the tokens carry none, and one that does is refused.
    pub audience: Vec<String>,
    /// The claim that is compared with it.
    pub audience_claim: ClaimPath,
    /// The claim that names the user; required.
    pub user_claim: ClaimPath,
    /// The claim that carries the session version.
    pub version_claim: ClaimPath,
    /// The claim that says the role or roles.
    pub role_claim: ClaimPath,
    /// What access tokens must claim besides.
    pub required_claims: RequiredClaims,
    /// The `typ`s of access tokens.
    pub token_types: TokenTypes,
    /// Whether a token must have the user claim. One without is nobody's.
    pub require_user: bool,
    /// Whether `sub` may be a JSON integer.
    pub numeric_subject: bool,
    /// Whether a token without a session version is refused (under [`SessionCheck::Version`] only).
    pub require_session_version: bool,
    /// How far the clocks may differ, in microseconds; widens `exp`, `nbf` and `iat`.
    pub leeway_micros: i64,
    /// The kill switch: tokens issued before this moment, or at no stated moment, are refused.
    pub not_before: Option<UnixMicros>,
    /// What the caller compares the token with afterwards.
    pub session_check: SessionCheck,
    /// Whether logout and security event tokens are obeyed.
    pub security_events: bool,
    /// The `aud` of those, one of which they must have; `None` is `audience`.
    pub event_audience: Option<Vec<String>>,
}

impl Rules {
    /// The rules of a row that says no more than this.
    #[must_use]
    pub fn new(issuer: String, audience: Vec<String>) -> Self {
        Self {
            template: IssuerTemplate::parse(&issuer),
            issuer,
            audience,
            audience_claim: ClaimPath::member("aud"),
            user_claim: ClaimPath::member("sub"),
            version_claim: ClaimPath::member("session_version"),
            role_claim: ClaimPath::member("role"),
            required_claims: RequiredClaims::default(),
            token_types: TokenTypes::default(),
            require_user: true,
            numeric_subject: false,
            require_session_version: false,
            leeway_micros: 0,
            not_before: None,
            session_check: SessionCheck::Version,
            security_events: false,
            event_audience: None,
        }
    }

    /// Does the kill switch refuse what was issued, or has begun, then? It refuses what says no time, too.
    #[must_use]
    pub fn cuts_off(&self, issued_at: Option<UnixMicros>) -> bool {
        // An absent time orders before every moment.
        self.not_before.is_some() && issued_at < self.not_before
    }
}

/// Claims that must be there and match.
#[derive(Clone, Debug, Default)]
pub struct RequiredClaims(Vec<(ClaimPath, String)>);

impl RequiredClaims {
    /// Reads a JSON object of claims (names or pointers) and the value, or the array of values, of
    /// which each must have one. `None` for anything else.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        let rules = Object::parse(json)?;
        let rules = rules
            .members()
            .map(|(name, value)| Some((ClaimPath::parse(name)?, value.text().to_owned())));
        rules.collect::<Option<_>>().map(Self)
    }

    /// The first that is not met decides.
    pub(crate) fn judge(&self, payload: &Object<'_>) -> Result<(), Refused> {
        for (path, accepted) in &self.0 {
            let claim = path
                .find(payload)?
                .ok_or_else(|| Refusal::MissingClaim.of(path.as_str()))?;
            let claimed = alternatives(claim);
            let holds = alternatives(Value::of_rule(accepted))
                .into_iter()
                .any(|accepted| claimed.iter().any(|claim| equal(accepted, *claim)));
            if !holds {
                return Err(Refusal::InvalidClaim.of(path.as_str()));
            }
        }
        Ok(())
    }
}

/// An array stands for each of its elements.
fn alternatives(value: Value<'_>) -> Vec<Value<'_>> {
    value.elements().unwrap_or_else(|| vec![value])
}

/// The `typ`s that access tokens may have: bare and in lower case; an empty one stands for none.
#[derive(Clone, Debug)]
pub struct TokenTypes(Vec<String>);

impl Default for TokenTypes {
    fn default() -> Self {
        Self(["", "jwt", "at+jwt"].map(str::to_owned).to_vec())
    }
}

impl TokenTypes {
    /// Takes the types over, whatever their case, with or without `application/`.
    #[must_use]
    pub fn new(types: &[String]) -> Self {
        let bare = types
            .iter()
            .map(|typ| bare_media_type(typ).to_ascii_lowercase());
        Self(bare.collect())
    }

    /// Whether a header's `typ` is one of them (RFC 7515 section 4.1.9).
    pub(crate) fn accept(&self, typ: Option<&str>) -> bool {
        let bare = typ.map_or("", bare_media_type);
        // One that is there and empty is no absent one.
        typ.is_some() != bare.is_empty()
            && self.0.iter().any(|known| known.eq_ignore_ascii_case(bare))
    }

    /// The `typ` to issue, so that the token is accepted; empty for none. `JWT` where that is one of the types.
    #[must_use]
    pub fn to_issue(&self) -> &str {
        for usual in ["JWT", "at+jwt"] {
            if self.accept(Some(usual)) {
                return usual;
            }
        }
        self.0.first().map_or("", String::as_str)
    }
}
