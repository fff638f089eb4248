//! The SQL functions of the identity. Declared in `sql/functions.sql`.

use jose::Refusal;
use pgrx::datum::{Interval, TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use super::activity;
use super::credential::Credential;
use super::request::{self, Outcome};
use super::scope;
use crate::api_key;
use crate::attach::{self, UserId};
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::carrier::Scope;
use crate::pg::clock;
use crate::pg::json::Jsonb;
use crate::pg::one_row::OneRow;
use crate::statistics;

#[pg_extern(sql = false)]
fn authenticate(token: Option<&str>, scope: Option<&str>) -> Option<Jsonb> {
    sql(|| {
        let scope = scope::parse(scope)?;
        let credential = of_token(token)?;
        let claims = credential.claims();
        enter(scope, credential);
        Ok(claims)
    })
}

#[pg_extern(sql = false)]
fn try_authenticate(token: Option<&str>, scope: Option<&str>) -> OneRow {
    sql(|| {
        let scope = scope::parse(scope)?;
        let (reason, user_id, claims) = match of_token(token) {
            Ok(credential) => {
                let (user_id, claims) = (credential.user_id(), credential.claims());
                enter(scope, credential);
                (None, user_id, claims)
            }
            Err(Error::Refused(refused)) => {
                scope::enter_nobody_in(scope);
                (Some(refused.reason.code()), None, None)
            }
            Err(error) => return Err(error),
        };
        Ok(OneRow::default()
            .with(c"valid", reason.is_none())
            .with(c"reason", reason)
            .with(c"user_id", user_id.map(UserId::into_string))
            .with(c"claims", claims))
    })
}

#[pg_extern(sql = false)]
fn authenticate_api_key(key: Option<&str>, scope: Option<&str>) -> Option<Jsonb> {
    sql(|| {
        let scope = scope::parse(scope)?;
        let attached = api_key::current();
        let keys = attached.api_keys()?;
        let found = (key.ok_or(Refusal::UnknownApiKey.into()))
            .and_then(|key| api_key::verify(keys, key, clock::now()));
        let found = statistics::api_key(found)?;
        let credential = Credential::of_key(&found)?;
        let claims = credential.claims();
        enter(scope, credential);
        Ok(claims)
    })
}

fn of_token(token: Option<&str>) -> Result<Credential> {
    let verified = token
        .ok_or(Refusal::Malformed.into())
        .and_then(|token| Credential::of_token(token, clock::now()));
    statistics::token(verified)
}

fn enter(scope: Scope, credential: Credential) {
    scope::enter(scope, credential);
    scope::warn_if_lost(scope);
}

#[pg_extern(sql = false)]
fn logout() {
    sql(|| {
        scope::leave();
        Ok(())
    });
}

#[pg_extern(sql = false)]
fn authenticate_request() -> OneRow {
    sql(|| {
        let refused = match request::authenticate()? {
            Outcome::Accepted => None,
            Outcome::Refused(refused) => Some(refused),
        };
        Ok(OneRow::default()
            .with(
                c"reason",
                refused.as_ref().map(|refused| refused.reason.code()),
            )
            .with(c"explanation", refused.map(|refused| refused.to_string())))
    })
}

fn user() -> Result<Option<UserId>> {
    Ok(scope::identity()?.and_then(|identity| identity.user_id()))
}

fn required_user() -> Result<UserId> {
    user()?.ok_or_else(|| Refusal::NotAuthenticated.into())
}

#[pg_extern(sql = false)]
fn user_id() -> Option<String> {
    sql(|| Ok(user()?.map(UserId::into_string)))
}

#[pg_extern(sql = false)]
fn uid() -> Option<Uuid> {
    sql(|| Ok(user()?.and_then(|id| attach::uuid(id.as_str()))))
}

#[pg_extern(sql = false)]
fn user_id_bigint() -> Option<i64> {
    sql(|| Ok(user()?.and_then(|id| attach::bigint(id.as_str()))))
}

#[pg_extern(sql = false)]
fn jwt() -> Option<Jsonb> {
    sql(|| Ok(scope::identity()?.and_then(|identity| identity.claims())))
}

#[pg_extern(sql = false)]
fn claim(name: &str) -> Option<String> {
    sql(|| {
        let claims = scope::identity()?.and_then(|identity| identity.claims());
        Ok(claims.and_then(|claims| claims.text_of(name)))
    })
}

#[pg_extern(sql = false)]
fn role() -> Option<String> {
    sql(|| Ok(scope::identity()?.and_then(|identity| identity.role())))
}

#[pg_extern(sql = false)]
fn roles() -> Option<Vec<String>> {
    sql(|| Ok(scope::identity()?.map(|identity| identity.roles())))
}

#[pg_extern(sql = false)]
fn require_user() -> String {
    sql(|| required_user().map(UserId::into_string))
}

#[pg_extern(sql = false)]
fn require_recent(max_age: Option<Interval>, claim: Option<&str>) -> String {
    sql(|| {
        let missing = |argument| Error::Argument(format!("{argument} must not be NULL"));
        let max_age = clock::micros(&max_age.ok_or_else(|| missing("max_age"))?)?;
        let claim = claim.ok_or_else(|| missing("claim"))?;
        let user = required_user()?;
        match scope::identity()? {
            Some(identity) if identity.is_recent(claim, max_age, clock::now()) => {
                Ok(user.into_string())
            }
            _ => Err(Refusal::NotRecent.into()),
        }
    })
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "pgrx reads the columns here")]
fn activity() -> TableIterator<
    'static,
    (
        name!(pid, i32),
        name!(user_id, String),
        name!(issuer, Option<String>),
        name!(kind, String),
        name!(scope, String),
        name!(token_id, Option<String>),
        name!(session_id, Option<String>),
        name!(since, Option<TimestampWithTimeZone>),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    let active = sql(activity::active);
    TableIterator::new(active.into_iter().map(|row| {
        (
            row.pid,
            row.user_id,
            row.issuer,
            row.kind.to_owned(),
            row.scope.to_owned(),
            row.token_id,
            row.session_id,
            row.since,
            row.expires_at,
        )
    }))
}

#[pg_extern(sql = false)]
fn end_connections(user_id: Option<&str>) -> i64 {
    sql(|| {
        let user_id =
            user_id.ok_or_else(|| Error::Argument("user_id must not be NULL".to_owned()))?;
        activity::end_connections(&UserId::new(user_id))
    })
}
