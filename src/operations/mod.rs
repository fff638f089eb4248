//! What an operator looks at, and what a scheduled job runs.

mod functions;
mod health;
mod prune;

/// The worker's part of pruning: some of it, in a transaction of its own. True when there is more.
pub fn prune_some() -> bool {
    prune::prune(core::time::Duration::from_millis(500)).is_more
}

pub use prune::TABLES as PRUNED_TABLES;
