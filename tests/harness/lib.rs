//! Throw-away PostgreSQL clusters with the extension, for tests over real connections.
//!
//! A test that needs nothing special asks for a database of its own in the cluster that all share:
//!
//! ```ignore
//! let db = shared().database("logout");
//! let mut app = shared().connect(&db);
//! ```
//!
//! One that restarts, kills, configures or replicates a server starts its own [`Cluster`], which is gone
//! when it goes out of scope. Where things are comes from `tests/run`, by the environment (see [`place`]).

mod app;
mod cluster;
mod expect;
mod history;
mod http;
mod listener;
mod mint;
mod neighbour;
mod place;
mod race;
mod reader;
mod readme;
mod service;
mod spellings;
mod standby;
mod wire;

pub use app::{App, Ask, ISSUER, PARTITIONED, PLAIN, QUOTED, SHAPES, Shape, database_with_key};
pub use cluster::{Cluster, Setup, shared};
pub use expect::{assert_reason, refused};
pub use history::{assert_alike, history};
pub use http::{Request, Response};
pub use listener::Listener;
pub use mint::{Mint, seconds};
pub use neighbour::{PgBouncer, Postgrest};
pub use race::{Outcome, attempt, no, race, second};
pub use reader::Reader;
pub use readme::{Block, Shown, readme_blocks, readme_code};
pub use service::service;
pub use spellings::{base64, secret_parts, spellings};
pub use wire::{Failure, Rows, Wire, message};

// So that tests need no dependency of their own for what the harness speaks in.
pub use postgres::{self, Client, error::DbError};
pub use serde_json::{self, Value, json};
