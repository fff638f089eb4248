//! A token's way: decode, key, signature, claims against the issuer's rules, version of the row; never back.

mod functions;
mod issue;
mod refresh;
mod report;
mod revocation;
mod session;
mod sso;
mod verified_cache;
mod verify;

pub use verified_cache::{Known, cache_statistics, known};
