//! Who is authenticated: an identity that lasts for a transaction or a session, and that row-security policies ask for.
//!
//! It ends in [`scope`]: left, or asked for and not good any more; at the end of a transaction PostgreSQL takes it back. [`mod@hang_up`] ends
//! what still runs under it. [`scope`] keeps the credential where PostgreSQL itself carries it; [`credential`] says whether it still holds, asked anew by
//! each statement. `login` takes a token that a connection was opened with. ([`planner`](crate::pg::planner) makes a policy ask once a statement and not once a row.)

mod activity;
mod credential;
mod functions;
mod hang_up;
#[cfg(feature = "pg18")]
mod login;
mod request;
mod scope;

pub use hang_up::{TABLES as WATCHED_TABLES, sweep as hang_up};
#[cfg(feature = "pg18")]
pub use login::admit;
pub use scope::{Whose, on_discard_all, whose};
