//! One question at a time for each key: who asks while it is asked waits for that answer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::error::Error;
use crate::store::Key;

/// An answer for all who wait, and the count of events when it was known to hold. None: there is none yet.
type Shared<V> = Option<(Result<Arc<V>, Error>, u64)>;
type Waiting<V> = HashMap<Key, watch::Receiver<Shared<V>>>;

pub(crate) struct Flights<V>(Mutex<Waiting<V>>);

pub(crate) enum Flight<'f, V> {
    /// Nobody asks: the caller does, and lands.
    Leads(Leader<'f, V>),
    /// Somebody asks.
    Follows(watch::Receiver<Shared<V>>),
}

pub(crate) struct Leader<'f, V> {
    flights: &'f Flights<V>,
    key: Key,
    answer: watch::Sender<Shared<V>>,
}

impl<V> Flights<V> {
    pub fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn join(&self, key: Key) -> Flight<'_, V> {
        match self.waiting().entry(key) {
            Entry::Occupied(flight) => Flight::Follows(flight.get().clone()),
            Entry::Vacant(place) => {
                let (answer, follow) = watch::channel(None);
                place.insert(follow);
                Flight::Leads(Leader {
                    flights: self,
                    key,
                    answer,
                })
            }
        }
    }
}

impl<V> Leader<'_, V> {
    /// Gives the answer to all who wait.
    pub fn land(self, answer: Result<Arc<V>, Error>, held_at: u64) {
        self.answer.send(Some((answer, held_at))).ok(); // perhaps nobody waits
    }
}

impl<V> Drop for Leader<'_, V> {
    fn drop(&mut self) {
        // Also when the leader was cancelled: who waits finds the sender gone.
        self.flights.waiting().remove(&self.key);
    }
}

/// The leader's answer, if there is one that still held when the follower joined. None: it has to ask for itself.
pub(crate) async fn follow<V>(
    mut flight: watch::Receiver<Shared<V>>,
    joined_at: u64,
) -> Option<Result<Arc<V>, Error>> {
    let (answer, held_at) = flight.wait_for(Option::is_some).await.ok()?.clone()?;
    (held_at >= joined_at).then_some(answer)
}
