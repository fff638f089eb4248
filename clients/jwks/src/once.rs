//! One run: each set is fetched once.

use std::collections::BTreeSet;

use crate::arguments::Arguments;
use crate::database::{Database, Source};
use crate::failure::Failure;
use crate::fetch::Fetches;
use crate::log;
use crate::place::Place;
use crate::take::take;

/// True: each issuer's set was taken.
pub async fn once(place: &Place, arguments: &Arguments) -> Result<bool, Failure> {
    let mut database = Database::connect(place).await?;
    let sources = database.sources().await?;
    let mut is_whole = all_known(&arguments.replace, &sources);
    let mut waiting = sources.into_iter();
    let mut fetches = Fetches::new(arguments.allow_http);
    loop {
        while fetches.has_room()
            && let Some(source) = waiting.next()
        {
            fetches.start(source);
        }
        let Some((source, fetched)) = fetches.next().await else {
            return Ok(is_whole);
        };
        let any = arguments.replace.contains(&source.issuer);
        let taken = match fetched {
            Ok(fetched) => take(&mut database, &source, &fetched, any).await,
            Err(failure) => Err(failure),
        };
        match taken {
            Ok(None) => {}
            Ok(Some(change)) => log::say(&source.issuer, &change),
            Err(failure) => {
                is_whole = false;
                log::say(&source.issuer, &format!("kept as it was: {failure}"));
            }
        }
    }
}

fn all_known(replace: &BTreeSet<String>, sources: &[Source]) -> bool {
    let is_unknown = |issuer: &&String| sources.iter().all(|source| source.issuer != **issuer);
    let unknown: Vec<_> = replace.iter().filter(is_unknown).collect();
    for issuer in &unknown {
        log::say(issuer, "there is no such issuer with a jwks_uri");
    }
    unknown.is_empty()
}
