//! Partitions of attached tables: PostgreSQL gives a new one the row triggers of its parent, but not those of TRUNCATE.

use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::binding::bindings;
use super::table::TRIGGER_PREFIX;
use crate::error::warn;
use crate::pg::catalog::{self, Lock};
use crate::pg::plan::{Sees, command, query};
use crate::pg::transaction;

/// Gives the partitions of these tables our trigger for TRUNCATE where they lack it. It has a fixed name, and no argument:
/// nothing of what the table's owner wrote goes into the command.
pub fn cover(tables: &[pg_sys::Oid]) {
    for (partition, function, event) in uncovered(tables) {
        // A new partition is locked by the command that made it. Another one can wait.
        if !catalog::try_lock(partition, Lock::Triggers) {
            continue;
        }
        let Some(table) = catalog::relation(partition).map(|table| table.qualified_name) else {
            continue;
        };
        let name = quote_identifier(format!("{TRIGGER_PREFIX}8_truncate"));
        command(&format!(
            "CREATE TRIGGER {name} {event} TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        ));
        command(&format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"));
    }
}

/// The same for every attached table, after a command that made a partition. It never makes that command fail.
pub fn cover_new() {
    let bindings = bindings();
    let attached: Vec<pg_sys::Oid> = bindings
        .all()
        .map(|binding| binding.relation)
        .filter(|table| catalog::relation(*table).is_some_and(|table| table.kind == b'p'))
        .collect();
    if attached.is_empty() {
        return;
    }
    if let Err(why) = transaction::attempt(|| cover(&attached)) {
        warn(format!(
            "a TRUNCATE of the new partition alone will end no session: {why}"
        ));
    }
}

/// Partitions without the trigger, with its function and when it fires.
fn uncovered(tables: &[pg_sys::Oid]) -> Vec<(pg_sys::Oid, String, &'static str)> {
    const BEFORE: i32 = 2;
    query(
        Sees::Latest,
        "SELECT p.relid::oid, format('%I.%I', n.nspname, f.proname), t.tgtype::int4
         FROM unnest($1) AS root(oid)
         JOIN pg_trigger AS t ON t.tgrelid = root.oid AND t.tgtype & 33 = 32 AND NOT t.tgisinternal
         JOIN pg_proc AS f ON f.oid = t.tgfoid
         JOIN pg_namespace AS n ON n.oid = f.pronamespace
         JOIN pg_depend AS d ON d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
             AND d.refclassid = 'pg_extension'::regclass
         JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'auth_ext'
         CROSS JOIN LATERAL pg_partition_tree(root.oid) AS p
         JOIN pg_class AS c ON c.oid = p.relid AND c.relkind IN ('r', 'p')
         WHERE p.level > 0
           AND NOT EXISTS (SELECT FROM pg_trigger AS own WHERE own.tgrelid = p.relid AND own.tgfoid = t.tgfoid)
         ORDER BY p.relid",
        &[(pg_sys::OIDARRAYOID, tables.to_vec().into_datum())],
        |row| {
            let when = if row.required::<i32>(3) & BEFORE != 0 {
                "BEFORE"
            } else {
                "AFTER"
            };
            (row.required(1), row.required(2), when)
        },
    )
}
