//! The claim `sid`: is the session that the token is of, one login, still open? See [`crate::session`] for what opens and ends it.

use jose::{Claims, Refusal, SessionVersion, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use crate::attach::UserId;
use crate::error::Result;
use crate::pg::acting::ActingAs;
use crate::pg::local::process_local;
use crate::pg::plan::{Plan, Sees};
use crate::pg::probe::Looked;
use crate::pg::{catalog, clock};
use crate::trust::{self, Issuer};

process_local! {
    static FIND: Plan = Plan::prepare(
        "SELECT s.issuer, s.user_id, s.expires_at, s.ended_at, s.session_version, s.created_at FROM auth.sessions AS s
         WHERE s.session_id OPERATOR(pg_catalog.=) $1",
        &[pg_sys::TEXTOID],
    );
}

/// What a session's row says.
struct Login {
    issuer: String,
    user_id: UserId,
    expires_at: UnixMicros,
    ended: bool,
    version: Option<SessionVersion>,
    created_at: UnixMicros,
}

/// Refuses a token whose session is over, as committed at this moment, or of another user or issuer. The moment until which the
/// answer holds by the clock; None for a token that is of no session kept here.
///
/// A session that a bump or the kill switch ended has no tokens, also none that was made while that was being committed. `version` is
/// the user's now; it is compared where the session has one.
///
/// One index probe at most, and none for an issuer under which no session was ever opened.
pub fn refuse_ended(
    issuer: &Issuer,
    claims: &Claims<'_>,
    user_id: &UserId,
    version: Option<SessionVersion>,
    now: UnixMicros,
) -> Result<Option<UnixMicros>> {
    if !issuer.opens_sessions {
        return Ok(None);
    }
    let Some(session_id) = claims.session_id.as_ref().map_err(|refusal| *refusal)? else {
        return Ok(None);
    };
    let login = find(issuer, session_id).ok_or(Refusal::SessionEnded)?;
    if login.issuer != issuer.rules.issuer
        || login.user_id != *user_id
        || login.ended
        || login.expires_at <= now
        || login.version.is_some() && version.is_some() && login.version != version
        || issuer.rules.cuts_off(Some(login.created_at))
    {
        return Err(Refusal::SessionEnded.into());
    }
    Ok(Some(login.expires_at))
}

fn find(issuer: &Issuer, session_id: &str) -> Option<Login> {
    let id = session_id.into_datum();
    let looked = match (&issuer.sessions, id) {
        (Some(probe), Some(id)) => probe.look(&[id], trust::still_holds, |row| Login {
            issuer: row.required(0),
            user_id: UserId::new(row.required::<String>(1)),
            expires_at: time(row.required(2)),
            ended: row.get::<TimestampWithTimeZone>(3).is_some(),
            version: row.get(4).map(SessionVersion::new),
            created_at: time(row.required(5)),
        }),
        _ => Looked::Changed,
    };
    match looked {
        Looked::Row(login) => Some(login),
        Looked::Nothing => None,
        Looked::Changed => {
            let _acting = ActingAs::reader(catalog::extension_owner());
            let found = FIND.with(|find| {
                find.run(Sees::Latest, &[id], 1, |row| Login {
                    issuer: row.required(1),
                    user_id: UserId::new(row.required::<String>(2)),
                    expires_at: time(row.required(3)),
                    ended: row.get::<TimestampWithTimeZone>(4).is_some(),
                    version: row.get(5).map(SessionVersion::new),
                    created_at: time(row.required(6)),
                })
            });
            found.into_iter().next()
        }
    }
}

fn time(time: TimestampWithTimeZone) -> UnixMicros {
    clock::from_pg(time.into_inner())
}
