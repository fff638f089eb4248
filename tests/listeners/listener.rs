//! A cache that hears of changes (see "Listening" in README.md), for tokio.
//!
//! Loads read the server that the listener listens to, in a transaction of their own.

use std::collections::HashMap;
use std::error::Error;
use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, NoTls};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);
const MAX_HEARD: usize = 100_000;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What can be cached.
pub trait Entry: Clone {
    /// A user's; None for what has no version.
    fn session_version(&self) -> Option<i64>;
}

/// What is cached, by kind and id.
pub type Key = (String, String);

struct State<T> {
    entries: HashMap<Key, T>,
    /// Counts events.
    clock: u64,
    /// When all was evicted.
    flushed: u64,
    /// When one was evicted, and the least session_version that it can have.
    heard: HashMap<Key, (u64, i64)>,
    fresh_until: Option<Instant>,
    cursor: Option<String>,
    asked: Vec<oneshot::Sender<()>>,
    pause: Duration,
}

/// The cache. Somebody has to run it.
pub struct Listener<T> {
    max_staleness: Duration,
    state: Mutex<State<T>>,
    wake: Notify,
}

impl<T: Entry> Listener<T> {
    /// An empty cache.
    pub fn new(max_staleness: Duration) -> Self {
        let state = State {
            entries: HashMap::new(),
            clock: 0,
            flushed: 0,
            heard: HashMap::new(),
            fresh_until: None,
            cursor: None,
            asked: Vec::new(),
            pause: FIRST_PAUSE,
        };
        Self {
            max_staleness,
            state: Mutex::new(state),
            wake: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// May the cache be used? A lease: it ends by itself when nothing renews it, whatever the reason.
    pub fn fresh(&self) -> bool {
        self.state().fresh()
    }

    /// The entry, if it is cached and may be used.
    pub fn peek(&self, key: &Key) -> Option<T> {
        let state = self.state();
        state.entries.get(key).filter(|_| state.fresh()).cloned()
    }

    /// The entry, or what `load` reads. None is not kept: the INSERT that ends it sends no event.
    pub async fn get<E>(
        &self,
        key: Key,
        load: impl Future<Output = std::result::Result<Option<T>, E>>,
    ) -> std::result::Result<Option<T>, E> {
        let began = self.state().clock;
        if let Some(entry) = self.peek(&key) {
            return Ok(Some(entry));
        }
        let entry = load.await?;
        if let Some(entry) = &entry {
            self.state().fill(key, entry.clone(), began);
        }
        Ok(entry)
    }

    /// Waits until all that is committed by now is known here.
    pub async fn sync(&self) {
        let (asked, answered) = oneshot::channel();
        self.state().asked.push(asked);
        self.wake.notify_one();
        // It is answered, not dropped, for as long as there is a listener.
        answered.await.ok();
    }

    /// Listens, for ever.
    pub async fn run(&self, config: &Config) {
        loop {
            if let Err(error) = self.session(config).await {
                eprintln!("auth_invalidation: {error}");
            }
            let pause = {
                let mut state = self.state();
                // At once, and only then the pause.
                state.fresh_until = None;
                let pause = state.pause;
                state.pause = (2 * pause).min(LAST_PAUSE);
                pause
            };
            sleep(pause.mul_f64(fastrand::f64())).await;
        }
    }

    async fn session(&self, config: &Config) -> Result<()> {
        let (client, mut connection) = timeout(LAST_PAUSE, config.connect(NoTls)).await??;
        // tokio-postgres hands notifications to whoever polls the connection.
        let live = async {
            while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notification(notification) = message? {
                    self.hear(notification.payload());
                }
            }
            Ok(())
        };
        let heartbeat = async {
            // Committed, before the first look: nothing falls between the two. The timeouts end what a network has
            // swallowed; the lease does not wait for them.
            let listen = client.batch_execute("LISTEN auth_invalidation");
            timeout(self.max_staleness, listen).await??;
            loop {
                timeout(self.max_staleness, self.catch_up(&client)).await??;
                self.state().pause = FIRST_PAUSE;
                // A heartbeat also keeps the next catching up short.
                timeout(self.max_staleness / 3, self.wake.notified())
                    .await
                    .ok();
            }
        };
        tokio::select! { end = live => end, end = heartbeat => end }
    }

    fn hear(&self, payload: &str) {
        let event = serde_json::from_str(payload).unwrap_or_default();
        if !self.state().apply(&event) {
            self.wake.notify_one();
        }
    }

    async fn catch_up(&self, client: &Client) -> Result<()> {
        let sent = Instant::now();
        let (asked, cursor) = {
            let state = self.state();
            (state.asked.len(), state.cursor.clone())
        };
        let Some(cursor) = cursor else {
            let row = client
                .query_one("SELECT auth.invalidation_cursor()", &[])
                .await?;
            // Only now: what was read before the cursor was taken must not be cached after it.
            let mut state = self.state();
            state.apply(&Value::Null);
            state.cursor = row.get(0);
            state.renew(sent + self.max_staleness, asked);
            return Ok(());
        };
        let query = "SELECT event, next_cursor FROM auth.invalidations_since($1)";
        let rows = client.query(query, &[&cursor]).await;
        let mut state = self.state();
        if let Err(error) = &rows
            && error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE)
        {
            state.cursor = None; // not one of this server's
        }
        for row in rows? {
            state.apply(&row.get(0));
            state.cursor = row.get(1);
        }
        state.renew(sent + self.max_staleness, asked);
        Ok(())
    }
}

impl<T: Entry> State<T> {
    fn fresh(&self) -> bool {
        self.fresh_until.is_some_and(|until| Instant::now() < until)
    }

    fn renew(&mut self, until: Instant, asked: usize) {
        self.fresh_until = Some(until);
        for waiting in self.asked.drain(..asked) {
            waiting.send(()).ok(); // who asked may have gone
        }
    }

    fn fill(&mut self, key: Key, entry: T, began: u64) {
        let (heard, floor) = self.heard.get(&key).copied().unwrap_or_default();
        // An event while it was read may say more than was read.
        if !self.fresh() || heard.max(self.flushed) > began {
            return;
        }
        // Read from a server that lags behind.
        if entry
            .session_version()
            .is_some_and(|version| version < floor)
        {
            return;
        }
        self.entries.insert(key, entry);
    }

    /// False: it was a flush, or nothing that we understand.
    fn apply(&mut self, event: &Value) -> bool {
        self.clock += 1;
        let Some((key, floor)) = about(event) else {
            self.entries.clear();
            self.flushed = self.clock;
            self.fresh_until = None;
            return false;
        };
        self.entries.remove(&key);
        let (_, known) = self.heard.get(&key).copied().unwrap_or_default();
        // Any role can send any id.
        if self.heard.len() >= MAX_HEARD {
            self.heard.clear();
            self.flushed = self.clock;
        }
        self.heard.insert(key, (self.clock, floor.max(known)));
        true
    }
}

fn about(event: &Value) -> Option<(Key, i64)> {
    let kind = event["kind"].as_str()?;
    let id = match kind {
        "user" => "id",
        "api_key" => "fingerprint",
        "token" => "jti",
        "session" => "sid",
        "issuer" => "issuer",
        _ => return None,
    };
    let floor = match &event["session_version"] {
        Value::Null => 0,
        version => version.as_i64()?,
    };
    Some(((kind.to_owned(), event[id].as_str()?.to_owned()), floor))
}
