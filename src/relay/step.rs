//! Where the relay's events leave.

use super::position::{position, store};
use crate::invalidation::{self, FLUSH, Of, Since, send};
use crate::pg::notify;

/// Sends what the relay has not sent yet, and moves its place behind it, all in the running transaction. False when
/// there was nothing.
pub fn relay_step() -> bool {
    let since = match position() {
        Some(position) => invalidation::since(&position, Of::Relay),
        // Whatever it was.
        None => Since::Flush(invalidation::cursor()),
    };
    let (events, next) = match since {
        Since::Nothing => return false,
        Since::Events(events, next) => (events, next),
        Since::Flush(next) => (vec![FLUSH.to_owned()], next),
    };
    notify::make_room();
    events.iter().for_each(|event| send(event));
    invalidation::as_our_own(|| store(&next));
    true
}
