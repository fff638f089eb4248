//! Servers, connections and listeners that come and go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use auth_ext_client::{Database, Source};
use fastrand::Rng;
use tokio::time::sleep;

use crate::app::{ALL_ACTIVE, App, Item, PROMISE, change, make_all, pool, postgres};
use crate::aside::Aside;
use crate::harness::{Server, connect, scale, seed, try_connect};

/// Changes and look-ups of each trouble, which begins when a third of it is over.
const WHILE: Duration = Duration::from_millis(900);
const TROUBLES: [&str; 7] = [
    "none",
    "terminate",
    "terminate again and again",
    "restart",
    "kill -9",
    "pause",
    "end the relay",
];

struct Run<'r, D> {
    server: &'r Server,
    listens_in: Aside,
    app: Arc<App<D>>,
}

/// Changes and look-ups while servers and connections come and go: nothing is served that was changed longer ago than
/// promised, and after each trouble what is cached is as in the tables.
async fn chaos<D>(name: &str, build: impl Fn(&str) -> D, notify: &str)
where
    D: Database + Source + Clone,
{
    let mut random = Rng::with_seed(seed());
    let server = Server::start(name).await;
    let url = server.url("app");
    let notifies = format!("ALTER DATABASE app SET auth_ext.notify = {notify}");
    connect(&url).await.batch_execute(&notifies).await.unwrap();
    let listens_in = Aside::new();
    let app = App::start_in(listens_in.handle(), build(&url), build(&url), PROMISE).await;
    let run = Run {
        server: &server,
        listens_in,
        app: Arc::new(app),
    };
    let mut troubles = TROUBLES.repeat(scale().min(3));
    random.shuffle(&mut troubles);
    let mut compared = 0;
    for trouble in troubles {
        println!("--- {trouble}");
        compared += run.bears(trouble, &mut random).await;
    }
    println!("{compared} compared");
    assert!(compared > 20);
}

impl<D: Database + Clone> Run<'_, D> {
    /// How many entries were as in the tables after the trouble.
    async fn bears(&self, trouble: &str, random: &mut Rng) -> usize {
        let url = self.server.url("app");
        let client = connect(&url).await;
        client.batch_execute(ALL_ACTIVE).await.unwrap();
        let mut items = make_all(&client).await;
        let all = items.clone();
        let readers = all.iter().map(|item| self.reads(item.clone()));
        let readers: Vec<_> = readers.map(tokio::spawn).collect();
        tokio::join!(self.writes(random, &mut items), async {
            sleep(WHILE / 3).await;
            self.make(trouble).await;
        });
        for reader in readers {
            reader.await.unwrap();
        }
        let client = connect(&url).await;
        // Stale or not: what is served now is right when the promised time is over.
        sleep(PROMISE).await;
        self.app.is_right(&client, &all).await;
        self.app.sync().await;
        for item in &items {
            self.app.verify(item).await.ok();
        }
        let compared = self.app.is_right(&client, &items).await;
        self.app.is_fresh().await;
        compared
    }

    fn reads(&self, item: Item) -> impl Future<Output = ()> + Send + use<D> {
        let app = self.app.clone();
        async move {
            let until = Instant::now() + WHILE;
            while Instant::now() < until {
                app.verify(&item).await.ok();
                sleep(Duration::from_millis(7)).await;
            }
        }
    }

    async fn writes(&self, random: &mut Rng, items: &mut [Item]) {
        let until = Instant::now() + WHILE;
        let mut writer = None;
        while Instant::now() < until {
            if writer.is_none() {
                writer = try_connect(&self.server.url("app")).await.ok();
            }
            if let Some(client) = &writer
                && change(client, random, items).await.is_err()
                && client.is_closed()
            {
                writer = None;
            }
            sleep(Duration::from_millis(3)).await;
        }
    }

    async fn make(&self, trouble: &str) {
        match trouble {
            "terminate" => self.terminate("client backend").await,
            "terminate again and again" => {
                for _ in 0..3 {
                    self.terminate("client backend").await;
                    sleep(WHILE / 6).await;
                }
            }
            "end the relay" => self.terminate("auth_ext relay").await,
            "restart" => tokio::task::block_in_place(|| self.server.restart()),
            "kill -9" => tokio::task::block_in_place(|| {
                self.server.kill_9();
                self.server.launch();
            }),
            "pause" => self.listens_in.pause(2 * PROMISE).await,
            _ => {}
        }
    }

    /// Whoever has asked the extension something, or was started for it.
    async fn terminate(&self, kind: &str) {
        let sql = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE pid <> pg_backend_pid() AND datname = 'app' AND backend_type = '{kind}'"
        );
        let client = connect(&self.server.url("app")).await;
        client.batch_execute(&sql).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_the_server_a_cache_on_tokio_postgres_serves_nothing_old() {
    chaos("chaos_tokio", postgres, "inline").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_server_with_a_relay_a_cache_on_sqlx_serves_nothing_old() {
    chaos("chaos_sqlx", pool, "relay").await;
}
