//! Issuers whose names are templates.

use jose::IssuerTemplate;

use crate::error::{Error, Result, quoted};
use crate::pg::plan::{Sees, query};

/// Refuses one of `issuers` that is a template, if another row's could name the same `iss`.
pub fn refuse_ambiguous(issuers: &[String]) -> Result<()> {
    let changed: Vec<_> = (issuers.iter())
        .filter_map(|name| Some((name, IssuerTemplate::parse(name)?)))
        .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let rows: Vec<String> = query(
        Sees::Transaction,
        "SELECT i.issuer FROM auth.issuers AS i WHERE strpos(i.issuer, '{') > 0",
        &[],
        |row| row.required(1),
    );
    for (name, template) in changed.iter().filter(|(name, _)| rows.contains(name)) {
        let overlaps = |other: &&String| {
            other != name && IssuerTemplate::parse(other).is_some_and(|t| t.overlaps(template))
        };
        if let Some(other) = rows.iter().find(overlaps) {
            return Err(Error::Argument(format!(
                "issuers {} and {} could name the same iss",
                quoted(name),
                quoted(other)
            )));
        }
    }
    Ok(())
}
