//! Tokens, verified by the database or by what it said a moment ago.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::Value;

use crate::cache::{Answer, Cache, CacheOptions, CacheStats, digest};
use crate::database::Database;
use crate::error::{Error, Reason};
use crate::event::Subject;
use crate::listener::Listener;

/// A token that the database verified: signature, claims, and the session behind it.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct Identity {
    /// The user, as the database prints the id. None where the issuer allows tokens of nobody.
    pub user_id: Option<String>,
    /// The version in the token.
    pub session_version: Option<i64>,
    /// The version in the user's row, when it was read.
    pub current_session_version: Option<i64>,
    /// The claim `jti`.
    pub token_id: Option<String>,
    /// The claim `sid`: the session that the token is of.
    pub session_id: Option<String>,
    /// The claim `iss`.
    pub issuer: String,
    /// The key that signed it.
    pub kid: Option<String>,
    /// The claim `iat`.
    pub issued_at: Option<SystemTime>,
    /// The claim `exp`.
    pub expires_at: SystemTime,
    claims: Box<str>,
}

impl Identity {
    /// The claims, as whatever you read them into: a `serde_json::Value`, or a struct of your own.
    ///
    /// # Errors
    /// They do not fit into it.
    pub fn claims<'a, T: Deserialize<'a>>(&'a self) -> Result<T, serde_json::Error> {
        serde_json::from_str(&self.claims)
    }

    /// What an event can be about that ends this token.
    pub fn subjects(&self) -> Vec<Subject> {
        let tie = |id: &Option<String>, subject: fn(String) -> Subject| id.clone().map(subject);
        [
            tie(&self.user_id, Subject::User),
            tie(&self.token_id, Subject::Token),
            tie(&self.session_id, Subject::Session),
            Some(Subject::Issuer(self.issuer.clone())),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Ids only: neither claims nor times.
        f.debug_struct("Identity")
            .field("user_id", &self.user_id)
            .field("session_version", &self.session_version)
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

/// What `auth.check_jwt` answers for a good token, and how much of its time is left by the database's clock.
#[derive(Clone)]
pub struct TokenRow {
    /// `user_id`
    pub user_id: Option<String>,
    /// `session_version`
    pub session_version: Option<i64>,
    /// `current_session_version`
    pub current_session_version: Option<i64>,
    /// `issued_at`, in seconds since 1970
    pub issued_at: Option<f64>,
    /// `expires_at`, in seconds since 1970
    pub expires_at: f64,
    /// `token_id`
    pub token_id: Option<String>,
    /// `issuer`
    pub issuer: String,
    /// `kid`
    pub kid: Option<String>,
    /// `claims`, as JSON text
    pub claims: String,
    /// `expires_at - clock_timestamp()`, in seconds
    pub remaining: f64,
}

impl fmt::Debug for TokenRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRow")
            .field("user_id", &self.user_id)
            .finish_non_exhaustive()
    }
}

impl TokenRow {
    fn answer(self) -> Result<Answer<Identity>, Error> {
        #[derive(Deserialize)]
        struct Sid {
            #[serde(default)]
            sid: Value,
        }
        let sid: Sid =
            serde_json::from_str(&self.claims).map_err(|error| Error::Database(error.into()))?;
        let value = Identity {
            user_id: self.user_id,
            session_version: self.session_version,
            current_session_version: self.current_session_version,
            token_id: self.token_id,
            session_id: sid.sid.as_str().map(str::to_owned),
            issuer: self.issuer,
            kid: self.kid,
            issued_at: self.issued_at.map(system_time),
            expires_at: system_time(self.expires_at),
            claims: self.claims.into_boxed_str(),
        };
        Ok(Answer {
            ties: value.subjects(),
            version: Some(value.current_session_version),
            remaining: Some(seconds(self.remaining)),
            value,
        })
    }
}

/// Not negative; what does not fit is no time at all.
pub(crate) fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

pub(crate) fn system_time(epoch: f64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(seconds(epoch))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Verifies tokens: from memory while the listener is fresh and nothing was heard of the token's user, session,
/// issuer or id; by `auth.check_jwt` otherwise. A clone is the same cache.
pub struct TokenCache<D> {
    cache: Arc<Cache<Identity>>,
    database: D,
}

impl<D: Clone> Clone for TokenCache<D> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            database: self.database.clone(),
        }
    }
}

