//! What is counted for the operator, by database: see `auth.statistics()`. Nothing is, where the library is not preloaded.

use jose::Refusal;

use crate::error::{Error, Result};
use crate::pg::{counters, preload};

/// What is counted, without those of which there is one for each reason.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// A token was verified for a caller.
    Verified,
    /// An API key was.
    ApiKeyVerified,
    /// An access token was made.
    Issued,
    /// A verification found its signature checked before.
    CacheHit,
    /// A committed transaction raised a session version.
    Bumped,
    /// What ran under an identity was ended with it.
    HungUp,
}

const COUNTS: [(Count, &str); 6] = [
    (Count::Verified, "verified"),
    (Count::ApiKeyVerified, "api_key_verified"),
    (Count::Issued, "issued"),
    (Count::CacheHit, "cache_hit"),
    (Count::Bumped, "bumped"),
    (Count::HungUp, "hung_up"),
];

/// A kind of event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Of a user.
    User,
    /// Of an API key.
    ApiKey,
    /// Of a token.
    Token,
    /// Of a session.
    Session,
    /// Of an issuer.
    Issuer,
    /// Of everything.
    Flush,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::User, "user"),
    (Kind::ApiKey, "api_key"),
    (Kind::Token, "token"),
    (Kind::Session, "session"),
    (Kind::Issuer, "issuer"),
    (Kind::Flush, "flush"),
];

const EVENTS: usize = 16;
const REFUSED: usize = EVENTS + KINDS.len();
const API_KEY_REFUSED: usize = REFUSED + Refusal::ALL.len();
const _: () = assert!(
    COUNTS.len() <= EVENTS && API_KEY_REFUSED + Refusal::ALL.len() <= counters::COUNTERS,
    "all counters have room in a set"
);

fn add(first: usize, place: Option<usize>, by: u64) {
    if let Some(place) = place {
        counters::add(first + place, by);
    }
}

/// Counts something, so many times.
pub fn count(what: Count, times: u64) {
    add(
        0,
        COUNTS.iter().position(|(count, _)| *count == what),
        times,
    );
}

/// Counts a committed event.
pub fn count_event(kind: Kind) {
    add(
        EVENTS,
        KINDS.iter().position(|(known, _)| *known == kind),
        1,
    );
}

/// Counts the verification of a token for a caller.
pub fn token<T>(outcome: Result<T>) -> Result<T> {
    verification(outcome, Count::Verified, REFUSED)
}

/// Counts the verification of an API key for a caller.
pub fn api_key<T>(outcome: Result<T>) -> Result<T> {
    verification(outcome, Count::ApiKeyVerified, API_KEY_REFUSED)
}

fn verification<T>(outcome: Result<T>, good: Count, refused: usize) -> Result<T> {
    match &outcome {
        Ok(_) => count(good, 1),
        Err(Error::Refused(why)) => {
            add(
                refused,
                Refusal::ALL.iter().position(|known| *known == why.reason),
                1,
            );
        }
        Err(_) => {}
    }
    outcome
}

/// A row of `auth.statistics()`: name, reason, total.
pub type Line = (String, Option<String>, i64);

/// All counters of this database.
pub fn lines() -> Result<Vec<Line>> {
    let totals = kept()?;
    let line = |place: usize, name: &str, reason: Option<&str>| {
        let total = totals.get(place).copied().unwrap_or(0);
        (
            name.to_owned(),
            reason.map(str::to_owned),
            i64::try_from(total).unwrap_or(i64::MAX),
        )
    };
    let mut lines = Vec::new();
    for (place, (_, name)) in COUNTS.iter().enumerate() {
        lines.push(line(place, name, None));
    }
    for (place, (_, kind)) in KINDS.iter().enumerate() {
        lines.push(line(EVENTS + place, "event", Some(kind)));
    }
    for (first, name) in [(REFUSED, "refused"), (API_KEY_REFUSED, "api_key_refused")] {
        for (place, refusal) in Refusal::ALL.iter().enumerate() {
            lines.push(line(first + place, name, Some(refusal.code())));
        }
    }
    Ok(lines)
}

/// Begins anew with 0.
pub fn reset() -> Result<()> {
    kept()?;
    counters::reset();
    Ok(())
}

fn kept() -> Result<[u64; counters::COUNTERS]> {
    if !preload::is_preloaded() {
        return Err(Error::NOT_PRELOADED);
    }
    counters::totals().ok_or(Error::NotSetUp(
        "there are statistics of 1024 databases already",
        "Restart the server: counting begins anew, without databases that are gone.",
    ))
}
