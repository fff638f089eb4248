//! Telling listeners what changed: events are collected while a transaction runs, and sent when it commits.

mod event;
mod pending;

pub use event::{Event, Reason};
pub use pending::{bulk_version_floor, in_user_bulk, record, record_user};
