//! What the caches of tokens and of keys have in common.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::error::{Error, Reason, Refusal};
use crate::event::{Ended, Subject, Topic};
use crate::flights::{Flight, Flights, follow};
use crate::hub::{Evict, Hub, Watch};
use crate::listener::Listener;
use crate::moment::Moment;
use crate::store::{Key, Store};

/// Longer ones are not looked up: the database refuses them before it decodes anything.
const LONGEST: usize = 16_384;

/// What can be set for a cache.
#[derive(Clone, Debug)]
pub struct CacheOptions {
    /// Entries at most: 100,000. The least recently used goes.
    pub size: usize,
    /// How long an entry is kept at most: 60 s. Events and `exp` end nearly everything sooner. What only this ends: a
    /// signing key that lapses as it was planned.
    pub max_age: Duration,
    /// How long a refusal is kept: not at all. For what an attacker sends again and again; every event evicts all
    /// refusals, but a user who is inserted sends none, and stays unknown for so long.
    pub negative_ttl: Duration,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            size: 100_000,
            max_age: Duration::from_secs(60),
            negative_ttl: Duration::ZERO,
        }
    }
}

/// What a cache has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Look-ups that were answered from memory.
    pub hits: u64,
    /// Look-ups that were not.
    pub misses: u64,
    /// Entries now.
    pub entries: usize,
    /// Entries that an event has evicted.
    pub evicted: u64,
    /// Answers of the database that were not kept: an event came between, the listener was stale, the server lagged
    /// behind.
    pub not_kept: u64,
}

/// What the database answered.
pub(crate) struct Answer<V> {
    pub value: V,
    /// What the value depends on.
    pub ties: Vec<Subject>,
    /// The user's version, if the answer is one that has to say it.
    pub version: Option<Option<i64>>,
    /// How long it holds at most, from when it was asked for; None: it says nothing of an end.
    pub remaining: Option<Duration>,
}

/// A look-up that is on its way.
#[derive(Clone, Copy)]
pub(crate) struct Question {
    key: Key,
    began: u64,
    sent: Moment,
}

struct Shelf<V> {
    store: RwLock<Store<V>>,
    refusals: Mutex<HashMap<Key, (Refusal, Moment)>>,
    evicted: AtomicU64,
}

impl<V: Send + Sync> Evict for Shelf<V> {
    fn evict(&self, topic: Topic) {
        self.shrink(|store| store.evict(topic));
    }

    fn clear(&self) {
        self.shrink(Store::clear);
    }
}

impl<V> Shelf<V> {
    fn shrink(&self, change: impl FnOnce(&mut Store<V>)) {
        let gone = self.write(|store| {
            let before = store.len();
            change(store);
            before - store.len()
        });
        self.evicted
            .fetch_add(u64::try_from(gone).unwrap_or_default(), Ordering::Relaxed);
        self.refusals().clear();
    }

