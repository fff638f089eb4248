//! The users table as it is attached.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::prelude::*;

use super::history;
use super::lookup::Ways;
use super::users::Users;
use crate::attach::{Attached, Binding, Bindings};
use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::local::process_local;

process_local! {
    static KEPT: RefCell<Option<Rc<Attached<Users>>>> = const { RefCell::new(None) };
}

/// The users table as committed now (and as changed by this transaction).
pub fn current() -> Rc<Attached<Users>> {
    Attached::current(&KEPT, Bindings::users, resolve)
}

impl Attached<Users> {
    /// The users table; 55000 also when none is attached.
    pub fn users(&self) -> Result<&Users> {
        self.if_any()?.ok_or(Error::NO_USERS)
    }
}

fn resolve(binding: &Binding, table: catalog::Relation) -> Result<Users> {
    let columns = [
        Some(&binding.id_column),
        Some(&binding.version_column),
        binding.active_column.as_ref(),
    ];
    binding.check(&columns, Error::BROKEN_USERS)?;
    let id_type = binding
        .id_type(&binding.id_column)
        .ok_or(Error::BROKEN_USERS)?;
    let has_bigint_version = catalog::column(binding.relation, &binding.version_column)
        .is_some_and(|column| column.type_oid == pg_sys::INT8OID);
    let read: Vec<&str> = columns.into_iter().flatten().map(String::as_str).collect();
    let index = catalog::unique_index(binding.relation, &[&binding.id_column]);
    let id = (binding.id_column.as_str(), id_type);
    Ok(Users {
        ways: Ways::by_id(binding.relation, id, index.as_ref(), &read),
        has_bigint_version,
        relation: binding.relation,
        table,
        id_column: binding.id_column.clone(),
        id_type,
        version_column: binding.version_column.clone(),
        active_column: binding.active_column.clone(),
        has_unique_ids: index.is_some(),
        version_floor: binding.version_floor,
        bumped_floor: binding.bumped_floor,
        history: history::probe(),
        bump: Default::default(),
        keep: Default::default(),
    })
}
