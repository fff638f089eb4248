//! The SQL functions of the log. Declared in `sql/functions.sql`.

use pgrx::prelude::*;

use super::cursor::{Cursor, NotACursor};
use super::event::FLUSH;
use super::log::{self, Of, Since};
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::json::JsonText;
use crate::pg::wal;

#[pg_extern(sql = false)]
fn invalidation_cursor() -> String {
    sql(|| Ok(given_out(&log::cursor())))
}

/// A cursor as a client keeps it. After a crash the server gives out again the ids of transactions of which nothing had reached the
/// disk. A cursor that took such an id for seen would miss the new transaction's events. Every transaction that has ended has
/// written a commit or abort record: when those are flushed, its id is never used again.
fn given_out(cursor: &Cursor) -> String {
    wal::flush();
    cursor.to_string()
}

type Rows = Vec<(JsonText, String)>;

#[pg_extern(sql = false)]
fn invalidations_since(
    cursor: Option<&str>,
) -> TableIterator<'static, (name!(event, JsonText), name!(next_cursor, String))> {
    TableIterator::new(sql(|| events_since(cursor)))
}

fn events_since(cursor: Option<&str>) -> Result<Rows> {
    let cursor = cursor
        .ok_or_else(|| Error::Argument("cursor must not be NULL".to_owned()))?
        .parse()
        .map_err(|NotACursor| {
            Error::Argument("not a cursor of auth.invalidation_cursor()".to_owned())
        })?;
    let (events, next) = match log::since(&cursor, Of::All) {
        Since::Nothing => return Ok(Vec::new()),
        Since::Events(events, next) => (events, next),
        Since::Flush(next) => (vec![FLUSH.to_owned()], next),
    };
    let next = given_out(&next);
    Ok(events
        .into_iter()
        .map(|event| (JsonText(event), next.clone()))
        .collect())
}

/// Trigger of the log's tables. A row that arrives by logical replication is of the other server, whose ids mean nothing here. The
/// replicated changes of users write rows of their own here.
#[pg_trigger(sql = false)]
fn keep_out_replicated<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, pgrx::AllocatedByPostgres>>, PgHeapTupleError> {
    Ok(if log::is_our_own() {
        trigger.new().or_else(|| trigger.old())
    } else {
        None
    })
}
