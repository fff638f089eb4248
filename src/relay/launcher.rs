//! The launcher: starts a worker for each database that wants one.

use core::time::Duration;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker,
    SignalWakeFlags,
};
use pgrx::prelude::*;

use crate::error;
use crate::pg::{background, process, registry, slots, transaction, wal};
use crate::settings;

/// A backstop: who wants a worker, or has lost one, wakes the launcher.
const SWEEP: Duration = Duration::from_secs(10);
/// Where something has to be tried again that nobody tells of.
const AGAIN: Duration = Duration::from_millis(500);

/// Has the server start the launcher, with itself and after a crash.
pub fn register() {
    BackgroundWorkerBuilder::new("auth_ext relay launcher")
        .set_library("auth_ext")
        .set_function(background::LAUNCHER)
        .enable_spi_access()
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// The launcher's process.
pub fn run() {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    // To no database: the shared catalogs are enough.
    BackgroundWorker::connect_worker_to_spi_by_oid(None, None);
    process::prepare_to_write();
    registry::enter_launcher();
    // What was committed before a crash or a restart waits there; a worker without work goes away.
    want_all();
    let mut launcher = Launcher {
        visited: Instant::now(),
        beaten: None,
        started: HashMap::new(),
        complained: false,
    };
    while BackgroundWorker::wait_latch(Some(launcher.start_workers())) {
        if BackgroundWorker::sighup_received() {
            process::reload_configuration();
        }
    }
    process::end_as_told();
}

fn want_all() {
    databases()
        .into_iter()
        .for_each(|(database, _)| registry::want(database));
}

/// The databases with their names.
fn databases() -> HashMap<pg_sys::Oid, String> {
    BackgroundWorker::transaction(AssertUnwindSafe(process::databases))
}

struct Launcher {
    /// When a worker was last sent to every database.
    visited: Instant,
    /// When the last heartbeat was written.
    beaten: Option<Instant>,
    started: HashMap<pg_sys::Oid, DynamicBackgroundWorker>,
    /// The log says already that there is no room for a worker.
    complained: bool,
}

impl Launcher {
    /// Starts what may be started now; until when to wait at most.
    fn start_workers(&mut self) -> Duration {
        let mut wait = self.beat().unwrap_or(SWEEP).min(SWEEP);
        self.note_ended();
        if registry::overflow() {
            want_all();
        }
        // A session asks for a worker when it enters an identity, but not when `when_ended` is set after that.
        (slots::watched_databases().into_iter())
            .filter(|database| registry::worker(*database).is_none())
            .for_each(|database| {
                registry::add(database);
            });
        if let Some(interval) = settings::prune_interval() {
            let elapsed = self.visited.elapsed();
            if elapsed >= interval {
                self.visited = Instant::now();
                want_all();
            }
            wait = wait.min(interval.saturating_sub(self.visited.elapsed()));
        }
        let waiting = registry::waiting();
        let mut others_wait = false;
        if !waiting.is_empty() {
            let existing = databases();
            for waiting in waiting {
                let Some(name) = existing.get(&waiting.database) else {
                    registry::forget(waiting.database);
                    continue;
                };
                if waiting.pause > 0 {
                    let pause = Duration::from_micros(waiting.pause.unsigned_abs());
                    wait = wait.min(pause.max(Duration::from_millis(10)));
                } else if self.started.contains_key(&waiting.database)
                    || is_claimed(waiting.database)
                {
                    wait = wait.min(AGAIN);
                } else if others_wait || self.started.len() >= settings::max_workers() {
                    others_wait = true;
                } else if !self.start(waiting.database, name) {
                    others_wait = true;
                    wait = wait.min(AGAIN);
                }
            }
        }
        registry::let_others_wait(others_wait);
        wait
    }

    /// Writes a commit for the standbys when it is time (see `auth_ext.standby_heartbeat`); until when to wait for the next.
    fn beat(&mut self) -> Option<Duration> {
        let interval = settings::standby_heartbeat()?;
        let due = |beaten: Option<Instant>| {
            beaten.map_or(Duration::ZERO, |at| interval.saturating_sub(at.elapsed()))
        };
        if due(self.beaten).is_zero() {
            self.beaten = Some(Instant::now());
            BackgroundWorker::transaction(AssertUnwindSafe(transaction::id));
            // Nobody waits for this commit, and the standbys get what is on disk.
            wal::flush();
        }
        Some(due(self.beaten).max(Duration::from_millis(1)))
    }

    /// Forgets the workers that have ended.
    fn note_ended(&mut self) {
        let before = self.started.len();
        self.started.retain(|_, worker| {
            !matches!(
                worker.pid(),
                Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)
            )
        });
        if self.started.len() < before && self.started.is_empty() {
            self.complained = false;
        }
    }

    /// False where the server has no room for another background worker.
    fn start(&mut self, database: pg_sys::Oid, name: &str) -> bool {
        let worker = BackgroundWorkerBuilder::new("auth_ext relay")
            .set_library("auth_ext")
            .set_function(background::WORKER)
            .enable_spi_access()
            .set_argument(database.into_datum())
            .set_notify_pid(process::own_pid())
            .load_dynamic();
        let Ok(worker) = worker else {
            if !self.complained {
                error::warn(format!(
                    "auth_ext waits for a background worker for database {}: raise max_worker_processes",
                    error::quoted(name)
                ));
            }
            self.complained = true;
            return false;
        };
        registry::starting(database);
        self.started.insert(database, worker);
        true
    }
}

fn is_claimed(database: pg_sys::Oid) -> bool {
    BackgroundWorker::transaction(AssertUnwindSafe(|| process::is_claimed(database)))
}
