//! Making a key, in the service's format: a prefix and 64 hexadecimal digits; `uak_` and a ULID as its id.

use std::fmt::Write;

use jose::{Fingerprint, Refusal};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::binding::current;
use super::hash;
use super::table::ApiKeys;
use super::verify::PREFIX_LENGTH;
use crate::accounts;
use crate::attach::{IdType, UserId, successor, with_foreign_keys_at_once};
use crate::error::{Error, Result};
use crate::pg::acting::ActingAs;
use crate::pg::catalog::Relation;
use crate::pg::clock;
use crate::pg::plan::{Sees, TablePlan};

/// A new key. Its plaintext is nowhere else.
pub struct NewKey {
    /// As the id column prints it.
    pub id: String,
    /// The key itself.
    pub key: String,
    /// What it is looked up by.
    pub fingerprint: Fingerprint,
}

/// Makes a key for an active user and inserts its row.
pub fn create(
    keys: &ApiKeys,
    user_id: &UserId,
    name: &str,
    expires_at: Option<TimestampWithTimeZone>,
    prefix: &str,
) -> Result<NewKey> {
    if prefix.len() > 32
        || !prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    {
        return Err(Error::Argument(
            "prefix has up to 32 letters, digits, _ and -".to_owned(),
        ));
    }
    if expires_at.is_some_and(|time| clock::from_pg(time.into_inner()) <= clock::now()) {
        return Err(Error::Argument("expires_at is in the past".to_owned()));
    }
    if expires_at.is_some() && keys.expires.is_none() {
        return Err(Error::Argument(
            "the API-key table has no column for expires_at".to_owned(),
        ));
    }
    let attached = accounts::current();
    let owner = attached
        .users()?
        .find(user_id)
        .ok_or(Refusal::UnknownUser)?;
    if !owner.active {
        return Err(Refusal::InactiveUser.into());
    }
    let key = format!("{prefix}{}", random_hex()?);
    let fingerprint = Fingerprint::of(&key);
    let id = insert(keys, &owner.id, name, expires_at, &key, &fingerprint)?;
    Ok(NewKey {
        id,
        key,
        fingerprint,
    })
}

/// 32 random octets.
fn random_hex() -> Result<String> {
    let mut hex = String::with_capacity(64);
    for octet in jose::random_octets::<32>()?.iter() {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{octet:02x}");
    }
    Ok(hex)
}

fn insert(
    keys: &ApiKeys,
    owner: &UserId,
    name: &str,
    expires_at: Option<TimestampWithTimeZone>,
    key: &str,
    fingerprint: &Fingerprint,
) -> Result<String> {
    let mut row = Values::default();
    if let Some(id) = new_id(keys.id_type)? {
        row.set(
            &keys.id_column,
            keys.id_type.parameter(),
            keys.id_type.datum(&id),
        );
    }
    row.set(
        &keys.user_column,
        keys.user_type.parameter(),
        keys.user_type.datum(owner.as_str()),
    );
    row.set(
        &keys.fingerprint_column,
        pg_sys::TEXTOID,
        fingerprint.as_str().into_datum(),
    );
    if keys.has_name {
        row.set("name", pg_sys::TEXTOID, name.into_datum());
    }
    if let Some(column) = &keys.hash_column {
        row.set(column, pg_sys::TEXTOID, hash::hash(key)?.into_datum());
    }
    if let Some(column) = &keys.prefix_column {
        let prefix: String = key.chars().take(PREFIX_LENGTH).collect();
        row.set(column, pg_sys::TEXTOID, prefix.into_datum());
    }
    if let Some(column) = &keys.active_column {
        row.set(column, pg_sys::BOOLOID, true.into_datum());
    }
    if let (Some(column), Some(time)) = (&keys.expires, expires_at) {
        let parameter = row.parameter(pg_sys::TIMESTAMPTZOID, time.into_datum());
        row.set_expression(&column.name, column.store(&parameter));
    }
    for column in [&keys.created, &keys.updated].into_iter().flatten() {
        row.set_expression(&column.name, column.store("pg_catalog.clock_timestamp()"));
    }
    let sql = |table: &Relation| {
        format!(
            "INSERT INTO {table} AS k ({columns}) VALUES ({values}) RETURNING k.{id}::pg_catalog.text",
            table = table.qualified_name,
            columns = row.columns.join(", "),
            values = row.expressions.join(", "),
            id = quote_identifier(&keys.id_column),
        )
    };
    let inserted = with_foreign_keys_at_once(keys.relation, || {
        let _acting = ActingAs::writer(keys.table.owner, Some(&keys.table.schema));
        let plan = TablePlan::default().on(&keys.table, Sees::Transaction, &row.types, sql);
        // The columns may be others.
        if successor(keys, current).is_some() {
            return Err(Error::Retry);
        }
        let insert = plan.run(Sees::Transaction, &row.arguments, 0, |row| {
            row.get::<String>(1)
        });
        Ok(insert.into_iter().next())
    });
    inserted?
        .flatten()
        .ok_or_else(|| Error::Argument("the API-key table did not take the row".to_owned()))
}

/// The columns of a row to insert.
#[derive(Default)]
struct Values {
    columns: Vec<String>,
    expressions: Vec<String>,
    types: Vec<pg_sys::Oid>,
    arguments: Vec<Option<pg_sys::Datum>>,
}

impl Values {
    fn parameter(&mut self, type_oid: pg_sys::Oid, value: Option<pg_sys::Datum>) -> String {
        self.types.push(type_oid);
        self.arguments.push(value);
        format!("${}", self.types.len())
    }

    fn set_expression(&mut self, column: &str, expression: String) {
        self.columns.push(quote_identifier(column));
        self.expressions.push(expression);
    }

    fn set(&mut self, column: &str, type_oid: pg_sys::Oid, value: Option<pg_sys::Datum>) {
        let parameter = self.parameter(type_oid, value);
        self.set_expression(column, parameter);
    }
}

/// `uak_` and a ULID, or a UUID; numbers are the table's own default's to give.
fn new_id(id_type: IdType) -> Result<Option<String>> {
    match id_type {
        IdType::Text => Ok(Some(format!("uak_{}", ulid()?))),
        IdType::Uuid => Ok(Some(jose::random_uuid()?)),
        IdType::Bigint | IdType::Integer => Ok(None),
    }
}

/// 48 bits of time in milliseconds and 80 random ones, in Crockford's base 32: sorts by time.
fn ulid() -> Result<String> {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let millis = u128::try_from(clock::now().0 / 1000).unwrap_or(0);
    let random = u128::from_be_bytes(*jose::random_octets::<16>()?) >> 48;
    let bits = (millis << 80) | random;
    Ok((0..26)
        .rev()
        .filter_map(|position| usize::try_from((bits >> (5 * position)) & 31).ok())
        .map(|digit| char::from(DIGITS[digit]))
        .collect())
}
