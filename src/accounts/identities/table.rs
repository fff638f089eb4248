//! An account's row, found by provider and subject as it is committed now.

use std::rc::Rc;

use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::binding::current;
use crate::attach::{self, Attached, AttachedTable, IdType, UserId, successor};
use crate::pg::acting::ActingAs;
use crate::pg::catalog::{self, Relation, UniqueIndex};
use crate::pg::plan::{Sees, TablePlan};
use crate::pg::probe::{Looked, Probe};

/// The attached identities table.
pub struct Identities {
    /// The table.
    pub relation: pg_sys::Oid,
    /// Its schema, name and owner.
    pub table: Relation,
    /// The column of the user's id.
    pub user_column: String,
    /// The column of the provider.
    pub provider_column: String,
    /// The column of the account's id at the provider.
    pub subject_column: String,
    pub(super) user_type: IdType,
    pub(super) provider_type: IdType,
    pub(super) subject_type: IdType,
    /// The way to a row without a plan, where the table allows it; and whether its index begins with the subject.
    pub(super) probe: Option<(Probe, bool)>,
    /// The other way, made when it is first needed.
    pub(super) find: TablePlan,
    /// The way to the mark of an account.
    pub(super) marks: Option<Probe>,
}

/// An account at a provider, as the columns print it.
pub struct Account {
    /// Which provider.
    pub provider: String,
    /// Who it is there.
    pub subject: String,
}

/// What sees to it that no account is two users'.
pub(super) struct AccountIndex {
    index: UniqueIndex,
    /// Its columns.
    keys: Vec<String>,
    subject_first: bool,
}

impl AccountIndex {
    /// An index over provider and subject, in whatever order; or over the subject alone.
    pub(super) fn find(relation: pg_sys::Oid, provider: &str, subject: &str) -> Option<Self> {
        let orders = [
            (vec![provider, subject], false),
            (vec![subject, provider], true),
            (vec![subject], true),
        ];
        orders.into_iter().find_map(|(keys, subject_first)| {
            Some(Self {
                index: catalog::unique_index(relation, &keys)?,
                keys: keys.into_iter().map(str::to_owned).collect(),
                subject_first,
            })
        })
    }

    /// The way by it to the `user` column, where it has both.
    pub(super) fn probe(&self, relation: pg_sys::Oid, user: &str) -> Option<(Probe, bool)> {
        let keys: Vec<&str> = self.keys.iter().map(String::as_str).collect();
        let probe = Probe::new(relation, &self.index, &keys, &[user])?;
        (keys.len() == 2).then_some((probe, self.subject_first))
    }
}

impl Identities {
    /// Is `relation` the identities table, or a partition of it?
    pub fn covers(&self, relation: pg_sys::Oid) -> bool {
        attach::covers(self.relation, &self.table, relation)
    }

    /// The account, if the columns can have it.
    pub fn account(&self, provider: &str, subject: &str) -> Option<Account> {
        Some(Account {
            provider: self.provider_type.canonical(provider)?,
            subject: self.subject_type.canonical(subject)?,
        })
    }

    /// The account's user as committed at this moment; None for nobody's.
    pub fn user_of(&self, account: &Account) -> Option<UserId> {
        let provider = self.provider_type.datum(&account.provider)?;
        let subject = self.subject_type.datum(&account.subject)?;
        let looked = self.probe.as_ref().map(|(probe, subject_first)| {
            let keys = if *subject_first {
                [subject, provider]
            } else {
                [provider, subject]
            };
            probe.look(&keys, attach::still_holds, |row| {
                self.user_type.print(row, 0).map(UserId::new)
            })
        });
        match looked {
            Some(Looked::Row(user)) => user,
            Some(Looked::Nothing) => None,
            Some(Looked::Changed) | None => match self.find_by_plan(provider, subject) {
                Ok(user) => user,
                Err(now) => now.sound()?.user_of(account),
            },
        }
    }

    /// What is found, or the table that is attached meanwhile.
    fn find_by_plan(
        &self,
        provider: pg_sys::Datum,
        subject: pg_sys::Datum,
    ) -> Result<Option<UserId>, Rc<Attached<Self>>> {
        let _acting = ActingAs::reader(self.table.owner);
        let types = [self.provider_type, self.subject_type].map(IdType::parameter);
        let plan = self.find.on(&self.table, Sees::Latest, &types, |table| {
            format!(
                "SELECT i.{user}::pg_catalog.text FROM {table} AS i
                 WHERE i.{provider} OPERATOR(pg_catalog.=) $1 AND i.{subject} OPERATOR(pg_catalog.=) $2 LIMIT 2",
                user = quote_identifier(&self.user_column),
                provider = quote_identifier(&self.provider_column),
                subject = quote_identifier(&self.subject_column),
                table = table.as_source(),
            )
        });
        if let Some(now) = successor(self, current) {
            return Err(now);
        }
        let mut users = plan.run(Sees::Latest, &[Some(provider), Some(subject)], 0, |row| {
            row.get::<String>(1).map(UserId::new)
        });
        Ok(users.pop().flatten().filter(|_| users.is_empty()))
    }
}

impl AttachedTable for Identities {
    fn relation(&self) -> pg_sys::Oid {
        self.relation
    }
}
