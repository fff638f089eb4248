//! Binding the application's API-key table.

use core::ffi::CStr;

use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use crate::attach::{self, Attachment, Claim, Trigger, detach, optional_column, require_column};
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::names::name_argument;

const TEXT: &[pg_sys::Oid] = &[pg_sys::TEXTOID, pg_sys::VARCHAROID];
const TIMES: &[pg_sys::Oid] = &[pg_sys::TIMESTAMPOID, pg_sys::TIMESTAMPTZOID];

#[pg_extern(sql = false)]
#[allow(clippy::too_many_arguments, reason = "the public signature")]
fn attach_api_keys(
    api_keys: Option<pg_sys::Oid>,
    id_column: Option<&CStr>,
    user_column: Option<&CStr>,
    fingerprint_column: Option<&CStr>,
    version_column: Option<&CStr>,
    hash_column: Option<&CStr>,
    prefix_column: Option<&CStr>,
    active_column: Option<&CStr>,
    expires_column: Option<&CStr>,
    last_used_column: Option<&CStr>,
) {
    let name = name_argument;
    let columns = Columns {
        id: name(id_column),
        user: name(user_column),
        fingerprint: name(fingerprint_column),
        version: name(version_column),
        hash: name(hash_column),
        prefix: name(prefix_column),
        active: name(active_column),
        expires: name(expires_column),
        last_used: name(last_used_column),
    };
    sql(move || {
        let relation =
            api_keys.ok_or_else(|| Error::Argument("api_keys must not be NULL".to_owned()))?;
        let claim = Claim::new("api_keys", relation)?;
        claim.attach(&columns.attachment(&claim)?)
    });
}

/// The arguments of `attach_api_keys`.
struct Columns {
    id: Option<String>,
    user: Option<String>,
    fingerprint: Option<String>,
    version: Option<String>,
    hash: Option<String>,
    prefix: Option<String>,
    active: Option<String>,
    expires: Option<String>,
    last_used: Option<String>,
}

impl Columns {
    fn attachment(self, claim: &Claim) -> Result<Attachment> {
        let relation = claim.relation();
        let required = |name: Option<String>, task: &str, customary: &str| {
            claim.named(name, task).unwrap_or(customary.to_owned())
        };
        let id = required(self.id, "id_column", "id");
        require_column(relation, &id, attach::ID_TYPES, attach::ID_TYPE_NAMES)?;
        let user = required(self.user, "user_column", "user_id");
        require_column(relation, &user, attach::ID_TYPES, attach::ID_TYPE_NAMES)?;
        let fingerprint = required(self.fingerprint, "fingerprint_column", "key_fingerprint");
        let version = required(self.version, "version_column", "session_version");

        let mut missing = Vec::new();
        if crate::pg::catalog::column(relation, &fingerprint).is_none() {
            // A partitioned table can only be unique in its partition key.
            missing.push((
                fingerprint.clone(),
                if claim.table.kind == b'p' {
                    "text"
                } else {
                    "text UNIQUE"
                },
            ));
        } else {
            require_column(relation, &fingerprint, TEXT, "text or varchar")?;
        }
        if crate::pg::catalog::column(relation, &version).is_none() {
            missing.push((version.clone(), attach::VERSION_DEFINITION));
        } else {
            require_column(
                relation,
                &version,
                attach::VERSION_TYPES,
                "integer or bigint",
            )?;
        }

        let half = match crate::pg::catalog::column(relation, &version) {
            Some(column) if column.type_oid == pg_sys::INT4OID => i64::from(i32::MAX) / 2,
            _ => i64::MAX / 2,
        };
        let optional = |named: Option<String>, task, customary, types, expected| {
            let named = claim.named(named, task);
            optional_column(relation, named.as_deref(), customary, types, expected)
        };
        let text = "text or varchar";
        let times = "timestamp or timestamptz";
        let active = optional(
            self.active,
            "active_column",
            "is_active",
            &[pg_sys::BOOLOID],
            "boolean",
        )?;
        let expires = optional(self.expires, "expires_column", "expires_at", TIMES, times)?;
        let hash = optional(self.hash, "hash_column", "key_hash", TEXT, text)?;
        let prefix = optional(self.prefix, "prefix_column", "prefix", TEXT, text)?;
        let tasks = [
            Some(&id),
            Some(&user),
            Some(&fingerprint),
            Some(&version),
            active.as_ref(),
            expires.as_ref(),
        ];
        attach::require_distinct(&tasks)?;
        // What a cache of keys holds of a row, and what a row without a fingerprint is found by.
        let tells = [&user, &fingerprint, &version]
            .into_iter()
            .chain(active.as_ref())
            .chain(expires.as_ref())
            .map(|column| attach::changes(column))
            .chain([&hash, &prefix].into_iter().flatten().map(|column| {
                let fingerprint = quote_identifier(&fingerprint);
                format!("OLD.{fingerprint} IS NULL AND {}", attach::changes(column))
            }))
            .collect();
        Ok(Attachment {
            missing,
            triggers: triggers(tells, &version, active.as_deref(), half),
            columns: vec![
                ("id_column", Some(id)),
                ("user_column", Some(user)),
                ("fingerprint_column", Some(fingerprint)),
                ("version_column", Some(version)),
                ("hash_column", hash),
                ("prefix_column", prefix),
                ("active_column", active),
                ("expires_column", expires),
                (
                    "last_used_column",
                    optional(
                        self.last_used,
                        "last_used_column",
                        "last_used_at",
                        TIMES,
                        times,
                    )?,
                ),
            ],
            bump_on: Vec::new(),
        })
    }
}

/// `tells`: the changes that a cache of keys must hear of.
fn triggers(tells: Vec<String>, version: &str, active: Option<&str>, half: i64) -> Vec<Trigger> {
    const BEFORE_ROW: &str = "auth.api_keys_before_row";
    const AFTER_ROW: &str = "auth.api_keys_after_row";
    let mut triggers = vec![Trigger::new(
        "1_keep",
        "BEFORE UPDATE",
        Some(attach::changes(version)),
        BEFORE_ROW,
    )];
    if let Some(column) = active.map(quote_identifier) {
        let ends = format!("OLD.{column} AND NEW.{column} IS NOT TRUE");
        triggers.push(Trigger {
            bumps: true,
            ..Trigger::new("2_bump", "BEFORE UPDATE", Some(ends), BEFORE_ROW)
        });
    }
    triggers.push(Trigger::new(
        "3_insert",
        "BEFORE INSERT",
        Some(format!(
            "NEW.{} OPERATOR(pg_catalog.>) {half}",
            quote_identifier(version)
        )),
        BEFORE_ROW,
    ));
    triggers.push(Trigger::new(
        "5_updated",
        "AFTER UPDATE",
        Some(tells.join(" OR ")),
        AFTER_ROW,
    ));
    triggers.push(Trigger::new("7_deleted", "AFTER DELETE", None, AFTER_ROW));
    triggers.push(Trigger::new(
        "8_truncate",
        "AFTER TRUNCATE",
        None,
        "auth.api_keys_after_truncate",
    ));
    triggers
}

#[pg_extern(sql = false)]
fn detach_api_keys() {
    sql(|| detach("api_keys").map(|_| ()));
}
