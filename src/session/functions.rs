//! The SQL functions of sessions. Declared in `sql/functions.sql`.

use jose::Refusal;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use super::end::{self, Ended};
use super::list::list;
use super::open::{self, Login};
use super::refresh::refresh;
use super::state::Session;
use crate::accounts;
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::identity::{self, Whose};
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::json::JsonText;
use crate::pg::one_row::OneRow;
use crate::token::device_hash;

#[pg_extern(sql = false)]
fn open_session(
    user_id: Option<&str>,
    device: Option<JsonText>,
    label: Option<&str>,
    lifetime: Option<Interval>,
    claims: Option<JsonText>,
    issuer: Option<&str>,
) -> OneRow {
    sql(|| {
        let claims = claims.unwrap_or_else(|| JsonText("{}".to_owned()));
        let login = Login {
            user_id: &UserId::new(user_id.ok_or(Refusal::UnknownUser)?),
            device_hash: device_hash(device.as_ref())?,
            device,
            label,
            lifetime: lifetime.as_ref().map(clock::micros).transpose()?,
            claims: &claims.0,
            issuer,
        };
        let pair = open::open(login, clock::now())?;
        Ok(OneRow::default()
            .with(c"session_id", pair.session_id)
            .with(c"access_token", pair.access_token)
            .with(c"refresh_token", pair.refresh_token.to_text())
            .with(c"expires_at", clock::to_timestamptz(pair.expires_at)))
    })
}

#[pg_extern(sql = false)]
fn refresh_session(refresh_token: Option<&str>, device: Option<JsonText>) -> OneRow {
    sql(|| {
        let hash = device_hash(device.as_ref())?;
        let outcome = match refresh_token {
            Some(text) => refresh(text, device, hash, clock::now())?,
            None => Err(Refusal::UnknownSession),
        };
        Ok(match outcome {
            Ok(pair) => OneRow::default()
                .with(c"valid", true)
                .with(c"session_id", pair.session_id)
                .with(c"access_token", pair.access_token)
                .with(c"refresh_token", pair.refresh_token.to_text())
                .with(c"expires_at", clock::to_timestamptz(pair.expires_at)),
            Err(refusal) => OneRow::default()
                .with(c"valid", false)
                .with(c"reason", refusal.code()),
        })
    })
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of the contract")]
fn list_sessions(
    user_id: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(session_id, String),
        name!(label, Option<String>),
        name!(device, Option<JsonText>),
        name!(created_at, Option<TimestampWithTimeZone>),
        name!(last_used_at, TimestampWithTimeZone),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    let sessions = sql(|| match user_id {
        Some(user_id) => list(&canonical(UserId::new(user_id))?, clock::now()),
        None => Ok(Vec::new()),
    });
    TableIterator::new(sessions.into_iter().map(columns))
}

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity, reason = "the columns of the contract")]
fn my_sessions() -> TableIterator<
    'static,
    (
        name!(session_id, String),
        name!(label, Option<String>),
        name!(device, Option<JsonText>),
        name!(created_at, Option<TimestampWithTimeZone>),
        name!(last_used_at, TimestampWithTimeZone),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(is_current, bool),
    ),
> {
    let (sessions, current) = sql(|| {
        let Whose {
            user_id,
            session_id,
        } = me()?;
        Ok((list(&user_id, clock::now())?, session_id))
    });
    TableIterator::new(sessions.into_iter().map(move |session| {
        let is_current = current.as_ref() == Some(&session.id);
        let (id, label, device, created_at, last_used_at, expires_at) = columns(session);
        (
            id,
            label,
            device,
            created_at,
            last_used_at,
            expires_at,
            is_current,
        )
    }))
}

/// A session as it is listed.
type Columns = (
    String,
    Option<String>,
    Option<JsonText>,
    Option<TimestampWithTimeZone>,
    TimestampWithTimeZone,
    Option<TimestampWithTimeZone>,
);

fn columns(session: Session) -> Columns {
    (
        session.id,
        session.label,
        session.device,
        clock::to_timestamptz(session.created_at),
        session.last_used_at,
        clock::to_timestamptz(session.expires_at),
    )
}

#[pg_extern(sql = false)]
fn end_session(session_id: Option<&str>, reason: Option<&str>) -> bool {
    sql(|| match session_id {
        Some(id) => Ok(end::end(&Ended::One(id), reason.unwrap_or(LOGOUT))? > 0),
        None => Ok(false),
    })
}

#[pg_extern(sql = false)]
fn end_my_session(session_id: Option<&str>) -> bool {
    sql(|| {
        let me = me()?;
        let Some(session_id) = session_id.or(me.session_id.as_deref()) else {
            return Ok(false);
        };
        let ended = Ended::OneOf {
            session_id,
            user_id: &me.user_id,
        };
        Ok(end::end(&ended, LOGOUT)? > 0)
    })
}

#[pg_extern(sql = false)]
fn end_my_other_sessions() -> i64 {
    sql(|| {
        let me = me()?;
        let ended = Ended::OthersOf {
            user_id: &me.user_id,
            session_id: me.session_id.as_deref(),
        };
        Ok(i64::try_from(end::end(&ended, LOGOUT)?).unwrap_or(i64::MAX))
    })
}

/// Why a session ends when nobody says so.
const LOGOUT: &str = "logout";

fn me() -> Result<Whose> {
    identity::whose()?.ok_or_else(|| Refusal::NotAuthenticated.into())
}

/// The id as the id column prints it, where there is such a user.
fn canonical(user_id: UserId) -> Result<UserId> {
    let attached = accounts::current();
    let account = match attached.users() {
        Ok(users) => users.find(&user_id),
        Err(Error::NotSetUp(..)) => None,
        Err(error) => return Err(error),
    };
    Ok(account.map_or(user_id, |account| account.id))
}
