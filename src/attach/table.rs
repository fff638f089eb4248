//! Binding an application's table: its columns are checked, missing ones added, triggers created.

use pgrx::prelude::*;
use pgrx::spi::{quote_identifier, quote_literal};

use crate::error::{Error, Result};
use crate::pg::plan::{Sees, query, text};
use crate::pg::{acting, catalog};

/// Ours sort behind every other trigger of the table, so that they see what those made of the row.
pub const TRIGGER_PREFIX: &str = "zzzz_auth_ext_";

/// Types of a version column.
pub const VERSION_TYPES: &[pg_sys::Oid] = &[pg_sys::INT4OID, pg_sys::INT8OID];
/// How a missing version column is added: no table rewrite.
pub const VERSION_DEFINITION: &str = "bigint NOT NULL DEFAULT 0";

/// A trigger: the rest of its name, when it fires, and its function with arguments.
pub struct Trigger {
    /// Behind [`TRIGGER_PREFIX`]; triggers of one event fire in the order of their names.
    pub name: &'static str,
    /// `BEFORE UPDATE`, `AFTER TRUNCATE`, …
    pub event: &'static str,
    /// For a row trigger the condition of its WHEN clause, or nothing.
    pub when: Option<String>,
    /// `auth.users_before_row()`, …
    pub function: &'static str,
}

