//! Sessions that a person can see: one row a login, with its own refresh tokens. They are opened, refreshed, listed and ended
//! here; that an access token's session is still open is asked by [`crate::token`].

mod end;
mod functions;
mod list;
mod open;
mod refresh;
mod state;
