//! What must outlive a user's row: when the sessions were last ended, and where a new row of that id starts.

use std::borrow::Cow;
use std::cell::Cell;
use std::ffi::CStr;

use jose::{Fingerprint, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::users::Users;
use crate::attach::{self, UserId};
use crate::error::Result;
use crate::invalidation;
use crate::pg::catalog::{Lock, Relation};
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Plan, Sees, query};
use crate::pg::probe::{Looked, Probe};
use crate::pg::snapshot::Command;
use crate::pg::transaction::Step;
use crate::pg::{acting::ActingAs, catalog, clock, heap, transaction};
use crate::trust::MARK;

/// The columns of `auth.user_history`.
const COLUMNS: [heap::Known; 3] = [
    (c"user_id", pg_sys::TEXTOID),
    (c"bumped_at", pg_sys::TIMESTAMPTZOID),
    (c"next_version", pg_sys::INT8OID),
];

/// The kept plans on `auth.user_history`. That table is fixed, so they live as long as the backend.
struct Plans {
    remember: OurPlan,
    end_now: OurPlan,
    past: OurPlan,
}

process_local! {
    static EMPTY: Cell<Option<Command>> = const { Cell::new(None) };
    static MARK_AWAITED: Cell<Option<Step>> = const { Cell::new(None) };
    static PLANS: Plans = Plans {
        remember: OurPlan::new(
            "INSERT INTO auth.user_history AS h (user_id, bumped_at, next_version)
             VALUES ($1, pg_catalog.clock_timestamp(), $2)
             ON CONFLICT (user_id) DO UPDATE
                 SET bumped_at = greatest(h.bumped_at, excluded.bumped_at),
                     next_version = greatest(h.next_version, excluded.next_version)",
            &[pg_sys::TEXTOID, pg_sys::INT8OID],
        ),
        end_now: OurPlan::new(
            "UPDATE auth.user_history AS h SET bumped_at = greatest(h.bumped_at, pg_catalog.clock_timestamp())
             WHERE h.user_id OPERATOR(pg_catalog.=) ANY ($1)",
            &[pg_sys::TEXTARRAYOID],
        ),
        past: OurPlan::new(
            "SELECT h.next_version, h.bumped_at FROM auth.user_history AS h
             WHERE h.user_id OPERATOR(pg_catalog.=) $1",
            &[pg_sys::TEXTOID],
        ),
    };
}

/// What is remembered of a user.
struct Past {
    /// Where a new row of that id starts at least.
    next_version: i64,
    /// When the sessions last ended.
    bumped_at: UnixMicros,
}

impl Past {
    fn new(next_version: i64, bumped_at: TimestampWithTimeZone) -> Self {
        Self {
            next_version,
            bumped_at: clock::from_pg(bumped_at.into_inner()),
        }
    }

    /// As committed now, and as this transaction has changed it.
    fn of(users: &Users, user_id: &UserId) -> Option<Self> {
        let key = key(user_id).into_owned().into_datum();
        let looked = users.history.as_ref().zip(key).map(|(probe, key)| {
            probe.look(&[key], attach::still_holds, |row| {
                Self::new(row.required(0), row.required(1))
            })
        });
        match looked {
            Some(Looked::Row(past)) => Some(past),
            Some(Looked::Nothing) => None,
            Some(Looked::Changed) | None => {
                let _acting = ActingAs::qualified(catalog::extension_owner());
                PLANS
                    .with(|plans| {
                        plans.past.run(Sees::Latest, &[key], 1, |row| {
                            Self::new(row.required(1), row.required(2))
                        })
                    })
                    .pop()
            }
        }
    }
}

/// The way to it without a plan.
pub fn probe() -> Option<Probe> {
    let table = catalog::auth_relation(HISTORY);
    let keys = ["user_id"];
    let index = catalog::unique_index(table, &keys)?;
    Probe::new(table, &index, &keys, &["next_version", "bumped_at"])
}

/// The table of what is remembered of each user.
const HISTORY: &CStr = c"user_history";

/// The table of the mark that stands for all users.
const FLOOR: &CStr = c"user_floor";

/// In octets: a longer id is kept as its hash.
const LONGEST_ID: usize = 1024;

