//! What must outlive a user's row: when the sessions were last ended, and where a new row of that id starts.

use std::borrow::Cow;

use jose::UnixMicros;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::users::Users;
use crate::invalidation;
use crate::pg::catalog::Relation;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Plan, Sees, query};
use crate::pg::{acting::ActingAs, catalog, clock, transaction};

/// The kept plans on `auth.user_history`. That table is fixed, so they live as long as the backend.
struct Plans {
    remember: OurPlan,
    next_version: OurPlan,
    bumped_at: OurPlan,
}

process_local! {
    static PLANS: Plans = Plans {
        remember: OurPlan::new(
            "INSERT INTO auth.user_history AS h (user_id, bumped_at, next_version)
             VALUES ($1, pg_catalog.clock_timestamp(), $2)
             ON CONFLICT (user_id) DO UPDATE
                 SET bumped_at = excluded.bumped_at,
                     next_version = greatest(h.next_version, excluded.next_version)",
            &[pg_sys::TEXTOID, pg_sys::INT8OID],
        ),
        next_version: OurPlan::new(
            "SELECT h.next_version FROM auth.user_history AS h
             WHERE h.user_id OPERATOR(pg_catalog.=) $1",
            &[pg_sys::TEXTOID],
        ),
        bumped_at: OurPlan::new(
            "SELECT h.bumped_at FROM auth.user_history AS h
             WHERE h.user_id OPERATOR(pg_catalog.=) $1",
            &[pg_sys::TEXTOID],
        ),
    };
}

/// Runs one of the plans as the owner of the table, whoever changed the users row.
fn run<T>(
    plan: impl Fn(&Plans) -> &OurPlan,
    sees: Sees,
    arguments: &[Option<pg_sys::Datum>],
    read: impl FnMut(&crate::pg::row::Row) -> T,
) -> Option<T> {
    let _acting = ActingAs::qualified(catalog::extension_owner());
    PLANS
        .with(|plans| plan(plans).run(sees, arguments, 0, read))
        .pop()
}

/// In octets: a longer id is kept as its hash.
const LONGEST_ID: usize = 1024;

/// The id as the table keeps it: an index cannot hold one of any length, and no id may make a bump fail.
fn key(user_id: &str) -> Cow<'_, str> {
    if user_id.len() <= LONGEST_ID {
        user_id.into()
    } else {
        format!("sha256:{}", jose::fingerprint(user_id)).into()
    }
}

/// Remembers that the sessions of a user ended now, and where a new row of that id would start at least.
pub fn remember(user_id: &str, next_version: i64) {
    let arguments = [
        key(user_id).into_owned().into_datum(),
        next_version.into_datum(),
    ];
    run(
        |plans| &plans.remember,
        Sees::Transaction,
        &arguments,
        |_| (),
    );
}

/// The version below which no row of that id may start.
pub fn floor(users: &Users, user_id: &str) -> i64 {
    own_floor(user_id)
        .max(users.version_floor)
        .max(invalidation::bulk_version_floor())
}

/// The same of this user alone, without what was deleted in bulk.
pub fn own_floor(user_id: &str) -> i64 {
    run(
        |plans| &plans.next_version,
        Sees::Latest,
        &[key(user_id).into_owned().into_datum()],
        |row| row.required::<i64>(1),
    )
    .unwrap_or(0)
}

/// When the sessions of a user last ended, as far as is known: never too early.
pub fn bumped_at(users: &Users, user_id: &str) -> Option<UnixMicros> {
    run(
        |plans| &plans.bumped_at,
        Sees::Latest,
        &[key(user_id).into_owned().into_datum()],
        |row| {
            let time = row.required::<TimestampWithTimeZone>(1);
            clock::from_pg(time.into_inner())
        },
    )
    .max(users.bumped_floor)
}

/// At the end of a transaction that bumped or deleted too many users for a row each: one mark for all.
pub fn settle_bulk(version_floor: i64) {
    transaction::to_settle(|| {
        query(
            Sees::Transaction,
            "INSERT INTO auth.user_floor AS f (bumped_at, next_version) VALUES (clock_timestamp(), $1)
             ON CONFLICT (singleton) DO UPDATE
                 SET bumped_at = excluded.bumped_at,
                     next_version = greatest(f.next_version, excluded.next_version)",
            &[(pg_sys::INT8OID, version_floor.into_datum())],
            |_| (),
        );
    });
}

/// Is that a version that no mark for all may hold? It would leave every other user of the database no room to be bumped.
pub fn is_far_above(users: &Users, version: i64) -> bool {
    version > users.last_version() / 2
}

/// Before a TRUNCATE of `table` (the users table or a partition): remembers every user as deleted, one by
/// one or, beyond `threshold`, by one mark (which does not stand for those who are far above the others).
pub fn remember_all(users: &Users, table: &Relation, threshold: usize) {
    let mut rows = users.versions(table, i64::MIN, threshold.saturating_add(1));
    if rows.len() > threshold {
        let far = users.last_version() / 2;
        settle_bulk(users.highest_version(table, far).saturating_add(1));
        rows = users.versions(table, far, usize::MAX);
    }
    for (user_id, version) in rows {
        remember(&user_id, version.saturating_add(1));
    }
}

/// Raises the versions of users who are in the table to where the history says that they are at least: it may be a copy
/// of an earlier time.
pub fn apply(users: &Users) {
    let id = format!("u.{}::pg_catalog.text", quote_identifier(&users.id_column));
    let version = format!("coalesce(u.{}, 0)", quote_identifier(&users.version_column));
    // The id as `key` has it.
    let sql = format!(
        "SELECT {id}, h.next_version
         FROM {table} AS u
         JOIN {history} AS h ON h.user_id OPERATOR(pg_catalog.=) (CASE
             WHEN pg_catalog.octet_length({id}) OPERATOR(pg_catalog.<=) {LONGEST_ID} THEN {id}
             ELSE 'sha256:' OPERATOR(pg_catalog.||) pg_catalog.encode(
                 pg_catalog.sha256(pg_catalog.convert_to({id}, 'UTF8')), 'hex')
             END COLLATE pg_catalog.\"C\")
         WHERE {version} OPERATOR(pg_catalog.<) h.next_version",
        table = users.table.as_source(),
        history = catalog::place("auth.user_history"),
    );
    let behind = {
        let _acting = ActingAs::reader(catalog::extension_owner()).without_jit();
        Plan::prepare(&sql, &[]).run(Sees::Latest, &[], 0, |row| {
            Some((row.get::<String>(1)?, row.get::<i64>(2)?))
        })
    };
    for (id, next_version) in behind.into_iter().flatten() {
        users.raise(&id, next_version);
    }
}
