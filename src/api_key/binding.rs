//! The API-key table as it is attached.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::prelude::*;

use super::table::{ApiKeys, TimeColumn};
use crate::attach::{self, Attached, Binding, Bindings};
use crate::error::{Error, Result};
use crate::pg::catalog;
use crate::pg::local::process_local;

process_local! {
    static KEPT: RefCell<Option<Rc<Attached<ApiKeys>>>> = const { RefCell::new(None) };
}

/// The API-key table as committed now (and as changed by this transaction).
pub fn current() -> Rc<Attached<ApiKeys>> {
    Attached::current(&KEPT, Bindings::api_keys, resolve)
}

impl Attached<ApiKeys> {
    /// The API-key table; 55000 also when none is attached.
    pub fn api_keys(&self) -> Result<&ApiKeys> {
        self.if_any()?.ok_or(Error::NO_API_KEYS)
    }
}

fn resolve(binding: &Binding, table: catalog::Relation) -> Result<ApiKeys> {
    let [user, fingerprint, hash, prefix, expires, last_used] = &binding.key_columns;
    let (Some(user), Some(fingerprint)) = (user, fingerprint) else {
        return Err(Error::BROKEN_API_KEYS);
    };
    let columns = [
        Some(&binding.id_column),
        Some(&binding.version_column),
        binding.active_column.as_ref(),
        Some(user),
        Some(fingerprint),
        hash.as_ref(),
        prefix.as_ref(),
        expires.as_ref(),
        last_used.as_ref(),
    ];
    binding.check(&columns, Error::BROKEN_API_KEYS)?;
    let time = |name: Option<&String>| {
        let column = catalog::column(binding.relation, name?)?;
        Some(TimeColumn {
            name: name?.clone(),
            has_zone: column.type_oid == pg_sys::TIMESTAMPTZOID,
        })
    };
    let customary = |name: &str| catalog::column(binding.relation, name).is_some();
    let id_type = binding
        .id_type(&binding.id_column)
        .ok_or(Error::BROKEN_API_KEYS)?;
    let user_type = binding.id_type(user).ok_or(Error::BROKEN_API_KEYS)?;
    Ok(ApiKeys {
        relation: binding.relation,
        table,
        id_type,
        user_type,
        user_column: user.clone(),
        fingerprint_column: fingerprint.clone(),
        hash_column: hash.clone(),
        prefix_column: prefix.clone(),
        expires: time(expires.as_ref()),
        last_used: time(last_used.as_ref()),
        created: time(
            customary("created_at")
                .then(|| "created_at".to_owned())
                .as_ref(),
        ),
        updated: time(
            customary("updated_at")
                .then(|| "updated_at".to_owned())
                .as_ref(),
        ),
        has_name: customary("name"),
        can_defer_triggers: attach::can_defer_triggers(binding.relation),
        id_column: binding.id_column.clone(),
        version_column: binding.version_column.clone(),
        active_column: binding.active_column.clone(),
        plans: Default::default(),
    })
}
