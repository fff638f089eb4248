//! The columns of a table that is being attached: which types they may have, and which names.

use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::catalog;

/// Types of a column of ids, and what they are called.
pub const ID_TYPES: &[pg_sys::Oid] = &[
    pg_sys::TEXTOID,
    pg_sys::VARCHAROID,
    pg_sys::UUIDOID,
    pg_sys::INT8OID,
    pg_sys::INT4OID,
];

/// See [`ID_TYPES`].
pub const ID_TYPE_NAMES: &str = "text, varchar, uuid, bigint or integer";

/// Types of a version column.
pub const VERSION_TYPES: &[pg_sys::Oid] = &[pg_sys::INT4OID, pg_sys::INT8OID];

/// How a missing version column is added: no table rewrite.
pub const VERSION_DEFINITION: &str = "bigint NOT NULL DEFAULT 0";

/// The column `name`, which must be there and of one of `types`.
pub fn require_column(
    relation: pg_sys::Oid,
    name: &str,
    types: &[pg_sys::Oid],
    expected: &str,
) -> Result<catalog::Column> {
    let column = catalog::column(relation, name)
        .ok_or_else(|| Error::Argument(format!("column \"{name}\" does not exist")))?;
    if column.generated || !types.contains(&column.type_oid) {
        return Err(Error::Argument(format!(
            "column \"{name}\" must be an ordinary column of type {expected}"
        )));
    }
    Ok(column)
}

/// The column that was named, or the customary one when the table has it. One of an unfitting type is refused,
/// not passed over: it may say who must not get in.
pub fn optional_column(
    relation: pg_sys::Oid,
    named: Option<&str>,
    customary: &str,
    types: &[pg_sys::Oid],
    expected: &str,
) -> Result<Option<String>> {
    let name = match named {
        Some(name) => name,
        None if catalog::column(relation, customary).is_some() => customary,
        None => return Ok(None),
    };
    require_column(relation, name, types, expected).map(|_| Some(name.to_owned()))
}

/// May a missing column be added under that name?
pub(super) fn can_be_added(name: &str) -> Result<()> {
    const SYSTEM: [&str; 6] = ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"];
    if name.is_empty() || SYSTEM.contains(&name) {
        return Err(Error::Argument(format!(
            "column \"{name}\" cannot be added"
        )));
    }
    Ok(())
}

/// Columns with different tasks must be different columns.
pub fn require_distinct(columns: &[Option<&String>]) -> Result<()> {
    let mut names: Vec<&String> = columns.iter().copied().flatten().collect();
    names.sort_unstable();
    match names.array_windows().find(|[one, other]| one == other) {
        Some([name, _]) => Err(Error::Argument(format!(
            "column \"{name}\" cannot have two tasks"
        ))),
        None => Ok(()),
    }
}
