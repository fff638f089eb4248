//! A token's way: split and decode, key, signature, claims against the issuer's rules, version of the row; never back.

mod functions;
mod issue;
mod refresh;
mod report;
mod revocation;
mod session;
mod sso;
mod verified_cache;
mod verify;

pub use verified_cache::{VerifiedToken, cache_statistics, verify_claims};
