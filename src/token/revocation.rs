//! Single tokens that ended before their time, by issuer and `jti`.

use std::borrow::Cow;

use jose::{Claims, EVENT_LIFETIME, Fingerprint, Refusal, UnixMicros};
use pgrx::prelude::*;

use crate::attach::UserId;
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
    Note {
        issuer: &trust::ended_sessions_of(&issuer.rules.issuer),
        id: &own_id(issuer, Some(iss), sid),
        user_id: None,
        reason,
        until: None,
    }
    .write()
}

/// Notes that an event was received; false when it was before. Kept until it would be too old, whatever the leeway is by then.
pub fn take_event(issuer: &Issuer, iss: &str, jti: &str, now: UnixMicros, event: &str) -> bool {
    let until = now.0.saturating_add(EVENT_LIFETIME.saturating_mul(3));
    Note {
        issuer: &format!("auth_ext:event {}", issuer.rules.issuer),
        id: &own_id(issuer, Some(iss), jti),
        user_id: None,
        reason: event,
        until: Some(UnixMicros(until)),
    }
    .write()
}

/// A single token that is to end before its time.
pub struct Revocation<'a> {
    /// The issuer that signed it.
    pub issuer: &'a Issuer,
    /// Its claims.
    pub claims: &'a Claims<'a>,
    /// Its `jti`.
    pub jti: &'a str,
    /// The user who is reported as its holder.
    pub user_id: Option<&'a UserId>,
    /// Why.
    pub reason: &'a str,
}

impl Revocation<'_> {
    /// Revokes the token until it could neither be verified nor refreshed. False when it was revoked before: of concurrent callers
    /// exactly one gets true.
    pub fn write(&self) -> bool {
        let rules = &self.issuer.rules;
        let last = self
            .claims
            .expires_at
            .0
            .saturating_add(rules.leeway_micros)
            .saturating_add(self.issuer.refresh_grace);
        Note {
            issuer: self.claims.issuer_name(rules),
            id: self.jti,
            user_id: self.user_id,
            reason: self.reason,
            // A second more, as a token may be refreshed up to and including that moment.
            until: Some(UnixMicros(last.saturating_add(1_000_000))),
        }
        .write()
    }

    /// The same, and tells the listeners.
    pub fn write_and_tell(&self) -> bool {
        let revoked = self.write();
        if revoked {
            invalidation::record(Event::Token {
                jti: self.jti.to_owned(),
                user_id: self.user_id.cloned(),
                exp: self.claims.expires_at.second(),
            });
        }
        revoked
    }
}

/// A row of `auth.revoked_tokens`.
struct Note<'a> {
    issuer: &'a str,
    id: &'a str,
    /// The column has an empty text for nobody.
    user_id: Option<&'a UserId>,
    reason: &'a str,
    /// None: kept without an end.
    until: Option<UnixMicros>,
}

impl Note<'_> {
    /// Adds the row. False when it was there: of concurrent callers exactly one gets true.
    fn write(&self) -> bool {
        let until = self.until.and_then(clock::to_timestamptz);
        let added = query(
            Sees::Transaction,
            "INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
             VALUES ($1, $2, $3, $4, coalesce($5, 'infinity'))
             ON CONFLICT DO NOTHING RETURNING true",
            &[
                text(self.issuer),
                text(key(self.id).as_ref()),
                text(self.user_id.map_or("", UserId::as_str)),
                text(self.reason),
                (pg_sys::TIMESTAMPTZOID, until.into_datum()),
            ],
            |_| (),
        );
        !added.is_empty()
    }
}
