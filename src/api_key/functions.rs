//! The SQL functions of API keys. Declared in `sql/functions.sql`.

use jose::{Fingerprint, Refusal};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::binding::current;
use super::create::{self, NewKey};
use super::triggers;
use super::verify::{Found, check, find, verify};
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::one_row::OneRow;
use crate::statistics;

#[pg_extern(sql = false)]
fn api_key_fingerprint(key: &str) -> String {
    Fingerprint::of(key).into_string()
}

#[pg_extern(sql = false)]
fn create_api_key(
    user_id: Option<&str>,
    name: Option<&str>,
    expires_at: Option<TimestampWithTimeZone>,
    prefix: Option<&str>,
) -> OneRow {
    sql(|| {
        let missing = |argument| Error::Argument(format!("{argument} must not be NULL"));
        let attached = current();
        let NewKey {
            id,
            key,
            fingerprint,
        } = create::create(
            attached.api_keys()?,
            &UserId::new(user_id.ok_or(Refusal::UnknownUser)?),
            name.ok_or_else(|| missing("name"))?,
            expires_at,
            prefix.ok_or_else(|| missing("prefix"))?,
        )?;
        Ok(OneRow::default()
            .with(c"id", id)
            .with(c"key", key)
            .with(c"fingerprint", fingerprint.into_string()))
    })
}

/// The columns in which the functions describe a key.
fn described(row: OneRow, found: Found) -> OneRow {
    let Found {
        row: key,
        fingerprint,
    } = found;
    row.with(c"id", key.id)
        .with(
            c"user_id",
            key.user_id.map_or_else(String::new, UserId::into_string),
        )
        .with(c"session_version", key.session_version)
        .with(c"fingerprint", fingerprint.into_string())
        .with(
            c"expires_at",
            key.expires_at.and_then(clock::to_timestamptz),
        )
}

#[pg_extern(sql = false)]
fn verify_api_key(key: Option<&str>) -> OneRow {
    sql(|| {
        let attached = current();
        let keys = attached.api_keys()?;
        let found = (key.ok_or(Refusal::UnknownApiKey.into()))
            .and_then(|key| verify(keys, key, clock::now()));
        Ok(described(OneRow::default(), statistics::api_key(found)?))
    })
}

#[pg_extern(sql = false)]
fn check_api_key(key: Option<&str>) -> OneRow {
    sql(|| {
        let attached = current();
        let keys = attached.api_keys()?;
        let now = clock::now();
        let mut found = refused(
            key.ok_or(Error::from(Refusal::UnknownApiKey))
                .and_then(|key| find(keys, key, now)),
        )?;
        let reason = match &mut found {
            Ok(found) => refused(check(&mut found.row, now))?.err(),
            Err(refusal) => Some(*refusal),
        };
        // It answers; the refusal counts all the same.
        let _ = statistics::api_key(reason.map_or(Ok(()), |reason| Err(reason.into())));
        let verdict = OneRow::default()
            .with(c"valid", reason.is_none())
            .with(c"reason", reason.map(Refusal::code));
        Ok(match found {
            Ok(found) => described(verdict, found),
            Err(_) => verdict,
        })
    })
}

/// Tells a refusal of the key, which is an answer, from an error, which is none.
fn refused<T>(outcome: Result<T>) -> Result<Result<T, Refusal>> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Refused(refused)) => Ok(Err(refused.reason)),
        Err(error) => Err(error),
    }
}

#[pg_extern(sql = false)]
fn revoke_api_key(id: &str) -> bool {
    sql(|| {
        let attached = current();
        let keys = attached.api_keys()?;
        triggers::revoking(|| keys.end(id))
    })
}
