//! Step 1a: a token's structure. No key is looked at, and nothing here is to be trusted yet.

use crate::json::{Object, Value};
use crate::{Algorithm, AlgorithmName, IssuerTemplate, Kid, Refusal, Refused, base64url};
use std::borrow::Cow;
use std::fmt;

/// A well-formed compact JWS (RFC 7515 section 7.1) whose payload is a JWT claims set
/// (RFC 7519 section 4). Its signature has not been checked.
pub struct Token<'t> {
    pub(crate) signing_input: &'t str,
    pub(crate) signature: Vec<u8>,
    pub(crate) content: Content<'t>,
    algorithm: Result<Algorithm, Refusal>,
    kid: Option<Kid>,
}

/// What a token says.
pub(crate) struct Content<'t> {
    header: Object<'t>,
    pub(crate) payload: Object<'t>,
    /// The header's `typ` (RFC 7519 section 5.1).
    pub(crate) typ: Option<String>,
}

impl<'t> Token<'t> {
    /// Takes a compact JWS apart.
    ///
    /// Linear in the length of `text` but for sorting the member names; limiting that length
    /// ([`Refusal::TooLarge`]) is the caller's business.
    ///
    /// # Errors
    /// [`Refusal::Malformed`], and only that, when any of these does not hold:
    /// - three non-empty segments of canonical, unpadded base64url (RFC 7515 section 2);
    /// - header and payload are UTF-8 JSON objects without duplicate names (header: at any level,
    ///   payload: at the top level), nested at most 32 levels, without U+0000, lone surrogates
    ///   and numbers that Postgres' `numeric` cannot hold;
    /// - the header has a string `alg` and neither `crit`, `zip` nor `enc`; `b64`, if there, is
    ///   true; `typ` and `cty`, if there, are strings, and `cty` is not `JWT` (a nested token);
    ///   `kid`, if there, is a string of at most [`Kid::MAX_BYTES`] octets.
    ///
    /// An `alg` that is a string but not supported is not malformed: see [`Token::algorithm`].
    pub fn decode(text: &'t str) -> Result<Self, Refusal> {
        Self::read(text).ok_or(Refusal::Malformed)
    }

    fn read(text: &'t str) -> Option<Self> {
        let (signing_input, signature) = text.rsplit_once('.')?;
        // More dots than two would be in the payload segment, where base64url refuses them.
        let (header, payload) = signing_input.split_once('.')?;
        let header = decode_object(header)?;
        let payload = decode_object(payload)?;
        let signature = decode_segment(signature)?;

        if header.has_duplicates_below() || !extensions_are_absent(&header) {
            return None;
        }
        let algorithm = required_string(header.get("alg"))?
            .parse()
            .map(AlgorithmName::algorithm)
            .map_err(|_| Refusal::UnsupportedAlgorithm);
        let kid = match optional_string(header.get("kid"))? {
            Some(kid) => Some(Kid::new(kid)?),
            None => None,
        };
        let typ = optional_string(header.get("typ"))?;
        let content = Content {
            header,
            payload,
            typ,
        };
        Some(Self {
            signing_input,
            signature,
            content,
            algorithm,
            kid,
        })
    }

    /// The header, exactly as it was encoded.
    #[must_use]
    pub fn header_json(&self) -> &str {
        self.content.header.text()
    }

    /// The payload, exactly as it was encoded. Unverified.
    #[must_use]
    pub fn payload_json(&self) -> &str {
        self.content.payload.text()
    }

    /// The header's `alg` (RFC 7515 section 4.1.1).
    ///
    /// # Errors
    /// [`Refusal::UnsupportedAlgorithm`] for any other name than [`AlgorithmName::ALL`]'s, `none` included.
    pub fn algorithm(&self) -> Result<Algorithm, Refusal> {
        self.algorithm
    }

    /// The header's `kid` (RFC 7515 section 4.1.4).
    #[must_use]
    pub fn kid(&self) -> Option<&Kid> {
        self.kid.as_ref()
    }

