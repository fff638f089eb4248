//! A service moves in: on its own tables, with the tokens and keys that its users hold, made by its own libraries.
//! What it then must see, row by row, and the holes that must not come along.

#[path = "adoption/devices.rs"]
mod devices;
#[path = "adoption/holes.rs"]
mod holes;
#[path = "adoption/keys.rs"]
mod keys;
#[path = "adoption/once.rs"]
mod once;
#[path = "adoption/service.rs"]
mod service;
#[path = "adoption/tokens.rs"]
mod tokens;
#[path = "adoption/users.rs"]
mod users;
