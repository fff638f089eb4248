//! The SQL functions of attached tables. Declared in `sql/functions.sql`.

use pgrx::prelude::*;

use crate::pg::boundary::sql;
use crate::pg::watch;

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