impl<D: Database> TokenCache<D> {
    /// A cache in front of `database`: the server that `listener` listens to, or one that is not behind it.
    pub fn new(listener: &Listener, database: D, options: CacheOptions) -> Self {
        Self {
            cache: Arc::new(Cache::new(listener, options)),
            database,
        }
    }

    /// Verifies a token.
    ///
    /// # Errors
    /// A refusal, or why nothing is known.
    pub async fn verify(&self, token: &str) -> Result<Arc<Identity>, Error> {
        self.look_up(token, None).await
    }

    /// Verifies a token that comes from this device: one that is bound to another is refused.
    ///
    /// # Errors
    /// A refusal, or why nothing is known.
    pub async fn verify_from(&self, token: &str, device: &Value) -> Result<Arc<Identity>, Error> {
        self.look_up(token, Some(&device.to_string())).await
    }

    async fn look_up(&self, token: &str, device: Option<&str>) -> Result<Arc<Identity>, Error> {
        // PostgreSQL takes no text with a zero in it.
        if token.contains('\0') {
            return Err(Error::refused(Reason::Malformed));
        }
        let ask = || async { self.database.check_token(token, device).await?.answer() };
        self.cache.get(token, || key(token, device), ask).await
    }

    /// What is known of the token now, without asking: None when it would have to be asked.
    pub fn peek(&self, token: &str) -> Option<Arc<Identity>> {
        self.cache.peek(&key(token, None))
    }

    /// The same of a token that comes from this device.
    pub fn peek_from(&self, token: &str, device: &Value) -> Option<Arc<Identity>> {
        self.cache.peek(&key(token, Some(&device.to_string())))
    }

    /// Waits until the token no longer holds, and says why: to close a websocket or a stream of events. Within the
    /// milliseconds of a notification as a rule, within `max_staleness` whatever fails. That the database is away is
    /// said after `max_staleness`, too; call it again to go on all the same.
    pub async fn ended(&self, token: &str) -> Error {
        self.end_of(token, None, None).await
    }

    /// The same for a token that comes from this device.
    pub async fn ended_from(&self, token: &str, device: &Value) -> Error {
        self.end_of(token, Some(&device.to_string()), None).await
    }

    /// The same for a token that `identity` was verified of, from that device if from any: ends, as
    /// [`Reason::Unlinked`], when the token has become another user's since then. The other two take for its user whose
    /// it is when they begin.
    pub async fn ended_as(
        &self,
        token: &str,
        device: Option<&Value>,
        identity: Arc<Identity>,
    ) -> Error {
        let device = device.map(Value::to_string);
        self.end_of(token, device.as_deref(), Some(identity)).await
    }

    async fn end_of(
        &self,
        token: &str,
        device: Option<&str>,
        identity: Option<Arc<Identity>>,
    ) -> Error {
        let verify = || self.look_up(token, device);
        let left = |token: &Identity| token.expires_at.duration_since(SystemTime::now()).ok();
        self.cache
            .ended(verify, identity, Identity::subjects, left)
            .await
    }

    /// What the cache has done.
    pub fn stats(&self) -> CacheStats {
        self.cache.stats()
    }
}

impl<D> fmt::Debug for TokenCache<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

/// Of the whole token: its `jti` is nobody's word before it is verified.
fn key(token: &str, device: Option<&str>) -> [u8; 32] {
    match device {
        None => digest(&[token.as_bytes()]),
        Some(device) => digest(&[token.as_bytes(), device.as_bytes()]),
    }
}
