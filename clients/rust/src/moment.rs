//! A moment by two clocks, of which the faster counts.

use std::time::{Duration, Instant, SystemTime};

/// The monotonic clock stands still while a machine is suspended; the wall clock can be set back. What ends at a
/// moment has ended when either clock says so.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    monotonic: Instant,
    wall: SystemTime,
}

impl Moment {
    #[cfg(not(test))]
    pub fn now() -> Self {
        Self::real()
    }

    /// Of a clock that the test can move.
    #[cfg(test)]
    pub fn now() -> Self {
        Self::real().after(PASSED.get())
    }

    fn real() -> Self {
        Self {
            monotonic: Instant::now(),
            wall: SystemTime::now(),
        }
    }

    /// This much later. What does not fit into a clock has passed already.
    pub fn after(self, duration: Duration) -> Self {
        Self {
            monotonic: self
                .monotonic
                .checked_add(duration)
                .unwrap_or(self.monotonic),
            wall: self.wall.checked_add(duration).unwrap_or(self.wall),
        }
    }

    pub fn has_passed(&self, now: &Self) -> bool {
        now.monotonic >= self.monotonic || now.wall >= self.wall
    }
}

#[cfg(test)]
thread_local! {
    /// How much later it is in this thread.
    pub(crate) static PASSED: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_passed_when_either_clock_says_so() {
        let start = Moment::now();
        let second = Duration::from_secs(1);
        let end = start.after(second);
        assert!(!end.has_passed(&start));
        assert!(end.has_passed(&end));
        let suspended = Moment {
            wall: start.wall + 2 * second,
            ..start
        };
        assert!(end.has_passed(&suspended));
        let set_back = Moment {
            monotonic: start.monotonic + 2 * second,
            wall: start.wall - second,
        };
        assert!(end.has_passed(&set_back));
        assert!(start.after(Duration::MAX).has_passed(&start));
    }
}
