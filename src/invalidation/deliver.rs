//! Where events leave, at the end of the transaction that they are about: into the log, and as notifications.

use super::event::CHANNEL;
use super::log;
use crate::pg::{notify, transaction};
use crate::settings::{self, Notify};

/// Writes the events into the log and, unless the relay is to send them or nobody, queues their notifications. True when there is
/// something for the relay.
pub fn deliver(payloads: &[String], may_notify: bool) -> bool {
    // What was confirmed to have ended must have ended after a crash, too.
    if settings::commits_synchronously() {
        transaction::commit_synchronously();
    }
    let way = settings::notify();
    log::write(payloads, way == Notify::relay);
    if settings::logical_messages() {
        log::emit(payloads);
    }
    if may_notify && way == Notify::inline {
        payloads.iter().for_each(|payload| send(payload));
    }
    way == Notify::relay
}

/// Queues the notification of an event.
pub fn send(payload: &str) {
    notify::send(CHANNEL, payload);
}
