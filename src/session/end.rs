//! Ending sessions, and telling the listeners.

use crate::attach::UserId;
use crate::error::Result;
use crate::invalidation::{self, Event, Reason};
use crate::pg::plan::{Sees, query, text};
use crate::pg::transaction;

/// Which sessions end.
pub enum Ended<'a> {
    /// The one of this id.
    One(&'a str),
    /// The one of this id, if it is this user's.
    OneOf {
        session_id: &'a str,
        user_id: &'a UserId,
    },
    /// Every one of this user but that of this id.
    OthersOf {
        user_id: &'a UserId,
        session_id: Option<&'a str>,
    },
}

/// Ends sessions that are open; how many that were. 40001 where one was opened after the transaction's snapshot.
pub fn end(which: &Ended<'_>, reason: &str) -> Result<usize> {
    let reason = Reason::new(reason);
    let (condition, user_id, session_id) = match *which {
        Ended::One(session_id) => ("s.session_id = $2 AND $1 IS NULL", None, Some(session_id)),
        Ended::OneOf {
            session_id,
            user_id,
        } => (
            "s.session_id = $2 AND s.user_id = $1",
            Some(user_id),
            Some(session_id),
        ),
        Ended::OthersOf {
            user_id,
            session_id,
        } => (
            "pg_catalog.\"left\"(s.user_id, 200) = pg_catalog.\"left\"($1, 200) AND s.user_id = $1
             AND s.session_id IS DISTINCT FROM $2",
            Some(user_id),
            session_id,
        ),
    };
    let condition =
        format!("{condition} AND s.ended_at IS NULL AND s.expires_at > clock_timestamp()");
    let (user_id, session_id) = (text(user_id.map(UserId::as_str)), text(session_id));
    let ended = query(
        Sees::Transaction,
        &format!(
            "UPDATE auth.sessions AS s SET ended_at = clock_timestamp(), ended_reason = $3
             WHERE {condition} RETURNING s.session_id, s.user_id"
        ),
        &[user_id, session_id, text(reason.as_str())],
        |row| {
            (
                row.required::<String>(1),
                UserId::new(row.required::<String>(2)),
            )
        },
    );
    transaction::refuse_if_missed(|| {
        let left = format!("SELECT FROM auth.sessions AS s WHERE {condition} LIMIT 1");
        !query(Sees::Latest, &left, &[user_id, session_id], |_| ()).is_empty()
    })?;
    let count = ended.len();
    for (sid, user_id) in ended {
        invalidation::record(Event::Session {
            sid,
            user_id: Some(user_id),
            reason: reason.clone(),
        });
    }
    Ok(count)
}
