//! API keys, verified by the database or by what it said a moment ago.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::cache::{Answer, Cache, CacheOptions, CacheStats, digest};
use crate::database::Database;
use crate::error::{Error, Reason};
use crate::event::Subject;
use crate::listener::Listener;
use crate::token::{seconds, system_time};

/// An API key that the database verified.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ApiKey {
    /// The id of the key's row.
    pub id: String,
    /// Whose key it is.
    pub user_id: String,
    /// The key's own version.
    pub session_version: Option<i64>,
    /// The lower-case hex SHA-256 of the key.
    pub fingerprint: String,
    /// When it ends, if it does.
    pub expires_at: Option<SystemTime>,
}

impl ApiKey {
    /// What an event can be about that ends this key: itself, or its owner.
    pub fn subjects(&self) -> Vec<Subject> {
        vec![
            Subject::ApiKey(self.fingerprint.clone()),
            Subject::User(self.user_id.clone()),
        ]
    }
}

/// What `auth.verify_api_key` answers, and how much of the key's time is left by the database's clock.
#[derive(Clone, Debug)]
pub struct ApiKeyRow {
    /// `id`
    pub id: String,
    /// `user_id`
    pub user_id: String,
    /// `session_version`
    pub session_version: Option<i64>,
    /// `expires_at`, in seconds since 1970
    pub expires_at: Option<f64>,
    /// `expires_at - clock_timestamp()`, in seconds
    pub remaining: Option<f64>,
}

/// The fingerprint of a key, as `auth.api_key_fingerprint` computes it: lower-case hex SHA-256.
pub fn fingerprint(key: &str) -> String {
    let hex = |nibble: u8| char::from_digit(nibble.into(), 16).unwrap_or_default();
    let bytes = digest(&[key.as_bytes()]);
    bytes
        .iter()
        .flat_map(|byte| [hex(byte >> 4), hex(byte & 15)])
        .collect()
}

/// Verifies API keys: from memory while the listener is fresh and nothing was heard of the key or its owner; by
/// `auth.verify_api_key` otherwise. A clone is the same cache.
pub struct ApiKeyCache<D> {
    cache: Arc<Cache<ApiKey>>,
    database: D,
}

impl<D: Clone> Clone for ApiKeyCache<D> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            database: self.database.clone(),
        }
    }
}

impl<D: Database> ApiKeyCache<D> {
    /// A cache in front of `database`: the server that `listener` listens to, or one that is not behind it.
    pub fn new(listener: &Listener, database: D, options: CacheOptions) -> Self {
        Self {
            cache: Arc::new(Cache::new(listener, options)),
            database,
        }
    }

    /// Verifies a key.
    ///
    /// # Errors
    /// A refusal, or why nothing is known.
    pub async fn verify(&self, key: &str) -> Result<Arc<ApiKey>, Error> {
        // PostgreSQL takes no text with a zero in it.
        if key.contains('\0') {
            return Err(Error::refused(Reason::UnknownApiKey));
        }
        let digest = || digest(&[key.as_bytes()]);
        self.cache.get(key, digest, || self.ask(key)).await
    }

    async fn ask(&self, key: &str) -> Result<Answer<ApiKey>, Error> {
        let row = self.database.verify_api_key(key).await?;
        let value = ApiKey {
            id: row.id,
            user_id: row.user_id,
            session_version: row.session_version,
            // Computed, not read: that is what events name, also for a key that had no fingerprint yet.
            fingerprint: fingerprint(key),
            expires_at: row.expires_at.map(system_time),
        };
        Ok(Answer {
            ties: value.subjects(),
            // The key's own: events about users have no floor for it.
            version: None,
            remaining: row.remaining.map(seconds),
            value,
        })
    }

    /// What is known of the key now, without asking: None when it would have to be asked.
    pub fn peek(&self, key: &str) -> Option<Arc<ApiKey>> {
        self.cache.peek(&digest(&[key.as_bytes()]))
    }

    /// Waits until the key no longer holds, and says why. As [`TokenCache::ended`](crate::TokenCache::ended).
    pub async fn ended(&self, key: &str) -> Error {
        self.end_of(key, None).await
    }

    /// The same for a key that `identity` was verified of. As [`TokenCache::ended_as`](crate::TokenCache::ended_as).
    pub async fn ended_as(&self, key: &str, identity: Arc<ApiKey>) -> Error {
        self.end_of(key, Some(identity)).await
    }

    async fn end_of(&self, key: &str, identity: Option<Arc<ApiKey>>) -> Error {
        let left = |key: &ApiKey| key.expires_at?.duration_since(SystemTime::now()).ok();
        self.cache
            .ended(|| self.verify(key), identity, ApiKey::subjects, left)
            .await
    }

    /// What the cache has done.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

impl<D> fmt::Debug for ApiKeyCache<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeyCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_lower_case_hex_sha256() {
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint("abc"), abc);
    }
}
