//! Counters in shared memory, a set for each database. Every backend adds to them, without a lock.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::cell::Cell;

use super::local::process_local;
use super::process;
use super::shared::{Area, Zeroed};

/// So many databases have a set, in the order in which the first thing is counted in them after the server's start.
pub const DATABASES: usize = 1024;
/// So many counters are in a set.
pub const COUNTERS: usize = 96;

/// A database's counters.
#[repr(C, align(64))]
pub struct Set {
    /// 0: nobody's yet. Never another's afterwards.
    database: AtomicU32,
    totals: [AtomicU64; COUNTERS],
}

// SAFETY: atomics only; aligned to 64 bytes.
unsafe impl Zeroed for Set {}

pub(super) static SETS: Area<Set> = Area::new(c"auth_ext_counters", || DATABASES);

process_local! {
    static OWN: Cell<Option<&'static Set>> = const { Cell::new(None) };
}

/// The set of this process's database; None where there is no room for one, or no shared memory of ours.
fn own() -> Option<&'static Set> {
    if let Some(set) = OWN.get() {
        return Some(set);
    }
    let database = process::own_database().to_u32();
    if database == 0 {
        return None;
    }
    let set = SETS.all().iter().find(|set| {
        match (set.database).compare_exchange(0, database, Relaxed, Relaxed) {
            Ok(_) => true,
            Err(of) => of == database,
        }
    })?;
    OWN.set(Some(set));
    Some(set)
}

/// Adds to a counter of this process's database.
pub fn add(counter: usize, by: u64) {
    if let Some(total) = own().and_then(|set| set.totals.get(counter)) {
        total.fetch_add(by, Relaxed);
    }
}

/// The counters of this process's database.
pub fn totals() -> Option<[u64; COUNTERS]> {
    own().map(|set| {
        core::array::from_fn(|counter| {
            set.totals
                .get(counter)
                .map_or(0, |total| total.load(Relaxed))
        })
    })
}

/// Begins anew with 0.
pub fn reset() {
    if let Some(set) = own() {
        set.totals.iter().for_each(|total| total.store(0, Relaxed));
    }
}
