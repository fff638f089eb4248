//! What caches serve on real servers, whatever happens to these, to the connections and to the events.
#![cfg(all(feature = "tokio-postgres", feature = "sqlx"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod harness;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use auth_ext_client::{
    ApiKeyCache, CacheOptions, Credential, Database, Ended, Error, Listener, ListenerOptions,
    Postgres, Reason, Session, Source, Subject, TokenCache,
};
use fastrand::Rng;
use sqlx::PgPool;
use sqlx::postgres::{PgDatabaseError, PgPoolOptions};
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};

use harness::{Proxy, Server, connect, scale, seed, signal, try_connect, url, wait};

/// How long a change may stay unknown, in these tests.
const PROMISE: Duration = Duration::from_millis(900);
const LONG: Duration = Duration::from_secs(300);

fn postgres(url: &str) -> Postgres<NoTls> {
    Postgres::new(url.parse().unwrap(), NoTls)
}

fn pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(5));
    options.connect_lazy(url).unwrap()
}

struct App<D> {
    listener: Listener,
    tokens: TokenCache<D>,
    keys: ApiKeyCache<D>,
}

impl<D: Database + Clone> App<D> {
    async fn start(source: impl Source, database: D, max_staleness: Duration) -> Self {
        let listener = Listener::start(source, ListenerOptions { max_staleness });
        let app = Self {
            tokens: TokenCache::new(&listener, database.clone(), CacheOptions::default()),
            keys: ApiKeyCache::new(&listener, database, CacheOptions::default()),
            listener,
        };
        timeout(Duration::from_secs(30), app.listener.fresh())
            .await
            .expect("fresh");
        app
    }

    async fn sync(&self) {
        self.listener
            .sync(Duration::from_secs(60))
            .await
            .expect("to catch up");
    }

    async fn verify(&self, item: &Item) -> Result<(), Error> {
        match item.is_key {
            true => self.keys.verify(&item.secret).await.map(drop),
            false => self.tokens.verify(&item.secret).await.map(drop),
        }
    }

    fn knows(&self, item: &Item) -> bool {
        match item.is_key {
            true => self.keys.peek(&item.secret).is_some(),
            false => self.tokens.peek(&item.secret).is_some(),
        }
    }

    /// Whatever would be served is what the database says.
    async fn is_right(&self, client: &Client, items: &[Item]) -> usize {
        let known: Vec<&Item> = items.iter().filter(|item| self.knows(item)).collect();
        for is_key in [true, false] {
            let secrets: Vec<&str> = known
                .iter()
                .filter(|i| i.is_key == is_key)
                .map(|i| i.secret.as_str())
                .collect();
            let check = if is_key { "api_key" } else { "jwt" };
            let sql = format!(
                "SELECT (auth.check_{check}(s)).valid FROM unnest($1::text[]) WITH ORDINALITY AS u(s, n) ORDER BY n"
            );
            let truth = client.query(&sql, &[&secrets]).await.unwrap();
            for (secret, row) in secrets.iter().zip(truth) {
                let item = known.iter().find(|i| i.secret == *secret).unwrap();
                assert!(
                    row.get::<_, bool>(0),
                    "served, but not valid: {} of {}",
                    item.kind(),
                    item.user
                );
            }
        }
        known.len()
    }
}

#[derive(Clone)]
struct Item {
    is_key: bool,
    user: i64,
    /// Of a token: `jti`; of a session's, `sid`; of a key, its id.
    id: String,
    is_session: bool,
    secret: String,
}

impl Item {
    fn kind(&self) -> &'static str {
        match (self.is_key, self.is_session) {
            (true, _) => "a key",
            (_, true) => "a session's token",
            _ => "a token",
        }
    }
}

async fn make(client: &Client, user: i64, kind: u8) -> Result<Item, tokio_postgres::Error> {
    let sql = match kind {
        0 => "SELECT t, auth.verify_jwt(t) ->> 'jti' FROM auth.issue_jwt($1) AS t",
        1 => "SELECT access_token, session_id FROM auth.open_session($1)",
        _ => "SELECT key, id FROM auth.create_api_key($1, 'test')",
    };
    let row = client.query_one(sql, &[&user.to_string()]).await?;
    Ok(Item {
        is_key: kind > 1,
        user,
        id: row.get(1),
        is_session: kind == 1,
        secret: row.get(0),
    })
}

