//! API keys: rows of the application's table, found by their SHA-256 fingerprint.

mod attach;
mod binding;
mod create;
mod functions;
mod hash;
mod table;
mod triggers;
mod verify;

pub use binding::current;
pub use verify::{Found, KeyMark, verify, verify_again};
