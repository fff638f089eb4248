//! Where events meet caches: what a listener hears is applied here, and what caches want to keep is admitted here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::event::{Ended, Event, Subject, Topic, Topics};
use crate::ledger::{Ledger, Logged, Version};
use crate::moment::Moment;

/// Topics that are remembered. An answer that takes as long as this many events is not kept.
const REMEMBERED: usize = 100_000;

/// A cache, as an event sees it.
pub(crate) trait Evict: Send + Sync {
    fn evict(&self, topic: Topic);
    fn clear(&self);
}

/// A watch on topics: each has the place of the others, to be removed with them.
struct Waiter {
    ended: Arc<Mutex<Option<Ended>>>,
    notify: Arc<Notify>,
}

/// Whether caches may be used.
#[derive(Clone, Copy)]
enum Lease {
    /// Until then. It ends by itself when nothing renews it, whatever the reason.
    Fresh(Moment),
    /// Not since then.
    Stale(Moment),
    Closed,
}

struct State {
    ledger: Ledger,
    cursor: Option<String>,
    /// Who waits until all that is committed by now is known.
    asked: Vec<oneshot::Sender<()>>,
    caches: Vec<Weak<dyn Evict>>,
    waiters: BTreeMap<(Topic, u64), Waiter>,
    watches: u64,
}

pub(crate) struct Hub {
    pub max_staleness: Duration,
    topics: Topics,
    lease: RwLock<Lease>,
    state: Mutex<State>,
    /// Somebody wants to catch up now.
    wake: Notify,
    /// The lease was renewed.
    renewed: Notify,
}