async fn make_all(client: &Client) -> Vec<Item> {
    let mut items = Vec::new();
    for user in 100..120 {
        for kind in 0..3 {
            items.push(make(client, user, kind).await.unwrap());
        }
    }
    items
}

/// One change of the tables; what became invalid by it is made anew, now and then.
async fn change(
    client: &Client,
    random: &mut Rng,
    items: &mut [Item],
) -> Result<(), tokio_postgres::Error> {
    let place = random.usize(..items.len());
    let item = items[place].clone();
    let user = item.user;
    let sql = match random.u8(..20) {
        0..=4 => format!("SELECT auth.bump_session_version(id::text) FROM users WHERE id = {user}"),
        5 => format!("UPDATE users SET is_active = NOT is_active WHERE id = {user}"),
        6 => format!(
            "UPDATE users SET email = random()::text WHERE id IN ({user}, {})",
            random.u64(100..120)
        ),
        7 => format!("DELETE FROM users WHERE id = {user}"),
        8..=9 => format!(
            "INSERT INTO users (id) VALUES ({user}) ON CONFLICT (id) DO UPDATE SET is_active = true"
        ),
        10..=11 if item.is_key => format!(
            "UPDATE api_keys SET is_active = NOT is_active WHERE id = '{}'",
            item.id
        ),
        10..=11 if item.is_session => format!("SELECT auth.end_session('{}')", item.id),
        10..=11 => format!(
            "SELECT auth.revoke_jwt('{}') WHERE (auth.check_jwt('{}')).valid",
            item.secret, item.secret
        ),
        12 => format!("DELETE FROM api_keys WHERE id = '{}'", item.id),
        13 if random.u8(..10) == 0 => {
            "UPDATE auth.issuers SET leeway = leeway + interval '1 ms'".to_owned()
        }
        14 if random.u8(..10) == 0 => "UPDATE users SET email = random()::text".to_owned(),
        _ => {
            client
                .execute("INSERT INTO users (id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET is_active = true", &[&user])
                .await?;
            let kind = if item.is_key {
                2
            } else {
                u8::from(item.is_session)
            };
            items[place] = make(client, user, kind).await?;
            return Ok(());
        }
    };
    client.batch_execute(&sql).await
}

const ALL_ACTIVE: &str = "INSERT INTO users (id) SELECT generate_series(100, 119) ON CONFLICT (id) DO UPDATE SET is_active = true";

