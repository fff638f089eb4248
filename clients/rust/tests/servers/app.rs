//! An application with a listener and caches, what it is asked about, and how that changes.

use std::time::{Duration, Instant};

use auth_ext_client::{
    ApiKeyCache, CacheOptions, Database, Error, Listener, ListenerOptions, Postgres, Reason,
    Source, TokenCache,
};
use fastrand::Rng;
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::runtime::Handle;
use tokio_postgres::{Client, NoTls};

use crate::harness::wait;

/// How long a change may stay unknown, in these tests.
pub const PROMISE: Duration = Duration::from_millis(900);
pub const LONG: Duration = Duration::from_secs(300);

pub fn postgres(url: &str) -> Postgres<NoTls> {
    Postgres::new(url.parse().unwrap(), NoTls)
}

pub fn pool(url: &str) -> PgPool {
    let options = PgPoolOptions::new().acquire_timeout(Duration::from_secs(5));
    options.connect_lazy(url).unwrap()
}

pub struct App<D> {
    pub listener: Listener,
    pub tokens: TokenCache<D>,
    pub keys: ApiKeyCache<D>,
}

impl<D: Database + Clone> App<D> {
    pub async fn start(source: impl Source, database: D, max_staleness: Duration) -> Self {
        Self::start_in(&Handle::current(), source, database, max_staleness).await
    }

    /// The listener runs in that runtime.
    pub async fn start_in(
        runtime: &Handle,
        source: impl Source,
        database: D,
        max_staleness: Duration,
    ) -> Self {
        let listener = {
            let _in_it = runtime.enter();
            Listener::start(source, ListenerOptions { max_staleness })
        };
        let app = Self {
            tokens: TokenCache::new(&listener, database.clone(), CacheOptions::default()),
            keys: ApiKeyCache::new(&listener, database, CacheOptions::default()),
            listener,
        };
        app.is_fresh().await;
        app
    }

    /// Waits for it: what is sent late, by a relay, may put in doubt what is known already.
    pub async fn is_fresh(&self) {
        wait("a fresh listener", async || self.listener.is_fresh()).await;
    }

    pub async fn sync(&self) {
        self.listener
            .sync(Duration::from_secs(60))
            .await
            .expect("to catch up");
    }

    pub async fn verify(&self, item: &Item) -> Result<(), Error> {
        match item.is_key {
            true => self.keys.verify(&item.secret).await.map(drop),
            false => self.tokens.verify(&item.secret).await.map(drop),
        }
    }

    pub fn knows(&self, item: &Item) -> bool {
        match item.is_key {
            true => self.keys.peek(&item.secret).is_some(),
            false => self.tokens.peek(&item.secret).is_some(),
        }
    }

    /// Verifies them until they are known: an event of just before may keep the first answer out.
    pub async fn fill(&self, items: &[&Item]) {
        for item in items {
            wait("an entry", async || {
                self.verify(item).await.ok();
                self.knows(item)
            })
            .await;
        }
    }

    pub async fn reason(&self, item: &Item) -> Reason {
        let error = self.verify(item).await.expect_err("a refusal");
        error.refusal().expect("a refusal").reason.clone()
    }

    /// Whatever would be served is what the database says.
    pub async fn is_right(&self, client: &Client, items: &[Item]) -> usize {
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
pub struct Item {
    pub is_key: bool,
    pub user: i64,
    /// Of a token: `jti`; of a session's, `sid`; of a key, its id.
    pub id: String,
    pub is_session: bool,
    pub secret: String,
}

impl Item {
    pub fn kind(&self) -> &'static str {
        match (self.is_key, self.is_session) {
            (true, _) => "a key",
            (_, true) => "a session's token",
            _ => "a token",
        }
    }
}

pub async fn make(client: &Client, user: i64, kind: u8) -> Result<Item, tokio_postgres::Error> {
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

pub async fn make_all(client: &Client) -> Vec<Item> {
    let mut items = Vec::new();
    for user in 100..120 {
        for kind in 0..3 {
            items.push(make(client, user, kind).await.unwrap());
        }
    }
    items
}

/// Logs the user out everywhere; when that was committed.
pub async fn bump(client: &Client, user: &str) -> Instant {
    let bump = "SELECT auth.bump_session_version($1)";
    client.query_one(bump, &[&user]).await.unwrap();
    Instant::now()
}

/// One change of the tables; what became invalid by it is made anew, now and then.
pub async fn change(
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

pub const ALL_ACTIVE: &str = "INSERT INTO users (id) SELECT generate_series(100, 119) ON CONFLICT (id) DO UPDATE SET is_active = true";

/// Ends the connections of listeners, which say who they are.
pub const END_LISTENERS: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'auth_ext listener'";