impl Hub {
    pub fn new(max_staleness: Duration) -> Self {
        Self {
            max_staleness,
            topics: Topics::default(),
            lease: RwLock::new(Lease::Stale(Moment::now())),
            state: Mutex::new(State {
                ledger: Ledger::new(REMEMBERED),
                cursor: None,
                asked: Vec::new(),
                caches: Vec::new(),
                waiters: BTreeMap::new(),
                watches: 0,
            }),
            wake: Notify::new(),
            renewed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing between two statements under this lock can panic and leave it half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn topic(&self, subject: &Subject) -> Topic {
        self.topics.of(subject)
    }

    // --- what caches ask -----------------------------------------------------------------------------

    pub fn register(&self, cache: Weak<dyn Evict>) {
        let mut state = self.state();
        state.caches.retain(|known| known.strong_count() > 0);
        state.caches.push(cache);
    }

    /// The lease, if it holds now. What is read from a cache after this call may be served while it holds.
    pub fn lease(&self) -> Option<Moment> {
        match self.lease_now() {
            Lease::Fresh(until) if !until.has_passed(&Moment::now()) => Some(until),
            _ => None,
        }
    }

    fn lease_now(&self) -> Lease {
        *self.lease.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_lease(&self, change: impl FnOnce(Lease) -> Lease) {
        let mut lease = self.lease.write().unwrap_or_else(PoisonError::into_inner);
        *lease = change(*lease);
    }

    /// Was nothing known for longer than may be?
    fn is_stale_for_long(&self) -> bool {
        match self.lease_now() {
            Lease::Fresh(since) | Lease::Stale(since) => {
                since.after(self.max_staleness).has_passed(&Moment::now())
            }
            Lease::Closed => true,
        }
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.lease_now(), Lease::Closed)
    }

    pub fn clock(&self) -> u64 {
        self.state().ledger.now()
    }

    /// Runs `insert` if what was asked for at `began` may still be kept; no event comes between. The count of
    /// events then; None: it was not run.
    pub fn keep(
        &self,
        began: u64,
        ties: &[Topic],
        version: Option<Version>,
        insert: impl FnOnce(),
    ) -> Option<u64> {
        let state = self.state();
        let may = self.lease().is_some() && state.ledger.may_keep(began, ties, version);
        may.then(|| {
            insert();
            state.ledger.now()
        })
    }

    /// Runs `insert` if there was no event at all since `began`. Likewise.
    pub fn keep_if_quiet(&self, began: u64, insert: impl FnOnce()) -> Option<u64> {
        let state = self.state();
        let quiet = self.lease().is_some() && state.ledger.now() == began;
        quiet.then(|| {
            insert();
            began
        })
    }

    /// Hears of the first event about one of these, from now on.
    pub fn watch(self: &Arc<Self>, topics: Vec<Topic>) -> Watch {
        let ended = Arc::new(Mutex::new(None));
        let notify = Arc::new(Notify::new());
        let mut state = self.state();
        state.watches += 1;
        let number = state.watches;
        for topic in &topics {
            let waiter = Waiter {
                ended: ended.clone(),
                notify: notify.clone(),
            };
            state.waiters.insert((*topic, number), waiter);
        }
        drop(state);
        Watch {
            hub: self.clone(),
            topics,
            number,
            ended,
            notify,
        }
    }

    // --- what the listener does ----------------------------------------------------------------------

    /// Somebody wants to catch up now.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }

    /// From now on every look-up asks the database.
    pub fn doubt(&self) {
        self.set_lease(|lease| match lease {
            Lease::Fresh(_) => Lease::Stale(Moment::now()),
            other => other,
        });
    }

    /// For ever.
    pub fn close(&self) {
        self.set_lease(|_| Lease::Closed);
        self.state().asked.clear();
    }

    /// A payload of the channel. Whatever is not understood puts everything in doubt until the next catching up.
    pub fn hear(&self, payload: &str) {
        let event = Event::parse(payload);
        if event == Event::Flush {
            self.doubt();
            self.wake.notify_one();
        }
        self.apply(event, false);
    }

    /// An event; `logged` when it was read in the log.
    pub fn apply(&self, event: Event, logged: bool) {
        let mut state = self.state();
        let caches = state
            .caches
            .iter()
            .filter_map(Weak::upgrade)
            .collect::<Vec<_>>();
        match event {
            // Not a template's, which is the issuer of many.
            Event::About {
                subject,
                floor,
                reason,
            } if !subject.is_template() => {
                let topic = self.topics.of(&subject);
                let over = matches!(subject, Subject::Token(_) | Subject::Session(_));
                let logged = logged.then_some(Logged { floor, over });
                state.ledger.hear(topic, logged.unwrap_or_default());
                caches.iter().for_each(|cache| cache.evict(topic));
                if reason.as_deref() == Some("activated") {
                    return; // it ends nothing
                }
                for (_, waiter) in state.waiters.range((topic, 0)..=(topic, u64::MAX)) {
                    waiter.end(Ended::Event(reason.clone()));
                }
            }
            _ => {
                state.ledger.flush();
                caches.iter().for_each(|cache| cache.clear());
                state
                    .waiters
                    .values()
                    .for_each(|waiter| waiter.end(Ended::Flush));
            }
        }
    }

    pub fn cursor(&self) -> Option<String> {
        self.state().cursor.clone()
    }

    pub fn set_cursor(&self, cursor: Option<String>) {
        self.state().cursor = cursor;
    }

    /// Takes whom the next renewal answers.
    pub fn take_asked(&self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.state().asked)
    }

    /// Puts back whom a catching up could not answer.
    pub fn ask_again(&self, asked: Vec<oneshot::Sender<()>>) {
        self.state().asked.extend(asked);
    }

    /// All that was committed at `sent` is known.
    pub fn renew(&self, sent: Moment) {
        let until = sent.after(self.max_staleness);
        self.set_lease(|lease| match lease {
            Lease::Closed => lease,
            _ => Lease::Fresh(until),
        });
        self.renewed.notify_waiters();
    }

    // --- what applications ask -----------------------------------------------------------------------

    /// Waits until all that is committed by now is known here. False: it never will be.
    pub async fn sync(&self) -> bool {
        while !self.is_closed() {
            let (asked, answered) = oneshot::channel();
            self.state().asked.push(asked);
            self.wake.notify_one();
            // Closed meanwhile: nobody else clears what was asked.
            if !self.is_closed() && answered.await.is_ok() {
                return true;
            }
        }
        false
    }

    /// Waits until the lease holds.
    pub async fn fresh(&self) {
        loop {
            let renewed = self.renewed.notified();
            tokio::pin!(renewed);
            renewed.as_mut().enable();
            if self.lease().is_some() {
                return;
            }
            renewed.await;
        }
    }
}

impl Waiter {
    fn end(&self, ended: Ended) {
        let mut known = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        known.get_or_insert(ended);
        self.notify.notify_one();
    }
}

/// A watch on some subjects, from the moment that it was made.
pub struct Watch {
    hub: Arc<Hub>,
    topics: Vec<Topic>,
    number: u64,
    ended: Arc<Mutex<Option<Ended>>>,
    notify: Arc<Notify>,
}

impl Watch {
    /// Waits for the first event about one of the subjects, or one that may have been, or until the listener has
    /// been stale for too long. Answers at once when that was since the watch was made. Can be cancelled and called
    /// again.
    pub async fn ended(&self) -> Ended {
        loop {
            if let Some(ended) = self.ended_already() {
                self.notify.notify_one(); // others may wait for the same
                return ended;
            }
            tokio::select! {
                () = self.notify.notified() => {}
                () = sleep(self.hub.max_staleness / 8) => {}
            }
        }
    }

    /// What [`ended`](Self::ended) would answer at once.
    pub fn ended_already(&self) -> Option<Ended> {
        let mut known = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none() && self.hub.is_stale_for_long() {
            *known = Some(Ended::Stale);
        }
        known.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        for topic in &self.topics {
            state.waiters.remove(&(*topic, self.number));
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}
