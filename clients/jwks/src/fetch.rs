//! Fetching a key set: within limits, and from nobody but who is asked.

use std::panic::resume_unwind;
use std::time::Duration;

use reqwest::header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_ENCODING, HeaderMap, HeaderName};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode, Url};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address;
use crate::database::Source;
use crate::discovery;
use crate::failure::Failure;
use crate::freshness;
use crate::key_set::KeySet;
use crate::tls;

/// For all of it: names, connections, discovery, redirects, bodies.
const LIMIT: Duration = Duration::from_secs(10);
const LARGEST: usize = 1024 * 1024;
/// How many fetches run at a time.
const AT_ONCE: usize = 8;

/// A key set as its provider publishes it.
pub struct Fetched {
    pub document: String,
    pub keys: KeySet,
    /// How long the provider says that it is good for.
    pub lifetime: Duration,
}

/// What came of fetching what an issuer's row names.
pub type Ended = (Source, Result<Fetched, Failure>);

/// The fetches that run.
pub struct Fetches {
    running: JoinSet<Ended>,
    allow_http: bool,
}

impl Fetches {
    pub fn new(allow_http: bool) -> Self {
        Self {
            running: JoinSet::new(),
            allow_http,
        }
    }

    pub fn has_room(&self) -> bool {
        self.running.len() < AT_ONCE
    }

    pub fn start(&mut self, source: Source) {
        let allow_http = self.allow_http;
        self.running.spawn(async move {
            let fetched = timeout(LIMIT, find(&source, allow_http)).await;
            let late = |_| Err(Failure::new("no whole answer within ten seconds"));
            (source, fetched.unwrap_or_else(late))
        });
    }

    /// The next that ends; None: none runs.
    pub async fn next(&mut self) -> Option<Ended> {
        let ended = self.running.join_next().await?;
        // Whoever lost a fetch would never try it again.
        Some(ended.unwrap_or_else(|panicked| resume_unwind(panicked.into_panic())))
    }
}

async fn find(source: &Source, allow_http: bool) -> Result<Fetched, Failure> {
    let url = match address::discovery(&source.issuer, &source.jwks_uri) {
        None => address::address(&source.jwks_uri, None, allow_http)?,
        Some(page) => {
            let page = address::address(&page, None, allow_http)?;
            let (document, _) = get(page.clone()).await?;
            let found = discovery::jwks_uri(&document, &source.issuer)?;
            address::address(&found, Some(&page), allow_http)?
        }
    };
    let (document, headers) = get(url).await?;
    let keys = KeySet::read(&document)?;
    let age = header(&headers, AGE).next();
    let lifetime = freshness::lifetime(header(&headers, CACHE_CONTROL), age);
    Ok(Fetched {
        document,
        keys,
        lifetime,
    })
}

/// A new one for each page: it believes whom the system believes now, and keeps no connection that the server may have ended.
fn client(url: &Url) -> Result<Client, Failure> {
    let client = Client::builder()
        .tls_backend_preconfigured(tls::config(None)?)
        .http1_only()
        // A connection that was kept may be one that the server has just closed.
        .pool_max_idle_per_host(0)
        .redirect(Policy::custom(address::redirect))
        .referer(false)
        .user_agent(concat!("auth-ext-jwks/", env!("CARGO_PKG_VERSION")));
    let client = match url.scheme() {
        "https" => client.https_only(true),
        // This machine, and not that of a proxy.
        _ => client.no_proxy(),
    };
    client.build().map_err(|error| Failure::cause(&error))
}

/// The body and the headers of a page.
async fn get(url: Url) -> Result<(String, HeaderMap), Failure> {
    let request = client(&url)?
        .get(url)
        .header(ACCEPT, "application/json, application/jwk-set+json");
    let response = request
        .send()
        .await
        .map_err(|error| Failure::cause(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Failure::new(format!(
            "the server answered {}",
            response.status().as_u16()
        )));
    }
    if header(response.headers(), CONTENT_ENCODING)
        .any(|encoding| !encoding.eq_ignore_ascii_case("identity"))
    {
        return Err(Failure::new(
            "the server sent a compressed answer, which was not asked for",
        ));
    }
    let headers = response.headers().clone();
    Ok((body(response).await?, headers))
}

async fn body(mut response: Response) -> Result<String, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|error| Failure::cause(&error))?
    {
        if body.len() + chunk.len() > LARGEST {
            return Err(Failure::new("the server sent more than a megabyte"));
        }
        body.extend_from_slice(&chunk);
    }
    String::from_utf8(body).map_err(|_| Failure::new("what the server sent is no text"))
}

/// The values of a header that are text.
fn header(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}
