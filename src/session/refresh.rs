//! Taking a refresh token for the next pair, and noticing one that was used before.

use jose::{RefreshToken, Refusal, UnixMicros};
use pgrx::prelude::*;

use super::end::{self, Ended};
use super::open::{Grant, Pair, access_token};
use super::state::{COLUMNS, Session};
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::json::JsonText;
use crate::pg::plan::{Sees, query, text};
use crate::trust;

/// Why a session ends whose refresh token came back.
const THEFT: &str = "refresh_reuse";

/// The next pair, or why there is none. The session's row stays locked until the transaction ends, so that whatever happens to a
/// session happens one after another.
pub fn refresh(
    text: &str,
    device: Option<JsonText>,
    device_hash: Option<String>,
    now: UnixMicros,
) -> Result<Result<Pair, Refusal>> {
    let Some(token) = RefreshToken::parse(text) else {
        return Ok(Err(Refusal::UnknownSession));
    };
    let Some(mut session) = lock(&token) else {
        return Ok(Err(Refusal::UnknownSession));
    };
    let trust = trust::current();
    let issuer = trust.named(Some(&session.issuer)).ok();
    let verified = session
        .verify(issuer.map(AsRef::as_ref), now)
        .and_then(|issuer| Ok((issuer, session.subject(issuer)?)));
    let (issuer, subject) = match verified {
        Ok(verified) => verified,
        Err(Error::Refused(refused)) => return Ok(Err(refused.reason)),
        Err(error) => return Err(error),
    };
    let hash = token.hash();
    if !session.tokens.accept(&hash, now, issuer.refresh_reuse) {
        end::end(&Ended::One(&session.id), THEFT)?;
        return Ok(Err(Refusal::Revoked));
    }
    let known = session.device_hash.is_some();
    if known && device_hash.is_some() && session.device_hash != device_hash {
        return Ok(Err(Refusal::DeviceMismatch));
    }
    // A device that is named binds a session that has none.
    let binds = !known && device_hash.is_some();
    if binds {
        session.device_hash = device_hash;
        session.device = device;
    }
    let access_token = access_token(
        issuer,
        &Grant {
            session_id: &session.id,
            subject: &subject,
            device_hash: session.device_hash.as_deref(),
            claims: &session.claims,
            opened_at: session.created_at,
            expires_at: session.expires_at,
        },
        now,
    )?;
    let refresh_token = token.next()?;
    session
        .tokens
        .advance(&hash, refresh_token.hash(), now, issuer.refresh_reuse);
    write(&session, now);
    Ok(Ok(Pair {
        session_id: session.id,
        access_token,
        refresh_token,
        expires_at: session.expires_at,
    }))
}

/// The session of a token, locked; 40001 where the transaction's snapshot is older than its last change.
fn lock(token: &RefreshToken) -> Option<Session> {
    query(
        Sees::Transaction,
        &format!("SELECT {COLUMNS} FROM auth.sessions AS s WHERE s.family_hash = $1 FOR UPDATE"),
        &[(
            pg_sys::BYTEAOID,
            token.family_hash().as_slice().into_datum(),
        )],
        Session::read,
    )
    .pop()
}

/// Touches no indexed column.
fn write(session: &Session, now: UnixMicros) {
    query(
        Sees::Transaction,
        "UPDATE auth.sessions AS s SET refresh_tokens = $2, last_used_at = $3,
             device = coalesce(s.device, $4), device_hash = coalesce(s.device_hash, $5)
         WHERE s.session_id = $1",
        &[
            text(session.id.as_str()),
            (pg_sys::JSONBOID, session.tokens.to_json().into_datum()),
            (
                pg_sys::TIMESTAMPTZOID,
                clock::to_timestamptz(now).into_datum(),
            ),
            (
                pg_sys::JSONBOID,
                session
                    .device
                    .as_ref()
                    .and_then(|device| JsonText(device.0.clone()).into_datum()),
            ),
            text(session.device_hash.as_deref()),
        ],
        |_| (),
    );
}
