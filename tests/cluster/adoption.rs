//! A service moves in: on its own tables, with the tokens and keys that its users hold, made by its own libraries.
//! What it then must see, row by row, and the holes that must not come along.

mod devices;
mod holes;
mod keys;
mod once;
mod service;
mod tokens;
mod users;
