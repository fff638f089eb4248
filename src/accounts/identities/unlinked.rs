//! The marks that unlinked accounts leave: a random number each time, so that a link of now can be told from one of before.
//!
//! An account is kept by 128 bits of its SHA-256. The mark of the nil UUID stands for all accounts: a TRUNCATE leaves no other.

use pgrx::datum::Uuid;
use pgrx::prelude::*;

use super::table::{Account, Identities};
use crate::attach;
use crate::invalidation;
use crate::pg::acting::ActingAs;
use crate::pg::catalog;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Sees};
use crate::pg::probe::{Looked, Probe};

process_local! {
    static MARK: OurPlan = OurPlan::new(
        "INSERT INTO auth.unlinked_accounts AS a (account, mark)
         VALUES ($1, pg_catalog.hashtextextended(pg_catalog.gen_random_uuid()::pg_catalog.text, 0))
         ON CONFLICT (account) DO UPDATE SET mark = excluded.mark",
        &[pg_sys::UUIDOID],
    );
    static FIND: OurPlan = OurPlan::new(
        "SELECT a.mark FROM auth.unlinked_accounts AS a WHERE a.account OPERATOR(pg_catalog.=) $1",
        &[pg_sys::UUIDOID],
    );
}

/// What stands for all accounts.
const ALL: [u8; 16] = [0; 16];

fn key(account: &Account) -> [u8; 16] {
    let Account { provider, subject } = account;
    // With the length no two accounts are one text.
    let digest = jose::digest(&format!("{} {provider}{subject}", provider.len()));
    let mut key = ALL;
    key.copy_from_slice(&digest[..ALL.len()]);
    key
}

/// Leaves the mark of an account that is unlinked.
pub(super) fn mark(account: &Account) {
    write(key(account));
}

/// Leaves the mark of all.
pub(super) fn mark_all() {
    write(ALL);
}

fn write(account: [u8; 16]) {
    // Gone with DROP EXTENSION in this very transaction.
    if !catalog::has_auth_relation(c"unlinked_accounts") {
        return;
    }
    // Where logical replication applies a change, this row is ours all the same.
    invalidation::as_our_own(|| {
        let _acting = ActingAs::qualified(catalog::extension_owner());
        MARK.with(|mark| {
            mark.run(
                Sees::Transaction,
                &[Uuid::from_bytes(account).into_datum()],
                0,
                |_| (),
            )
        });
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
        let text = |mark: Option<i64>| mark.map(|mark| format!("{mark:x}")).unwrap_or_default();
        format!("{}.{}", text(self.mark(ALL)), text(self.mark(key(account))))
    }

    fn mark(&self, account: [u8; 16]) -> Option<i64> {
        let key = Uuid::from_bytes(account).into_datum();
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
