//! What an identity provider says of its users' sessions: a logout token or a security event token, which is obeyed once.

use jose::{EventSubject, Refusal, UnixMicros};
use pgrx::prelude::*;

use super::verify::{Signed, verify_signature};
use super::{revocation, session};
use crate::accounts;
use crate::attach::UserId;
use crate::error::Result;
use crate::invalidation::{self, Event, Reason};
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::one_row::OneRow;

/// What was done about an event.
struct Received {
    /// Its name.
    event: String,
    /// Whose sessions it is about, if that user is known here.
    user_id: Option<UserId>,
    /// Were they ended by it, now?
    done: bool,
}

fn receive(text: &str, now: UnixMicros) -> Result<Received> {
    let signed = verify_signature(text, now)?;
    let Signed { token, issuer } = &signed;
    let told = token.security_event(&issuer.rules, now)?;
    let mut received = Received {
        event: told.name.into_owned(),
        user_id: None,
        done: false,
    };
    let iss = token.issuer_name(&issuer.rules);
    let take = |event: &str| revocation::take_event(issuer, &iss, &told.token_id, now, event);
    match told.subject {
        EventSubject::Nobody => {}
        EventSubject::User(claim) => {
            received.user_id = session::known_user(issuer, &claim)?;
            if let Some(user_id) = &received.user_id
                && take(&received.event)
            {
                accounts::end_sessions(user_id, &received.event)?;
                received.done = true;
            }
        }
        EventSubject::Session(sid) => {
            if take(&received.event) {
                received.done = revocation::end_session(issuer, &iss, &sid, &received.event);
            }
            if received.done {
                invalidation::record(Event::Session {
                    sid: sid.into_owned(),
                    user_id: None,
                    reason: Reason::new(&received.event),
                });
            }
        }
    }
    Ok(received)
}

#[pg_extern(sql = false)]
fn receive_security_event(token: Option<&str>) -> OneRow {
    sql(|| {
        let received = receive(token.ok_or(Refusal::Malformed)?, clock::now())?;
        Ok(OneRow::default()
            .with(c"event", received.event)
            .with(c"user_id", received.user_id.map(UserId::into_string))
            .with(c"done", received.done))
    })
}
