//! A binding follows its table, not the name.

use super::binding::bindings;
use crate::error::warn;
use crate::pg::catalog;

/// After a table was renamed to `name`, or one of that name was moved: tells whether it was an attached one.
pub fn tell(name: &str) {
    let bindings = bindings();
    for binding in bindings.all() {
        let Some(table) = catalog::relation(binding.relation) else {
            continue;
        };
        let was = &binding.table_name;
        if table.name == name && was.as_ref().is_some_and(|was| *was != table.qualified_name) {
            warn(format!(
                "{} is still the attached table: its binding went with it from {}",
                table.qualified_name,
                was.as_deref().unwrap_or_default()
            ));
        }
    }
}
