//! Whom we trust: issuers, which are rows, and their keys, which functions make.

mod add;
mod bundle;
mod cache;
mod fetch;
mod functions;
mod guard;
mod keys;
mod restored;
mod secrets;
mod store;
mod stored;
mod template;

pub use cache::{Issuer, Trust, UserKey, current, ended_sessions_of, still_holds};
pub use restored::MARK;
pub use stored::ActiveKey;

use pgrx::prelude::*;

use crate::invalidation::{self, Event};
use crate::pg::boundary::sql;
use crate::pg::{catalog, watch};

/// Trigger of `auth.issuers`, `auth.signing_key_store` and `auth.signing_secrets`: every backend reads them anew, and listeners hear
/// of the issuer.
#[pg_trigger(sql = false)]
fn trust_changed<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, impl WhoAllocated>>, PgTriggerError> {
    let relation = trigger.relid()?;
    let rows: Vec<_> = trigger.old().into_iter().chain(trigger.new()).collect();
    let mut issuers: Vec<String> = Vec::new();
    for row in &rows {
        if let Ok(Some(issuer)) = row.get_by_name::<String>("issuer")
            && !issuers.contains(&issuer)
        {
            issuers.push(issuer);
        }
    }
    let whole_table = rows.is_empty();
    sql(move || {
        watch::announce(relation);
        if relation == catalog::auth_relation(c"issuers") {
            template::refuse_ambiguous(&issuers)?;
        }
        if whole_table {
            invalidation::record(Event::Flush);
        }
        for issuer in issuers {
            invalidation::record(Event::Issuer { issuer });
        }
        Ok(())
    });
    Ok(trigger.new().or_else(|| trigger.old()))
}
