//! One failure at a time.

use std::time::Instant;

use auth_ext_client::{Database, Source};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::app::{App, END_LISTENERS, Item, LONG, PROMISE, bump, make, pool, postgres};
use crate::aside::Aside;
use crate::harness::{Proxy, Server, connect, signal, url, wait};

async fn ends_within(app: &App<impl Database + Clone>, item: &Item, since: Instant) {
    // The promise itself: not a moment more.
    sleep(PROMISE.saturating_sub(since.elapsed())).await;
    let answer = app.verify(item).await;
    assert!(answer.is_err(), "still served after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_open_connection_costs_no_more_than_the_promised_time() {
    let server = Server::start("half_open").await;
    let direct = server.url("app");
    let client = connect(&direct).await;
    let proxy = Proxy::start(server.port).await;
    let through = url(proxy.port, "app");
    is_found(&client, &proxy, postgres(&through), pool(&direct)).await;
    is_found(&client, &proxy, pool(&through), postgres(&direct)).await;
}

async fn is_found(
    client: &Client,
    proxy: &Proxy,
    through: impl Source,
    direct: impl Database + Clone,
) {
    let app = App::start(through, direct, PROMISE).await;
    let item = make(client, 100, 0).await.unwrap();
    app.fill(&[&item]).await;
    proxy.silence();
    let since = bump(client, "100").await;
    ends_within(&app, &item, since).await;
    // The connection is left for a new one.
    app.sync().await;
    app.is_fresh().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_sends_nothing_or_hangs_costs_no_more_than_the_promised_time() {
    let server = Server::start("hangs").await;
    let url = server.url("app");
    let client = connect(&url).await;
    let app = App::start(postgres(&url), pool(&url), PROMISE).await;

    client
        .batch_execute("SET auth_ext.notify = off")
        .await
        .unwrap();
    let session = make(&client, 101, 1).await.unwrap();
    app.fill(&[&session]).await;
    client
        .query_one("SELECT auth.end_session($1)", &[&session.id])
        .await
        .unwrap();
    ends_within(&app, &session, Instant::now()).await;

    let key = make(&client, 102, 2).await.unwrap();
    app.fill(&[&key]).await;
    let listeners = "SELECT pid FROM pg_stat_activity WHERE application_name = 'auth_ext listener'";
    let listener = client.query_one(listeners, &[]).await.unwrap();
    let listener = listener.get::<_, i32>(0).to_string();
    signal(&listener, "STOP");
    client
        .execute("UPDATE api_keys SET is_active = false", &[])
        .await
        .unwrap();
    ends_within(&app, &key, Instant::now()).await;
    signal(&listener, "CONT");
    app.sync().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_paused_costs_no_more_than_the_promised_time() {
    let server = Server::start("paused").await;
    let url = server.url("app");
    let client = connect(&url).await;
    let aside = Aside::new();
    let app = App::start_in(aside.handle(), postgres(&url), pool(&url), PROMISE).await;
    let item = make(&client, 103, 0).await.unwrap();
    app.fill(&[&item]).await;
    aside.pause(3 * PROMISE).await;
    let since = bump(&client, "103").await;
    ends_within(&app, &item, since).await;
    app.is_fresh().await;
    assert!(app.verify(&item).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_the_connection_answers_nothing_before_catching_up() {
    let server = Server::start("lost").await;
    let url = server.url("app");
    let listens = url.replace("postgres@", "listener@");
    let client = connect(&url).await;
    let role = "CREATE ROLE listener LOGIN; SELECT auth.grant_access('listener', 'listener')";
    client.batch_execute(role).await.unwrap();
    let app = App::start(postgres(&listens), postgres(&url), LONG).await;
    loses(&client, app).await;
    let app = App::start(pool(&listens), pool(&url), LONG).await;
    loses(&client, app).await;
}

async fn loses(client: &Client, app: App<impl Database + Clone>) {
    let changed = make(client, 104, 0).await.unwrap();
    let other = make(client, 105, 0).await.unwrap();
    app.fill(&[&changed, &other]).await;
    let may = async |what: &str| {
        let sql = format!("ALTER ROLE listener {what}");
        client.batch_execute(&sql).await.unwrap();
    };
    may("NOLOGIN").await;
    client.batch_execute(END_LISTENERS).await.unwrap();
    wait("staleness", async || !app.listener.is_fresh()).await;
    bump(client, "104").await;
    assert!(app.verify(&changed).await.is_err() && !app.knows(&other));
    app.verify(&other).await.expect("the database is asked");
    may("LOGIN").await;
    app.sync().await;
    // Only what has changed was evicted.
    assert!(!app.knows(&changed));
    wait("the other", async || app.knows(&other)).await;
}
