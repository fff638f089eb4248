//! Single sign-on in three steps: a token, taken once for a hand-off, taken once for an access token.

use jose::{Fingerprint, Purpose, Refusal, SessionCheck, SessionVersion, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::functions::device_hash;
use super::issue::{Request, Subject, issue, sign, subject};
use super::revocation::Revocation;
use super::verify::{Signed, verify_signature};
use crate::attach::UserId;
use crate::error::{Error, Result, quoted};
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::json::JsonText;
use crate::pg::one_row::OneRow;
use crate::pg::plan::{Sees, query, text};
use crate::trust;

/// What the `typ` of an SSO token says, so that it is refused wherever it does not belong.
const TYP: &str = "sso+jwt";
const TOKEN_TTL: i64 = 5 * 60 * 1_000_000;
const HANDOFF_SECONDS: i64 = 30;

fn required<'a>(argument: Option<&'a str>, name: &str) -> Result<&'a str> {
    argument.ok_or_else(|| Error::Argument(format!("{name} must not be NULL")))
}

// ---- Step 1 ------------------------------------------------------------------------------------------

#[pg_extern(sql = false)]
fn issue_sso_token(user_id: Option<&str>, issuer: Option<&str>) -> String {
    sql(|| {
        // Before the user's row is read: a token is not younger than what it rests on.
        let now = clock::now();
        let trust = trust::current();
        let issuer = trust.named(issuer)?;
        let user_id = UserId::new(user_id.ok_or(Refusal::UnknownUser)?);
        let subject = subject(issuer, &user_id, None)?;
        sign(issuer, TYP, &subject, TOKEN_TTL, now)
    })
}

// ---- Step 2 ------------------------------------------------------------------------------------------

#[pg_extern(sql = false)]
fn exchange_sso_token(
    token: Option<&str>,
    target_app: Option<&str>,
    return_url: Option<&str>,
) -> String {
    sql(|| {
        let now = clock::now();
        let target_app = required(target_app, "target_app")?;
        let signed = verify_signature(token.ok_or(Refusal::Malformed)?, now)?;
        let claims = signed.verify_claims(Purpose::Named(TYP), now)?;
        let session = signed.verify_session(&claims, now)?;
        let user_id = (session.user_id.as_ref())
            .ok_or_else(|| Refusal::MissingClaim.of(signed.issuer.rules.user_claim.as_str()))?;
        let jti = (claims.token_id.as_deref()).ok_or_else(|| Refusal::MissingClaim.of("jti"))?;
        let Signed { issuer, .. } = &signed;
        let taken = Revocation {
            issuer,
            claims: &claims,
            jti,
            user_id: Some(user_id),
            reason: "sso_exchange",
        };
        if !taken.write() {
            return Err(Refusal::Revoked.into());
        }
        let handoff = jose::random_text()?;
        let issued_at = claims.issued_at.unwrap_or(now);
        query(
            Sees::Transaction,
            "INSERT INTO auth.sso_handoffs
                 (handoff_hash, issuer, user_id, session_version, issued_at, target_app, return_url, expires_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, clock_timestamp() + $8 * interval '1 second')",
            &[
                text(Fingerprint::of(&handoff).as_str()),
                text(issuer.rules.issuer.as_str()),
                text(user_id.as_str()),
                (pg_sys::INT8OID, session.current_version.map(SessionVersion::get).into_datum()),
                (pg_sys::TIMESTAMPTZOID, clock::to_timestamptz(issued_at).into_datum()),
                text(target_app),
                text(return_url),
                (pg_sys::INT8OID, HANDOFF_SECONDS.into_datum()),
            ],
            |_| (),
        );
        Ok(handoff)
    })
}

// ---- Step 3 ------------------------------------------------------------------------------------------

/// What a hand-off stands for.
struct Handoff {
    issuer: String,
    user_id: UserId,
    session_version: Option<SessionVersion>,
    issued_at: UnixMicros,
    target_app: String,
    return_url: Option<String>,
}

#[pg_extern(sql = false)]
fn complete_sso(handoff: Option<&str>, device: Option<JsonText>) -> OneRow {
    sql(|| {
        let now = clock::now();
        let handoff = consume(handoff.ok_or(Refusal::Malformed)?)?;
        let subject = still_holds(&handoff)?;
        let request = Request {
            user_id: &subject.user_id,
            session_version: subject.session_version,
            ttl: None,
            device_hash: device_hash(device.as_ref())?,
            claims: "{}",
            issuer: Some(&handoff.issuer),
        };
        let token = issue(&request, now)?;
        Ok(OneRow::default()
            .with(c"token", token)
            .with(c"user_id", subject.user_id.into_string())
            .with(c"target_app", handoff.target_app)
            .with(c"return_url", handoff.return_url))
    })
}

/// Takes the hand-off in one statement, so that one caller gets it.
fn consume(handoff: &str) -> Result<Handoff> {
    let hash = Fingerprint::of(handoff);
    let taken = query(
        Sees::Transaction,
        "UPDATE auth.sso_handoffs SET used_at = clock_timestamp()
         WHERE handoff_hash = $1 AND used_at IS NULL AND expires_at > clock_timestamp()
         RETURNING issuer, user_id, session_version, issued_at, target_app, return_url",
        &[text(hash.as_str())],
        |row| Handoff {
            issuer: row.required(1),
            user_id: UserId::new(row.required::<String>(2)),
            session_version: row.get(3).map(SessionVersion::new),
            issued_at: clock::from_pg(row.required::<TimestampWithTimeZone>(4).into_inner()),
            target_app: row.required(5),
            return_url: row.get(6),
        },
    )
    .pop();
    taken.ok_or_else(|| why_not(&hash).into())
}

fn why_not(hash: &Fingerprint) -> Refusal {
    let used = query(
        Sees::Latest,
        "SELECT used_at IS NOT NULL FROM auth.sso_handoffs WHERE handoff_hash = $1",
        &[text(hash.as_str())],
        |row| row.required::<bool>(1),
    );
    match used.first() {
        None => Refusal::Malformed,
        Some(true) => Refusal::Revoked,
        Some(false) => Refusal::Expired,
    }
}

/// The user may have been bumped, deactivated or cut off since the exchange.
fn still_holds(handoff: &Handoff) -> Result<Subject> {
    let trust = trust::current();
    let issuer = trust.issuer(&handoff.issuer).ok_or_else(|| {
        Error::Argument(format!("there is no issuer {}", quoted(&handoff.issuer)))
    })?;
    let rules = &issuer.rules;
    if rules.cuts_off(Some(handoff.issued_at)) {
        return Err(Refusal::IssuedBeforeCutoff.into());
    }
    let subject = subject(issuer, &handoff.user_id, None)?;
    if rules.session_check != SessionCheck::None
        && subject.session_version != handoff.session_version
    {
        return Err(Refusal::SessionVersionMismatch.into());
    }
    Ok(subject)
}
