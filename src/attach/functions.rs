//! The SQL functions of attached tables. Declared in `sql/functions.sql`.

use pgrx::prelude::*;

use super::{partitions, renames};
use crate::pg::boundary::sql;
use crate::pg::ddl::Command;
use crate::pg::{catalog, watch};

/// Trigger of the tables that describe an attached table: every backend reads them anew.
#[pg_trigger(sql = false)]
fn configuration_changed<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, impl WhoAllocated>>, PgTriggerError> {
    let relation = trigger.relid()?;
    sql(move || {
        watch::announce(relation);
        Ok(())
    });
    Ok(trigger.new().or_else(|| trigger.old()))
}

/// Event trigger of the commands that make partitions or rename tables. It has nothing to say where the extension is not,
/// or not yet.
#[pg_extern(sql = false)]
fn follow_tables(command: Command) {
    sql(|| {
        if catalog::has_auth_relation(c"attached_tables") {
            match command {
                Command::NewPartition => partitions::cover_new(),
                Command::Renamed(name) | Command::Moved(name) => renames::tell(&name),
                Command::Other => {}
            }
        }
        Ok(())
    });
}
