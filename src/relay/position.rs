//! How far the relay is, and what it has still to send.

use pgrx::datum::Interval;
use pgrx::prelude::*;

use crate::invalidation::{Cursor, unseen_by};
use crate::pg::acting::ActingAs;
use crate::pg::catalog;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Sees, query};
use crate::pg::row::only;

struct Plans {
    load: OurPlan,
    store: OurPlan,
}

process_local! {
    static PLANS: Plans = Plans {
        load: OurPlan::new("SELECT p.cursor FROM auth.relay_position AS p", &[]),
        store: OurPlan::new(
            "INSERT INTO auth.relay_position AS p (cursor, sent_at) VALUES ($1, clock_timestamp())
             ON CONFLICT (singleton) DO UPDATE SET cursor = excluded.cursor, sent_at = excluded.sent_at",
            &[pg_sys::TEXTOID],
        ),
    };
}

/// The relay's place in the log; None when it is not known.
pub fn position() -> Option<Cursor> {
    let _acting = ActingAs::reader(catalog::extension_owner());
    PLANS
        .with(|plans| {
            plans
                .load
                .run(Sees::Latest, &[], 1, |row| row.required::<String>(1))
        })
        .pop()?
        .parse()
        .ok()
}

/// Moves it.
pub fn store(position: &Cursor) {
    let _acting = ActingAs::writer(catalog::extension_owner(), None);
    let arguments = [position.to_string().into_datum()];
    PLANS.with(|plans| plans.store.run(Sees::Transaction, &arguments, 0, |_| ()));
}

/// What the relay has still to send.
pub struct Backlog {
    /// How many events, counted up to 10,000.
    pub events: i64,
    /// How long the oldest of them has waited.
    pub age: Option<Interval>,
}

/// What the relay of this database has still to send.
pub fn backlog() -> Backlog {
    let Some(position) = position() else {
        return Backlog {
            events: 0,
            age: None,
        };
    };
    let [in_progress, xmax] = unseen_by(&position.seen);
    only(query(
        Sees::Latest,
        "SELECT count(*), CASE WHEN count(*) > 0 THEN greatest(clock_timestamp() - min(e.created_at), '0') END
         FROM (
             SELECT l.created_at
             FROM (
                 SELECT l.* FROM auth.invalidation_log AS l WHERE l.xid = ANY ($1::xid8[])
                 UNION ALL
                 SELECT l.* FROM auth.invalidation_log AS l WHERE l.xid >= $2::xid8
             ) AS l
             WHERE l.relayed
             LIMIT 10000
         ) AS e",
        &[(pg_sys::TEXTARRAYOID, in_progress), (pg_sys::TEXTOID, xmax)],
        |row| Backlog {
            events: row.required(1),
            age: row.get(2),
        },
    ))
}