/// The id as the table keeps it: an index cannot hold one of any length, and no id may make a bump fail.
fn key(user_id: &UserId) -> Cow<'_, str> {
    let user_id = user_id.as_str();
    if user_id.len() <= LONGEST_ID {
        user_id.into()
    } else {
        format!("sha256:{}", Fingerprint::of(user_id)).into()
    }
}

/// Remembers that the sessions of a user ended now, and where a new row of that id would start at least.
pub fn remember(users: &Users, user_id: &UserId, next_version: i64) {
    let key = key(user_id).into_owned();
    if is_remembered_without_a_plan(users, &key, next_version) {
        return;
    }
    let arguments = [key.into_datum(), next_version.into_datum()];
    let _acting = ActingAs::qualified(catalog::extension_owner());
    PLANS.with(|plans| (plans.remember).run(Sees::Transaction, &arguments, 0, |_| ()));
}

fn is_remembered_without_a_plan(users: &Users, key: &str, next_version: i64) -> bool {
    // Whoever changes a user has locked its row, so that nobody else writes of it here, unless there may be several rows. A dump's mark
    // is announced by a trigger.
    let is_ours_alone = users.has_unique_ids && !key.starts_with(MARK);
    let (Some(probe), Some(key)) = (&users.history, key.into_datum()) else {
        return false;
    };
    is_ours_alone
        && heap::upsert(probe, &[key], attach::still_holds, &COLUMNS, |row| {
            let past = row.map(|row| Past::new(row.required(0), row.required(1)));
            // The clock may have gone back, as with another machine's after a failover.
            let bumped_at = Some(clock::now()).max(past.as_ref().map(|past| past.bumped_at));
            let next = past.map_or(0, |past| past.next_version).max(next_version);
            [
                Some(key),
                bumped_at.and_then(clock::to_timestamptz).into_datum(),
                next.into_datum(),
            ]
        })
}

/// The version below which no row of that id may start.
pub fn floor(users: &Users, user_id: &UserId) -> i64 {
    own_floor(users, user_id).max(floor_of_all(users))
}

/// The version below which no row at all may start: what was deleted in bulk.
fn floor_of_all(users: &Users) -> i64 {
    (users.version_floor).max(invalidation::bulk_version_floor())
}

/// May a row of any id start at any version, since nothing is remembered of anybody?
pub fn is_blank(users: &Users) -> bool {
    floor_of_all(users) == 0 && is_empty()
}

fn is_empty() -> bool {
    catalog::is_empty(&EMPTY, HISTORY)
}

/// The same of this user alone, without what was deleted in bulk.
pub fn own_floor(users: &Users, user_id: &UserId) -> i64 {
    if is_empty() {
        return 0;
    }
    Past::of(users, user_id).map_or(0, |past| past.next_version)
}

/// When the sessions of a user last ended, as far as is known: no earlier than in the second in which the transaction that ended them
/// began to commit.
pub fn bumped_at(users: &Users, user_id: &UserId) -> Option<UnixMicros> {
    Past::of(users, user_id)
        .map(|past| past.bumped_at)
        .max(users.bumped_floor)
}

/// At the end of a transaction that ended the sessions of these users, each with a row of its own here: that is when they end. What
/// was issued in the seconds since the statement must not outlive them. Nothing where the extension was dropped in that transaction.
pub fn settle(user_ids: &[UserId]) {
    if user_ids.is_empty()
        || transaction::began_at().second() == clock::now().second()
        || !catalog::has_auth_relation(HISTORY)
    {
        return;
    }
    let keys: Vec<_> = (user_ids.iter().map(key)).map(Cow::into_owned).collect();
    transaction::to_settle(|| {
        let _acting = ActingAs::qualified(catalog::extension_owner());
        PLANS.with(|plans| (plans.end_now).run(Sees::Transaction, &[keys.into_datum()], 0, |_| ()));
    });
}

/// At the end of a transaction that bumped or deleted too many for a row each: one mark for all users. Others learn of it by a message,
/// which is sent only after the commit can be seen: until then [`await_mark`] waits, where users were deleted.
pub fn settle_bulk(version_floor: i64) {
    if !catalog::has_auth_relation(FLOOR) {
        return;
    }
    if version_floor > 0 {
        catalog::lock(catalog::auth_relation(FLOOR), Lock::Changes);
    }
    transaction::to_settle(|| {
        query(
            Sees::Transaction,
            "INSERT INTO auth.user_floor AS f (bumped_at, next_version) VALUES (clock_timestamp(), $1)
             ON CONFLICT (singleton) DO UPDATE
                 SET bumped_at = greatest(f.bumped_at, excluded.bumped_at),
                     next_version = greatest(f.next_version, excluded.next_version)",
            &[(pg_sys::INT8OID, version_floor.into_datum())],
            |_| (),
        );
    });
}

