//! Is all of a dump here that can end a token?
//!
//! Each table that can is dumped with one row more, a mark that names the installation and the dump (see the end of
//! `sql/bootstrap.sql`). A restore loads tables in any order, but the rows of one together.

use core::ffi::CStr;
use std::collections::HashSet;

use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::cache;
use crate::pg::probe::{Looked, Probe, ProbedRow};
use crate::pg::{catalog, scan};

/// How a mark begins in tables that have it in one column with what it names. In `revoked_tokens` it is the mark's issuer.
pub const MARK: &str = "auth_ext:restored";

/// What is known of the dumps that were loaded.
pub struct Restored {
    /// This installation; None before the update to 0.2.0.
    here: Option<String>,
    /// Installation and dump, as the marks name them, where both `revoking_issuers` and `session_issuers` have them.
    dumps: Vec<String>,
    others: Option<[Probe; 2]>,
    /// When `user_floor` says that any user may have been bumped.
    floor: i64,
}

impl Restored {
    /// With the names in `revoking_issuers` and `session_issuers`.
    pub fn read([revoking, opening]: [&HashSet<String>; 2]) -> Self {
        let installation = catalog::auth_relation(c"installation");
        let here = scan::rows(installation, |row| row.get::<String>(c"origin")).pop();
        let dumps: Vec<String> = revoking
            .intersection(opening)
            .filter_map(|name| Some(name.strip_prefix(MARK)?.strip_prefix(' ')?.to_owned()))
            .collect();
        let others = (!dumps.is_empty())
            .then(|| {
                Some([
                    probe(c"revoked_tokens", &["issuer", "jti"], &[])?,
                    probe(c"user_history", &["user_id"], &["bumped_at"])?,
                ])
            })
            .flatten();
        let floor = scan::rows(catalog::auth_relation(c"user_floor"), |row| {
            row.required::<TimestampWithTimeZone>(c"bumped_at")
                .into_inner()
        });
        Self {
            here: here.flatten(),
            dumps,
            others,
            floor: floor.into_iter().max().unwrap_or(i64::MIN),
        }
    }

    /// May a key that was added in the installation `origin` verify? Yes if that is this one, or if all is here of
    /// some dump that the key can have come with.
    pub fn is_complete(&self, origin: Option<&str>) -> bool {
        let Some(origin) = origin else {
            return true;
        };
        self.here.as_deref() == Some(origin)
            || self
                .dumps
                .iter()
                .filter(|dump| dump.split(' ').next() == Some(origin))
                .any(|dump| self.has_marks(dump))
    }

    fn has_marks(&self, dump: &str) -> bool {
        let Some([revoked, history]) = &self.others else {
            return false;
        };
        let floor_of_dump = || {
            find(history, &[&format!("{MARK} {dump}")], |row| {
                row.required::<TimestampWithTimeZone>(0).into_inner()
            })
        };
        find(revoked, &[MARK, dump], |_| ()).is_some()
            && floor_of_dump().is_some_and(|floor| floor <= self.floor)
    }
}

fn probe(table: &CStr, keys: &[&str], columns: &[&str]) -> Option<Probe> {
    let table = catalog::auth_relation(table);
    Probe::new(table, &catalog::unique_index(table, keys)?, keys, columns)
}

fn find<T>(probe: &Probe, keys: &[&str], read: impl FnOnce(&ProbedRow<'_>) -> T) -> Option<T> {
    let keys: Vec<_> = keys
        .iter()
        .map(|key| key.into_datum())
        .collect::<Option<_>>()?;
    match probe.look(&keys, cache::still_holds, read) {
        Looked::Row(value) => Some(value),
        Looked::Nothing | Looked::Changed => None,
    }
}
