//! The identities table as it is attached.

use std::cell::RefCell;
use std::rc::Rc;

use super::table::{AccountIndex, Identities};
use crate::attach::{Attached, Binding, Bindings};
use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::local::process_local;

process_local! {
    static KEPT: RefCell<Option<Rc<Attached<Identities>>>> = const { RefCell::new(None) };
}

/// The identities table as committed now (and as changed by this transaction).
pub fn current() -> Rc<Attached<Identities>> {
    Attached::current(&KEPT, Bindings::identities, resolve)
}

impl Attached<Identities> {
    /// The identities table; 55000 also when none is attached.
    pub fn identities(&self) -> Result<&Identities> {
        self.if_any()?.ok_or(Error::NO_IDENTITIES)
    }
}

fn resolve(binding: &Binding, table: catalog::Relation) -> Result<Identities> {
    const BROKEN: Error = Error::BROKEN_IDENTITIES;
    let [user, ..] = &binding.key_columns;
    let [provider, subject] = &binding.account_columns;
    let (Some(user), Some(provider), Some(subject)) = (user, provider, subject) else {
        return Err(BROKEN);
    };
    binding.check(&[Some(user), Some(provider), Some(subject)], BROKEN)?;
    let id_type = |column| binding.id_type(column).ok_or(BROKEN);
    let index = AccountIndex::find(binding.relation, provider, subject).ok_or(BROKEN)?;
    Ok(Identities {
        relation: binding.relation,
        probe: index.probe(binding.relation, user),
        user_type: id_type(user)?,
        provider_type: id_type(provider)?,
        subject_type: id_type(subject)?,
        user_column: user.clone(),
        provider_column: provider.clone(),
        subject_column: subject.clone(),
        table,
        find: Default::default(),
        marks: super::unlinked::probe(),
    })
}
