//! How long a fetched set is good for: Cache-Control (RFC 9111, section 5.2.2) within bounds.

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
const SHORTEST: Duration = Duration::from_secs(5 * 60);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Where the provider says nothing.
const USUAL: Duration = Duration::from_secs(60 * 60);
/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// How long the answer may be kept. `age` is the header Age: what a cache on the way has used up of it.
pub fn lifetime<'v>(
    cache_control: impl IntoIterator<Item = &'v str>,
    age: Option<&str>,
) -> Duration {
    let mut lifetime = None;
    for directive in cache_control.into_iter().flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let said = match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => Duration::ZERO,
            // What is no number counts as stale, and so does the shorter of two (section 4.2.1).
            "max-age" => Duration::from_secs(seconds(value).unwrap_or(0)),
            _ => continue,
        };
        lifetime = Some(lifetime.map_or(said, |before: Duration| before.min(said)));
    }
    let used = Duration::from_secs(age.and_then(seconds).unwrap_or(0));
    lifetime.map_or(USUAL, |lifetime| lifetime.saturating_sub(used))
}

fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim().trim_matches('"');
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // What does not fit is very long (section 1.2.2).
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// When to fetch again: not before five minutes, not after a day, and not at the same moment as everybody else. `chance` is from 0 to 1.
pub fn delay(lifetime: Duration, chance: f64) -> Duration {
    let soonest = lifetime.min(LONGEST).mul_f64(0.9).max(SHORTEST);
    soonest.mul_f64(1.0 + 0.1 * chance)
}

/// When to try again after so many failures, of which there is one at least.
pub fn pause(failures: u32, chance: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
    doubled.min(SHORTEST).mul_f64(1.0 - 0.1 * chance)
}

/// A duration for people.
pub fn words(duration: Duration) -> String {
    match duration < MINUTE {
        true => format!("{} s", duration.as_secs()),
        false => format!("{} min", duration.as_secs().div_ceil(MINUTE.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(cache_control: &[&str], age: Option<&str>) -> u64 {
        lifetime(cache_control.iter().copied(), age).as_secs()
    }

    #[test]
    fn max_age_is_the_lifetime() {
        assert_eq!(said(&["max-age=7200"], None), 7200);
        assert_eq!(
            said(&["public, Max-Age = \"7200\" , must-revalidate"], None),
            7200
        );
        assert_eq!(said(&["public", "max-age=7200"], None), 7200);
        assert_eq!(said(&["max-age=7200, s-maxage=60"], None), 7200);
        assert_eq!(said(&["max-age=99999999999999999999999"], None), u64::MAX);
    }

    #[test]
    fn what_a_cache_has_used_up_is_taken_off() {
        assert_eq!(said(&["max-age=7200"], Some("7000")), 200);
        assert_eq!(said(&["max-age=7200"], Some("9000")), 0);
        assert_eq!(said(&["max-age=7200"], Some("old")), 7200);
        assert_eq!(said(&[], Some("100")), USUAL.as_secs());
    }

    #[test]
    fn what_may_not_be_kept_or_is_not_understood_is_stale() {
        for stale in [
            "no-store",
            "no-cache",
            "max-age=7200, no-store",
            "max-age=-1",
            "max-age=1.5",
            "max-age=soon",
            "max-age",
            "max-age=7200, max-age=0",
        ] {
            assert_eq!(said(&[stale], None), 0, "{stale}");
        }
    }

    #[test]
    fn without_a_word_it_is_an_hour() {
        assert_eq!(said(&[], None), 3600);
        assert_eq!(said(&["public, immutable", ""], None), 3600);
    }

    #[test]
    fn a_delay_is_between_five_minutes_and_a_day_and_spread() {
        for lifetime in [0, 1, 300, 333, 3600, 86_400, 1_000_000, u64::MAX] {
            let lifetime = Duration::from_secs(lifetime);
            let (first, last) = (delay(lifetime, 0.0), delay(lifetime, 1.0));
            assert!(first >= SHORTEST && last <= LONGEST, "{lifetime:?}");
            assert!(last >= first.mul_f64(1.09), "{lifetime:?}");
        }
        let hour = delay(USUAL, 0.5);
        assert!(hour < USUAL && hour > USUAL.mul_f64(0.9));
        assert!(delay(Duration::from_secs(60), 1.0) <= SHORTEST.mul_f64(1.1));
    }

    #[test]
    fn pauses_grow_to_five_minutes() {
        assert_eq!(pause(1, 0.0), FIRST_PAUSE);
        assert_eq!(pause(2, 0.0), 2 * FIRST_PAUSE);
        assert_eq!(pause(6, 0.0), SHORTEST);
        assert_eq!(pause(u32::MAX, 0.0), SHORTEST);
        assert!(pause(1, 1.0) < FIRST_PAUSE && pause(1, 1.0) > FIRST_PAUSE.mul_f64(0.8));
    }

    #[test]
    fn durations_are_told_in_seconds_or_minutes() {
        assert_eq!(words(Duration::from_secs(59)), "59 s");
        assert_eq!(words(Duration::from_secs(301)), "6 min");
    }
}
