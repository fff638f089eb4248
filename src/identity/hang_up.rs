//! Ends what still runs under an identity that has ended, on connections whose `auth_ext.when_ended` says so. A background worker
//! of the database verifies again what the connections list. So no end is missed while no worker runs.

use core::ffi::CStr;
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::activity;
use crate::pg::carrier::Scope;
use crate::pg::local::process_local;
use crate::pg::slots::{self, Named};
use crate::pg::snapshot::{self, Moment};
use crate::statistics::{self, Count};

/// The tables that an identity is verified by.
pub const TABLES: [&CStr; 11] = [
    c"installation",
    c"issuers",
    c"signing_key_store",
    c"attached_tables",
    c"user_history",
    c"user_floor",
    c"unlinked_accounts",
    c"revoked_tokens",
    c"revoking_issuers",
    c"sessions",
    c"session_issuers",
];

/// An identity can end by the clock, too.
const BY_THE_CLOCK: Duration = Duration::from_millis(500);

process_local! {
    /// The state of the database that was looked at last, and when.
    static LAST: Cell<Option<(Moment, Instant)>> = const { Cell::new(None) };
    /// Those that were told to end, and have not yet.
    static TOLD: RefCell<HashSet<Named>> = RefCell::default();
}

/// Ends what has to end now, in the running transaction; did anything?
pub fn sweep() -> bool {
    let moment = snapshot::moment();
    let looked = LAST
        .get()
        .is_some_and(|(then, at)| Some(then) == moment && at.elapsed() < BY_THE_CLOCK);
    if looked {
        return false;
    }
    let ended = activity::ended();
    LAST.set(
        moment
            .map(|moment| (moment, Instant::now()))
            .filter(|_| ended.is_empty()),
    );
    let mut told = HashSet::new();
    let mut news = 0;
    for entry in ended {
        let is_told = match entry.said.scope {
            Scope::Session => slots::terminate(&entry),
            Scope::Transaction => slots::cancel(&entry),
        };
        if is_told {
            let name = entry.name();
            if !TOLD.with_borrow(|told| told.contains(&name)) {
                news += 1;
            }
            told.insert(name);
        }
    }
    TOLD.replace(told);
    statistics::count(Count::HungUp, news);
    news > 0
}
