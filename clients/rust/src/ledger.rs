//! What was heard, and when: it decides whether an answer of the database may still be kept.

use std::collections::HashMap;

use crate::event::Topic;

#[derive(Clone, Copy, Default)]
struct Heard {
    /// The count of events when this one came.
    at: u64,
    /// The least session version that the log named.
    floor: i64,
    /// The log said that it ended for good: a token that was revoked, a session.
    over: bool,
}

/// What the log adds to an event. Nothing of a notification is kept beside its time: any role can send one, and a forged
/// version must not keep a user out of the caches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged {
    /// The least session version from now on; 0 for what has none.
    pub floor: i64,
    /// It does not come back.
    pub over: bool,
}

/// The user of an answer, and the version that the database had of it.
pub(crate) type Version = (Topic, Option<i64>);

/// Counts events, and remembers the last about each topic. Bounded: what it forgets counts as heard about everything.
pub(crate) struct Ledger {
    clock: u64,
    /// The last time when everything was in doubt.
    flushed: u64,
    heard: HashMap<Topic, Heard>,
    capacity: usize,
}

impl Ledger {
    /// Remembers `capacity` topics.
    pub fn new(capacity: usize) -> Self {
        Self {
            clock: 0,
            flushed: 0,
            heard: HashMap::new(),
            capacity,
        }
    }

    /// To be asked before the database is.
    pub fn now(&self) -> u64 {
        self.clock
    }

    /// An event about a topic.
    pub fn hear(&mut self, topic: Topic, logged: Logged) {
        self.clock += 1;
        let known = self.heard(topic);
        // Any role can send any id.
        if self.heard.len() >= self.capacity {
            self.heard.clear();
            self.flushed = self.clock;
        }
        let heard = Heard {
            at: self.clock,
            floor: logged.floor.max(known.floor),
            over: logged.over || known.over,
        };
        self.heard.insert(topic, heard);
    }

    /// Something about everything.
    pub fn flush(&mut self) {
        self.clock += 1;
        self.flushed = self.clock;
    }

    fn heard(&self, topic: Topic) -> Heard {
        self.heard.get(&topic).copied().unwrap_or_default()
    }

    /// May an answer be kept that was asked for at `began`, is tied to these topics, and says this version of a
    /// user? Not when an event passed meanwhile: it may say more than the answer does. Nor when the server that
    /// answered lags behind: it says a version below one that the log named, or that something holds which is over.
    pub fn may_keep(&self, began: u64, ties: &[Topic], version: Option<Version>) -> bool {
        let lags = version.is_some_and(|(user, version)| {
            let floor = self.heard(user).floor;
            floor > 0 && version.is_none_or(|version| version < floor)
        });
        let passed = |tie: &Topic| {
            let heard = self.heard(*tie);
            heard.at > began || heard.over
        };
        self.flushed <= began && !lags && !ties.iter().any(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Topic = Topic(1);
    const B: Topic = Topic(2);

    fn floor(floor: i64) -> Logged {
        Logged { floor, over: false }
    }

    #[test]
    fn what_was_asked_before_an_event_about_it_is_not_kept() {
        let mut ledger = Ledger::new(10);
        let before = ledger.now();
        assert!(ledger.may_keep(before, &[A, B], None));
        ledger.hear(A, Logged::default());
        for (ties, kept) in [
            (vec![A], false),
            (vec![A, B], false),
            (vec![B], true),
            (vec![], true),
        ] {
            assert_eq!(ledger.may_keep(before, &ties, None), kept, "{ties:?}");
            assert!(ledger.may_keep(ledger.now(), &ties, None), "{ties:?}");
        }
        let before = ledger.now();
        ledger.flush();
        assert!(!ledger.may_keep(before, &[], None));
        assert!(ledger.may_keep(ledger.now(), &[A, B], None));
    }

    #[test]
    fn a_version_below_one_that_the_log_named_is_never_kept() {
        let mut ledger = Ledger::new(10);
        ledger.hear(A, floor(7));
        ledger.hear(A, floor(5)); // the same, or older, once more
        ledger.hear(A, floor(0)); // a notification
        ledger.flush();
        let now = ledger.now();
        for (version, kept) in [
            (None, false),
            (Some(6), false),
            (Some(7), true),
            (Some(8), true),
        ] {
            let answer = ledger.may_keep(now, &[A], Some((A, version)));
            assert_eq!(answer, kept, "{version:?}");
        }
        for version in [None, Some(0)] {
            assert!(ledger.may_keep(now, &[B], Some((B, version))));
        }
    }

    #[test]
    fn what_is_over_by_the_log_does_not_come_back() {
        let mut ledger = Ledger::new(10);
        let over = |over| Logged { floor: 0, over };
        ledger.hear(A, over(true));
        ledger.hear(A, over(false)); // a notification
        ledger.hear(B, over(false));
        ledger.flush();
        assert!(!ledger.may_keep(ledger.now(), &[B, A], None));
        assert!(ledger.may_keep(ledger.now(), &[B], None));
    }

    #[test]
    fn what_was_forgotten_counts_as_heard() {
        for capacity in [1, 2, 3, 10, 100] {
            let mut ledger = Ledger::new(capacity);
            let mut random = fastrand::Rng::with_seed(7);
            let mut events: Vec<Topic> = Vec::new();
            let mut kept = 0;
            for _ in 0..2_000 {
                let topic = Topic(random.u64(..40));
                ledger.hear(topic, Logged::default());
                events.push(topic);
                assert!(ledger.heard.len() <= capacity);
                let began = random.usize(..=events.len());
                let asked = Topic(random.u64(..40));
                let passed = events.iter().skip(began).any(|event| *event == asked);
                let keeps = ledger.may_keep(began as u64, &[asked], None);
                assert!(!(passed && keeps));
                kept += usize::from(keeps);
            }
            assert!(kept > 0);
        }
    }
}
