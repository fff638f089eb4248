//! Telling listeners what changed: events are collected while a transaction runs, written to the log when it is
//! about to commit, and sent when it commits.

mod cursor;
mod edge;
mod event;
mod log;
mod pending;
mod position;

pub use event::{Event, Reason};
pub use log::as_our_own;
pub use pending::{bulk_version_floor, in_user_bulk, record, record_user};
pub use position::{Pending, pending_for_relay, relay_step};
