//! The application's identities table: which account at which provider is which user.
//!
//! A token names an account. The table says whose account it is, if anybody's; it is read on every call, as the users row is. Once
//! the account of an identity was unlinked, the identity must not come back, even where the account is linked again. So each
//! unlinking leaves a mark of its own ([`unlinked`]), and an identity holds while the mark is the one that it began with.

mod attach;
mod binding;
mod table;
mod triggers;
mod unlinked;

pub use binding::current;
