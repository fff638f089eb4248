//! API keys: rows of the application's table, found by their SHA-256 fingerprint.

mod attach;
mod triggers;

use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn api_key_fingerprint(key: &str) -> String {
    jose::fingerprint(key)
}
