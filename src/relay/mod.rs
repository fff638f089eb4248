//! `auth_ext.notify = relay`: background workers send the notifications, so that a commit never waits for the
//! notification queue, and never fails because it is full.
//!
//! A committing backend wakes its database's worker through the registry in shared memory, which is there when the
//! library is preloaded.

mod launcher;
mod position;
mod step;
mod trusted;
mod worker;

pub use position::{Backlog, backlog};
pub use worker::{Task, Tasks};

use crate::pg::{background, preload, process, registry};

/// Called while the library is loaded.
pub fn init(tasks: Tasks) {
    if preload::is_preloaded() {
        registry::init();
        worker::init(tasks);
        background::init(launcher::run, worker::run);
        if !preload::is_for_pg_upgrade() {
            launcher::register();
        }
    }
}

/// Can there be a relay?
pub fn is_available() -> bool {
    preload::is_preloaded()
}

/// Something is committed that the relay is to send.
pub fn wake() {
    if is_available() {
        registry::wake(process::own_database());
    }
}

/// There is something for a worker to watch; one that runs sees so itself.
pub fn want() {
    if is_available() && worker().is_none() {
        registry::want(process::own_database());
    }
}

/// The process that relays for this database, if one runs.
pub fn worker() -> Option<i32> {
    is_available()
        .then(|| registry::worker(process::own_database()))
        .flatten()
}

/// The process that starts the workers, if it runs.
pub fn launcher() -> Option<i32> {
    is_available().then(registry::launcher).flatten()
}
