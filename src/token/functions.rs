//! The SQL functions of tokens. Declared in `sql/functions.sql`.

use jose::{Purpose, Refusal, SessionVersion};
use pgrx::datum::Interval;
use pgrx::prelude::*;

use super::issue::{self, Request};
use super::refresh::refresh;
use super::report::{Report, report};
use super::revocation::Revocation;
use super::session;
use super::verified_cache;
use super::verify::{Signed, parse, verify_signature};
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::json::{JsonText, Jsonb};
use crate::pg::one_row::OneRow;
use crate::statistics;

#[pg_extern(sql = false)]
fn verify_jwt(token: &str) -> Jsonb {
    sql(|| {
        let now = clock::now();
        let verify = || {
            let verified = verified_cache::verify_claims(token, now)?;
            verified.verify_session(now)?;
            Ok(verified.payload.clone())
        };
        statistics::token(verify())
    })
}

#[pg_extern(sql = false)]
fn verify_jwt_claims(token: &str) -> Jsonb {
    sql(|| {
        let verified = verified_cache::verify_claims(token, clock::now())?;
        Ok(verified.payload.clone())
    })
}

#[pg_extern(sql = false)]
fn decode_jwt(token: &str) -> JsonText {
    sql(|| {
        let token = parse(token)?;
        Ok(JsonText(format!(
            r#"{{"header":{},"payload":{}}}"#,
            token.header_json(),
            token.payload_json()
        )))
    })
}

#[pg_extern(sql = false)]
fn check_jwt(token: Option<&str>, device: Option<JsonText>) -> OneRow {
    sql(|| {
        let device_hash = device_hash(device.as_ref())?;
        let report = match token {
            Some(token) => report(token, device_hash.as_deref(), clock::now())?,
            None => Report {
                reason: Some(Refusal::Malformed),
                ..Report::default()
            },
        };
        // It answers; the refusal counts all the same.
        let version = |version: Option<SessionVersion>| version.map(SessionVersion::get);
        let _ = statistics::token(report.reason.map_or(Ok(()), |reason| Err(reason.into())));
        Ok(OneRow::default()
            .with(c"valid", report.reason.is_none())
            .with(c"reason", report.reason.map(Refusal::code))
            .with(c"user_id", report.user_id.map(UserId::into_string))
            .with(c"session_version", version(report.session_version))
            .with(
                c"current_session_version",
                version(report.current_session_version),
            )
            .with(c"issued_at", report.issued_at)
            .with(c"expires_at", report.expires_at)
            .with(c"token_id", report.token_id)
            .with(c"issuer", report.issuer)
            .with(c"kid", report.kid)
            .with(c"claims", report.claims))
    })
}

#[pg_extern(sql = false)]
fn refresh_jwt(token: Option<&str>, device: Option<JsonText>) -> String {
    sql(|| {
        refresh(
            token.ok_or(Refusal::Malformed)?,
            device_hash(device.as_ref())?,
            clock::now(),
        )
    })
}

#[pg_extern(sql = false)]
fn revoke_jwt(token: Option<&str>, reason: Option<&str>) -> bool {
    sql(|| {
        let now = clock::now();
        let signed = verify_signature(token.ok_or(Refusal::Malformed)?, now)?;
        let Signed { token, issuer } = &signed;
        // An expired token may still be refreshed, and whoever logs out wants it to end anyway.
        let claims = token.check_with_grace(&issuer.rules, Purpose::Access, now, i64::MAX)?;
        let Some(jti) = claims.token_id.as_deref() else {
            return Ok(false);
        };
        let user_id = session::reported_user(issuer, claims.user.as_deref());
        let revocation = Revocation {
            issuer,
            claims: &claims,
            jti,
            user_id: user_id.as_ref(),
            reason: reason.unwrap_or("logout"),
        };
        Ok(revocation.write_and_tell())
    })
}

#[pg_extern(sql = false)]
fn issue_jwt(
    user_id: Option<&str>,
    session_version: Option<i64>,
    ttl: Option<Interval>,
    device: Option<JsonText>,
    claims: Option<JsonText>,
    issuer: Option<&str>,
) -> String {
    sql(|| {
        let claims = claims.unwrap_or_else(|| JsonText("{}".to_owned()));
        let request = Request {
            user_id: &UserId::new(user_id.ok_or(Refusal::UnknownUser)?),
            session_version: session_version.map(SessionVersion::new),
            ttl: ttl.as_ref().map(clock::micros).transpose()?,
            device_hash: device_hash(device.as_ref())?,
            claims: &claims.0,
            issuer,
        };
        issue::issue(&request, clock::now())
    })
}

/// The hash of a device's fingerprint; None for none or an empty one.
pub fn device_hash(device: Option<&JsonText>) -> Result<Option<String>> {
    match device {
        None => Ok(None),
        Some(device) => jose::device_hash(&device.0).map_err(|_| {
            Error::Argument("device must be a JSON object, nested at most 32 deep".to_owned())
        }),
    }
}
