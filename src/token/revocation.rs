//! Single tokens that ended before their time, by issuer and `jti`.

use std::borrow::Cow;

use jose::{Claims, EVENT_LIFETIME, Fingerprint, Refusal, UnixMicros};
use pgrx::prelude::*;

use crate::error::Result;
use crate::invalidation::{self, Event};
use crate::pg::acting::ActingAs;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Sees, query, text};
use crate::pg::probe::Looked;
use crate::pg::{catalog, clock};
use crate::trust::{self, Issuer};

process_local! {
    static FIND: OurPlan = OurPlan::new(
        "SELECT true FROM auth.revoked_tokens AS r
         WHERE r.issuer OPERATOR(pg_catalog.=) $1 AND r.jti OPERATOR(pg_catalog.=) $2",
        &[pg_sys::TEXTOID, pg_sys::TEXTOID],
    );
}

/// The `jti` as the table keeps it: an index cannot hold one of any length.
fn key(jti: &str) -> Cow<'_, str> {
    if jti.len() <= 1024 {
        jti.into()
    } else {
        format!("sha256:{}", Fingerprint::of(jti)).into()
    }
}

/// Refuses a token that was revoked, as committed at this moment. One index probe at most, and none for an
/// issuer of which no token was ever revoked.
pub fn refuse_revoked(issuer: &Issuer, claims: &Claims<'_>) -> Result<()> {
    let Some(jti) = claims.token_id.as_deref().filter(|_| issuer.revokes) else {
        return Ok(());
    };
    if is_noted(issuer, claims.issuer_name(&issuer.rules), jti) {
        Err(Refusal::Revoked.into())
    } else {
        Ok(())
    }
}

/// Refuses a token whose issuer has ended the session that it names, as committed at this moment. One index probe at most, and none
/// for an issuer that never did.
pub fn refuse_ended_session(issuer: &Issuer, claims: &Claims<'_>) -> Result<()> {
    let Ok(Some(sid)) = claims.session_id.as_ref() else {
        return Ok(());
    };
    if !issuer.ends_sessions {
        return Ok(());
    }
    let name = trust::ended_sessions_of(&issuer.rules.issuer);
    if is_noted(
        issuer,
        &name,
        &own_id(issuer, claims.issuer.as_deref(), sid),
    ) {
        Err(Refusal::SessionEnded.into())
    } else {
        Ok(())
    }
}

/// An id that an issuer has given out; of the issuers of a template each has its own.
fn own_id<'a>(issuer: &Issuer, iss: Option<&str>, id: &'a str) -> Cow<'a, str> {
    match iss.filter(|_| issuer.rules.template.is_some()) {
        Some(iss) => format!("{iss} {id}").into(),
        None => id.into(),
    }
}

/// Is a row of `auth.revoked_tokens` there?
fn is_noted(issuer: &Issuer, name: &str, id: &str) -> bool {
    let name = name.into_datum();
    let id = key(id).as_ref().into_datum();
    let looked = match (&issuer.revocations, name, id) {
        (Some(probe), Some(name), Some(id)) => probe.look(&[name, id], trust::still_holds, |_| ()),
        _ => Looked::Changed,
    };
    match looked {
        Looked::Row(()) => true,
        Looked::Nothing => false,
        Looked::Changed => {
            let _acting = ActingAs::reader(catalog::extension_owner());
            let found = FIND.with(|find| find.run(Sees::Latest, &[name, id], 1, |_| ()));
            !found.is_empty()
        }
    }
}

/// Notes that the issuer has ended the session of this `sid`; false when that was noted before. Nothing says how long the issuer's
/// tokens last: the note stays as long as its keys do (see `operations/prune.rs`).
pub fn end_session(issuer: &Issuer, iss: &str, sid: &str, reason: &str) -> bool {
    let name = trust::ended_sessions_of(&issuer.rules.issuer);
    note(&name, &own_id(issuer, Some(iss), sid), "", reason, None)
}

/// Notes that an event was received; false when it was before. Kept until it would be too old, whatever the leeway is by then.
pub fn take_event(issuer: &Issuer, iss: &str, jti: &str, now: UnixMicros, event: &str) -> bool {
    let name = format!("auth_ext:event {}", issuer.rules.issuer);
    let until = now.0.saturating_add(EVENT_LIFETIME.saturating_mul(3));
    note(
        &name,
        &own_id(issuer, Some(iss), jti),
        "",
        event,
        Some(UnixMicros(until)),
    )
}

/// Revokes a token, reported as that user's, until it could neither be verified nor refreshed. False when it was revoked before: of
/// concurrent callers exactly one gets true.
pub fn revoke(
    issuer: &Issuer,
    claims: &Claims<'_>,
    user_id: &str,
    jti: &str,
    reason: &str,
) -> bool {
    let last = claims
        .expires_at
        .0
        .saturating_add(issuer.rules.leeway_micros)
        .saturating_add(issuer.refresh_grace);
    // A second more, as a token may be refreshed up to and including that moment.
    note(
        claims.issuer_name(&issuer.rules),
        jti,
        user_id,
        reason,
        Some(UnixMicros(last.saturating_add(1_000_000))),
    )
}

/// Adds a row to `auth.revoked_tokens`, to be kept until that moment, or without an end. False when it was there: of concurrent callers exactly one gets true.
fn note(issuer: &str, id: &str, user_id: &str, reason: &str, until: Option<UnixMicros>) -> bool {
    let added = query(
        Sees::Transaction,
        "INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
         VALUES ($1, $2, $3, $4, coalesce($5, 'infinity'))
         ON CONFLICT DO NOTHING RETURNING true",
        &[
            text(issuer),
            text(key(id).as_ref()),
            text(user_id),
            text(reason),
            (
                pg_sys::TIMESTAMPTZOID,
                until.and_then(clock::to_timestamptz).into_datum(),
            ),
        ],
        |_| (),
    );
    !added.is_empty()
}

/// The same, and tells the listeners.
pub fn revoke_and_tell(
    issuer: &Issuer,
    claims: &Claims<'_>,
    user_id: &str,
    jti: &str,
    reason: &str,
) -> bool {
    let revoked = revoke(issuer, claims, user_id, jti, reason);
    if revoked {
        invalidation::record(Event::Token {
            jti: jti.to_owned(),
            user_id: user_id.to_owned(),
            exp: claims.expires_at.0.div_euclid(1_000_000),
        });
    }
    revoked
}
