//! The listener: it listens, catches up, and says how long what it knows may be relied on.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::error::Error;
use crate::event::{Event, Subject};
use crate::hub::{Hub, Watch};
use crate::moment::Moment;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// Notifications between two readings of the log. It is read 10,000 events at a time; more is a flush.
const HEARD_AT_MOST: usize = 5_000;

/// Where a listener connects to. Implemented by [`Postgres`](crate::Postgres) (tokio-postgres) and
/// [`sqlx::PgPool`](https://docs.rs/sqlx), and by whatever else you have.
pub trait Source: Send + Sync + 'static {
    /// A connection.
    type Session: Session;

    /// Connects. The listener limits the time.
    fn connect(&self) -> impl Future<Output = Result<Self::Session, Error>> + Send;
}

/// A connection that listens.
pub trait Session: Send {
    /// Sends `LISTEN auth_invalidation`, committed before it returns. False where that is not possible, on a standby
    /// (25006): the heartbeat alone keeps the promise there, and tries again.
    fn listen(&mut self) -> impl Future<Output = Result<bool, Error>> + Send;

    /// `SELECT auth.invalidation_cursor()`
    fn cursor(&mut self) -> impl Future<Output = Result<String, Error>> + Send;

    /// `SELECT event, next_cursor FROM auth.invalidations_since(cursor)`: the events as text, and the next cursor if
    /// there was a row.
    fn since(
        &mut self,
        cursor: &str,
    ) -> impl Future<Output = Result<(Vec<String>, Option<String>), Error>> + Send;

    /// The payload of the next notification. An error ends the session. Dropping the future must lose nothing.
    fn hear(&mut self) -> impl Future<Output = Result<String, Error>> + Send;
}

/// What can be set.
#[derive(Clone, Debug)]
pub struct ListenerOptions {
    /// The promise: nothing is served from a cache that changed longer ago than this, whatever fails.
    pub max_staleness: Duration,
}

impl Default for ListenerOptions {
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_secs(10),
        }
    }
}

/// May caches be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerState {
    /// No: every look-up asks the database.
    Stale,
    /// Yes.
    Fresh,
    /// Never again.
    Closed,
}

/// Hears of what changed, for the caches that are made with it. Runs in a task of its own until the last clone, and
/// the last cache, is dropped.
#[derive(Clone)]
pub struct Listener(Arc<Running>);

struct Running {
    hub: Arc<Hub>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        self.hub.close();
    }
}

impl Listener {
    /// Starts to listen, on the current tokio runtime. Until it has caught up for the first time it is stale: caches
    /// ask the database each time. Nothing here fails: a database that is away is tried again and again.
    pub fn start(source: impl Source, options: ListenerOptions) -> Self {
        let hub = Arc::new(Hub::new(options.max_staleness));
        let task = tokio::spawn(run(hub.clone(), source));
        Self(Arc::new(Running { hub, task }))
    }

    /// May caches be used? A lease, renewed by each catching up, that ends by itself; and at once when the
    /// connection is lost or something is not understood.
    pub fn is_fresh(&self) -> bool {
        self.0.hub.lease().is_some()
    }

    /// Waits until the listener is fresh: at start, say.
    pub async fn fresh(&self) {
        self.0.hub.fresh().await;
    }

    /// `Stale`, `Fresh` or `Closed`.
    pub fn state(&self) -> ListenerState {
        match self.is_fresh() {
            true => ListenerState::Fresh,
            false if self.0.hub.is_closed() => ListenerState::Closed,
            false => ListenerState::Stale,
        }
    }

