//! The SQL functions of accounts. Declared in `sql/functions.sql`.

use core::ffi::CStr;

use jose::{Refusal, SessionVersion};
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::{current, history, triggers};
use crate::attach::{
    Attachment, Claim, IdType, Trigger, UserId, VERSION_DEFINITION, VERSION_TYPES, changes, detach,
    require_column, require_distinct,
};
use crate::error::{Error, Result, notice, warn};
use crate::invalidation::Reason;
use crate::pg::boundary::sql;
use crate::pg::catalog;
use crate::pg::names::{Names, name_argument};

#[pg_extern(sql = false)]
fn attach_users(
    users: Option<pg_sys::Oid>,
    id_column: Option<&CStr>,
    version_column: Option<&CStr>,
    active_column: Option<&CStr>,
    bump_on: Option<Names>,
) {
    let (id, version) = (name_argument(id_column), name_argument(version_column));
    let active = name_argument(active_column);
    sql(move || {
        let relation = users.ok_or_else(|| Error::Argument("users must not be NULL".to_owned()))?;
        let claim = Claim::new("users", relation)?;
        let bump_on = match bump_on {
            Some(Names(names)) => names,
            None => claim.bump_on().into_iter().map(Some).collect(),
        };
        let bumps = !bump_on.is_empty();
        claim.attach(&users_attachment(&claim, id, version, active, bump_on)?)?;
        let attached = current();
        let users = attached.users()?;
        history::apply(users)?;
        if !bumps {
            notice("no column is in bump_on: changing a password ends no session");
        }
        if !users.has_unique_ids {
            warn(format!(
                "no unique index is on column \"{}\" alone: an id that two rows share is nobody's",
                users.id_column
            ));
        }
        Ok(())
    });
}

fn users_attachment(
    claim: &Claim,
    id: Option<String>,
    version: Option<String>,
    active: Option<String>,
    bump_on: Vec<Option<String>>,
) -> Result<Attachment> {
    let relation = claim.relation();
    let id = claim.named(id, "id_column").unwrap_or("id".to_owned());
    let version = claim.named(version, "version_column");
    let version = version.unwrap_or("session_version".to_owned());
    let active = claim.named(active, "active_column");
    let id_type = catalog::column(relation, &id)
        .ok_or_else(|| Error::Argument(format!("column \"{id}\" does not exist")))?;
    if id_type.generated || IdType::of(id_type.type_oid).is_none() {
        return Err(Error::Argument(format!(
            "column \"{id}\" must be an ordinary column of type text, varchar, uuid, bigint or integer"
        )));
    }
    if !id_type.deterministic {
        return Err(Error::Argument(format!(
            "column \"{id}\" has a collation that takes different ids for the same one"
        )));
    }
    require_distinct(&[Some(&id), Some(&version)])?;
    let mut missing = Vec::new();
    if catalog::column(relation, &version).is_none() {
        missing.push((version.clone(), VERSION_DEFINITION));
    } else {
        require_column(relation, &version, VERSION_TYPES, "integer or bigint")?;
    }
    let active = active_column(relation, active.as_deref())?;
    require_distinct(&[
        Some(&id),
        Some(&version),
        active.as_ref().map(|(name, _)| name),
    ])?;
    let bump_on = bump_columns(relation, &[&id, &version], bump_on)?;
    let partitioned = claim.table.kind == b'p';
    Ok(Attachment {
        missing,
        triggers: users_triggers(&id, &version, active.as_ref(), &bump_on, partitioned),
        columns: vec![
            ("id_column", Some(id)),
            ("version_column", Some(version)),
            ("active_column", active.map(|(name, _)| name)),
        ],
        bump_on,
    })
}

/// The active column, and whether it is generated. A generated column has no new value yet when BEFORE triggers run: there the
/// AFTER trigger raises the version.
fn active_column(relation: pg_sys::Oid, named: Option<&str>) -> Result<Option<(String, bool)>> {
    let name = named.unwrap_or("is_active");
    match catalog::column(relation, name) {
        Some(column) if column.is_virtual => Err(Error::Argument(format!(
            "column \"{name}\" must be STORED: no trigger sees a virtual column change"
        ))),
        Some(column) if column.type_oid == pg_sys::BOOLOID => {
            Ok(Some((name.to_owned(), column.generated)))
        }
        None if named.is_none() => Ok(None),
        None => Err(Error::Argument(format!("column \"{name}\" does not exist"))),
        Some(_) => Err(Error::Argument(format!(
            "column \"{name}\" must be of type boolean"
        ))),
    }
}