/// Waits while somebody else's mark for deleted users is being committed, and hears of it. Called when a command has written its rows, of
/// which none comes later: once a command is enough.
pub fn await_mark() {
    let now = transaction::step();
    if MARK_AWAITED.replace(Some(now)) != Some(now) {
        catalog::await_lock(catalog::auth_relation(FLOOR), Lock::Rows);
    }
}

/// Is the version too high for the mark that stands for all users? Such a mark would leave every other user of the database no room
/// to be bumped.
pub fn is_far_above(users: &Users, version: i64) -> bool {
    version > users.last_version() / 2
}

/// Before a TRUNCATE of `table` (the users table or a partition): remembers every user as deleted, one by
/// one or, beyond `threshold`, by one mark at the commit (which does not stand for those who are far above the others).
pub fn remember_all(users: &Users, table: &Relation, threshold: usize) {
    let mut rows = users.versions(table, i64::MIN, threshold.saturating_add(1));
    if rows.len() > threshold {
        let far = users.last_version() / 2;
        let highest = users.highest_version(table, far);
        invalidation::record_deletion_in_bulk(highest.saturating_add(1));
        rows = users.versions(table, far, usize::MAX);
    }
    for (user_id, version) in rows {
        remember(users, &user_id, version.saturating_add(1));
        invalidation::record_end(user_id);
    }
}

/// Raises each user's version in the table to the least that the history allows: the table may be a copy of an earlier time.
pub fn apply(users: &Users) -> Result<()> {
    for (id, next_version) in behind(users) {
        users.raise(&id, next_version);
    }
    transaction::refuse_if_missed(|| !behind(users).is_empty())
}

/// The users whose version the history does not allow, each with the least that it allows. The history is read as its owner, and the
/// users as theirs: planning a query on a table runs functions of the table's owner (in the predicate of an index, say).
fn behind(users: &Users) -> Vec<(UserId, i64)> {
    let (keys, versions): (Vec<String>, Vec<i64>) = {
        let sql = format!(
            "SELECT h.user_id, h.next_version FROM {} AS h",
            catalog::place("auth.user_history")
        );
        let _acting = ActingAs::reader(catalog::extension_owner()).without_jit();
        let past = Plan::prepare(&sql, &[]).run(Sees::Latest, &[], 0, |row| {
            (row.required::<String>(1), row.required::<i64>(2))
        });
        past.into_iter().unzip()
    };
    if keys.is_empty() {
        return Vec::new();
    }
    let id = format!("u.{}::pg_catalog.text", quote_identifier(&users.id_column));
    let version = format!("coalesce(u.{}, 0)", quote_identifier(&users.version_column));
    // The id as `key` has it.
    let sql = format!(
        "SELECT {id}, h.next_version
         FROM {table} AS u
         JOIN ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS h (user_id, next_version)
         ON h.user_id OPERATOR(pg_catalog.=) (CASE
             WHEN pg_catalog.octet_length({id}) OPERATOR(pg_catalog.<=) {LONGEST_ID} THEN {id}
             ELSE 'sha256:' OPERATOR(pg_catalog.||) pg_catalog.encode(
                 pg_catalog.sha256(pg_catalog.convert_to({id}, 'UTF8')), 'hex')
             END COLLATE pg_catalog.\"C\")
         WHERE {version} OPERATOR(pg_catalog.<) h.next_version",
        table = users.table.as_source(),
    );
    let _acting = ActingAs::reader(users.table.owner).without_jit();
    Plan::prepare(&sql, &[pg_sys::TEXTARRAYOID, pg_sys::INT8ARRAYOID]).run(
        Sees::Latest,
        &[keys.into_datum(), versions.into_datum()],
        0,
        |row| {
            (
                UserId::new(row.required::<String>(1)),
                row.required::<i64>(2),
            )
        },
    )
}
