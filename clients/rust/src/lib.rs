#![doc = include_str!("../README.md")]

mod api_key;
mod cache;
mod credential;
mod database;
mod error;
mod event;
mod flights;
mod hub;
mod ledger;
mod listener;
mod moment;
#[cfg(feature = "tokio-postgres")]
mod postgres;
#[cfg(test)]
mod rules;
#[cfg(feature = "sqlx")]
mod sqlx_pool;
mod store;
mod token;
#[cfg(feature = "tower")]
mod tower;

pub use api_key::{ApiKey, ApiKeyCache, ApiKeyRow, fingerprint};
pub use cache::{CacheOptions, CacheStats};
pub use credential::Credential;
pub use database::{CHECK_TOKEN, Database, VERIFY_API_KEY};
pub use error::{Cause, Error, Reason, Refusal};
pub use event::{Ended, Subject};
pub use hub::Watch;
pub use listener::{Listener, ListenerOptions, ListenerState, Session, Source};
#[cfg(feature = "tokio-postgres")]
pub use postgres::{Postgres, PostgresSession};
#[cfg(feature = "sqlx")]
pub use sqlx_pool::SqlxSession;
pub use token::{Identity, TokenCache, TokenRow};
#[cfg(feature = "tower")]
pub use tower::{AuthLayer, AuthService, Caller, Rejection};
