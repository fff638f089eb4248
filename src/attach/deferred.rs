//! What would happen at COMMIT: there a deferred trigger runs as whoever commits.

use pgrx::prelude::*;

use crate::pg::plan::{Plan, Sees, query};

/// Has the table, or a partition of it, a trigger of the application that can be deferred?
pub fn can_defer_triggers(relation: pg_sys::Oid) -> bool {
    query(
        Sees::Latest,
        "SELECT true FROM pg_trigger AS t
         WHERE t.tgdeferrable AND NOT t.tgisinternal AND t.tgenabled <> 'D'
           AND (t.tgrelid = $1 OR t.tgrelid IN (SELECT p.relid FROM pg_partition_tree($1) AS p))
         LIMIT 1",
        &[(pg_sys::OIDOID, relation.into_datum())],
        |_| (),
    )
    .pop()
    .is_some()
}

/// Runs `body`, which inserts or deletes rows of a table as its owner. Meanwhile the table's foreign keys are checked at once and
/// not at COMMIT, since nothing that is done as the owner may be put off ([`crate::pg::acting`]). Checks of the caller's own that
/// are waiting are made first, as the caller: this must not be called while acting as somebody else.
pub fn with_foreign_keys_at_once<T>(relation: pg_sys::Oid, body: impl FnOnce() -> T) -> T {
    let keys = deferrable_foreign_keys(relation);
    let set = |name: &str, mode: &str| {
        Plan::prepare(&format!("SET CONSTRAINTS {name} {mode}"), &[]).run(
            Sees::Transaction,
            &[],
            0,
            |_| (),
        );
    };
    for (name, _) in &keys {
        set(name, "IMMEDIATE");
    }
    let done = body();
    for (name, _) in keys
        .iter()
        .filter(|(_, initially_deferred)| *initially_deferred)
    {
        set(name, "DEFERRED");
    }
    done
}

/// Those of the table and those that refer to it, by their quoted names; and whether they begin as deferred.
fn deferrable_foreign_keys(relation: pg_sys::Oid) -> Vec<(String, bool)> {
    query(
        Sees::Latest,
        "SELECT format('%I.%I', n.nspname, k.conname), bool_or(k.condeferred)
         FROM pg_constraint AS k
         JOIN pg_class AS c ON c.oid = k.conrelid
         JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE k.contype = 'f' AND k.condeferrable AND (k.conrelid = $1 OR k.confrelid = $1)
         GROUP BY 1",
        &[(pg_sys::OIDOID, relation.into_datum())],
        |row| (row.required::<String>(1), row.required::<bool>(2)),
    )
}