    /// Waits until all that is committed by now is known here, and what it changed is evicted; for so long at most.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: the time is over, or the listener is closed.
    pub async fn sync(&self, limit: Duration) -> Result<(), Error> {
        match timeout(limit, self.0.hub.sync()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::unavailable("the listener is closed")),
            Err(_) => Err(Error::unavailable(
                "the listener could not catch up in time",
            )),
        }
    }

    /// Stops listening. Caches go on, but answer nothing by themselves: every look-up asks the database.
    pub fn close(&self) {
        self.0.task.abort();
        self.0.hub.close();
    }

    /// Hears of the end of a user's sessions, of a session, a key, a token: to close connections that live long.
    ///
    /// The watch begins with this call: verify *after* it, so that nothing falls between the two. An event is a hint;
    /// one that is older than the watch may be seen, too, when the listener catches up.
    /// [`TokenCache::ended`](crate::TokenCache::ended) does all that.
    pub fn on_ended(&self, subjects: impl IntoIterator<Item = Subject>) -> Watch {
        let topics = subjects
            .into_iter()
            .map(|subject| self.0.hub.topic(&subject));
        self.0.hub.watch(topics.collect())
    }

    pub(crate) fn hub(&self) -> &Arc<Hub> {
        &self.0.hub
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("is_fresh", &self.is_fresh())
            .field("max_staleness", &self.0.hub.max_staleness)
            .finish()
    }
}

async fn run(hub: Arc<Hub>, source: impl Source) {
    let mut pause = FIRST_PAUSE;
    loop {
        let caught_up = session(&hub, &source).await;
        // At once, and only then the pause.
        hub.doubt();
        if caught_up {
            pause = FIRST_PAUSE;
        }
        sleep(pause.mul_f64(fastrand::f64())).await;
        pause = (2 * pause).min(LAST_PAUSE);
    }
}

/// One connection, until it ends. True: it has caught up.
async fn session(hub: &Hub, source: &impl Source) -> bool {
    // The timeouts end what a network has swallowed; the lease does not wait for them.
    let Ok(Ok(mut session)) = timeout(LAST_PAUSE, source.connect()).await else {
        return false;
    };
    let (mut caught_up, mut listens) = (false, false);
    loop {
        if !listens {
            match timeout(hub.max_staleness, session.listen()).await {
                Ok(Ok(listening)) => listens = listening,
                _ => return caught_up,
            }
        }
        let asked = hub.take_asked();
        match timeout(hub.max_staleness, catch_up(hub, &mut session)).await {
            Ok(Ok(())) => drop_answered(asked),
            _ => {
                hub.ask_again(asked);
                return caught_up;
            }
        }
        caught_up = true;
        if live(hub, &mut session).await.is_err() {
            return true;
        }
    }
}

fn drop_answered(asked: Vec<tokio::sync::oneshot::Sender<()>>) {
    for waiting in asked {
        waiting.send(()).ok(); // who asked may have gone
    }
}

/// Learns what was committed since the cursor.
async fn catch_up(hub: &Hub, session: &mut impl Session) -> Result<(), Error> {
    let sent = Moment::now();
    let Some(cursor) = hub.cursor() else {
        let cursor = session.cursor().await?;
        // Only now: what was read before the cursor was taken must not be kept after it.
        hub.apply(Event::Flush, true);
        hub.set_cursor(Some(cursor));
        hub.renew(sent);
        return Ok(());
    };
    let (events, next) = match session.since(&cursor).await {
        Err(error @ Error::Database(_)) => {
            hub.set_cursor(None); // perhaps not one of this server's
            return Err(error);
        }
        answer => answer?,
    };
    for event in events {
        hub.apply(Event::parse(&event), true);
    }
    if next.is_some() {
        hub.set_cursor(next);
    }
    hub.renew(sent);
    Ok(())
}

/// Hears until it is time to catch up: a heartbeat, that also keeps the next one short.
async fn live(hub: &Hub, session: &mut impl Session) -> Result<(), Error> {
    let heartbeat = sleep(hub.max_staleness / 3);
    tokio::pin!(heartbeat);
    for _ in 0..HEARD_AT_MOST {
        tokio::select! {
            payload = session.hear() => hub.hear(&payload?),
            () = hub.woken() => return Ok(()),
            () = &mut heartbeat => return Ok(()),
        }
    }
    Ok(())
}
