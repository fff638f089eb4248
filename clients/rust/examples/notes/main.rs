//! A service with logins, devices, API keys and notes that only their owner sees: axum and sqlx.
//!
//!     psql DATABASE -f examples/notes/schema.sql
//!     DATABASE_URL=postgres://web@localhost/DATABASE cargo run --all-features --example notes
//!
//! It prints the address that it listens to. In production, put TLS in front of it, and the refresh token into a cookie
//! that is `HttpOnly`, `Secure` and `SameSite=Strict`.

use std::convert::Infallible;
use std::time::Duration;

use argon2::password_hash::SaltString;
use argon2::password_hash::rand_core::OsRng;
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use auth_ext_client::{
    ApiKeyCache, AuthLayer, CacheOptions, Caller, Error, Listener, ListenerOptions, Reason,
    Rejection, TokenCache,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Json, Router};
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

#[derive(Clone)]
struct App {
    pool: PgPool,
}

/// What a handler fails with: a refusal is a 401, a database that is away a 503.
struct Failed(Error);

impl<E: Into<Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        Rejection::Failed(self.0).response()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A request waits no longer for a database that is away.
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(2));
    let pool = options.connect_lazy(&std::env::var("DATABASE_URL")?)?;
    let listener = Listener::start(pool.clone(), ListenerOptions::default());
    let tokens = TokenCache::new(&listener, pool.clone(), CacheOptions::default());
    let keys = ApiKeyCache::new(&listener, pool.clone(), CacheOptions::default());
    let for_users = Router::new()
        .route("/devices", get(devices))
        .route("/devices/{id}", delete(end_device))
        .route("/logout-everywhere", post(log_out_everywhere))
        .route("/api-keys", post(create_api_key))
        .route("/notes", get(list_notes).post(add_note))
        .route("/events", get(events))
        .layer(AuthLayer::new(tokens).api_keys(keys));
    let app = Router::new()
        .route("/users", post(sign_up))
        .route("/login", post(log_in))
        .route("/refresh", post(refresh))
        .merge(for_users)
        .with_state(App { pool });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", socket.local_addr()?);
    axum::serve(socket, app).await?;
    Ok(())
}

// --- for everybody --------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct Login {
    email: String,
    password: String,
    device: Option<String>,
}

async fn sign_up(State(app): State<App>, Json(login): Json<Login>) -> Result<StatusCode, Failed> {
    let hashed = tokio::task::spawn_blocking(move || {
        let salt = SaltString::generate(&mut OsRng);
        let hash = Argon2::default().hash_password(login.password.as_bytes(), &salt);
        hash.map(|hash| (login.email, hash.to_string()))
    });
    let hashed = hashed.await.map_err(Error::unavailable)?;
    let (email, hash) = hashed.map_err(|error| Error::unavailable(error.to_string()))?;
    sqlx::query("INSERT INTO users (email, password_hash) VALUES ($1, $2)")
        .bind(email)
        .bind(hash)
        .execute(&app.pool)
        .await?;
    Ok(StatusCode::CREATED)
}

/// A session's two tokens, as `open_session` and `refresh_session` give them.
#[derive(Serialize, sqlx::FromRow)]
struct Tokens {
    session_id: String,
    access_token: String,
    refresh_token: String,
}

async fn log_in(
    State(app): State<App>,
    Json(login): Json<Login>,
) -> Result<Result<Json<Tokens>, StatusCode>, Failed> {
    let known: Option<(String, String)> =
        sqlx::query_as("SELECT id::text, password_hash FROM users WHERE email = $1")
            .bind(login.email)
            .fetch_optional(&app.pool)
            .await?;
    let checked = tokio::task::spawn_blocking(move || {
        let (user, hash) = known?;
        let hash = PasswordHash::new(&hash).ok()?;
        let right = Argon2::default().verify_password(login.password.as_bytes(), &hash);
        right.is_ok().then_some(user)
    });
    let Some(user) = checked.await.map_err(Error::unavailable)? else {
        return Ok(Err(StatusCode::FORBIDDEN));
    };
    let open =
        "SELECT session_id, access_token, refresh_token FROM auth.open_session($1, label => $2)";
    let opened = sqlx::query_as(open).bind(user).bind(login.device);
    Ok(Ok(Json(opened.fetch_one(&app.pool).await?)))
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

async fn refresh(State(app): State<App>, Json(old): Json<Refresh>) -> Result<Json<Tokens>, Failed> {
    let refresh =
        "SELECT reason, session_id, access_token, refresh_token FROM auth.refresh_session($1)";
    type Row = (
        Option<String>,
        Option<String>,
        Option<String>,
        Option<String>,
    );
    let row: Row = sqlx::query_as(refresh)
        .bind(old.refresh_token)
        .fetch_one(&app.pool)
        .await?;
    match row {
        (None, Some(session_id), Some(access_token), Some(refresh_token)) => Ok(Json(Tokens {
            session_id,
            access_token,
            refresh_token,
        })),
        (reason, ..) => Err(Error::refused(Reason::from(&*reason.unwrap_or_default())).into()),
    }
}

// --- for who is authenticated ---------------------------------------------------------------------------

async fn devices(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Failed> {
    let mut transaction = caller.credential().begin_sqlx(&app.pool).await?;
    let list = "SELECT session_id, label, is_current FROM auth.my_sessions()";
    let rows: Vec<(String, Option<String>, bool)> =
        sqlx::query_as(list).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    let row = |(id, label, is_current)| json!({"id": id, "label": label, "is_current": is_current});
    Ok(Json(rows.into_iter().map(row).collect()))
}

async fn end_device(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<StatusCode, Failed> {
    let mut transaction = caller.credential().begin_sqlx(&app.pool).await?;
    let ended: bool = sqlx::query_scalar("SELECT auth.end_my_session($1)")
        .bind(id)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(if ended {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    })
}

async fn log_out_everywhere(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<StatusCode, Failed> {
    sqlx::query("SELECT auth.bump_session_version($1)")
        .bind(caller.user_id())
        .execute(&app.pool)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn create_api_key(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Failed> {
    let key: String = sqlx::query_scalar("SELECT key FROM auth.create_api_key($1, 'notes')")
        .bind(caller.user_id())
        .fetch_one(&app.pool)
        .await?;
    Ok(Json(json!({"key": key})))
}

/// Without a WHERE: the policy of the table sees who asks.
async fn list_notes(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Vec<String>>, Failed> {
    let mut transaction = caller.credential().begin_sqlx(&app.pool).await?;
    let titles = sqlx::query_scalar("SELECT title FROM notes ORDER BY id")
        .fetch_all(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(Json(titles))
}

#[derive(Deserialize)]
struct Note {
    title: String,
}

async fn add_note(
    State(app): State<App>,
    Extension(caller): Extension<Caller>,
    Json(note): Json<Note>,
) -> Result<StatusCode, Failed> {
    let mut transaction = caller.credential().begin_sqlx(&app.pool).await?;
    sqlx::query("INSERT INTO notes (title) VALUES ($1)")
        .bind(note.title)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    Ok(StatusCode::CREATED)
}

/// A stream that ends with its token.
async fn events(
    Extension(caller): Extension<Caller>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, StatusCode> {
    if caller.api_key().is_some() {
        return Err(StatusCode::FORBIDDEN);
    }
    let ended = async move { caller.ended().await };
    let ticks = stream::unfold(Duration::ZERO, async |pause| {
        tokio::time::sleep(pause).await;
        Some((
            Ok(Event::default().data("tick")),
            Duration::from_millis(500),
        ))
    });
    Ok(Sse::new(ticks.take_until(ended)))
}
