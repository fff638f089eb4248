//! Has the database take what was fetched, or says why it keeps what it has.

use crate::database::{Database, Source};
use crate::failure::Failure;
use crate::fetch::Fetched;
use crate::log;

/// Takes a set. Where it changed the issuer's keys, the answer says how. With `any` also one that has none of the present keys.
pub async fn take(
    database: &mut Database,
    source: &Source,
    fetched: &Fetched,
    any: bool,
) -> Result<Option<String>, Failure> {
    let before = database.present(&source.issuer).await?;
    if !any {
        fetched.keys.may_replace(&before)?;
    }
    let warnings = database.refresh(source, &fetched.document).await?;
    let after = database.present(&source.issuer).await?;
    if after == before {
        return Ok(None);
    }
    for warning in warnings {
        log::say(&source.issuer, &warning);
    }
    let (new, gone) = (after.beside(&before), before.beside(&after));
    Ok(Some(format!(
        "{} keys, {new} new, {gone} gone",
        after.len()
    )))
}