/// What `auth.attached_tables` is to hold of a table.
pub struct Attachment {
    /// `users` or `api_keys`.
    pub kind: &'static str,
    /// The table.
    pub relation: pg_sys::Oid,
    /// Columns to add when they are missing, with their definitions.
    pub missing: Vec<(String, &'static str)>,
    /// Column of `auth.attached_tables` → column of the table.
    pub columns: Vec<(&'static str, Option<String>)>,
    /// The columns whose change ends the sessions.
    pub bump_on: Vec<String>,
    /// What keeps the table right.
    pub triggers: Vec<Trigger>,
}

/// The table that a caller wants to attach: it must be an ordinary or partitioned one of his own.
pub fn check_table(kind: &str, relation: pg_sys::Oid) -> Result<catalog::Relation> {
    let table = catalog::relation(relation)
        .ok_or_else(|| Error::Argument("there is no such table".to_owned()))?;
    let name = &table.qualified_name;
    if !matches!(table.kind, b'r' | b'p') || table.persistence == b't' {
        return Err(Error::Argument(format!(
            "{name} is not an ordinary or partitioned table"
        )));
    }
    if attached_kinds(relation).iter().any(|other| other != kind) {
        return Err(Error::Argument(format!(
            "{name} cannot be both the users and the API-key table"
        )));
    }
    if table.is_partition {
        return Err(Error::Argument(format!(
            "{name} is a partition: attach the partitioned table"
        )));
    }
    if table.schema == "pg_catalog" || table.schema == "auth" {
        return Err(Error::Argument(format!(
            "{name} is not an application's table"
        )));
    }
    if !acting::owns(relation) {
        return Err(Error::Forbidden(format!("must be owner of table {name}")));
    }
    Ok(table)
}

/// The column `name`, which must be there and of one of `types`.
pub fn require_column(
    relation: pg_sys::Oid,
    name: &str,
    types: &[pg_sys::Oid],
    expected: &str,
) -> Result<catalog::Column> {
    let column = catalog::column(relation, name)
        .ok_or_else(|| Error::Argument(format!("column \"{name}\" does not exist")))?;
    if column.generated || !types.contains(&column.type_oid) {
        return Err(Error::Argument(format!(
            "column \"{name}\" must be an ordinary column of type {expected}"
        )));
    }
    Ok(column)
}

/// The column that was named, or the customary one when the table has it. One of an unfitting type is refused,
/// not passed over: it may say who must not get in.
pub fn optional_column(
    relation: pg_sys::Oid,
    named: Option<&str>,
    customary: &str,
    types: &[pg_sys::Oid],
    expected: &str,
) -> Result<Option<String>> {
    let name = match named {
        Some(name) => name,
        None if catalog::column(relation, customary).is_some() => customary,
        None => return Ok(None),
    };
    require_column(relation, name, types, expected).map(|_| Some(name.to_owned()))
}

/// May a missing column be added under that name?
fn can_be_added(name: &str) -> Result<()> {
    const SYSTEM: [&str; 6] = ["ctid", "xmin", "cmin", "xmax", "cmax", "tableoid"];
    if name.is_empty() || SYSTEM.contains(&name) {
        return Err(Error::Argument(format!(
            "column \"{name}\" cannot be added"
        )));
    }
    Ok(())
}

/// Columns with different tasks must be different columns.
pub fn require_distinct(columns: &[Option<&String>]) -> Result<()> {
    let mut names: Vec<&String> = columns.iter().copied().flatten().collect();
    names.sort_unstable();
    match names.array_windows().find(|[one, other]| one == other) {
        Some([name, _]) => Err(Error::Argument(format!(
            "column \"{name}\" cannot have two tasks"
        ))),
        None => Ok(()),
    }
}

/// Adds columns and triggers, and writes the binding.
pub fn attach(attachment: &Attachment) -> Result<()> {
    let table = check_table(attachment.kind, attachment.relation)?;
    run(&format!(
        "LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE",
        table.as_source()
    ));
    run("LOCK TABLE auth.attached_tables IN SHARE ROW EXCLUSIVE MODE");
    if let Some(other) = attached(attachment.kind)
        && other != attachment.relation
        && let Some(other) = catalog::relation(other)
    {
        return Err(Error::Argument(format!(
            "{} is attached already: detach it first",
            other.qualified_name
        )));
    }
    drop_triggers(attachment.kind);
    revoke_triggers(attachment.kind);
    for (column, definition) in &attachment.missing {
        can_be_added(column)?;
        run(&format!(
            "ALTER TABLE {} ADD COLUMN {} {definition}",
            table.qualified_name,
            quote_identifier(column)
        ));
    }
    for trigger in &attachment.triggers {
        create_trigger(&table.qualified_name, trigger);
    }
    grant_triggers(attachment.kind, table.owner);
    write_binding(attachment);
    run("SELECT auth.cover_partitions()");
    Ok(())
}

/// A former owner has no business with the functions any more.
fn revoke_triggers(kind: &str) {
    let commands = query(
        Sees::Latest,
        "SELECT DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s', f.oid::regprocedure, a.grantee::regrole)
         FROM pg_proc AS f CROSS JOIN LATERAL aclexplode(f.proacl) AS a
         WHERE f.pronamespace = 'auth'::regnamespace AND f.prorettype = 'trigger'::regtype
           AND starts_with(f.proname, $1) AND a.grantee NOT IN (0, f.proowner)",
        &[text(format!("{kind}_"))],
        |row| row.required::<String>(1),
    );
    for command in &commands {
        run(command);
    }
}

/// The owner adds partitions, and PostgreSQL then creates our triggers on them in his name.
fn grant_triggers(kind: &str, owner: pg_sys::Oid) {
    let commands = query(
        Sees::Latest,
        "SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', f.oid::regprocedure, $2::regrole)
         FROM pg_proc AS f
         WHERE f.pronamespace = 'auth'::regnamespace AND f.prorettype = 'trigger'::regtype
           AND starts_with(f.proname, $1)",
        &[
            text(format!("{kind}_")),
            (pg_sys::OIDOID, owner.into_datum()),
        ],
        |row| row.required::<String>(1),
    );
    for command in &commands {
        run(command);
    }
}

/// Removes triggers and binding; false when nothing was attached.
pub fn detach(kind: &'static str) -> Result<bool> {
    let Some(relation) = attached(kind) else {
        return Ok(false);
    };
    if let Some(table) = catalog::relation(relation)
        && !acting::owns(relation)
    {
        return Err(Error::Forbidden(format!(
            "must be owner of table {}",
            table.qualified_name
        )));
    }
    drop_triggers(kind);
    revoke_triggers(kind);
    query(
        Sees::Transaction,
        "DELETE FROM auth.attached_tables WHERE kind = $1",
        &[text(kind)],
        |_| (),
    );
    Ok(true)
}

fn run(command: &str) {
    query(Sees::Transaction, command, &[], |_| ());
}

/// As what is a table attached?
fn attached_kinds(relation: pg_sys::Oid) -> Vec<String> {
    query(
        Sees::Latest,
        "SELECT kind FROM auth.attached_tables WHERE relation = $1",
        &[(pg_sys::OIDOID, relation.into_datum())],
        |row| row.required::<String>(1),
    )
}

fn attached(kind: &str) -> Option<pg_sys::Oid> {
    query(
        Sees::Latest,
        "SELECT relation::oid FROM auth.attached_tables WHERE kind = $1",
        &[text(kind)],
        |row| row.required::<pg_sys::Oid>(1),
    )
    .pop()
}

fn create_trigger(table: &str, trigger: &Trigger) {
    let name = quote_identifier(format!("{TRIGGER_PREFIX}{}", trigger.name));
    let level = if trigger.event.ends_with("TRUNCATE") {
        "STATEMENT"
    } else {
        "ROW"
    };
    let when = trigger
        .when
        .as_ref()
        .map(|when| format!("WHEN ({when})"))
        .unwrap_or_default();
    run(&format!(
        "CREATE TRIGGER {name} {} ON {table} FOR EACH {level} {when} EXECUTE FUNCTION {}",
        trigger.event, trigger.function
    ));
    // Also under session_replication_role = replica, and where logical replication applies a change.
    run(&format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"));
}

/// Drops what an earlier attach created, on the table and on its partitions.
fn drop_triggers(kind: &str) {
    let commands = query(
        Sees::Latest,
        "SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
         FROM pg_trigger AS t
         JOIN pg_proc AS f ON f.oid = t.tgfoid AND f.pronamespace = 'auth'::regnamespace
         JOIN pg_class AS c ON c.oid = t.tgrelid
         JOIN pg_namespace AS n ON n.oid = c.relnamespace
         WHERE t.tgparentid = 0 AND starts_with(t.tgname, $1) AND starts_with(f.proname, $2)",
        &[text(TRIGGER_PREFIX), text(format!("{kind}_"))],
        |row| row.required::<String>(1),
    );
    for command in &commands {
        run(command);
    }
}

fn write_binding(attachment: &Attachment) {
    let literal = |value: &Option<String>| value.as_ref().map_or("NULL".to_owned(), quote_literal);
    let names: Vec<&str> = attachment.columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<String> = attachment
        .columns
        .iter()
        .map(|(_, value)| literal(value))
        .collect();
    let updates: Vec<String> = names
        .iter()
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    query(
        Sees::Transaction,
        &format!(
            "INSERT INTO auth.attached_tables (kind, relation, bump_on, trigger_count, {names})
             VALUES ($1, $2, $3, $4, {values})
             ON CONFLICT (kind) DO UPDATE
                 SET relation = excluded.relation, bump_on = excluded.bump_on,
                     trigger_count = excluded.trigger_count, {updates}",
            names = names.join(", "),
            values = values.join(", "),
            updates = updates.join(", "),
        ),
        &[
            text(attachment.kind),
            (pg_sys::OIDOID, attachment.relation.into_datum()),
            (
                pg_sys::TEXTARRAYOID,
                attachment.bump_on.clone().into_datum(),
            ),
            (
                pg_sys::INT4OID,
                i32::try_from(attachment.triggers.len())
                    .ok()
                    .and_then(IntoDatum::into_datum),
            ),
        ],
        |_| (),
    );
}
