//! The relay of one database: sends what was committed, in batches, and keeps its place in the log in a table.
//!
//! An event and the place behind it are committed together: after a crash it goes on from there. An error ends the
//! process; the launcher starts another.

use core::ffi::CStr;
use core::time::Duration;
use std::panic::AssertUnwindSafe;
use std::sync::OnceLock;
use std::time::Instant;

use pgrx::bgworkers::{BackgroundWorker, SignalWakeFlags};
use pgrx::prelude::*;

use super::step::relay_step;
use super::trusted;
use crate::pg::process::{self, Tables};
use crate::pg::{registry, slots};
use crate::settings::{self, Notify};

/// Committing backends wake the worker. What has nobody to do so (a prepared transaction) waits at most so long.
const SWEEP: Duration = Duration::from_secs(1);
/// Between two batches, so that under load each is worth its transaction.
const GATHER: Duration = Duration::from_millis(10);
/// While somebody holds a lock on the tables.
const BUSY: Duration = Duration::from_millis(100);

/// While somebody's identity is to be watched.
const WATCH: Duration = Duration::from_millis(200);

/// So long a worker stays that has nothing to do.
const LINGER: Duration = Duration::from_secs(10);
/// So long a worker has its place for sure, while others wait.
const TURN: Duration = Duration::from_secs(1);

const TABLES: [&CStr; 4] = [
    c"issuers",
    c"relay_position",
    c"invalidation_log",
    c"invalidation_pruned",
];

/// What a worker does beside relaying.
pub struct Task {
    /// The tables that it needs.
    pub tables: &'static [&'static CStr],
    /// Does some of it, in the running transaction. True when something was done, and there may be more.
    pub step: fn() -> bool,
}

/// All of that.
pub struct Tasks {
    /// Removes rows that nothing can ask for.
    pub prune: Task,
    /// Ends what runs under identities that have ended.
    pub hang_up: Task,
}

static TASKS: OnceLock<Tasks> = OnceLock::new();

/// Called in the postmaster.
pub fn init(tasks: Tasks) {
    // A second call would bring the same.
    let _ = TASKS.set(tasks);
}

enum Step {
    Sent,
    Nothing,
    Busy,
    Gone,
}

/// The worker's process.
pub fn run(database: Option<pg_sys::Oid>) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    BackgroundWorker::connect_worker_to_spi_by_oid(database, None);
    process::prepare_to_write();
    if registry::enter() {
        work();
    }
}

fn work() {
    let began = Instant::now();
    let mut sent_at = began;
    let mut pruned_at = None;
    let mut watched_at = None;
    loop {
        let prune_is_due = settings::prune_interval()
            .is_some_and(|interval| pruned_at.is_none_or(|at: Instant| at.elapsed() >= interval));
        let pruning = if prune_is_due {
            task(|tasks| &tasks.prune)
        } else {
            Step::Nothing
        };
        if prune_is_due && !matches!(pruning, Step::Sent) {
            pruned_at = Some(Instant::now());
        }
        if slots::is_watched() {
            watched_at = Some(Instant::now());
            task(|tasks| &tasks.hang_up);
        }
        let is_watchful = watched_at.is_some_and(|at| at.elapsed() < LINGER);
        let pause = match step() {
            Step::Nothing if matches!(pruning, Step::Sent) => GATHER,
            Step::Sent => {
                registry::well();
                sent_at = Instant::now();
                GATHER
            }
            Step::Nothing if is_watchful => {
                registry::well();
                WATCH
            }
            Step::Nothing if settings::notify() == Notify::relay => {
                registry::well();
                SWEEP
            }
            Step::Busy => BUSY,
            Step::Nothing | Step::Gone => break,
        };
        process::report_statistics();
        let is_idle = pause == SWEEP;
        if is_claimed() || (registry::others_wait() && (is_idle || began.elapsed() > TURN)) {
            registry::step_aside();
            return;
        }
        if is_idle && sent_at.elapsed() > LINGER && !process::may_hold_prepared() {
            break;
        }
        if !rest(pause) {
            return;
        }
    }
    // Nobody wakes us from here on, so what was committed until here is for us.
    registry::leave();
    if !matches!(step(), Step::Gone) && slots::is_watched() {
        registry::want(process::own_database());
    }
}

/// Does somebody want the database for himself?
fn is_claimed() -> bool {
    BackgroundWorker::transaction(AssertUnwindSafe(|| {
        process::is_claimed(process::own_database())
    }))
}

/// Waits until somebody has committed, or for the whole of a short pause. False: the process is to end.
fn rest(pause: Duration) -> bool {
    let goes_on = if pause < WATCH {
        process::sleep(pause);
        !BackgroundWorker::sigterm_received()
    } else {
        BackgroundWorker::wait_latch(Some(pause))
    };
    if BackgroundWorker::sighup_received() {
        process::reload_configuration();
    }
    goes_on
}

fn step() -> Step {
    in_own_tables(&TABLES, relay_step)
}

/// Some of what is to be done beside relaying.
fn task(which: fn(&Tasks) -> &Task) -> Step {
    match TASKS.get().map(which) {
        Some(task) => in_own_tables(task.tables, task.step),
        None => Step::Nothing,
    }
}

/// Runs `body` in a transaction and a security-restricted context, when the tables are the extension's and nobody has locked them.
fn in_own_tables(names: &[&CStr], body: fn() -> bool) -> Step {
    BackgroundWorker::transaction(AssertUnwindSafe(|| {
        let _restricted = trusted::restricted();
        match process::try_lock(names) {
            // Asked when they are locked: no trigger and no owner comes in between.
            Tables::Locked if !trusted::are_own(names) => Step::Gone,
            Tables::Locked if body() => Step::Sent,
            Tables::Locked => Step::Nothing,
            Tables::Busy => Step::Busy,
            Tables::Gone => Step::Gone,
        }
    }))
}
