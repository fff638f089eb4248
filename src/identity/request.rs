//! The bearer token of an HTTP request (RFC 6750 section 2.1), as PostgREST passes its headers on.

use jose::{Refusal, Refused};
use serde_json::{Map, Value};

use super::credential::Credential;
use super::scope;
use crate::error::{Error, Result};
use crate::pg::carrier::Scope;
use crate::pg::{clock, parameter};
use crate::statistics;

/// What became of a request's token.
pub enum Outcome {
    /// It is the transaction's identity now; or there was none, and nobody is authenticated.
    Accepted,
    /// It is refused.
    Refused(Refused),
}

/// Makes the bearer token in `request.headers` the transaction's identity. Without one the transaction has none, whatever the
/// session has.
pub fn authenticate() -> Result<Outcome> {
    scope::enter_nobody();
    let verified = match bearer_token() {
        Ok(Some(token)) => Credential::of_token(&token, clock::now()),
        Ok(None) => return Ok(Outcome::Accepted),
        Err(refusal) => Err(refusal.into()),
    };
    match statistics::token(verified) {
        Ok(credential) => {
            scope::enter(Scope::Transaction, credential);
            Ok(Outcome::Accepted)
        }
        Err(Error::Refused(refused)) => Ok(Outcome::Refused(refused)),
        Err(error) => Err(error),
    }
}

fn bearer_token() -> Result<Option<String>, Refusal> {
    let headers = match parameter(c"request.headers") {
        Some(headers) if !headers.is_empty() => headers,
        _ => return Ok(None),
    };
    let headers: Map<String, Value> =
        serde_json::from_str(&headers).map_err(|_| Refusal::Malformed)?;
    let mut found = headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let Some((_, value)) = found.next() else {
        return Ok(None);
    };
    if found.next().is_some() {
        return Err(Refusal::Malformed);
    }
    let value = value.as_str().ok_or(Refusal::Malformed)?.trim();
    // Another scheme is somebody else's business.
    // (PostgREST takes a tab for the space.)
    let (scheme, token) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Ok(None);
    }
    Ok(Some(token.trim_start().to_owned()))
}
