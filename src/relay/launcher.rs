//! The launcher: starts a worker for each database that wants one.

use core::time::Duration;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;

use pgrx::bgworkers::{
    BackgroundWorker, BackgroundWorkerBuilder, BackgroundWorkerStatus, DynamicBackgroundWorker,
    SignalWakeFlags,
};
use pgrx::prelude::*;

use crate::error;
use crate::pg::{background, process, registry};

/// A backstop: who wants a worker, or has lost one, wakes the launcher.
const SWEEP: Duration = Duration::from_secs(10);

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
    registry::enter_launcher();
    // What was committed before a crash or a restart waits there; a worker without work goes away.
    databases().into_iter().for_each(registry::want);
    let mut launcher = Launcher::default();
    while BackgroundWorker::wait_latch(Some(launcher.start_workers())) {}
}

fn databases() -> Vec<pg_sys::Oid> {
    BackgroundWorker::transaction(AssertUnwindSafe(process::databases))
}

#[derive(Default)]
struct Launcher {
    started: HashMap<pg_sys::Oid, DynamicBackgroundWorker>,
}

impl Launcher {
    /// Starts what may be started now; until when to wait at most.
    fn start_workers(&mut self) -> Duration {
        self.note_ended();
        let waiting = registry::waiting();
        if waiting.is_empty() {
            return SWEEP;
        }
        let existing = databases();
        let mut wait = SWEEP;
        for (database, pause) in waiting {
            if !existing.contains(&database) {
                registry::forget(database);
            } else if pause > 0 {
                let pause = Duration::from_micros(pause.unsigned_abs());
                wait = wait.min(pause.max(Duration::from_millis(10)));
            } else if !self.started.contains_key(&database) {
                self.start(database);
            }
        }
        wait
    }

    /// Forgets the workers that have ended.
    fn note_ended(&mut self) {
        self.started.retain(|_, worker| {
            !matches!(
                worker.pid(),
                Err(BackgroundWorkerStatus::Stopped | BackgroundWorkerStatus::PostmasterDied)
            )
        });
    }

    fn start(&mut self, database: pg_sys::Oid) {
        registry::starting(database);
        let worker = BackgroundWorkerBuilder::new("auth_ext relay")
            .set_library("auth_ext")
            .set_function(background::WORKER)
            .enable_spi_access()
            .set_argument(database.into_datum())
            .set_notify_pid(process::own_pid())
            .load_dynamic();
        match worker {
            Ok(worker) => {
                self.started.insert(database, worker);
            }
            Err(_) => error::warn(
                "auth_ext could not start a relay worker: raise max_worker_processes".to_owned(),
            ),
        }
    }
}
