//! Which transactions had ended at a moment: a snapshot as PostgreSQL takes it, with ids that never wrap.
//! `snapshot::at_this_moment` reads one. This file knows nothing of Postgres, so that the fuzz targets can have it.

use core::fmt;

/// What a snapshot sees: of the transactions below `xmax`, those that are not in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mvcc {
    xmax: u64,
    /// Ascending, all below `xmax`.
    in_progress: Vec<u64>,
}

impl Mvcc {
    /// From the transactions in progress, in any order.
    pub fn new(xmax: u64, mut in_progress: Vec<u64>) -> Self {
        in_progress.retain(|xid| *xid < xmax);
        in_progress.sort_unstable();
        in_progress.dedup();
        Self { xmax, in_progress }
    }

    /// Is what the transaction did, if it committed, seen?
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.in_progress.binary_search(&xid).is_err()
    }

    /// All below have ended.
    pub fn xmin(&self) -> u64 {
        self.in_progress.first().copied().unwrap_or(self.xmax)
    }

    /// None from here on is seen.
    pub fn xmax(&self) -> u64 {
        self.xmax
    }

    /// Those in progress, ascending.
    pub fn in_progress(&self) -> &[u64] {
        &self.in_progress
    }

    /// Sees what either sees.
    pub fn union(&self, other: &Self) -> Self {
        let (later, earlier) = if self.xmax >= other.xmax {
            (self, other)
        } else {
            (other, self)
        };
        let neither = |xid: &u64| !earlier.sees(*xid);
        Self {
            xmax: later.xmax,
            in_progress: later.in_progress.iter().copied().filter(neither).collect(),
        }
    }

    /// Sees no transaction that is later than `last`.
    pub fn up_to(mut self, last: u64) -> Self {
        self.xmax = self.xmax.min(last.saturating_add(1));
        self.in_progress.retain(|xid| *xid < self.xmax);
        self
    }

    /// Sees less, so that at most `limit` are in progress.
    pub fn bounded(mut self, limit: usize) -> Self {
        if let Some(first_beyond) = self.in_progress.get(limit) {
            self.xmax = *first_beyond;
            self.in_progress.truncate(limit);
        }
        self
    }
}

/// As `pg_snapshot` is written.
impl fmt::Display for Mvcc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.xmin(), self.xmax)?;
        for (n, xid) in self.in_progress.iter().enumerate() {
            write!(f, "{}{xid}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
