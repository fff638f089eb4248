//! A token's way: decode, key, signature, claims against the issuer's rules, version of the row; never back.

mod edge;
mod issue;
mod report;
mod session;
mod verify;