    /// The payload's `iss` (RFC 7519 section 4.1.1). Unverified: only to pick the issuer whose
    /// keys and rules then decide.
    ///
    /// # Errors
    /// [`Refusal::MissingClaim`] when it is absent, [`Refusal::InvalidClaim`] when it is no string.
    pub fn issuer(&self) -> Result<Cow<'_, str>, Refused> {
        let issuer = self.content.payload.get("iss");
        issuer
            .ok_or_else(|| Refusal::MissingClaim.of("iss"))?
            .string()
            .ok_or_else(|| Refusal::InvalidClaim.of("iss"))
    }

    /// Does `template` name its `iss`? Unverified, as that is.
    #[must_use]
    pub fn is_of(&self, template: &IssuerTemplate) -> bool {
        self.issuer()
            .is_ok_and(|issuer| template.names(&issuer, &self.content.payload))
    }
}

/// Shows the algorithm only: a token in a log is a session in a log.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl<'t> Content<'t> {
    /// What a token of this payload says. An empty `typ` is an absent one.
    pub(crate) fn of_payload(payload: &'t str, typ: &str) -> Option<Self> {
        Some(Self {
            header: Object::parse("{}")?,
            payload: Object::parse(payload)?,
            typ: (!typ.is_empty()).then(|| typ.to_owned()),
        })
    }
}

fn decode_segment(segment: &str) -> Option<Vec<u8>> {
    base64url::decode(segment).filter(|octets| !octets.is_empty())
}

fn decode_object(segment: &str) -> Option<Object<'static>> {
    Object::parse(String::from_utf8(decode_segment(segment)?).ok()?)
}

/// Extensions that change what is signed or how the payload is to be read are not understood, and
/// so must be refused (RFC 7515 section 4.1.11, RFC 7797 section 3, RFC 7516 section 4.1).
fn extensions_are_absent(header: &Object<'_>) -> bool {
    let absent = ["crit", "zip", "enc"]
        .iter()
        .all(|name| header.get(name).is_none());
    let encoded = header.get("b64").is_none_or(Value::is_true);
    let not_nested = match header.get("cty").map(Value::string) {
        None => true,
        Some(None) => false,
        Some(Some(cty)) => !is_media_type(&cty, "jwt"),
    };
    absent && encoded && not_nested
}

/// Whether a header's `typ` or `cty` names `application/{subtype}`: any case, and the prefix may
/// be left out (RFC 7515 sections 4.1.9 and 4.1.10).
pub(crate) fn is_media_type(value: &str, subtype: &str) -> bool {
    bare_media_type(value).eq_ignore_ascii_case(subtype)
}

/// A media type without the prefix `application/`.
pub(crate) fn bare_media_type(value: &str) -> &str {
    const PREFIX: &str = "application/";
    match value.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
        _ => value,
    }
}

