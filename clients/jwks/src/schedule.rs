//! When each issuer's set is fetched.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::database::Source;
use crate::freshness;

/// How soon after a fetch a changed row leads to another one of the same URL: whoever changes rows all the time does not
/// have a provider asked all the time.
const CALM: Duration = Duration::from_secs(5);

/// The issuers, and when each is due.
#[derive(Default)]
pub struct Schedule(BTreeMap<String, Entry>);

struct Entry {
    jwks_uri: String,
    /// None while it is being fetched.
    due: Option<Instant>,
    started: Option<Instant>,
    failures: u32,
}

impl Schedule {
    /// Learns what there is to fetch now, and which issuers' rows were changed. What is new, has another URL or was changed is due.
    pub fn update(&mut self, sources: Vec<Source>, changed: &[String], now: Instant) {
        let mut former = std::mem::take(&mut self.0);
        for Source { issuer, jwks_uri } in sources {
            let mut entry = match former.remove(&issuer) {
                Some(entry) if entry.jwks_uri == jwks_uri => entry,
                _ => Entry {
                    jwks_uri,
                    due: Some(now),
                    started: None,
                    failures: 0,
                },
            };
            if changed.contains(&issuer) {
                let calm = entry.started.map_or(now, |started| started + CALM);
                let soon = calm.max(now);
                entry.due = Some(entry.due.map_or(soon, |due| due.min(soon)));
            }
            self.0.insert(issuer, entry);
        }
    }

    /// One that is due, which from now on is being fetched.
    pub fn start_one(&mut self, now: Instant) -> Option<Source> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let (issuer, entry) = self.0.iter_mut().find(|(_, entry)| is_due(entry.due))?;
        entry.due = None;
        entry.started = Some(now);
        Some(Source {
            issuer: issuer.clone(),
            jwks_uri: entry.jwks_uri.clone(),
        })
    }

    /// A fetch has ended: how long its set is good for, or that it failed. The answer is when it is due again. One that was
    /// changed meanwhile stays due, and one that is gone, or has another URL, is left as it is.
    pub fn end(
        &mut self,
        source: &Source,
        lifetime: Option<Duration>,
        now: Instant,
        chance: f64,
    ) -> Duration {
        let Some(entry) = self.0.get_mut(&source.issuer) else {
            return Duration::ZERO;
        };
        if entry.jwks_uri != source.jwks_uri {
            return Duration::ZERO;
        }
        entry.failures = match lifetime {
            Some(_) => 0,
            None => entry.failures.saturating_add(1),
        };
        let delay = match lifetime {
            Some(lifetime) => freshness::delay(lifetime, chance),
            None => freshness::pause(entry.failures, chance),
        };
        let due = *entry.due.get_or_insert(now + delay);
        due.saturating_duration_since(now)
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.0.values().filter_map(|entry| entry.due).min()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn source(issuer: &str, jwks_uri: &str) -> Source {
        Source {
            issuer: issuer.to_owned(),
            jwks_uri: jwks_uri.to_owned(),
        }
    }

    fn only(issuer: &str) -> [String; 1] {
        [issuer.to_owned()]
    }

    /// A schedule of one issuer whose set was fetched at this moment and is good for an hour.
    fn fetched(now: Instant) -> (Schedule, Source) {
        let one = source("a", "https://a");
        let mut schedule = Schedule::default();
        schedule.update(vec![one.clone()], &[], now);
        assert_eq!(schedule.start_one(now), Some(one.clone()));
        assert_eq!(schedule.start_one(now), None);
        schedule.end(&one, Some(HOUR), now, 0.0);
        (schedule, one)
    }

    #[test]
    fn what_is_new_is_due_at_once_and_then_when_its_lifetime_is_over() {
        let now = Instant::now();
        let (mut schedule, one) = fetched(now);
        let due = schedule.next().unwrap();
        assert_eq!(due, now + HOUR.mul_f64(0.9));
        assert_eq!(
            schedule.start_one(due.checked_sub(Duration::from_secs(1)).unwrap()),
            None
        );
        assert_eq!(schedule.start_one(due), Some(one));
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn what_failed_is_due_after_a_pause_that_grows_until_it_succeeds() {
        let now = Instant::now();
        let (mut schedule, one) = fetched(now);
        let pauses: Vec<_> = (0..8)
            .map(|_| {
                let due = schedule.next().unwrap();
                schedule.start_one(due).unwrap();
                schedule.end(&one, None, due, 0.0).as_secs()
            })
            .collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 300, 300, 300]);
        let due = schedule.next().unwrap();
        schedule.start_one(due).unwrap();
        schedule.end(&one, Some(HOUR), due, 0.0);
        let due = schedule.next().unwrap();
        schedule.start_one(due).unwrap();
        assert_eq!(schedule.end(&one, None, due, 0.0).as_secs(), 10);
    }

    #[test]
    fn a_changed_row_is_due_at_once_but_not_again_and_again() {
        let now = Instant::now();
        let (mut schedule, one) = fetched(now);
        let later = now + Duration::from_secs(60);
        schedule.update(vec![one.clone()], &only("b"), later);
        assert_eq!(schedule.start_one(later), None);
        schedule.update(vec![one.clone()], &only("a"), later);
        assert_eq!(schedule.start_one(later), Some(one.clone()));
        schedule.end(&one, Some(HOUR), later, 0.0);
        schedule.update(vec![one.clone()], &only("a"), later);
        assert_eq!(schedule.start_one(later), None);
        assert_eq!(schedule.next(), Some(later + CALM));
        // It does not put off what is due before.
        schedule.start_one(later + CALM).unwrap();
        schedule.end(&one, None, later + CALM, 0.0);
        let due = schedule.next().unwrap();
        schedule.update(vec![one], &only("a"), due);
        assert_eq!(schedule.next(), Some(due));
    }

    #[test]
    fn a_row_that_changes_while_it_is_fetched_is_fetched_again() {
        let now = Instant::now();
        let (mut schedule, one) = fetched(now);
        let due = schedule.next().unwrap();
        schedule.start_one(due).unwrap();
        let later = due + CALM;
        schedule.update(vec![one.clone()], &only("a"), later);
        schedule.end(&one, Some(HOUR), later, 0.0);
        assert_eq!(schedule.start_one(later), Some(one));
    }

    #[test]
    fn another_url_is_due_at_once_and_what_came_from_the_former_is_of_no_account() {
        let now = Instant::now();
        let (mut schedule, one) = fetched(now);
        schedule.update(vec![one.clone()], &only("a"), now + CALM);
        schedule.start_one(now + CALM).unwrap();
        let moved = source("a", "https://moved");
        schedule.update(vec![moved.clone()], &only("a"), now + CALM);
        assert_eq!(schedule.start_one(now + CALM), Some(moved.clone()));
        schedule.end(&one, Some(HOUR), now + CALM, 0.0);
        assert_eq!(schedule.next(), None, "the former URL's answer counted");
        schedule.end(&moved, Some(HOUR), now + CALM, 0.0);
        assert!(schedule.next().is_some());
    }

    #[test]
    fn an_issuer_that_is_gone_is_not_fetched() {
        let now = Instant::now();
        let (mut schedule, one) = fetched(now);
        schedule.update(Vec::new(), &only("a"), now);
        assert_eq!(schedule.next(), None);
        schedule.end(&one, Some(HOUR), now, 0.0);
        assert_eq!(schedule.start_one(now + 2 * HOUR), None);
    }
}
