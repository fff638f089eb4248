//! A token's way: decode, key, signature, claims against the issuer's rules, version of the row; never back.

mod edge;
mod issue;
mod known;
mod refresh;
mod report;
mod revocation;
mod session;
mod verify;

pub use edge::device_hash;
pub use issue::{Request, Subject, issue, sign, subject};
pub use known::{Known, cache_statistics, known};
pub use revocation::revoke;
pub use verify::{Signed, decode};
