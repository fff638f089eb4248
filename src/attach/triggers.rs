//! What the triggers on an attached table share.

use pgrx::AllocatedByPostgres;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use crate::error::{Error, Result};

/// `OLD.c` and `NEW.c` differ, for columns whose type is one that PostgreSQL can compare.
pub fn changes(column: &str) -> String {
    let column = quote_identifier(column);
    format!("OLD.{column} IS DISTINCT FROM NEW.{column}")
}

/// The row that an unconcerned row trigger returns.
pub fn as_it_is<'a>(trigger: &'a PgTrigger<'a>) -> Option<PgHeapTuple<'a, AllocatedByPostgres>> {
    trigger.new().or_else(|| trigger.old())
}

/// Does the trigger's WHEN say that this change ends the sessions? Such a trigger has an argument.
pub fn is_bump(trigger: &PgTrigger<'_>) -> bool {
    trigger.trigger().tgnargs > 0
}

/// The version after `old` and `new`: it never goes down, and a bump raises it.
pub fn raised(old: i64, new: i64, bump: bool) -> Result<i64> {
    let floor = if bump {
        old.checked_add(1).ok_or_else(exhausted)?
    } else {
        old
    };
    Ok(new.max(floor))
}

/// Refuses a statement's version past half of what the column can hold, so that every row can always be raised further. Up to
/// `allowed` it is taken all the same: that is a raise by one, or what the history asks for.
pub fn refuse_too_high(is: i64, allowed: i64, half: i64) -> Result<()> {
    if is > half && is > allowed {
        return Err(Error::Argument(
            "the version is past half of what its column can hold".to_owned(),
        ));
    }
    Ok(())
}

/// The version cannot be raised any more.
pub fn exhausted() -> Error {
    Error::Argument(
        "the version column has reached the end of its type: make it a bigint".to_owned(),
    )
}