    fn write<T>(&self, change: impl FnOnce(&mut Store<V>) -> T) -> T {
        change(&mut self.store.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, look: impl FnOnce(&Store<V>) -> T) -> T {
        look(&self.store.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<Key, (Refusal, Moment)>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) struct Cache<V> {
    /// Runs as long as there is a cache.
    listener: Listener,
    shelf: Arc<Shelf<V>>,
    flights: Flights<V>,
    options: CacheOptions,
    hits: AtomicU64,
    misses: AtomicU64,
    not_kept: AtomicU64,
}

impl<V: Send + Sync + 'static> Cache<V> {
    pub fn new(listener: &Listener, options: CacheOptions) -> Self {
        let shelf = Arc::new(Shelf {
            store: RwLock::new(Store::new(options.size)),
            refusals: Mutex::default(),
            evicted: AtomicU64::new(0),
        });
        let weak = Arc::downgrade(&shelf);
        listener.hub().register(weak);
        Self {
            listener: listener.clone(),
            shelf,
            flights: Flights::new(),
            options,
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            not_kept: AtomicU64::new(0),
        }
    }

    fn hub(&self) -> &Arc<Hub> {
        self.listener.hub()
    }

    pub fn stats(&self) -> CacheStats {
        CacheStats {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            entries: self.shelf.read(Store::len),
            evicted: self.shelf.evicted.load(Ordering::Relaxed),
            not_kept: self.not_kept.load(Ordering::Relaxed),
        }
    }

    /// The entry, if there is one that may be served now.
    pub fn peek(&self, key: &Key) -> Option<Arc<V>> {
        // The lease first: it must have held when the entry was read, and must hold now.
        let lease = self.hub().lease()?;
        let now = Moment::now();
        let found = self.shelf.read(|store| store.get(key, &now))?;
        (!lease.has_passed(&Moment::now())).then_some(found)
    }

    /// Is there an entry, whether it may be served or not?
    #[cfg(test)]
    pub fn holds(&self, key: &Key) -> bool {
        self.shelf.read(|store| store.holds(key))
    }

    fn known(&self, key: &Key) -> Option<Result<Arc<V>, Error>> {
        if let Some(value) = self.peek(key) {
            return Some(Ok(value));
        }
        if self.options.negative_ttl.is_zero() {
            return None;
        }
        let lease = self.hub().lease()?;
        let (refusal, until) = self.shelf.refusals().get(key)?.clone();
        let now = Moment::now();
        let holds = !until.has_passed(&now) && !lease.has_passed(&now);
        holds.then_some(Err(refusal.into()))
    }

    /// The entry for `secret`, or the answer of `ask`, which is kept if it may be. `key` is its digest.
    pub async fn get<F>(
        &self,
        secret: &str,
        key: impl FnOnce() -> Key,
        ask: impl Fn() -> F,
    ) -> Result<Arc<V>, Error>
    where
        F: Future<Output = Result<Answer<V>, Error>>,
    {
        if secret.is_empty() || secret.len() > LONGEST {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return Ok(Arc::new(ask().await?.value));
        }
        let key = key();
        // Who doubts shares nothing: every look-up asks, from now.
        if self.hub().lease().is_none() {
            return self.ask(key, ask()).await.0;
        }
        if let Some(answer) = self.hit(&key) {
            return answer;
        }
        let joined_at = self.hub().clock();
        match self.flights.join(key) {
            Flight::Leads(leader) => {
                // Another may have landed between the two looks.
                if let Some(answer) = self.hit(&key) {
                    leader.land(answer.clone(), joined_at);
                    return answer;
                }
                let (answer, held_at) = self.ask(key, ask()).await;
                if let Some(held_at) = held_at {
                    leader.land(answer.clone(), held_at);
                }
                answer
            }
            Flight::Follows(flight) => match follow(flight, joined_at).await {
                Some(answer) => {
                    self.misses.fetch_add(1, Ordering::Relaxed);
                    answer
                }
                None => self.ask(key, ask()).await.0,
            },
        }
    }

    fn hit(&self, key: &Key) -> Option<Result<Arc<V>, Error>> {
        let known = self.known(key)?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(known)
    }

    /// The answer, and the count of events at which it held for certain: others may have it who asked until then.
    async fn ask(
        &self,
        key: Key,
        answer: impl Future<Output = Result<Answer<V>, Error>>,
    ) -> (Result<Arc<V>, Error>, Option<u64>) {
        self.misses.fetch_add(1, Ordering::Relaxed);
        let question = self.begin(key);
        match answer.await {
            Ok(answer) => {
                let (value, kept) = self.answered(question, answer);
                (Ok(value), kept)
            }
            Err(Error::Refused(refusal)) => {
                let quiet = self.refused(question, &refusal);
                (Err(refusal.into()), quiet)
            }
            // Whoever waited asks for itself.
            Err(error) => (Err(error), None),
        }
    }

    /// To be called before the database is asked.
    pub fn begin(&self, key: Key) -> Question {
        Question {
            key,
            began: self.hub().clock(),
            sent: Moment::now(),
        }
    }

    /// Keeps the answer, if it may be.
    pub fn answered(&self, question: Question, answer: Answer<V>) -> (Arc<V>, Option<u64>) {
        let mut user = None;
        let mut topics = Vec::with_capacity(answer.ties.len());
        for tie in &answer.ties {
            let topic = self.hub().topic(tie);
            if let (Subject::User(_), Some(version)) = (tie, answer.version) {
                user = Some((topic, version));
            }
            topics.push(topic);
        }
        let age = self.options.max_age;
        let until = question
            .sent
            .after(answer.remaining.map_or(age, |left| left.min(age)));
        let ties = topics.clone().into_boxed_slice();
        let value = Arc::new(answer.value);
        let kept = value.clone();
        let holds = self.hub().keep(question.began, &topics, user, || {
            self.shelf
                .write(|store| store.insert(question.key, kept, until, ties, &Moment::now()));
        });
        if holds.is_none() {
            self.not_kept.fetch_add(1, Ordering::Relaxed);
        }
        (value, holds)
    }

    /// Whose the refused token is, nobody knows: any event may have changed the answer.
    fn refused(&self, question: Question, refusal: &Refusal) -> Option<u64> {
        self.hub().keep_if_quiet(question.began, || {
            if self.options.negative_ttl.is_zero() {
                return;
            }
            let mut refusals = self.shelf.refusals();
            if refusals.len() >= self.options.size {
                refusals.clear();
            }
            let until = question.sent.after(self.options.negative_ttl);
            refusals.insert(question.key, (refusal.clone(), until));
        })
    }

    /// Waits until what `verify` verifies holds no longer, or not for the user of `identity` (without one, of the first
    /// answer): the refusal, or why that could not be known for longer than may be.
    pub async fn ended<F>(
        &self,
        verify: impl Fn() -> F,
        mut identity: Option<Arc<V>>,
        ties: impl Fn(&V) -> Vec<Subject>,
        left: impl Fn(&V) -> Option<Duration>,
    ) -> Error
    where
        F: Future<Output = Result<Arc<V>, Error>>,
    {
        let limit = self.hub().max_staleness;
        let user = |value: &V| {
            let mut ties = ties(value).into_iter();
            ties.find(|tie| matches!(tie, Subject::User(_)))
        };
        let mut known = Instant::now();
        let mut watch: Option<Watch> = None;
        loop {
            let began = Instant::now();
            let value = match verify().await {
                Ok(value) => value,
                Err(Error::Unavailable(_)) if known.elapsed() < limit => {
                    sleep(limit.mul_f64(0.02 + 0.08 * fastrand::f64())).await;
                    continue;
                }
                Err(error) => return error,
            };
            if user(identity.get_or_insert_with(|| value.clone())) != user(&value) {
                return Error::refused(Reason::Unlinked);
            }
            known = began;
            // First the watch, then a look: nothing falls between the two.
            let Some(watching) = watch.take() else {
                watch = Some(self.listener.on_ended(ties(&value)));
                continue;
            };
            let pause = left(&value).map_or(limit, |left| left.min(limit));
            tokio::select! {
                ended = watching.ended() => match ended {
                    Ended::Event(_) => {}
                    // Not everybody at once.
                    Ended::Flush => sleep(Duration::from_millis(fastrand::u64(..500))).await,
                    Ended::Stale => sleep(limit.mul_f64(0.1 * fastrand::f64())).await,
                },
                // Also for what no event says: `exp`, a key that lapses, an event that was lost.
                () = sleep(pause) => watch = Some(watching),
            }
        }
    }
}

/// The SHA-256 of the parts. One part is hashed as it is; more parts each by itself first.
pub(crate) fn digest(parts: &[&[u8]]) -> Key {
    match parts {
        [part] => Sha256::digest(part).into(),
        _ => {
            let mut all = Sha256::new();
            for part in parts {
                all.update(Sha256::digest(part));
            }
            all.finalize().into()
        }
    }
}
