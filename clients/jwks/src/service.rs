//! The service: fetches each set when it is due, and at once when its row has changed.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use tokio::select;
use tokio::time::{sleep, sleep_until};

use crate::database::Database;
use crate::failure::Failure;
use crate::fetch::{Ended, Fetches};
use crate::freshness;
use crate::log;
use crate::place::Place;
use crate::schedule::Schedule;
use crate::take::take;

/// How often the log is asked, whether or not a notification comes.
const HEARTBEAT: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(10);

pub struct Service<'p> {
    place: &'p Place,
    schedule: Schedule,
    fetches: Fetches,
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
            schedule: Schedule::default(),
            fetches: Fetches::new(allow_http),
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
                Some(ended) = self.fetches.next() => own = self.end(&mut database, ended).await,
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
        while self.fetches.has_room() {
            let Some(source) = self.schedule.start_one(Instant::now()) else {
                return self.schedule.next();
            };
            self.fetches.start(source);
        }
        None
    }

    /// Has what was fetched taken. The answer is whose keys that changed.
    async fn end(&mut self, database: &mut Database, (source, fetched): Ended) -> Option<String> {
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
