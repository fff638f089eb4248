//! Who sent a request, and when that ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::api_key::{ApiKey, ApiKeyCache};
use crate::credential::Credential;
use crate::database::Database;
use crate::error::Error;
use crate::token::{Identity, TokenCache};

/// Who sent a request. The layer puts it into the request's extensions: in axum, take `Extension<Caller>`.
#[derive(Clone)]
pub struct Caller {
    pub(super) who: Who,
    pub(super) credential: Arc<Credential>,
}

/// Whose the credential was when the layer let it in, and the cache that hears when that ends.
#[derive(Clone)]
pub(super) enum Who {
    Token(Arc<Identity>, Arc<dyn Ends<Identity>>),
    ApiKey(Arc<ApiKey>, Arc<dyn Ends<ApiKey>>),
}

/// A cache, whatever database it is in front of.
pub(super) trait Ends<V>: Send + Sync {
    fn ended<'c>(&'c self, secret: &'c str, identity: Arc<V>) -> End<'c>;
}

pub(super) type End<'c> = Pin<Box<dyn Future<Output = Error> + Send + 'c>>;

impl<D: Database> Ends<Identity> for TokenCache<D> {
    fn ended<'c>(&'c self, token: &'c str, identity: Arc<Identity>) -> End<'c> {
        Box::pin(self.ended_as(token, None, identity))
    }
}

impl<D: Database> Ends<ApiKey> for ApiKeyCache<D> {
    fn ended<'c>(&'c self, key: &'c str, identity: Arc<ApiKey>) -> End<'c> {
        Box::pin(self.ended_as(key, identity))
    }
}

impl Caller {
    /// The user, as the database prints the id. None where an issuer allows tokens of nobody.
    pub fn user_id(&self) -> Option<&str> {
        match &self.who {
            Who::Token(identity, _) => identity.user_id.as_deref(),
            Who::ApiKey(key, _) => Some(&key.user_id),
        }
    }

    /// The token, when it was one.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.who {
            Who::Token(identity, _) => Some(identity),
            Who::ApiKey(..) => None,
        }
    }

    /// The API key, when it was one.
    pub fn api_key(&self) -> Option<&ApiKey> {
        match &self.who {
            Who::Token(..) => None,
            Who::ApiKey(key, _) => Some(key),
        }
    }

    /// What the request brought: for a transaction under row-level security.
    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Waits until the token or key no longer holds, or is another user's, and says why: for what stays open. As
    /// [`TokenCache::ended_as`](crate::TokenCache::ended_as).
    pub async fn ended(&self) -> Error {
        let (Credential::Token(secret) | Credential::ApiKey(secret)) = &*self.credential;
        match &self.who {
            Who::Token(identity, tokens) => tokens.ended(secret, identity.clone()).await,
            Who::ApiKey(key, keys) => keys.ended(secret, key.clone()).await,
        }
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("user_id", &self.user_id())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::rules::{bump, fresh};
    use crate::{ApiKeyRow, AuthLayer, CacheOptions, Reason, TokenRow};

    /// A database where all are this user's.
    impl Database for Arc<AtomicU32> {
        async fn check_token(&self, _: &str, _: Option<&str>) -> Result<TokenRow, Error> {
            Ok(TokenRow {
                user_id: Some(self.load(Ordering::SeqCst).to_string()),
                session_version: Some(1),
                current_session_version: Some(1),
                issued_at: None,
                expires_at: 4e9,
                token_id: None,
                issuer: "i".into(),
                kid: None,
                claims: "{}".into(),
                remaining: 60.0,
            })
        }

        async fn verify_api_key(&self, _: &str) -> Result<ApiKeyRow, Error> {
            Ok(ApiKeyRow {
                id: "k".into(),
                user_id: self.load(Ordering::SeqCst).to_string(),
                session_version: Some(1),
                expires_at: None,
                remaining: None,
            })
        }
    }

    #[tokio::test]
    async fn the_end_of_a_caller_compares_with_whom_the_layer_let_in() {
        let listener = fresh();
        let owner = Arc::new(AtomicU32::new(0));
        let tokens = TokenCache::new(&listener, owner.clone(), CacheOptions::default());
        let keys = ApiKeyCache::new(&listener, owner.clone(), CacheOptions::default());
        let layer: AuthLayer<_, String> = AuthLayer::new(tokens).api_keys(keys);
        for credential in [
            Credential::Token("t".into()),
            Credential::ApiKey("k".into()),
        ] {
            owner.store(42, Ordering::SeqCst);
            let caller = layer.0.verify(credential).await.unwrap();
            owner.store(43, Ordering::SeqCst);
            listener.hub().hear(&bump("42"));
            let ended = tokio::time::timeout(Duration::from_secs(1), caller.ended());
            let reason = ended.await.unwrap().refusal().unwrap().reason.clone();
            assert_eq!(reason, Reason::Unlinked);
        }
    }
}
