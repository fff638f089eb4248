//! A tower layer: who sent a request, verified before the service sees it.

mod caller;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use tower_layer::Layer;
use tower_service::Service;

pub use caller::Caller;
use caller::Who;

use crate::api_key::ApiKeyCache;
use crate::credential::Credential;
use crate::database::Database;
use crate::error::Error;
use crate::token::TokenCache;

/// Why a request is answered by the layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Rejection {
    /// It brings no credential: 401.
    Missing,
    /// It brings two, or what is none: 400.
    Invalid,
    /// It was refused (401), nobody could be asked (503), or the database is not set up (500).
    Failed(Error),
}

impl Rejection {
    /// The response that the layer gives unless it is told otherwise: RFC 6750, section 3, with the error as JSON and
    /// without the reason.
    pub fn response<B: From<String>>(&self) -> Response<B> {
        let (status, error) = match self {
            Self::Missing => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Invalid => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Failed(Error::Refused(_)) => (StatusCode::UNAUTHORIZED, "invalid_token"),
            Self::Failed(Error::Unavailable(_)) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Failed(Error::Database(_)) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let mut response = Response::new(B::from(format!("{{\"error\":\"{error}\"}}")));
        *response.status_mut() = status;
        self.set_headers(response.headers_mut());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    /// The headers of that response, for one of your own.
    pub fn set_headers(&self, headers: &mut HeaderMap) {
        let (name, value) = match self {
            Self::Missing => (WWW_AUTHENTICATE, "Bearer"),
            Self::Invalid => (WWW_AUTHENTICATE, "Bearer error=\"invalid_request\""),
            Self::Failed(Error::Refused(_)) => (WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            Self::Failed(Error::Unavailable(_)) => (RETRY_AFTER, "1"),
            Self::Failed(Error::Database(_)) => return,
        };
        headers.insert(name, HeaderValue::from_static(value));
    }
}

type Respond<B> = Arc<dyn Fn(&Rejection) -> Response<B> + Send + Sync>;

struct Rules<D, B> {
    tokens: Arc<TokenCache<D>>,
    keys: Option<Arc<ApiKeyCache<D>>>,
    key_header: HeaderName,
    anonymous: bool,
    respond: Respond<B>,
}

impl<D, B> Clone for Rules<D, B> {
    fn clone(&self) -> Self {
        Self {
            tokens: self.tokens.clone(),
            keys: self.keys.clone(),
            key_header: self.key_header.clone(),
            anonymous: self.anonymous,
            respond: self.respond.clone(),
        }
    }
}

/// Verifies the bearer token or API key of each request, and lets through whose are good, with a [`Caller`] in the
/// extensions. `B` is the body of the service's responses (axum's `Body`).
pub struct AuthLayer<D, B>(Rules<D, B>);

impl<D: Database, B: From<String> + 'static> AuthLayer<D, B> {
    /// Bearer tokens only; requests without one are answered 401.
    pub fn new(tokens: TokenCache<D>) -> Self {
        Self(Rules {
            tokens: Arc::new(tokens),
            keys: None,
            key_header: HeaderName::from_static("x-api-key"),
            anonymous: false,
            respond: Arc::new(Rejection::response),
        })
    }

    /// API keys, too, in `X-API-Key`.
    #[must_use]
    pub fn api_keys(mut self, keys: ApiKeyCache<D>) -> Self {
        self.0.keys = Some(Arc::new(keys));
        self
    }

    /// The header of API keys, when it is another.
    #[must_use]
    pub fn api_key_header(mut self, name: HeaderName) -> Self {
        self.0.key_header = name;
        self
    }

    /// Requests without a credential pass, without a [`Caller`]. Those with a bad one do not.
    #[must_use]
    pub fn allow_anonymous(mut self) -> Self {
        self.0.anonymous = true;
        self
    }

    /// What is answered instead: with the reason in the body, say.
    #[must_use]
    pub fn on_rejection(
        mut self,
        respond: impl Fn(&Rejection) -> Response<B> + Send + Sync + 'static,
    ) -> Self {
        self.0.respond = Arc::new(respond);
        self
    }
}

impl<D, B> fmt::Debug for AuthLayer<D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthLayer").finish_non_exhaustive()
    }
}

impl<D, B> Clone for AuthLayer<D, B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S, D, B> Layer<S> for AuthLayer<D, B> {
    type Service = AuthService<S, D, B>;

    fn layer(&self, inner: S) -> Self::Service {
        AuthService {
            inner,
            rules: Arc::new(self.0.clone()),
        }
    }
}

/// A service behind an [`AuthLayer`].
pub struct AuthService<S, D, B> {
    inner: S,
    rules: Arc<Rules<D, B>>,
}

impl<S: Clone, D, B> Clone for AuthService<S, D, B> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            rules: self.rules.clone(),
        }
    }
}

