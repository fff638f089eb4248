//! Telling listeners what changed: events are collected while a transaction runs, written to the log when it is
//! about to commit, and sent when it commits.

mod cursor;
mod deliver;
mod event;
mod functions;
mod log;
mod pending;

pub use cursor::Cursor;
pub use deliver::send;
pub use event::{Event, FLUSH, Reason};
pub use log::{Of, Since, as_our_own, cursor, since, unseen_by};
pub use pending::{
    Ends, bulk_version_floor, in_user_bulk, init, record, record_bump, record_deletion_in_bulk,
    record_end, record_user,
};