fn required_string(value: Option<Value<'_>>) -> Option<Cow<'_, str>> {
    value?.string()
}

/// `None` when the value is there and no string.
fn optional_string(value: Option<Value<'_>>) -> Option<Option<String>> {
    match value {
        None => Some(None),
        Some(value) => value.string().map(|text| Some(text.into_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(header: &str, payload: &str) -> String {
        let [header, payload] = [header, payload].map(base64url::encode);
        format!("{header}.{payload}.AAAA")
    }

    fn is_read(header: &str, payload: &str) -> bool {
        let text = token(header, payload);
        match Token::decode(&text) {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::Malformed);
                false
            }
        }
    }

    #[test]
    fn a_token_has_three_non_empty_canonical_segments() {
        let good = token(r#"{"alg":"HS256"}"#, "{}");
        assert!(Token::decode(&good).is_ok());
        let (head, tail) = good.split_once('.').unwrap();
        for bad in [
            String::new(),
            "..".to_owned(),
            "a.b.c".to_owned(),
            format!("{head}.{tail}.AAAA"),
            format!("{head}..AAAA"),
            format!(".{tail}"),
            format!("{head}.e30."),
            format!("{head}.e30"),
            format!("{good}="),
            format!("{good} "),
            format!(" {good}"),
            format!("{good}\n"),
            format!("{head}.e31.AAAA"),
            format!("{head}.e30.AAB"),
        ] {
            assert_eq!(Token::decode(&bad).err(), Some(Refusal::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_header_that_changes_the_meaning_of_the_token_is_malformed() {
        for good in [
            "",
            r#","b64":true"#,
            r#","cty":"json""#,
            r#","jku":1,"x5u":[],"jwk":{"a":1e400},"x5c":null"#,
            r#","typ":"X""#,
        ] {
            assert!(
                is_read(&format!(r#"{{"alg":"HS256"{good}}}"#), "{}"),
                "{good}"
            );
        }
        for bad in [
            r#","crit":["b64"]"#,
            r#","crit":[]"#,
            r#","crit":null"#,
            r#","b64":false"#,
            r#","b64":1"#,
            r#","zip":"DEF""#,
            r#","enc":"A128GCM""#,
            r#","cty":"JWT""#,
            r#","cty":"application/jwt""#,
            r#","cty":1"#,
            r#","kid":1"#,
            r#","kid":null"#,
            r#","typ":1"#,
            r#","typ":null"#,
            r#","alg":"HS256""#,
            r#","\u0061lg":"HS256""#,
            r#","jwk":{"a":1,"a":1}"#,
        ] {
            assert!(
                !is_read(&format!(r#"{{"alg":"HS256"{bad}}}"#), "{}"),
                "{bad}"
            );
        }
        for bad in [
            "{}",
            r#"{"alg":256}"#,
            r#"{"alg":null}"#,
            r#"{"alg":["HS256"]}"#,
        ] {
            assert!(!is_read(bad, "{}"), "{bad}");
        }
    }

    #[test]
    fn a_kid_is_at_most_512_octets() {
        let with_kid = |kid: String| is_read(&format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#), "{}");
        assert!(with_kid("k".repeat(512)));
        assert!(!with_kid("k".repeat(513)));
        assert!(with_kid("é".repeat(256)));
        assert!(!with_kid("é".repeat(257)));
        assert!(with_kid("\\u0041".repeat(512)));
        assert!(with_kid(String::new()));
    }

    #[test]
    fn a_payload_is_one_strict_object() {
        let nested =
            |levels: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(levels), "]".repeat(levels));
        for good in [
            "{}".to_owned(),
            r#"{"a":{"b":1,"b":2}}"#.to_owned(),
            r#"{"n":1e400}"#.to_owned(),
            nested(31),
        ] {
            assert!(is_read(r#"{"alg":"HS256"}"#, &good), "{good}");
        }
        for bad in [
            "[]".to_owned(),
            "1".to_owned(),
            r#"{"a":1,"a":1}"#.to_owned(),
            r#"{"n":1e200000}"#.to_owned(),
            nested(32),
            r#"{"a":"\u0000"}"#.to_owned(),
        ] {
            assert!(!is_read(r#"{"alg":"HS256"}"#, &bad), "{bad}");
        }
        let header = base64url::encode(r#"{"alg":"HS256"}"#);
        let payload = base64url::encode(b"{\"a\":\"\xff\"}");
        assert!(Token::decode(&format!("{header}.{payload}.AAAA")).is_err());
    }

    #[test]
    fn an_unknown_algorithm_is_unsupported_rather_than_malformed() {
        for name in ["none", "hs256", "ES512", ""] {
            let text = token(&format!(r#"{{"alg":"{name}"}}"#), "{}");
            let algorithm = Token::decode(&text).unwrap().algorithm();
            assert_eq!(algorithm, Err(Refusal::UnsupportedAlgorithm), "{name}");
        }
    }

    #[test]
    fn the_unverified_issuer_can_be_read() {
        let issuer = |payload: &str| {
            let text = token(r#"{"alg":"HS256"}"#, payload);
            Token::decode(&text).unwrap().issuer().map(Cow::into_owned)
        };
        assert_eq!(issuer(r#"{"iss":"a\/b"}"#), Ok("a/b".to_owned()));
        assert_eq!(issuer("{}"), Err(Refusal::MissingClaim.of("iss")));
        assert_eq!(
            issuer(r#"{"iss":null}"#),
            Err(Refusal::InvalidClaim.of("iss"))
        );
    }
}
