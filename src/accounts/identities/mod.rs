//! The application's identities table: which account at which provider is which user.
//!
//! A token names an account; the account is whom the table names, or nobody. That is read on every call, as the users row is. What a
//! connection was authenticated as must not come back once its account was unlinked, though the account may be linked again:
//! each unlinking leaves a mark of its own ([`unlinked`]), and an identity holds while the mark is the one that it began with.

mod attach;
mod binding;
mod table;
mod triggers;
mod unlinked;

pub use binding::current;
