//! One-time tokens: e-mail verification, password reset and the like. Only their hashes are stored.

use std::cell::Cell;

use jose::{Fingerprint, Refusal};
use pgrx::datum::{Inet, Interval};
use pgrx::prelude::*;

use super::binding::current;
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::acting::ActingAs;
use crate::pg::boundary::sql;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Sees, query, text};
use crate::pg::snapshot::Command;
use crate::pg::{catalog, clock, transaction};
use crate::staleness;

const HOUR: i64 = 3_600 * 1_000_000;

/// How long a token holds that was asked for without a `ttl`.
fn lifetime(purpose: &str, ttl: Option<Interval>) -> Result<i64> {
    let ttl = ttl.as_ref().map(clock::micros).transpose()?;
    match (ttl, purpose) {
        (_, "") => Err(Error::Argument("purpose must not be empty".to_owned())),
        (_, long) if long.len() > 200 => Err(Error::Argument(
            "purpose is longer than 200 bytes".to_owned(),
        )),
        (Some(ttl), _) if ttl <= 0 => Err(Error::Argument("ttl must be positive".to_owned())),
        (Some(ttl), _) => Ok(ttl),
        (None, "email_verification") => Ok(24 * HOUR),
        (None, "password_reset") => Ok(HOUR),
        (None, _) => Err(Error::Argument("this purpose needs a ttl".to_owned())),
    }
}

#[pg_extern(sql = false)]
fn issue_one_time_token(
    user_id: Option<&str>,
    purpose: Option<&str>,
    ttl: Option<Interval>,
    ip: Option<Inet>,
    user_agent: Option<&str>,
) -> String {
    sql(|| {
        let purpose =
            purpose.ok_or_else(|| Error::Argument("purpose must not be NULL".to_owned()))?;
        let lifetime = lifetime(purpose, ttl)?;
        let attached = current();
        let user_id = UserId::new(user_id.ok_or(Refusal::UnknownUser)?);
        // Whoever deletes the user has to see the token, and ends it.
        let account = (attached.users()?.find_to_keep(&user_id)).ok_or(Refusal::UnknownUser)?;
        if !account.active {
            return Err(Refusal::InactiveUser.into());
        }
        let token = jose::random_text()?;
        // One statement puts the newer token in the place of the unused older one, also where a concurrent caller has made that.
        query(
            Sees::Transaction,
            "INSERT INTO auth.one_time_tokens (token_hash, user_id, purpose, expires_at, ip_address, user_agent)
             VALUES ($1, $2, $3, clock_timestamp() + $4 * interval '1 microsecond', $5, $6)
             ON CONFLICT (md5(user_id), purpose) WHERE used_at IS NULL DO UPDATE
                 SET token_hash = excluded.token_hash, user_id = excluded.user_id,
                     created_at = excluded.created_at, expires_at = excluded.expires_at,
                     ip_address = excluded.ip_address, user_agent = excluded.user_agent",
            &[
                text(Fingerprint::of(&token).as_str()),
                text(account.id.into_string()),
                text(purpose),
                (pg_sys::INT8OID, lifetime.into_datum()),
                (pg_sys::INETOID, ip.into_datum()),
                text(user_agent),
            ],
            |_| (),
        );
        Ok(token)
    })
}

#[pg_extern(sql = false)]
fn validate_one_time_token(token: &str, purpose: &str) -> Option<String> {
    sql(|| Ok(holder(token, purpose)?.map(UserId::into_string)))
}

#[pg_extern(sql = false)]
fn consume_one_time_token(token: &str, purpose: &str) -> Option<String> {
    sql(|| {
        if holder(token, purpose)?.is_none() {
            return Ok(None);
        }
        // Checked again in the one statement that consumes: of concurrent callers one finds it unused.
        Ok(query(
            Sees::Transaction,
            "UPDATE auth.one_time_tokens SET used_at = clock_timestamp()
             WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > clock_timestamp()
             RETURNING user_id",
            &[text(Fingerprint::of(token).as_str()), text(purpose)],
            |row| row.required::<String>(1),
        )
        .pop())
    })
}

/// The unused tokens of a user.
macro_rules! unused {
    () => {
        "auth.one_time_tokens AS t
         WHERE pg_catalog.md5(t.user_id) OPERATOR(pg_catalog.=) pg_catalog.md5($1)
           AND t.user_id OPERATOR(pg_catalog.=) $1 AND t.used_at IS NULL"
    };
}

process_local! {
    static EMPTY: Cell<Option<Command>> = const { Cell::new(None) };
    static END_OF_USER: OurPlan =
        OurPlan::new(concat!("DELETE FROM ", unused!()), &[pg_sys::TEXTOID]);
    static LEFT_OF_USER: OurPlan =
        OurPlan::new(concat!("SELECT FROM ", unused!()), &[pg_sys::TEXTOID]);
}

/// A deleted user's tokens end: the next user of that id is somebody else.
pub fn end_of_user(user_id: &UserId) -> Result<()> {
    // Most applications have none, and may delete a million users.
    if has_none() {
        return Ok(());
    }
    let _acting = ActingAs::qualified(catalog::extension_owner());
    let arguments = [user_id.as_str().into_datum()];
    END_OF_USER.with(|plan| plan.run(Sees::Transaction, &arguments, 0, |_| ()));
    transaction::refuse_if_missed(|| {
        let left = LEFT_OF_USER.with(|plan| plan.run(Sees::Latest, &arguments, 1, |_| ()));
        !left.is_empty()
    })
}

/// Has nobody a token?
pub fn has_none() -> bool {
    catalog::is_empty(&EMPTY, c"one_time_tokens")
}

/// The same for users that are not known one by one.
pub fn end_of_all() -> Result<()> {
    query(
        Sees::Transaction,
        "DELETE FROM auth.one_time_tokens WHERE used_at IS NULL",
        &[],
        |_| (),
    );
    transaction::refuse_if_missed(|| {
        let left = "SELECT FROM auth.one_time_tokens WHERE used_at IS NULL LIMIT 1";
        !query(Sees::Latest, left, &[], |_| ()).is_empty()
    })
}

/// The user who could consume the token now: the user is active, and the token is unused, in time and of that purpose.
fn holder(token: &str, purpose: &str) -> Result<Option<UserId>> {
    staleness::refuse(clock::now())?;
    let user_id = query(
        Sees::Latest,
        "SELECT user_id FROM auth.one_time_tokens
         WHERE token_hash = $1 AND purpose = $2 AND used_at IS NULL AND expires_at > clock_timestamp()",
        &[text(Fingerprint::of(token).as_str()), text(purpose)],
        |row| UserId::new(row.required::<String>(1)),
    )
    .pop();
    let Some(user_id) = user_id else {
        return Ok(None);
    };
    let attached = current();
    let account = attached.users()?.find(&user_id);
    Ok(account
        .filter(|account| account.active)
        .map(|account| account.id))
}