fn bump_columns(
    relation: pg_sys::Oid,
    taken: &[&String],
    names: Vec<Option<String>>,
) -> Result<Vec<String>> {
    names
        .into_iter()
        .map(|name| {
            let name =
                name.ok_or_else(|| Error::Argument("bump_on must not hold NULL".to_owned()))?;
            let column = catalog::column(relation, &name)
                .ok_or_else(|| Error::Argument(format!("column \"{name}\" does not exist")))?;
            if column.generated || taken.contains(&&name) {
                return Err(Error::Argument(format!(
                    "column \"{name}\" cannot be in bump_on"
                )));
            }
            Ok(name)
        })
        .collect()
}

/// `OLD.c` and `NEW.c` differ as text: a column of the application may have a type without an equality operator.
fn changes_as_text(column: &String) -> String {
    let column = quote_identifier(column);
    format!("OLD.{column}::pg_catalog.text IS DISTINCT FROM NEW.{column}::pg_catalog.text")
}

fn users_triggers(
    id: &str,
    version: &str,
    active: Option<&(String, bool)>,
    bump_on: &[String],
    partitioned: bool,
) -> Vec<Trigger> {
    const BEFORE_ROW: &str = "auth.users_before_row";
    const AFTER_ROW: &str = "auth.users_after_row";
    let ends =
        bump_on
            .iter()
            .map(changes_as_text)
            .chain(
                active
                    .filter(|(_, generated)| !generated)
                    .map(|(column, _)| {
                        let column = quote_identifier(column);
                        format!("OLD.{column} AND NEW.{column} IS NOT TRUE")
                    }),
            );
    let ends: Vec<String> = ends.collect();
    let touches = format!("{} OR {}", changes(id), changes(version));
    let tells: Vec<String> = [touches.clone()]
        .into_iter()
        .chain(active.map(|(column, _)| changes(column)))
        .collect();

    let mut triggers = Vec::new();
    // Of a partitioned table every UPDATE is seen: it may move the row, which looks like a deletion.
    triggers.push(Trigger::new(
        "1_keep",
        "BEFORE UPDATE",
        (!partitioned).then_some(touches),
        BEFORE_ROW,
    ));
    // Behind it, whose condition would see the raised version.
    if !ends.is_empty() {
        triggers.push(Trigger {
            bumps: true,
            ..Trigger::new(
                "2_bump",
                "BEFORE UPDATE",
                Some(ends.join(" OR ")),
                BEFORE_ROW,
            )
        });
    }
    triggers.push(Trigger::new("3_insert", "BEFORE INSERT", None, BEFORE_ROW));
    if partitioned {
        triggers.push(Trigger::new("4_delete", "BEFORE DELETE", None, BEFORE_ROW));
    }
    triggers.push(Trigger::new(
        "5_updated",
        "AFTER UPDATE",
        Some(tells.join(" OR ")),
        AFTER_ROW,
    ));
    triggers.push(Trigger::new("6_inserted", "AFTER INSERT", None, AFTER_ROW));
    triggers.push(Trigger::new("7_deleted", "AFTER DELETE", None, AFTER_ROW));
    triggers.push(Trigger::new(
        "8_truncate",
        "BEFORE TRUNCATE",
        None,
        "auth.users_before_truncate",
    ));
    triggers
}

#[pg_extern(sql = false)]
fn detach_users() {
    sql(|| detach("users").map(|_| ()));
}

#[pg_extern(sql = false)]
fn session_version(user_id: &str) -> Option<i64> {
    sql(|| {
        Ok(current()
            .users()?
            .find(&UserId::new(user_id))
            .map(|account| account.session_version.get()))
    })
}

/// Ends all sessions of a user: the version that is the user's now.
pub fn end_sessions(user_id: &UserId, reason: &str) -> Result<SessionVersion> {
    let attached = current();
    let users = attached.users()?;
    triggers::with_reason(Reason::new(reason), || users.bump(user_id))
}

#[pg_extern(sql = false)]
fn bump_session_version(user_id: Option<&str>, reason: Option<&str>) -> i64 {
    sql(|| {
        let user_id = UserId::new(user_id.ok_or(Refusal::UnknownUser)?);
        end_sessions(&user_id, reason.unwrap_or("logout_everywhere")).map(SessionVersion::get)
    })
}
