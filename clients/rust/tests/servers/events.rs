//! What an event evicts, and what is not kept because of one.

use std::sync::Arc;

use auth_ext_client::{ApiKeyRow, Database, Error, Reason, TokenRow};
use tokio::sync::Semaphore;
use tokio_postgres::Client;

use crate::app::{App, LONG, make, pool, postgres};
use crate::harness::{Server, connect, wait};

/// A change of one who is 120, what it is about (see `make`), and why that is refused then.
const CHANGES: [(&str, u8, Reason); 9] = [
    (
        "SELECT auth.bump_session_version('120')",
        0,
        Reason::SessionVersionMismatch,
    ),
    (
        "UPDATE users SET email = 'new' WHERE id = 120",
        0,
        Reason::SessionVersionMismatch,
    ),
    (
        "UPDATE users SET is_active = false WHERE id = 120",
        0,
        Reason::InactiveUser,
    ),
    (
        "UPDATE users SET is_active = false WHERE id = 120",
        2,
        Reason::InactiveUser,
    ),
    ("DELETE FROM users WHERE id = 120", 0, Reason::UnknownUser),
    ("SELECT auth.revoke_jwt('{secret}')", 0, Reason::Revoked),
    ("SELECT auth.end_session('{id}')", 1, Reason::SessionEnded),
    (
        "UPDATE api_keys SET is_active = false WHERE id = '{id}'",
        2,
        Reason::InactiveApiKey,
    ),
    (
        "DELETE FROM api_keys WHERE id = '{id}'",
        2,
        Reason::UnknownApiKey,
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_evicts_what_it_is_about_and_nothing_else() {
    let server = Server::start("evicts").await;
    let url = server.url("app");
    let client = connect(&url).await;
    evicts(
        &client,
        App::start(postgres(&url), postgres(&url), LONG).await,
    )
    .await;
    evicts(&client, App::start(pool(&url), pool(&url), LONG).await).await;
}

async fn evicts(client: &Client, app: App<impl Database + Clone>) {
    let (token, key) = (
        make(client, 101, 0).await.unwrap(),
        make(client, 101, 2).await.unwrap(),
    );
    for (change, kind, reason) in CHANGES {
        let is_there =
            "INSERT INTO users (id) VALUES (120) ON CONFLICT (id) DO UPDATE SET is_active = true";
        client.batch_execute(is_there).await.unwrap();
        let mine = make(client, 120, kind).await.unwrap();
        app.fill(&[&mine, &token, &key]).await;
        let change = change
            .replace("{secret}", &mine.secret)
            .replace("{id}", &mine.id);
        client.batch_execute(&change).await.unwrap();
        wait(&change, async || !app.knows(&mine)).await;
        assert!(app.knows(&token) && app.knows(&key), "{change}");
        assert_eq!(app.reason(&mine).await, reason, "{change}");
    }
    client
        .batch_execute("UPDATE auth.issuers SET leeway = leeway + interval '1 ms'")
        .await
        .unwrap();
    wait("the issuer's", async || !app.knows(&token)).await;
    assert!(app.knows(&key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_role_can_send_only_evicts() {
    let server = Server::start("forged").await;
    let url = server.url("app");
    let client = connect(&url).await;
    let app = App::start(postgres(&url), pool(&url), LONG).await;
    let token = make(&client, 102, 0).await.unwrap();
    for payload in [
        "",
        "not JSON",
        r#"{"v":1,"kind":"flush"}"#,
        r#"{"v":2,"kind":"new","id":"7"}"#,
        r#"{"v":1,"kind":"user","id":"102","session_version":9223372036854775807}"#,
    ] {
        app.fill(&[&token]).await;
        let send = "SELECT pg_notify('auth_invalidation', $1)";
        client.query_one(send, &[&payload]).await.unwrap();
        wait(payload, async || !app.knows(&token)).await;
    }
    app.fill(&[&token]).await;
}

/// Hands over what the database said when it is allowed to.
#[derive(Clone)]
struct Held<D> {
    database: D,
    said: Arc<Semaphore>,
    allowed: Arc<Semaphore>,
}

impl<D: Database> Held<D> {
    async fn hold<T>(&self, said: T) -> T {
        self.said.add_permits(1);
        self.allowed.acquire().await.unwrap().forget();
        said
    }
}

impl<D: Database> Database for Held<D> {
    async fn check_token(&self, token: &str, device: Option<&str>) -> Result<TokenRow, Error> {
        self.hold(self.database.check_token(token, device).await)
            .await
    }

    async fn verify_api_key(&self, key: &str) -> Result<ApiKeyRow, Error> {
        self.hold(self.database.verify_api_key(key).await).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_before_an_event_is_not_kept_after_it() {
    let server = Server::start("read_before").await;
    let url = server.url("app");
    let client = connect(&url).await;
    let held = Held {
        database: postgres(&url),
        said: Arc::new(Semaphore::new(0)),
        allowed: Arc::new(Semaphore::new(0)),
    };
    let app = App::start(postgres(&url), held.clone(), LONG).await;
    for kind in [0, 2] {
        let item = make(&client, 103, kind).await.unwrap();
        let (answer, ()) = tokio::join!(app.verify(&item), async {
            held.said.acquire().await.unwrap().forget();
            let change = "UPDATE users SET is_active = false WHERE id = 103";
            client.batch_execute(change).await.unwrap();
            app.sync().await;
            held.allowed.add_permits(1);
        });
        answer.expect("it is as it was read");
        assert!(!app.knows(&item));
        held.allowed.add_permits(1);
        assert_eq!(app.reason(&item).await, Reason::InactiveUser);
        held.said.forget_permits(1);
        let change = "UPDATE users SET is_active = true WHERE id = 103";
        client.batch_execute(change).await.unwrap();
    }
}
