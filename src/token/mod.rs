//! A token's way: split and decode, key, signature, claims against the issuer's rules, version of the row; never back.

mod functions;
mod holder;
mod issue;
mod login;
mod refresh;
mod report;
mod revocation;
mod security_event;
mod session;
mod sso;
mod standing;
mod verified_cache;
mod verify;

pub use functions::device_hash;
pub use holder::Holder;
pub use issue::{AccessToken, Subject, access_token, subject};
pub use session::verify_login;
pub use standing::Standing;
pub use verified_cache::{Listing, VerifiedToken, cache_statistics, verify_claims};
