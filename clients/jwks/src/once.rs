//! One run: each set is fetched once.

use std::collections::BTreeSet;

use tokio::task::JoinSet;

use crate::arguments::Arguments;
use crate::database::{Database, Source};
use crate::failure::Failure;
use crate::fetch::{AT_ONCE, Fetched, fetch};
use crate::log;
use crate::place::Place;
use crate::take::take;

/// True: each issuer's set was taken.
pub async fn once(place: &Place, arguments: &Arguments) -> Result<bool, Failure> {
    let mut database = Database::connect(place).await?;
    let sources = database.sources().await?;
    let mut is_whole = all_known(&arguments.replace, &sources);
    let mut waiting = sources.into_iter();
    let mut fetches = JoinSet::new();
    loop {
        for source in waiting.by_ref().take(AT_ONCE - fetches.len()) {
            let allow_http = arguments.allow_http;
            fetches.spawn(async move {
                let fetched = fetch(&source, allow_http).await;
                (source, fetched)
            });
        }
        let Some(ended) = fetches.join_next().await else {
            return Ok(is_whole);
        };
        let (source, fetched): (Source, Result<Fetched, Failure>) =
            ended.map_err(|error| Failure::cause(&error))?;
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
