//! How far the relay is.

use super::cursor::Cursor;
use super::event::FLUSH;
use super::log::{self, Of, Since};
use super::pending::send;
use crate::pg::plan::{Sees, query, text};

/// Sends what the relay has not sent yet, and moves its place behind it, all in the running transaction. False when
/// there was nothing.
pub fn relay_step() -> bool {
    let since = match position() {
        Some(position) => log::since(&position, Of::Relay),
        // Whatever it was.
        None => Since::Flush(log::cursor()),
    };
    let (events, next) = match since {
        Since::Nothing => return false,
        Since::Events(events, next) => (events, next),
        Since::Flush(next) => (vec![FLUSH.to_owned()], next),
    };
    events.iter().for_each(|event| send(event));
    log::as_our_own(|| {
        query(
            Sees::Transaction,
            "INSERT INTO auth.relay_position AS p (cursor, sent_at) VALUES ($1, clock_timestamp())
             ON CONFLICT (singleton) DO UPDATE SET cursor = excluded.cursor, sent_at = excluded.sent_at",
            &[text(next.to_string())],
            |_| (),
        )
    });
    true
}

/// The relay's place in the log; None when it is not known.
pub fn position() -> Option<Cursor> {
    query(
        Sees::Latest,
        "SELECT p.cursor FROM auth.relay_position AS p",
        &[],
        |row| row.get::<String>(1),
    )
    .pop()
    .flatten()?
    .parse()
    .ok()
}
