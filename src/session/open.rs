//! Beginning a session: a login.

use jose::{RefreshToken, SessionVersion, UnixMicros};
use pgrx::prelude::*;

use super::state::RefreshTokens;
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::clock;
use crate::pg::json::JsonText;
use crate::pg::plan::{Sees, query, text};
use crate::token::{self, AccessToken};
use crate::trust::{self, Issuer};

/// What the caller of `open_session` asked for.
pub struct Login<'a> {
    /// Whose session it is to be.
    pub user_id: &'a UserId,
    /// The device: any JSON object, and its hash.
    pub device: Option<JsonText>,
    /// The hash of the device; None for an empty one.
    pub device_hash: Option<String>,
    /// The application's name for the session.
    pub label: Option<&'a str>,
    /// In microseconds; None is the issuer's `session_lifetime`.
    pub lifetime: Option<i64>,
    /// Further claims of its access tokens: the text of a JSON object.
    pub claims: &'a str,
    /// None is the default issuer.
    pub issuer: Option<&'a str>,
}

/// A session's tokens, as the client gets them.
pub struct Pair {
    /// The session.
    pub session_id: String,
    /// The access token.
    pub access_token: String,
    /// The next refresh token.
    pub refresh_token: RefreshToken,
    /// When the session is over at the latest.
    pub expires_at: UnixMicros,
}

/// Begins a session and makes its first tokens.
pub fn open(login: Login<'_>, now: UnixMicros) -> Result<Pair> {
    let trust = trust::current();
    let issuer = trust.named(login.issuer)?;
    let subject = token::subject(issuer, login.user_id, None)?;
    let lifetime = login.lifetime.unwrap_or(issuer.session_lifetime);
    if lifetime <= 0 {
        return Err(Error::Argument("lifetime must be positive".to_owned()));
    }
    let expires_at = UnixMicros(now.0.saturating_add(lifetime));
    let (Some(expires), Some(opened)) = (
        clock::to_timestamptz(expires_at),
        clock::to_timestamptz(now),
    ) else {
        return Err(Error::Argument("lifetime is out of range".to_owned()));
    };
    let session_id = jose::random_uuid()?;
    let access_token = access_token(
        issuer,
        &Grant {
            session_id: &session_id,
            subject: &subject,
            device_hash: login.device_hash.as_deref(),
            claims: login.claims,
            opened_at: now,
            expires_at,
        },
        now,
    )?;
    let refresh_token = RefreshToken::first()?;
    query(
        Sees::Transaction,
        "INSERT INTO auth.sessions (session_id, issuer, user_id, session_version, family_hash, refresh_tokens, device,
             device_hash, label, claims, created_at, last_used_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $11, $12)",
        &[
            text(session_id.as_str()),
            text(issuer.rules.issuer.as_str()),
            text(subject.user_id.as_str()),
            (pg_sys::INT8OID, subject.session_version.map(SessionVersion::get).into_datum()),
            (pg_sys::BYTEAOID, refresh_token.family_hash().as_slice().into_datum()),
            (pg_sys::JSONBOID, RefreshTokens::first(refresh_token.hash()).to_json().into_datum()),
            (pg_sys::JSONBOID, login.device.into_datum()),
            text(login.device_hash),
            text(login.label),
            (pg_sys::JSONBOID, JsonText(login.claims.to_owned()).into_datum()),
            (pg_sys::TIMESTAMPTZOID, opened.into_datum()),
            (pg_sys::TIMESTAMPTZOID, expires.into_datum()),
        ],
        |_| (),
    );
    Ok(Pair {
        session_id,
        access_token,
        refresh_token,
        expires_at,
    })
}

/// What an access token of a session says.
pub struct Grant<'a> {
    /// `sid`.
    pub session_id: &'a str,
    /// User and version.
    pub subject: &'a token::Subject,
    /// What it is bound to.
    pub device_hash: Option<&'a str>,
    /// The session's further claims.
    pub claims: &'a str,
    /// `auth_time`.
    pub opened_at: UnixMicros,
    /// No `exp` is later.
    pub expires_at: UnixMicros,
}

/// Makes an access token of a session.
pub fn access_token(issuer: &Issuer, grant: &Grant<'_>, now: UnixMicros) -> Result<String> {
    let auth_time = grant.opened_at.second();
    let of_session = format!(r#""sid":"{}","auth_time":{auth_time}"#, grant.session_id);
    token::access_token(
        issuer,
        &AccessToken {
            subject: grant.subject,
            ttl: issuer
                .token_ttl
                .min(grant.expires_at.0.saturating_sub(now.0)),
            device_hash: grant.device_hash,
            claims: grant.claims,
            of_session: &of_session,
        },
        now,
    )
}
