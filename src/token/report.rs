//! `check_jwt`: the outcome of a verification as a row.

use std::borrow::Cow;

use jose::{Purpose, Refusal, Refused, SessionVersion, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;

use super::session;
use super::verify::{Signed, verify_signature};
use crate::accounts;
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::json::JsonText;
use crate::staleness;

/// The columns of `check_jwt`, in order. What the token says is filled in once its signature holds.
#[derive(Default)]
pub struct Report {
    pub reason: Option<Refusal>,
    pub user_id: Option<UserId>,
    pub session_version: Option<SessionVersion>,
    pub current_session_version: Option<SessionVersion>,
    pub issued_at: Option<TimestampWithTimeZone>,
    pub expires_at: Option<TimestampWithTimeZone>,
    pub token_id: Option<String>,
    pub issuer: Option<String>,
    pub kid: Option<String>,
    pub claims: Option<JsonText>,
}

/// Verifies a token and reports; only what is not the token's fault is an error.
///
/// `device_hash` is the hash of the device that presents the token, where the caller told it.
pub fn report(text: &str, device_hash: Option<&str>, now: UnixMicros) -> Result<Report> {
    match staleness::refuse(now).and_then(|()| verify_signature(text, now)) {
        Ok(signed) => said(&signed, device_hash, now),
        Err(Error::Refused(refused)) => Ok(Report {
            reason: Some(refused.reason),
            ..Report::default()
        }),
        Err(error) => Err(error),
    }
}

fn said(signed: &Signed<'_>, device_hash: Option<&str>, now: UnixMicros) -> Result<Report> {
    let (token, issuer) = (&signed.token, &signed.issuer);
    let rules = &issuer.rules;
    let time = |time: Result<Option<UnixMicros>, Refused>| {
        time.ok().flatten().and_then(clock::to_timestamptz)
    };
    let claimed = token.user(rules).ok().flatten();
    let mut report = Report {
        reason: None,
        user_id: None,
        session_version: token
            .session_version(rules)
            .ok()
            .map(Option::unwrap_or_default),
        current_session_version: None,
        issued_at: time(token.issued_at()),
        expires_at: time(token.expires_at()),
        token_id: token.token_id().ok().flatten().map(Cow::into_owned),
        issuer: Some(token.issuer_name(rules)),
        kid: Some(token.kid().as_str().to_owned()),
        claims: Some(JsonText(token.payload_json().to_owned())),
    };
    let outcome = signed
        .verify_claims(Purpose::Access, now)
        .and_then(|claims| {
            claims.on_device(device_hash)?;
            signed.verify_session(&claims, now)
        });
    match outcome {
        Ok(session) => {
            report.user_id = session.user_id;
            report.current_session_version = session.current_version;
        }
        Err(Error::Refused(refused)) => {
            report.reason = Some(refused.reason);
            report.user_id = session::refused_user(issuer, claimed.as_deref(), refused.reason);
            report.current_session_version =
                current_version(refused.reason, report.user_id.as_ref())?;
        }
        Err(error) => return Err(error),
    }
    Ok(report)
}

/// A cache that holds an older version deletes its entry at once when it is told the current one.
fn current_version(refusal: Refusal, user_id: Option<&UserId>) -> Result<Option<SessionVersion>> {
    match (refusal, user_id) {
        (Refusal::SessionVersionMismatch | Refusal::InactiveUser, Some(user_id)) => {
            Ok(accounts::current()
                .users()?
                .find(user_id)
                .map(|account| account.session_version))
        }
        _ => Ok(None),
    }
}
