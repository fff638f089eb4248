//! Tables that change at random, and notifications that are lost, doubled or out of order.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use auth_ext_client::{Database, Error, Session, Source};
use fastrand::Rng;
use tokio::time::sleep;

use crate::app::{ALL_ACTIVE, App, END_LISTENERS, PROMISE, change, make_all, pool, postgres};
use crate::harness::{Server, connect, scale, seed};

/// Loses, doubles and delays notifications.
#[derive(Clone)]
struct Mutating<S> {
    source: S,
    seed: u64,
    one_in: u64,
    mutated: Arc<AtomicU64>,
}

struct MutatingSession<S> {
    session: S,
    random: Rng,
    one_in: u64,
    mutated: Arc<AtomicU64>,
    due: VecDeque<String>,
    held: Option<String>,
}

impl<S: Source> Source for Mutating<S> {
    type Session = MutatingSession<S::Session>;

    async fn connect(&self) -> Result<Self::Session, Error> {
        Ok(MutatingSession {
            session: self.source.connect().await?,
            random: Rng::with_seed(self.seed),
            one_in: self.one_in,
            mutated: self.mutated.clone(),
            due: VecDeque::new(),
            held: None,
        })
    }
}

impl<S: Session> Session for MutatingSession<S> {
    async fn listen(&mut self) -> Result<bool, Error> {
        self.session.listen().await
    }

    async fn cursor(&mut self) -> Result<String, Error> {
        self.session.cursor().await
    }

    async fn since(&mut self, cursor: &str) -> Result<(Vec<String>, Option<String>), Error> {
        self.session.since(cursor).await
    }

    async fn hear(&mut self) -> Result<String, Error> {
        loop {
            if let Some(payload) = self.due.pop_front() {
                return Ok(payload);
            }
            let payload = self.session.hear().await?;
            let mutation = (self.random.u64(..self.one_in) == 0).then(|| self.random.u8(..3));
            self.mutated
                .fetch_add(u64::from(mutation.is_some()), Ordering::Relaxed);
            match mutation {
                Some(0) => {} // lost
                Some(1) => self.held = Some(payload),
                Some(_) => self.due.extend([payload.clone(), payload]),
                None => {
                    self.due.push_back(payload);
                    self.due.extend(self.held.take());
                }
            }
        }
    }
}

async fn random_schedule<D>(name: &str, build: impl Fn(&str) -> D, one_in: u64)
where
    D: Database + Source + Clone,
{
    let seed = seed();
    let server = Server::start(name).await;
    let url = server.url("app");
    let client = connect(&url).await;
    client
        .batch_execute("SET auth_ext.bulk_threshold = 12")
        .await
        .unwrap();
    let mutated = Arc::new(AtomicU64::new(0));
    let source = Mutating {
        source: build(&url),
        seed,
        one_in,
        mutated: mutated.clone(),
    };
    let app = App::start(source, build(&url), PROMISE).await;
    let mut random = Rng::with_seed(seed);
    let (events, rounds) = (1_000 * scale(), 24 * scale());
    let (mut served, mut compared) = (0, 0);
    for round in 0..rounds {
        client.batch_execute(ALL_ACTIVE).await.unwrap();
        let mut items = make_all(&client).await;
        app.sync().await;
        for item in &items {
            app.verify(item).await.expect("all are valid");
        }
        for _ in 0..events.div_ceil(rounds) {
            // The reader is at it while the tables change.
            let item = items[random.usize(..items.len())].clone();
            let (changed, _) =
                tokio::join!(change(&client, &mut random, &mut items), app.verify(&item));
            changed.expect("a change");
            served += usize::from(app.knows(&item));
        }
        if round % 3 == 0 {
            // The promise itself: not a moment more.
            sleep(PROMISE).await;
        } else {
            app.sync().await;
        }
        compared += app.is_right(&client, &items).await;
        if round % 8 == 7 {
            client.batch_execute(END_LISTENERS).await.unwrap();
        }
    }
    let mutated = mutated.load(Ordering::Relaxed);
    println!(
        "{events} changes, {served} in the cache after a look, {compared} compared, {mutated} mutated"
    );
    println!("{:?} {:?}", app.tokens.stats(), app.keys.stats());
    assert!(compared > 5 * rounds && (mutated > 0 || one_in > 100));
    assert!(app.tokens.stats().evicted > 0 && app.keys.stats().evicted > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_random_schedule_a_cache_on_tokio_postgres_equals_the_tables() {
    random_schedule("random_tokio", postgres, u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_random_schedule_a_cache_on_sqlx_equals_the_tables() {
    random_schedule("random_sqlx", pool, u64::MAX).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_are_lost_doubled_or_out_of_order_are_healed_within_the_promised_time() {
    random_schedule("mutated", postgres, 20).await;
}