impl<S, D, B> fmt::Debug for AuthService<S, D, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthService").finish_non_exhaustive()
    }
}

impl<S, D, Q, B> Service<Request<Q>> for AuthService<S, D, B>
where
    S: Service<Request<Q>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    D: Database,
    Q: Send + 'static,
    B: 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        let rules = self.rules.clone();
        // The one that is ready, not its clone.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            // Nobody but this layer says who the caller is.
            request.extensions_mut().remove::<Caller>();
            let caller = match rules.brought(request.headers()) {
                Ok(Some(credential)) => rules.verify(credential).await.map(Some),
                Ok(None) if rules.anonymous => Ok(None),
                Ok(None) => Err(Rejection::Missing),
                Err(rejection) => Err(rejection),
            };
            match caller {
                Err(rejection) => return Ok((rules.respond)(&rejection)),
                Ok(Some(caller)) => drop(request.extensions_mut().insert(caller)),
                Ok(None) => {}
            }
            inner.call(request).await
        })
    }
}

impl<D: Database, B> Rules<D, B> {
    async fn verify(&self, credential: Credential) -> Result<Caller, Rejection> {
        let who = match (&credential, &self.keys) {
            (Credential::Token(token), _) => {
                let identity = self.tokens.verify(token).await;
                Who::Token(identity.map_err(Rejection::Failed)?, self.tokens.clone())
            }
            (Credential::ApiKey(key), Some(keys)) => {
                let identity = keys.verify(key).await;
                Who::ApiKey(identity.map_err(Rejection::Failed)?, keys.clone())
            }
            (Credential::ApiKey(_), None) => return Err(Rejection::Invalid),
        };
        Ok(Caller {
            who,
            credential: Arc::new(credential),
        })
    }
}

impl<D, B> Rules<D, B> {
    /// What the headers bring. Two, or what is none, is an invalid request.
    fn brought(&self, headers: &HeaderMap) -> Result<Option<Credential>, Rejection> {
        let authorization = one(headers, &AUTHORIZATION)?;
        let key = match &self.keys {
            Some(_) => one(headers, &self.key_header)?,
            None => None,
        };
        let token = authorization.and_then(bearer).transpose()?;
        match (token, key) {
            (Some(_), Some(_)) => Err(Rejection::Invalid),
            (Some(token), None) => Ok(Some(Credential::Token(token.to_owned()))),
            (None, Some(key)) => Ok(Some(Credential::ApiKey(key.to_owned()))),
            (None, None) => Ok(None),
        }
    }
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Rejection> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().map(HeaderValue::to_str).transpose();
    match all.next() {
        None => first.map_err(|_| Rejection::Invalid),
        Some(_) => Err(Rejection::Invalid),
    }
}

/// The token, if the scheme is `Bearer`; an error if that is followed by anything but one token.
fn bearer(authorization: &str) -> Option<Result<&str, Rejection>> {
    let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let token = rest.trim_matches(' ');
    let is_one = !token.is_empty() && !token.contains(char::is_whitespace);
    Some(if is_one {
        Ok(token)
    } else {
        Err(Rejection::Invalid)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_one_word_after_its_scheme_in_any_case() {
        for (header, token) in [
            ("Bearer a.b.c", Some(Some("a.b.c"))),
            ("bearer a.b.c", Some(Some("a.b.c"))),
            ("BEARER  a.b.c ", Some(Some("a.b.c"))),
            ("Bearer a b", Some(None)),
            ("Bearer a\tb", Some(None)),
            ("Bearer", Some(None)),
            ("Bearer ", Some(None)),
            ("Basic YTpi", None),
            ("Bearera.b.c", None),
            ("", None),
        ] {
            let found = bearer(header).map(Result::ok);
            assert_eq!(found, token, "{header}");
        }
    }

    #[test]
    fn a_rejection_says_what_rfc_6750_says_and_no_reason() {
        let refused = Rejection::Failed(Error::refused(crate::Reason::SessionEnded));
        for (rejection, status, name, value, body) in [
            (
                Rejection::Missing,
                401,
                WWW_AUTHENTICATE,
                "Bearer",
                "unauthorized",
            ),
            (
                Rejection::Invalid,
                400,
                WWW_AUTHENTICATE,
                "Bearer error=\"invalid_request\"",
                "invalid_request",
            ),
            (
                refused,
                401,
                WWW_AUTHENTICATE,
                "Bearer error=\"invalid_token\"",
                "invalid_token",
            ),
            (
                Rejection::Failed(Error::unavailable("x")),
                503,
                RETRY_AFTER,
                "1",
                "unavailable",
            ),
        ] {
            let response: Response<String> = rejection.response();
            assert_eq!(response.status(), status);
            assert_eq!(
                response.headers().get(name).map(HeaderValue::as_bytes),
                Some(value.as_bytes())
            );
            assert_eq!(response.body(), &format!("{{\"error\":\"{body}\"}}"));
        }
    }
}
