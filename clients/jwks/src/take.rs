//! Has the database take what was fetched, or says why it keeps what it has.

use crate::database::{Database, Source};
use crate::failure::Failure;
use crate::fetch::Fetched;
use crate::key_set::KeySet;
use crate::log;

/// Takes a set. Where it changed the issuer's keys, the answer says how. With `any` also one that has none of the present keys.
pub async fn take(
    database: &mut Database,
    source: &Source,
    fetched: &Fetched,
    any: bool,
) -> Result<Option<String>, Failure> {
    let former = database.present(&source.issuer).await?;
    let before = KeySet::read(&former)?;
    if !any {
        fetched.keys.may_replace(&before)?;
    }
    let warnings = database.refresh(source, &fetched.document).await?;
    let present = database.present(&source.issuer).await?;
    if present == former {
        return Ok(None);
    }
    for warning in warnings {
        log::say(&source.issuer, &warning);
    }
    let after = KeySet::read(&present)?;
    let (new, gone) = (after.beside(&before), before.beside(&after));
    Ok(Some(format!(
        "keys: {} ({new} new, {gone} gone)",
        after.len()
    )))
}
