//! API keys: rows of the application's table, found by their SHA-256 fingerprint.

mod attach;
mod create;
mod edge;
mod hash;
mod table;
mod triggers;
mod verify;

pub use table::{ApiKeys, TimeColumn};
pub use verify::{Found, KeyMark, find_again, verify};
