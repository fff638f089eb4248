//! At most one issuer is the default one, and the first row becomes it. No index says so: it would be in the way of
//! `INSERT … ON CONFLICT DO NOTHING`. Only a row that was really inserted or updated takes the place of the former one.

use pgrx::AllocatedByPostgres;
use pgrx::prelude::*;

use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::plan::{Sees, query, text};
use crate::pg::trigger::{TriggerRow, is_before};
use crate::pg::{catalog, scan};

/// Trigger of `auth.issuers`: BEFORE INSERT, and AFTER the insert or update of a default row. It acts as the extension's
/// owner: whoever may insert a row needs no more rights.
#[pg_trigger(sql = false)]
fn keep_one_default_issuer<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgHeapTupleError> {
    Ok(sql(|| {
        let row = TriggerRow::new(trigger);
        if is_before(trigger) {
            let first = row.and_then(|row| as_the_first(&row));
            return Ok(first.or_else(|| trigger.new()));
        }
        if let Some(issuer) = row.and_then(|row| row.text(row.column("issuer")?)) {
            take_the_place(&issuer)?;
        }
        Ok(trigger.new())
    }))
}

/// The new row as the default one, where there is none; nothing else of it changes.
fn as_the_first<'a>(
    row: &TriggerRow<'a>,
) -> Option<PgHeapTuple<'a, AllocatedByPostgres>> {
    let column = row.column("is_default")?;
    if row.boolean(column) == Some(true) || issuers().iter().any(|(_, is_default)| *is_default) {
        return None;
    }
    row.with_boolean(column, true)
}

fn take_the_place(issuer: &str) -> Result<()> {
    // One at a time: of two that commit one after the other, the later is the default.
    catalog::take_turns(catalog::auth_relation(c"issuers"));
    let issuers = issuers();
    let wrong = issuers
        .iter()
        .filter(|(name, is_default)| *is_default != (name == issuer))
        .count();
    if wrong == 0 || !issuers.iter().any(|(name, _)| name == issuer) {
        return Ok(());
    }
    let changed = query(
        Sees::Transaction,
        "UPDATE auth.issuers AS i SET is_default = (i.issuer = $1)
         WHERE i.is_default <> (i.issuer = $1) RETURNING true",
        &[text(issuer)],
        |_| (),
    );
    // A transaction's older snapshot does not see them all.
    if changed.len() < wrong {
        return Err(Error::Retry);
    }
    Ok(())
}

/// Every issuer as it is now, and whether it is the default one.
fn issuers() -> Vec<(String, bool)> {
    scan::rows(catalog::auth_relation(c"issuers"), |row| {
        (row.required(c"issuer"), row.required(c"is_default"))
    })
}
