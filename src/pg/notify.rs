//! The notification queue.

use pgrx::fcinfo::{direct_function_call, direct_function_call_as_datum};
use pgrx::prelude::*;

/// Queues a notification, which is sent when the transaction commits.
pub fn send(channel: &str, payload: &str) {
    // SAFETY: pg_notify takes two text values and returns void; called inside a transaction.
    unsafe {
        direct_function_call_as_datum(
            pg_sys::pg_notify,
            &[channel.into_datum(), payload.into_datum()],
        );
    }
}

/// Makes PostgreSQL drop from the notification queue what all listeners have read. It does so when somebody notifies, which nobody
/// can while the queue is full, and when somebody asks how full the queue is.
pub fn make_room() {
    // SAFETY: takes no argument, and needs a transaction, in which the relay's steps run.
    unsafe { direct_function_call::<f64>(pg_sys::pg_notification_queue_usage, &[]) };
}