/// Loses, doubles and delays notifications.
#[derive(Clone)]
struct Mutating<S> {
    source: S,
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
            random: Rng::new(),
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
        .batch_execute("ALTER DATABASE app SET auth_ext.bulk_threshold = 12")
        .await
        .unwrap();
    let client = {
        drop(client);
        connect(&url).await
    };
    let mutated = Arc::new(AtomicU64::new(0));
    let source = Mutating {
        source: build(&url),
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
        for _ in 0..events / rounds {
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
        let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ~ 'invalidation' AND pid <> pg_backend_pid()";
        if round % 8 == 7 {
            client.batch_execute(ended).await.unwrap();
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

/// Changes and look-ups while servers and connections come and go: nothing is served that was changed longer ago than
/// promised.
async fn chaos<D>(name: &str, build: impl Fn(&str) -> D, settings: &str)
where
    D: Database + Source + Clone,
{
    let mut random = Rng::with_seed(seed());
    let server = Server::start(name).await;
    let url = server.url("app");
    connect(&url).await.batch_execute(settings).await.unwrap();
    let app = Arc::new(App::start(build(&url), build(&url), PROMISE).await);
    let mut troubles = [
        "none",
        "terminate",
        "restart",
        "kill -9",
        "terminate",
        "relay",
    ]
    .repeat(scale().min(3));
    random.shuffle(&mut troubles);
    let mut compared = 0;
    for trouble in troubles {
        println!("--- {trouble}");
        let client = connect(&url).await;
        client.batch_execute(ALL_ACTIVE).await.unwrap();
        let mut items = make_all(&client).await;
        let readers: Vec<_> = items
            .iter()
            .map(|item| {
                let (app, item) = (app.clone(), item.clone());
                tokio::spawn(async move {
                    let until = Instant::now() + Duration::from_millis(900);
                    while Instant::now() < until {
                        app.verify(&item).await.ok();
                        sleep(Duration::from_millis(7)).await;
                    }
                })
            })
            .collect();
        let all = items.clone();
        let changes = async {
            let until = Instant::now() + Duration::from_millis(900);
            let mut writer = None;
            while Instant::now() < until {
                if writer.is_none() {
                    writer = try_connect(&url).await.ok();
                }
                if let Some(client) = &writer
                    && change(client, &mut random, &mut items).await.is_err()
                    && client.is_closed()
                {
                    writer = None;
                }
                sleep(Duration::from_millis(3)).await;
            }
        };
        let trouble = async {
            sleep(Duration::from_millis(300)).await;
            let ends = |who: &str| {
                format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND {who}"
                )
            };
            match trouble {
                "terminate" => client
                    .batch_execute(&ends("backend_type = 'client backend' AND query ~ 'auth.'"))
                    .await
                    .unwrap(),
                "relay" => client
                    .batch_execute(&ends("backend_type = 'auth_ext relay'"))
                    .await
                    .unwrap(),
                "restart" => tokio::task::block_in_place(|| server.restart()),
                "kill -9" => tokio::task::block_in_place(|| {
                    server.kill_9();
                    server.launch();
                }),
                _ => {}
            }
        };
        tokio::join!(changes, trouble);
        for reader in readers {
            reader.await.unwrap();
        }
        let client = connect(&url).await;
        // Stale or not: what is served now is right when the promised time is over.
        sleep(PROMISE).await;
        app.is_right(&client, &all).await;
        app.sync().await;
        for item in &items {
            app.verify(item).await.ok();
        }
        compared += app.is_right(&client, &items).await;
        assert!(app.listener.is_fresh());
    }
    println!("{compared} compared");
    assert!(compared > 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_the_server_a_cache_on_tokio_postgres_serves_nothing_old() {
    chaos("chaos_tokio", postgres, "SELECT").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_to_a_server_with_a_relay_a_cache_on_sqlx_serves_nothing_old() {
    chaos(
        "chaos_sqlx",
        pool,
        "ALTER DATABASE app SET auth_ext.notify = relay",
    )
    .await;
}

// --- one thing at a time -------------------------------------------------------------------------------

async fn ends_within(app: &App<impl Database + Clone>, item: &Item, since: Instant) {
    // The promise itself: not a moment more.
    sleep(PROMISE.saturating_sub(since.elapsed())).await;
    let answer = app.verify(item).await;
    assert!(answer.is_err(), "still served after {:?}", since.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_costs_no_more_than_the_promised_time() {
    let server = Server::start("promise").await;
    let direct = server.url("app");
    let client = connect(&direct).await;
    let bump = async |user: i64| {
        client
            .query_one("SELECT auth.bump_session_version($1)", &[&user.to_string()])
            .await
            .unwrap();
        Instant::now()
    };

    // Half-open: the network has swallowed the listener's connection.
    let proxy = Proxy::start(server.port).await;
    let through = url(proxy.port, "app");
    for sqlx in [false, true] {
        let app = match sqlx {
            false => App::start(postgres(&through), postgres(&direct), PROMISE).await,
            true => App::start(pool(&through), postgres(&direct), PROMISE).await,
        };
        let item = make(&client, 100, 0).await.unwrap();
        app.verify(&item).await.unwrap();
        assert!(app.knows(&item));
        proxy.silence();
        let since = bump(100).await;
        ends_within(&app, &item, since).await;
        // It is found, and left for a new one.
        timeout(4 * PROMISE, async {
            sleep(PROMISE).await;
            app.listener.fresh().await;
        })
        .await
        .expect("a new connection");
    }

    // Notifications that nobody sends.
    client
        .batch_execute("ALTER DATABASE app SET auth_ext.notify = off")
        .await
        .unwrap();
    let silent = connect(&direct).await;
    let app = App::start(postgres(&direct), postgres(&direct), PROMISE).await;
    let item = make(&silent, 101, 1).await.unwrap();
    app.verify(&item).await.unwrap();
    silent
        .query_one("SELECT auth.end_session($1)", &[&item.id])
        .await
        .unwrap();
    ends_within(&app, &item, Instant::now()).await;
    client
        .batch_execute("ALTER DATABASE app RESET auth_ext.notify")
        .await
        .unwrap();

    // A backend that hangs.
    let item = make(&client, 102, 2).await.unwrap();
    app.verify(&item).await.unwrap();
    let pid: i32 = client
        .query_one("SELECT max(pid) FROM pg_stat_activity WHERE query ~ 'invalidations_since|LISTEN' AND pid <> pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0);
    signal(&pid.to_string(), "STOP");
    client
        .execute(
            "UPDATE api_keys SET is_active = false WHERE id = $1",
            &[&item.id],
        )
        .await
        .unwrap();
    let since = Instant::now();
    ends_within(&app, &item, since).await;
    signal(&pid.to_string(), "CONT");

    // A listener that is paused: its runtime does nothing for a while.
    let (send, receive) = std::sync::mpsc::channel();
    let (pause, paused) = std::sync::mpsc::channel::<Duration>();
    let address = direct.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let app = App::start(postgres(&address), pool(&address), PROMISE).await;
            send.send((app.listener.clone(), app.tokens.clone()))
                .unwrap();
            loop {
                if let Ok(time) = paused.try_recv() {
                    std::thread::sleep(time); // not tokio's: the whole runtime
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
    });
    let (listener, tokens) = tokio::task::block_in_place(|| receive.recv().unwrap());
    let item = make(&client, 103, 0).await.unwrap();
    wait("an entry", async || {
        tokens.verify(&item.secret).await.ok();
        tokens.peek(&item.secret).is_some()
    })
    .await;
    pause.send(3 * PROMISE).unwrap();
    sleep(Duration::from_millis(50)).await;
    let since = bump(103).await;
    sleep(PROMISE.saturating_sub(since.elapsed())).await;
    assert!(tokens.peek(&item.secret).is_none() && !listener.is_fresh());
    wait("the end of the pause", async || listener.is_fresh()).await;
    assert!(tokens.verify(&item.secret).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_says_what_the_database_said_and_hears_when_it_ends() {
    let server = Server::start("says").await;
    let url = server.url("app");
    let client = connect(&url).await;
    for sqlx in [false, true] {
        match sqlx {
            false => {
                says(
                    &client,
                    App::start(postgres(&url), postgres(&url), LONG).await,
                )
                .await
            }
            true => says(&client, App::start(pool(&url), pool(&url), LONG).await).await,
        }
    }

    // The same without a server: no refusal.
    let app = App::start(postgres(&url), postgres(&url), LONG).await;
    let item = make(&client, 100, 0).await.unwrap();
    app.verify(&item).await.unwrap();
    drop(server);
    wait("staleness", async || !app.listener.is_fresh()).await;
    assert!(matches!(
        app.verify(&item).await,
        Err(Error::Unavailable(_))
    ));
    assert!(matches!(
        pool(&url).check_token("x", None).await,
        Err(Error::Unavailable(_))
    ));
}

async fn says<D: Database + Clone>(client: &Client, app: App<D>) {
    let token = make(client, 104, 1).await.unwrap();
    let known = app.tokens.verify(&token.secret).await.unwrap();
    assert_eq!(known.user_id.as_deref(), Some("104"));
    assert_eq!(known.session_id.as_deref(), Some(&*token.id));
    assert_eq!(known.issuer, "https://api.example.com");
    let claims: serde_json::Value = known.claims().unwrap();
    let direct = client
        .query_one("SELECT auth.verify_jwt($1)::text", &[&token.secret])
        .await
        .unwrap();
    assert_eq!(
        claims,
        serde_json::from_str::<serde_json::Value>(direct.get(0)).unwrap()
    );
    assert!(Arc::ptr_eq(
        &known,
        &app.tokens.verify(&token.secret).await.unwrap()
    ));
    let debug = format!(
        "{known:?} {:?} {app:?}",
        Credential::Token(token.secret.clone()),
        app = app.tokens
    );
    for part in token
        .secret
        .split('.')
        .chain([&*token.id, claims["jti"].as_str().unwrap()])
    {
        assert!(!debug.contains(part), "{debug}");
    }

    let refusals = [
        ("", Reason::Malformed),
        ("a.b.c", Reason::Malformed),
        ("\0", Reason::Malformed),
    ];
    for (token, reason) in refusals {
        assert_eq!(
            app.tokens
                .verify(token)
                .await
                .unwrap_err()
                .refusal()
                .unwrap()
                .reason,
            reason
        );
    }
    let key = make(client, 104, 2).await.unwrap();
    let known = app.keys.verify(&key.secret).await.unwrap();
    assert_eq!((&*known.id, &*known.user_id), (&*key.id, "104"));
    let used = "SELECT last_used_at IS NOT NULL FROM api_keys WHERE id = $1";
    assert!(
        client
            .query_one(used, &[&key.id])
            .await
            .unwrap()
            .get::<_, bool>(0)
    );
    assert!(app.knows(&key));
    let unknown = app.keys.verify("rfs_unknown").await.unwrap_err();
    assert_eq!(unknown.refusal().unwrap().reason, Reason::UnknownApiKey);

    // A device.
    let bound: String = client
        .query_one("SELECT auth.issue_jwt('105', device => '{\"id\": 1}')", &[])
        .await
        .unwrap()
        .get(0);
    let from = async |id: i32| {
        app.tokens
            .verify_from(&bound, &serde_json::json!({"id": id}))
            .await
    };
    from(1).await.unwrap();
    assert_eq!(
        from(2).await.unwrap_err().refusal().unwrap().reason,
        Reason::DeviceMismatch
    );
    from(1).await.unwrap();

    // What ends is heard at once.
    let watch = app.listener.on_ended([Subject::User("104".into())]);
    let (tokens, secret) = (app.tokens.clone(), token.secret.clone());
    let ended = tokio::spawn(async move { tokens.ended(&secret).await });
    sleep(Duration::from_millis(100)).await;
    client
        .query_one("SELECT auth.bump_session_version('105')", &[])
        .await
        .unwrap();
    sleep(Duration::from_millis(100)).await;
    assert!(!ended.is_finished() && watch.ended_already().is_none());
    client
        .query_one("SELECT auth.bump_session_version('104')", &[])
        .await
        .unwrap();
    let second = Duration::from_secs(1);
    let why = timeout(second, ended)
        .await
        .expect("within a second")
        .unwrap();
    assert_eq!(
        why.refusal().unwrap().reason,
        Reason::SessionVersionMismatch
    );
    let reason = timeout(second, watch.ended()).await.unwrap();
    assert_eq!(reason, Ended::Event(Some("logout_everywhere".into())));
    assert!(!app.knows(&token));
    // Ending the sessions does not end the keys.
    app.keys.verify(&key.secret).await.unwrap();
    client
        .execute("UPDATE users SET is_active = false WHERE id = 104", &[])
        .await
        .unwrap();
    wait("the owner", async || {
        app.keys.verify(&key.secret).await.is_err()
    })
    .await;
    client
        .execute("UPDATE users SET is_active = true WHERE id = 104", &[])
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_of_the_one_whose_credential_it_was_begun_with() {
    let server = Server::start("transaction").await;
    let mut client = connect(&server.url("app")).await;
    let pool = pool(&server.url("app"));
    let who = "SELECT auth.user_id()";
    for (kind, credential) in [
        (0, Credential::Token as fn(String) -> Credential),
        (2, Credential::ApiKey),
    ] {
        let item = make(&client, 106, kind).await.unwrap();
        let credential = credential(item.secret.clone());
        let transaction = credential.begin(&mut client).await.unwrap();
        assert_eq!(
            transaction
                .query_one(who, &[])
                .await
                .unwrap()
                .get::<_, Option<&str>>(0),
            Some("106")
        );
        transaction.commit().await.unwrap();
        assert_eq!(
            client
                .query_one(who, &[])
                .await
                .unwrap()
                .get::<_, Option<&str>>(0),
            None
        );
        let mut transaction = credential.begin_sqlx(&pool).await.unwrap();
        let user: Option<String> = sqlx::query_scalar(who)
            .fetch_one(&mut *transaction)
            .await
            .unwrap();
        assert_eq!(user.as_deref(), Some("106"));
        drop(transaction);
        let user: Option<String> = sqlx::query_scalar(who).fetch_one(&pool).await.unwrap();
        assert_eq!(user, None);
        client
            .execute("UPDATE users SET is_active = false WHERE id = 106", &[])
            .await
            .unwrap();
        let refused = [
            credential.begin(&mut client).await.map(drop).unwrap_err(),
            credential.begin_sqlx(&pool).await.map(drop).unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.refusal().unwrap().reason, Reason::InactiveUser);
        }
        client
            .execute("UPDATE users SET is_active = true WHERE id = 106", &[])
            .await
            .unwrap();
    }
}

/// As docs/poolers-and-drivers.md shows it.
async fn graphs_of(pool: &PgPool, token: &str) -> Result<Vec<(i64, String)>, sqlx::Error> {
    let mut tx = pool.begin().await?;
    sqlx::query("SELECT auth.authenticate($1)")
        .bind(token)
        .execute(&mut *tx)
        .await?;
    let graphs = sqlx::query_as("SELECT id, title FROM graphs")
        .fetch_all(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(graphs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drivers_own_transaction_is_the_tokens_users_and_a_refusal_has_its_reason() {
    let server = Server::start("drivers").await;
    let client = connect(&server.url("app")).await;
    client
        .batch_execute(
            "CREATE VIEW graphs AS
             SELECT id, 'of ' || id AS title FROM users WHERE id = auth.user_id_bigint()",
        )
        .await
        .unwrap();
    let item = make(&client, 106, 0).await.unwrap();
    let pool = pool(&server.url("app"));
    let graphs = graphs_of(&pool, &item.secret).await.unwrap();
    assert_eq!(graphs, [(106, "of 106".to_owned())]);
    let refused = graphs_of(&pool, "a.b.c").await.unwrap_err();
    let refused = refused.as_database_error().unwrap();
    assert_eq!(refused.code().as_deref(), Some("28000"));
    let detail = refused.downcast_ref::<PgDatabaseError>().detail();
    assert_eq!(detail, Some("malformed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_example_of_the_readme_runs_as_printed() {
    let readme = include_str!("../README.md");
    let printed = readme
        .split("```rust,no_run\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(printed, include_str!("../examples/first.rs"));
    let server = Server::start("readme").await;
    let client = connect(&server.url("app")).await;
    client
        .batch_execute(
            "CREATE ROLE web LOGIN; SELECT auth.grant_access('web', 'application');
             SELECT auth.grant_access('web', 'listener')",
        )
        .await
        .unwrap();
    let good = make(&client, 100, 0).await.unwrap();
    let ended = make(&client, 101, 0).await.unwrap();
    client
        .query_one("SELECT auth.bump_session_version('101')", &[])
        .await
        .unwrap();
    let tests = std::env::current_exe().unwrap();
    let first = tests
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("examples/first");
    let said = tokio::task::spawn_blocking(move || {
        let mut first = std::process::Command::new(first);
        first.env(
            "DATABASE_URL",
            server.url("app").replace("postgres@", "web@"),
        );
        first
            .args([&*good.secret, &*ended.secret, "x"])
            .output()
            .unwrap()
    })
    .await
    .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "user 100\nrefused: session_version_mismatch\nrefused: malformed\n",
        "{said:?}"
    );
}
