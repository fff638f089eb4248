//! What is kept: entries by key, each tied to topics, none longer than its time, not more than so many.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::event::Topic;
use crate::moment::Moment;

/// The SHA-256 of what was verified.
pub(crate) type Key = [u8; 32];

struct Slot<V> {
    key: Key,
    value: Arc<V>,
    until: Moment,
    ties: Box<[Topic]>,
    /// The count of uses when it was used last.
    used: AtomicU64,
    /// What `by_use` has it under: as much as `used`, or less.
    noted: u64,
}

pub(crate) struct Store<V> {
    slots: Vec<Option<Slot<V>>>,
    free: Vec<u32>,
    by_key: HashMap<Key, u32>,
    /// Which slots are tied to a topic. Ordered, so that one is found and removed quickly among a hundred thousand of
    /// one issuer.
    by_tie: BTreeSet<(Topic, u32)>,
    /// By the use that was noted last: a look-up only counts, and whoever needs room brings this up to date.
    by_use: BTreeSet<(u64, u32)>,
    uses: AtomicU64,
    capacity: usize,
}

impl<V> Store<V> {
    pub fn new(capacity: usize) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_tie: BTreeSet::new(),
            by_use: BTreeSet::new(),
            uses: AtomicU64::new(0),
            capacity,
        }
    }

    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    #[cfg(test)]
    pub fn holds(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    fn place(&mut self, number: u32) -> Option<&mut Option<Slot<V>>> {
        self.slots.get_mut(usize::try_from(number).ok()?)
    }

    fn use_now(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub fn get(&self, key: &Key, now: &Moment) -> Option<Arc<V>> {
        let number = usize::try_from(*self.by_key.get(key)?).ok()?;
        let slot = self.slots.get(number)?.as_ref()?;
        if slot.until.has_passed(now) {
            return None;
        }
        slot.used.store(self.use_now(), Ordering::Relaxed);
        Some(slot.value.clone())
    }

    pub fn insert(
        &mut self,
        key: Key,
        value: Arc<V>,
        until: Moment,
        ties: Box<[Topic]>,
        now: &Moment,
    ) {
        if let Some(number) = self.by_key.get(&key).copied() {
            self.remove(number);
        }
        if self.capacity == 0 || until.has_passed(now) {
            return;
        }
        while self.len() >= self.capacity {
            self.drop_least_used();
        }
        let Some(number) = self.room() else { return };
        let used = self.use_now();
        self.by_key.insert(key, number);
        self.by_use.insert((used, number));
        self.by_tie.extend(ties.iter().map(|tie| (*tie, number)));
        let slot = Slot {
            key,
            value,
            until,
            ties,
            used: AtomicU64::new(used),
            noted: used,
        };
        if let Some(place) = self.place(number) {
            *place = Some(slot);
        }
    }

    fn room(&mut self) -> Option<u32> {
        self.free.pop().or_else(|| {
            let number = u32::try_from(self.slots.len()).ok()?;
            self.slots.push(None);
            Some(number)
        })
    }

    /// Whatever is noted first and was not used since is the least recently used: all others were used later than they
    /// are noted.
    fn drop_least_used(&mut self) {
        while let Some((noted, number)) = self.by_use.pop_first() {
            let Some(Some(slot)) = self.place(number) else {
                continue;
            };
            let used = slot.used.load(Ordering::Relaxed);
            if used == noted {
                self.remove(number);
                return;
            }
            slot.noted = used;
            self.by_use.insert((used, number));
        }
    }

    fn remove(&mut self, number: u32) {
        let Some(slot) = self.place(number).and_then(Option::take) else {
            return;
        };
        self.by_key.remove(&slot.key);
        self.by_use.remove(&(slot.noted, number));
        for tie in &slot.ties {
            self.by_tie.remove(&(*tie, number));
        }
        self.free.push(number);
    }

    /// Removes what is tied to the topic.
    pub fn evict(&mut self, topic: Topic) {
        while let Some((_, number)) = self.by_tie.range((topic, 0)..=(topic, u32::MAX)).next() {
            let number = *number;
            self.remove(number);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn key(n: u8) -> Key {
        [n; 32]
    }

    fn put(store: &mut Store<u8>, n: u8, ties: &[u64]) {
        let now = Moment::now();
        let ties = ties.iter().copied().map(Topic).collect();
        store.insert(
            key(n),
            Arc::new(n),
            now.after(Duration::from_secs(60)),
            ties,
            &now,
        );
    }

    fn kept(store: &Store<u8>) -> Vec<u8> {
        let now = Moment::now();
        let found = (0..=255).filter(|n| store.by_key.contains_key(&key(*n)));
        found
            .filter(|n| store.get(&key(*n), &now).is_some_and(|v| *v == *n))
            .collect()
    }

    #[test]
    fn a_topic_evicts_what_is_tied_to_it_and_nothing_else() {
        let mut store = Store::new(100);
        put(&mut store, 1, &[1, 9]);
        put(&mut store, 2, &[2, 9]);
        put(&mut store, 3, &[1, 8]);
        put(&mut store, 4, &[]);
        for (topic, left) in [
            (7, vec![1, 2, 3, 4]),
            (1, vec![2, 4]),
            (1, vec![2, 4]),
            (9, vec![4]),
        ] {
            store.evict(Topic(topic));
            assert_eq!(kept(&store), left, "{topic}");
        }
        assert!(store.by_tie.is_empty());
        store.clear();
        assert_eq!(store.len(), 0);
    }

    #[test]
    fn an_entry_ends_with_its_time_and_does_not_begin_after_it() {
        let mut store = Store::new(10);
        let now = Moment::now();
        let second = Duration::from_secs(1);
        store.insert(key(1), Arc::new(1), now.after(second), Box::new([]), &now);
        assert!(store.get(&key(1), &now).is_some());
        let later = now.after(second);
        assert!(store.get(&key(1), &later).is_none());
        store.insert(key(2), Arc::new(2), later, Box::new([]), &later);
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_full_store_drops_the_least_recently_used() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut store = Store::new(20);
        // The order of use, the latest last.
        let mut model: Vec<u8> = Vec::new();
        for _ in 0..5_000 {
            let n = random.u8(..40);
            let used = store.get(&key(n), &Moment::now()).is_some();
            assert_eq!(used, model.contains(&n));
            model.retain(|known| *known != n);
            if !used {
                put(&mut store, n, &[u64::from(n), 7]);
                model.drain(..model.len().saturating_sub(19));
            }
            model.push(n);
            assert_eq!(store.len(), model.len());
            assert!(model.iter().all(|n| store.by_key.contains_key(&key(*n))));
            assert_eq!(store.by_use.len(), model.len());
        }
        let mut none = Store::new(0);
        put(&mut none, 1, &[]);
        assert_eq!(none.len(), 0);
    }

    #[test]
    fn a_store_is_what_a_simple_map_would_be() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut store = Store::new(255);
        let mut model: HashMap<u8, Vec<u64>> = HashMap::new();
        for _ in 0..5_000 {
            let n = random.u8(..200);
            match random.u8(..10) {
                0..=5 => {
                    let ties = vec![random.u64(..20), 20 + random.u64(..5)];
                    put(&mut store, n, &ties);
                    model.insert(n, ties);
                }
                6..=8 => {
                    let topic = random.u64(..25);
                    store.evict(Topic(topic));
                    model.retain(|_, ties| !ties.contains(&topic));
                }
                _ if random.u8(..20) == 0 => {
                    store.clear();
                    model.clear();
                }
                _ => {}
            }
            let mut expected: Vec<u8> = model.keys().copied().collect();
            expected.sort_unstable();
            assert_eq!(kept(&store), expected);
            assert_eq!(store.by_tie.len(), 2 * model.len());
        }
    }
}
