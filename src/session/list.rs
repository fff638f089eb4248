//! A user's sessions that could be refreshed now.

use std::cmp::Reverse;

use jose::UnixMicros;

use super::state::{COLUMNS, Session};
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::plan::{Sees, query, text};
use crate::trust;

/// The sessions, the latest use first.
pub fn list(user_id: &UserId, now: UnixMicros) -> Result<Vec<Session>> {
    let trust = trust::current();
    let stored = query(
        Sees::Latest,
        &format!(
            "SELECT {COLUMNS} FROM auth.sessions AS s
             WHERE pg_catalog.\"left\"(s.user_id, 200) = pg_catalog.\"left\"($1, 200) AND s.user_id = $1
               AND s.ended_at IS NULL AND s.expires_at > clock_timestamp()"
        ),
        &[text(user_id.as_str())],
        Session::read,
    );
    let mut sessions = Vec::with_capacity(stored.len());
    for session in stored {
        match session.verify(
            trust.named(Some(&session.issuer)).ok().map(AsRef::as_ref),
            now,
        ) {
            Ok(_) => sessions.push(session),
            Err(Error::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    sessions.sort_by_key(|session| Reverse(session.last_used_at.into_inner()));
    Ok(sessions)
}
