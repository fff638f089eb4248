//! However an identities row goes away or changes, listeners hear of its former user, and what was authenticated by the row ends.

use pgrx::AllocatedByPostgres;
use pgrx::prelude::*;

use super::binding::current;
use super::table::{Account, Identities};
use super::unlinked;
use crate::accounts;
use crate::attach::{UserId, as_it_is};
use crate::invalidation::{self, Event, Reason};
use crate::pg::boundary::sql;
use crate::pg::trigger_row::TriggerRow;

#[pg_trigger(sql = false)]
fn identities_after_row<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByPostgres>>, PgHeapTupleError> {
    sql(|| {
        let attached = current();
        let identities = (attached.if_any()?)
            .filter(|table| trigger.relid().is_ok_and(|relation| table.covers(relation)));
        if let (Some(identities), Some(old)) = (identities, TriggerRow::old(trigger))
            && let Some((account, user)) = linked(identities, &old)
        {
            let deleted = TriggerRow::new(trigger).is_none();
            // An UPDATE that moves the row to another partition deletes it in this one.
            let moved = deleted
                && identities.table.kind == b'p'
                && identities.user_of(&account).as_ref() == Some(&user);
            if !moved {
                if let Some(event) = event(&user) {
                    invalidation::record(event);
                }
                unlinked::mark(&account);
            }
        }
        Ok(())
    });
    Ok(as_it_is(trigger))
}

/// The account of a row and its user; None for a row that links nobody.
fn linked(identities: &Identities, row: &TriggerRow<'_>) -> Option<(Account, UserId)> {
    let text = |column: &str| row.text(row.column(column)?);
    let account = Account {
        provider: text(&identities.provider_column)?,
        subject: text(&identities.subject_column)?,
    };
    Some((account, UserId::new(text(&identities.user_column)?)))
}

/// What a cache that holds tokens of the account must hear. Nothing where the user is gone, too: the deletion has an event of its
/// own.
fn event(user: &UserId) -> Option<Event> {
    match accounts::current().if_any() {
        Ok(users) => users?.find(user).map(|user| Event::User {
            id: user.id,
            session_version: user.session_version,
            reason: Reason::new("unlinked"),
        }),
        // It cannot be told who that was.
        Err(_) => Some(Event::Flush),
    }
}

#[pg_trigger(sql = false)]
fn identities_after_truncate<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, impl WhoAllocated>>, PgTriggerError> {
    let relation = trigger.relid()?;
    sql(move || {
        let attached = current();
        if attached
            .if_any()?
            .is_some_and(|table| table.covers(relation))
        {
            invalidation::record(Event::Flush);
            unlinked::mark_all();
        }
        Ok(())
    });
    Ok(trigger.new())
}
