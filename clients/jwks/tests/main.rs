//! The program against real servers: PostgreSQL with the extension, and a provider that speaks TLS and does what it is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod certificates;
mod database_tls;
mod misbehaviour;
mod once;
mod program;
mod provider;
mod relying;
mod service;
