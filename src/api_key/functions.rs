//! The SQL functions of API keys. Declared in `sql/functions.sql`.

use jose::Refusal;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use super::binding::current;
use super::create::{self, NewKey};
use super::table::KeyRow;
use super::triggers;
use super::verify::{Found, check, find, verify};
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::clock;

#[pg_extern(sql = false)]
fn api_key_fingerprint(key: &str) -> String {
    jose::fingerprint(key)
}

#[pg_extern(sql = false)]
fn create_api_key(
    user_id: Option<&str>,
    name: Option<&str>,
    expires_at: Option<TimestampWithTimeZone>,
    prefix: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(id, String),
        name!(key, String),
        name!(fingerprint, String),
    ),
> {
    TableIterator::once(sql(|| {
        let missing = |argument| Error::Argument(format!("{argument} must not be NULL"));
        let attached = current();
        let NewKey {
            id,
            key,
            fingerprint,
        } = create::create(
            attached.api_keys()?,
            user_id.ok_or(Refusal::UnknownUser)?,
            name.ok_or_else(|| missing("name"))?,
            expires_at,
            prefix.ok_or_else(|| missing("prefix"))?,
        )?;
        Ok((id, key, fingerprint))
    }))
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of the contract")]
fn verify_api_key(
    key: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(id, String),
        name!(user_id, String),
        name!(session_version, i64),
        name!(fingerprint, String),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    TableIterator::once(sql(|| {
        let attached = current();
        let keys = attached.api_keys()?;
        let key = key.ok_or(Refusal::UnknownApiKey)?;
        let Found { row, fingerprint } = verify(keys, key, clock::now())?;
        let expires_at = row.expires_at.and_then(clock::to_timestamptz);
        Ok((
            row.id,
            row.user_id,
            row.session_version,
            fingerprint,
            expires_at,
        ))
    }))
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of the contract")]
fn check_api_key(
    key: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(valid, bool),
        name!(reason, Option<String>),
        name!(id, Option<String>),
        name!(user_id, Option<String>),
        name!(session_version, Option<i64>),
        name!(fingerprint, Option<String>),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    TableIterator::once(sql(|| {
        let attached = current();
        let keys = attached.api_keys()?;
        let found = refused(
            key.ok_or(Error::Refused(Refusal::UnknownApiKey))
                .and_then(|key| find(keys, key)),
        )?;
        let Found { row, fingerprint } = match found {
            Ok(found) => found,
            Err(refusal) => {
                return Ok((
                    false,
                    Some(refusal.code().to_owned()),
                    None,
                    None,
                    None,
                    None,
                    None,
                ));
            }
        };
        let reason = refused(check(&row, clock::now()))?.err();
        let KeyRow {
            id,
            user_id,
            session_version,
            expires_at,
            ..
        } = row;
        Ok((
            reason.is_none(),
            reason.map(|refusal| refusal.code().to_owned()),
            Some(id),
            Some(user_id),
            Some(session_version),
            Some(fingerprint),
            expires_at.and_then(clock::to_timestamptz),
        ))
    }))
}

/// Parts a refusal of the key, which is an answer, from what is nobody's answer.
fn refused<T>(outcome: Result<T>) -> Result<Result<T, Refusal>> {
    match outcome {
        Ok(value) => Ok(Ok(value)),
        Err(Error::Refused(refusal)) => Ok(Err(refusal)),
        Err(error) => Err(error),
    }
}

#[pg_extern(sql = false)]
fn revoke_api_key(id: &str) -> bool {
    sql(|| {
        let attached = current();
        let keys = attached.api_keys()?;
        Ok(triggers::revoking(|| keys.end(id)))
    })
}
