//! The marks that unlinked accounts leave: a random number each time, so that a link of now can be told from one of before.
//!
//! An account is kept by its SHA-256. The mark of the account that is called nothing stands for all: a TRUNCATE or a bulk
//! leaves no other.

use pgrx::prelude::*;

use super::table::{Account, Identities};
use crate::attach;
use crate::invalidation;
use crate::pg::acting::ActingAs;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Sees};
use crate::pg::probe::{Looked, Probe};
use crate::pg::{catalog, transaction};

process_local! {
    static MARK: OurPlan = OurPlan::new(
        "INSERT INTO auth.unlinked_accounts AS a (account, mark)
         VALUES ($1, pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::pg_catalog.text, 0))
         ON CONFLICT (account) DO UPDATE SET mark = excluded.mark",
        &[pg_sys::TEXTOID],
    );
    static FIND: OurPlan = OurPlan::new(
        "SELECT a.mark FROM auth.unlinked_accounts AS a WHERE a.account OPERATOR(pg_catalog.=) $1",
        &[pg_sys::TEXTOID],
    );
}

/// The account whose mark stands for all.
const ALL: &str = "";

fn key(account: &Account) -> String {
    let Account { provider, subject } = account;
    // With the length no two accounts are one text.
    jose::fingerprint(&format!("{} {provider}{subject}", provider.len()))
}

/// Leaves the mark of an account that is unlinked.
pub(super) fn mark(account: &Account) {
    write(&key(account));
}

/// Leaves the mark of all.
pub(super) fn mark_all() {
    write(ALL);
}

/// The same at the end of a transaction that unlinked too many accounts for a mark each.
pub fn settle_bulk() {
    transaction::to_settle(mark_all);
}

fn write(account: &str) {
    // Where logical replication applies a change, this row is ours all the same.
    invalidation::as_our_own(|| {
        let _acting = ActingAs::qualified(catalog::extension_owner());
        MARK.with(|mark| mark.run(Sees::Transaction, &[account.into_datum()], 0, |_| ()));
    });
}

pub(super) fn probe() -> Option<Probe> {
    let table = catalog::auth_relation(c"unlinked_accounts");
    let index = catalog::unique_index(table, &["account"])?;
    Probe::new(table, &index, &["account"], &["mark"])
}

impl Identities {
    /// What tells the account's link from those of before, as committed at this moment.
    pub fn link(&self, account: &Account) -> String {
        let of_all = if invalidation::unlinks_in_bulk() {
            Some(0)
        } else {
            self.mark(ALL)
        };
        let own = self.mark(&key(account));
        let text = |mark: Option<i64>| mark.map(|mark| format!("{mark:x}")).unwrap_or_default();
        format!("{}.{}", text(of_all), text(own))
    }

    fn mark(&self, account: &str) -> Option<i64> {
        let key = account.into_datum();
        let looked = match (&self.marks, key) {
            (Some(probe), Some(key)) => {
                probe.look(&[key], attach::still_holds, |row| row.get::<i64>(0))
            }
            _ => Looked::Changed,
        };
        match looked {
            Looked::Row(mark) => mark,
            Looked::Nothing => None,
            Looked::Changed => {
                let _acting = ActingAs::reader(catalog::extension_owner());
                let found = FIND.with(|find| find.run(Sees::Latest, &[key], 1, |row| row.get(1)));
                found.into_iter().next().flatten()
            }
        }
    }
}
