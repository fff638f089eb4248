//! What caches serve on real servers, whatever happens to these, to the connections and to the events.
#![cfg(all(feature = "tokio-postgres", feature = "sqlx"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod app;
mod aside;
mod chaos;
mod drivers;
mod events;
#[path = "../harness/mod.rs"]
mod harness;
mod promise;
mod random;
mod says;
mod standby;
