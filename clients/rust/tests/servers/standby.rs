//! Standbys, where nobody can LISTEN, and what takes over.

use auth_ext_client::{Database, Reason, Source};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::app::{App, LONG, PROMISE, bump, make, pool, postgres};
use crate::harness::{Proxy, Server, connect, url, wait};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_standby_the_heartbeat_keeps_the_promise_and_a_promoted_one_is_listened_to() {
    let primary = Server::start("primary").await;
    is_promoted(&primary, "standby_tokio", postgres).await;
    is_promoted(&primary, "standby_sqlx", pool).await;
}

async fn is_promoted<D>(primary: &Server, name: &str, build: impl Fn(&str) -> D)
where
    D: Database + Source + Clone,
{
    let standby = primary.standby(name);
    let url = standby.url("app");
    let (there, here) = (connect(&primary.url("app")).await, connect(&url).await);
    let one = make(&there, 110, 0).await.unwrap();
    let two = make(&there, 111, 0).await.unwrap();
    let app = App::start(build(&url), build(&url), PROMISE).await;
    app.fill(&[&one, &two]).await;
    bump(&there, "110").await;
    is_replayed(&there, &here).await;
    sleep(PROMISE).await;
    assert_eq!(app.reason(&one).await, Reason::SessionVersionMismatch);
    app.verify(&two).await.unwrap();

    standby.promote();
    // It listens since it caught up for the second time at the latest: it hears what is in no log.
    app.sync().await;
    app.sync().await;
    app.fill(&[&two]).await;
    let evicted = app.tokens.stats().evicted;
    let event = r#"{"v":1,"kind":"user","id":"111","session_version":0}"#;
    here.query_one("SELECT pg_notify('auth_invalidation', $1)", &[&event])
        .await
        .unwrap();
    wait("the notification", async || {
        app.tokens.stats().evicted > evicted
    })
    .await;
}

async fn is_replayed(primary: &Client, standby: &Client) {
    let here = "SELECT pg_current_wal_insert_lsn()::text";
    let here: String = primary.query_one(here, &[]).await.unwrap().get(0);
    let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
    wait("the replay", async || {
        standby
            .query_one(replayed, &[&here])
            .await
            .unwrap()
            .get::<_, bool>(0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_failover_nothing_of_before_is_answered() {
    fails_over("failover_tokio", postgres).await;
    fails_over("failover_sqlx", pool).await;
}

async fn fails_over<D>(name: &str, build: impl Fn(&str) -> D)
where
    D: Database + Source + Clone,
{
    let primary = Server::start(name).await;
    let standby = primary.standby(&format!("{name}_standby"));
    let proxy = Proxy::start(primary.port).await;
    let client = connect(&standby.url("app")).await;
    let one = make(&connect(&primary.url("app")).await, 112, 0)
        .await
        .unwrap();
    let address = url(proxy.port, "app");
    let app = App::start(build(&address), build(&address), LONG).await;
    app.fill(&[&one]).await;
    primary.stop();
    wait("staleness", async || !app.listener.is_fresh()).await;
    standby.promote();
    proxy.turn(standby.port);
    app.is_fresh().await;
    // Of another history: what was cached is not known to hold.
    assert!(!app.knows(&one));
    app.fill(&[&one]).await;
    bump(&client, "112").await;
    wait("the notification", async || !app.knows(&one)).await;
    assert_eq!(app.reason(&one).await, Reason::SessionVersionMismatch);
}
