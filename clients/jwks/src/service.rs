//! The service: fetches each set when it is due, and at once when its row has changed.

use std::convert::Infallible;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use tokio::select;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, sleep_until};

use crate::database::{Database, Source};
use crate::failure::Failure;
use crate::fetch::{AT_ONCE, Fetched, fetch};
use crate::freshness;
use crate::log;
use crate::place::Place;
use crate::schedule::Schedule;
use crate::take::take;

/// How often the log is asked, whether or not a notification comes.
const HEARTBEAT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(10);

type Ended = Result<(Source, Result<Fetched, Failure>), JoinError>;

pub struct Service<'p> {
    place: &'p Place,
    allow_http: bool,
    schedule: Schedule,
    fetches: JoinSet<(Source, Result<Fetched, Failure>)>,
    /// What of the log is known. It outlives the connection.
    cursor: Option<String>,
    /// What was last said to be wrong with the database.
    trouble: Option<String>,
    pause: Duration,
}

impl<'p> Service<'p> {
    pub fn new(place: &'p Place, allow_http: bool) -> Self {
        Self {
            place,
            allow_http,
            schedule: Schedule::default(),
            fetches: JoinSet::new(),
            cursor: None,
            trouble: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Goes on for ever, whatever becomes of the database and the providers.
    pub async fn serve(&mut self) -> Infallible {
        loop {
            let Err(failure) = self.connection().await;
            let trouble = failure.to_string();
            if self.trouble.as_ref() != Some(&trouble) {
                log::say("database", &trouble);
                self.trouble = Some(trouble);
            }
            sleep(self.pause.mul_f64(fastrand::f64())).await;
            self.pause = (2 * self.pause).min(LAST_PAUSE);
        }
    }

    /// One connection, until it ends.
    async fn connection(&mut self) -> Result<Infallible, Failure> {
        let mut database = Database::connect(self.place).await?;
        database.listen().await?;
        let mut own = None;
        loop {
            let mut changed = database.changed(&mut self.cursor).await?;
            if let Some(own) = own.take() {
                // What this program changed itself is no news; what somebody else did at the same time is.
                let own = changed.iter().position(|issuer| *issuer == own);
                own.map(|own| changed.swap_remove(own));
            }
            let sources = database.sources().await?;
            self.schedule.update(sources, &changed, Instant::now());
            self.is_connected();
            let heartbeat = Instant::now() + HEARTBEAT;
            let wake = self.start().map_or(heartbeat, |due| due.min(heartbeat));
            select! {
                () = database.heard() => {}
                () = sleep_until(wake.into()) => {}
                Some(ended) = self.fetches.join_next() => own = self.end(&mut database, ended).await,
            }
        }
    }

    fn is_connected(&mut self) {
        self.pause = FIRST_PAUSE;
        if self.trouble.take().is_some() {
            log::say("database", "connected again");
        }
    }

    /// Starts what is due, as far as there is room. The answer is when to do so again.
    fn start(&mut self) -> Option<Instant> {
        while self.fetches.len() < AT_ONCE {
            let Some(source) = self.schedule.start_one(Instant::now()) else {
                return self.schedule.next();
            };
            let allow_http = self.allow_http;
            self.fetches.spawn(async move {
                let fetched = fetch(&source, allow_http).await;
                (source, fetched)
            });
        }
        None
    }

    /// Has what was fetched taken. The answer is whose keys that changed.
    async fn end(&mut self, database: &mut Database, ended: Ended) -> Option<String> {
        let (source, fetched) = match ended {
            Ok(ended) => ended,
            // A service that lost a fetch would never try it again.
            Err(error) => resume_unwind(error.into_panic()),
        };
        let (taken, lifetime) = match fetched {
            Ok(fetched) => (
                take(database, &source, &fetched, false).await,
                Some(fetched.lifetime),
            ),
            Err(failure) => (Err(failure), None),
        };
        let lifetime = lifetime.filter(|_| taken.is_ok());
        let delay = self
            .schedule
            .end(&source, lifetime, Instant::now(), fastrand::f64());
        let again = freshness::words(delay);
        match taken {
            Ok(None) => None,
            Ok(Some(change)) => {
                log::say(&source.issuer, &format!("{change}; again in {again}"));
                Some(source.issuer)
            }
            Err(failure) => {
                let words = format!("kept as it was: {failure}; again in {again}");
                log::say(&source.issuer, &words);
                None
            }
        }
    }
}
