//! The application's users table: where sessions live and end; which accounts at providers are whose; and what a user can do once.

mod binding;
mod functions;
mod history;
pub mod identities;
mod lookup;
mod moves;
mod one_time;
mod state;
mod triggers;
mod users;

pub use binding::current;
pub use functions::end_sessions;
pub use history::{bumped_at, settle, settle_bulk};
pub use users::{Account, Users};
