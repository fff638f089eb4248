//! Binding an application's table: missing columns are added, triggers created, and what is where is written down.

use pgrx::prelude::*;
use pgrx::spi::quote_identifier;

use super::columns::can_be_added;
use crate::error::{Error, Result};
use crate::pg::catalog::Lock;
use crate::pg::plan::{Sees, command, query, text};
use crate::pg::{acting, catalog};

/// Ours sort behind every other trigger of the table, so that they see what those made of the row.
pub const TRIGGER_PREFIX: &str = "zzzz_auth_ext_";

/// A trigger: the rest of its name, when it fires, and its function with arguments.
pub struct Trigger {
    /// Behind [`TRIGGER_PREFIX`]; triggers of one event fire in the order of their names.
    pub name: &'static str,
    /// `BEFORE UPDATE`, `AFTER TRUNCATE`, …
    pub event: &'static str,
    /// For a row trigger the condition of its WHEN clause, or nothing.
    pub when: Option<String>,
    /// `auth.users_before_row`, …
    pub function: &'static str,
    /// Does the condition say that the change ends the sessions? See [`super::is_bump`].
    pub bumps: bool,
}

impl Trigger {
    /// One that does not bump.
    pub fn new(
        name: &'static str,
        event: &'static str,
        when: Option<String>,
        function: &'static str,
    ) -> Self {
        Self {
            name,
            event,
            when,
            function,
            bumps: false,
        }
    }
}

/// What `auth.attached_tables` is to hold of a table.
pub struct Attachment {
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
            "{name} cannot be two of the users, the API-key and the identities table"
        )));
    }
    if table.is_partition {
        return Err(Error::Argument(format!(
            "{name} is a partition: attach the partitioned table"
        )));
    }
    if table.schema == "pg_catalog" || Some(&table.schema) == catalog::our_schema().as_ref() {
        return Err(Error::Argument(format!(
            "{name} is not an application's table"
        )));
    }
    if !acting::owns(relation) {
        return Err(Error::Forbidden(format!("must be owner of table {name}")));
    }
    Ok(table)
}

/// Is `relation` the attached table, or a partition of it? A trigger of ours on any other has no say.
pub fn covers(attached: pg_sys::Oid, table: &catalog::Relation, relation: pg_sys::Oid) -> bool {
    relation == attached || (table.kind == b'p' && catalog::is_partition_of(relation, attached))
}

/// A table that is being attached: locked, and what it was attached as before.
pub struct Claim {
    kind: &'static str,
    relation: pg_sys::Oid,
    /// What the catalogs say of it.
    pub table: catalog::Relation,
    former: Option<serde_json::Value>,
}

impl Claim {
    /// Claims a table of the caller's own. It first takes the strongest lock that attaching needs, on the table and then on its
    /// partitions: whoever already uses the table goes on, and whoever comes later waits.
    pub fn new(kind: &'static str, relation: pg_sys::Oid) -> Result<Self> {
        check_table(kind, relation)?;
        catalog::lock(relation, Lock::Everything);
        // Its name is what it is from here on; what was checked may have changed.
        let table = check_table(kind, relation)?;
        command(&format!(
            "LOCK TABLE {} IN ACCESS EXCLUSIVE MODE",
            table.qualified_name
        ));
        query(
            Sees::Transaction,
            "LOCK TABLE auth.attached_tables IN SHARE ROW EXCLUSIVE MODE",
            &[],
            |_| (),
        );
        if let Some(other) = attached(kind)
            && other != relation
            && let Some(other) = catalog::relation(other)
        {
            return Err(Error::Argument(format!(
                "{} is attached already: detach it first",
                other.qualified_name
            )));
        }
        Ok(Self {
            kind,
            relation,
            table,
            former: former(kind, relation),
        })
    }

    /// The table.
    pub fn relation(&self) -> pg_sys::Oid {
        self.relation
    }

    /// The column that was named, or else the one that has the task while the table is attached.
    pub fn named(&self, named: Option<String>, task: &str) -> Option<String> {
        let former = || Some(self.former.as_ref()?.get(task)?.as_str()?.to_owned());
        named.or_else(former)
    }

    /// The columns whose change ends the sessions while the table is attached; none where it is not.
    pub fn bump_on(&self) -> Vec<String> {
        let columns = self.former.as_ref().and_then(|row| row.get("bump_on"));
        let columns = columns.and_then(serde_json::Value::as_array);
        let texts = columns
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str());
        texts.map(str::to_owned).collect()
    }

    /// Adds columns and triggers, and writes the binding.
    pub fn attach(&self, attachment: &Attachment) -> Result<()> {
        let table = &self.table;
        drop_triggers(self.kind);
        revoke_triggers(self.kind);
        for (column, definition) in &attachment.missing {
            can_be_added(column)?;
            command(&format!(
                "ALTER TABLE {} ADD COLUMN {} {definition}",
                table.qualified_name,
                quote_identifier(column)
            ));
        }
        for trigger in &attachment.triggers {
            create_trigger(&table.qualified_name, trigger);
        }
        grant_triggers(self.kind, table.owner);
        self.write_binding(attachment)?;
        super::partitions::cover(&[self.relation]);
        Ok(())
    }

    fn write_binding(&self, attachment: &Attachment) -> Result<()> {
        let mut row = serde_json::Map::new();
        for (task, column) in &attachment.columns {
            row.insert((*task).to_owned(), column.as_deref().into());
        }
        row.insert("kind".to_owned(), self.kind.into());
        row.insert(
            "relation".to_owned(),
            self.relation.to_u32().to_string().into(),
        );
        row.insert(
            "table_name".to_owned(),
            self.table.qualified_name.as_str().into(),
        );
        row.insert("bump_on".to_owned(), attachment.bump_on.clone().into());
        row.insert("trigger_count".to_owned(), attachment.triggers.len().into());
        forget_binding(self.kind);
        query(
            Sees::Transaction,
            "INSERT INTO auth.attached_tables
             SELECT a.* FROM pg_catalog.jsonb_populate_record(NULL::auth.attached_tables, $1::jsonb) AS a",
            &[text(serde_json::Value::Object(row).to_string())],
            |_| (),
        );
        Ok(())
    }
}

fn forget_binding(kind: &str) {
    query(
        Sees::Transaction,
        "DELETE FROM auth.attached_tables WHERE kind = $1",
        &[text(kind)],
        |_| (),
    );
}

/// The row of a table that is attached.
fn former(kind: &str, relation: pg_sys::Oid) -> Option<serde_json::Value> {
    let row = query(
        Sees::Latest,
        "SELECT to_jsonb(a)::text FROM auth.attached_tables AS a WHERE a.kind = $1 AND a.relation = $2",
        &[text(kind), (pg_sys::OIDOID, relation.into_datum())],
        |row| row.required::<String>(1),
    );
    serde_json::from_str(row.first()?).ok()
}

/// Our trigger functions, in a query of `pg_proc AS f`.
macro_rules! is_ours {
    () => {
        "f.prorettype = 'trigger'::regtype AND EXISTS (
             SELECT FROM pg_depend AS d JOIN pg_extension AS e ON e.oid = d.refobjid
             WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid AND d.deptype = 'e'
               AND d.refclassid = 'pg_extension'::regclass AND e.extname = 'auth_ext')"
    };
}

/// A former owner has no business with the functions any more.
fn revoke_triggers(kind: &str) {
    let commands = query(
        Sees::Latest,
        concat!(
            "SELECT DISTINCT format('REVOKE ALL ON FUNCTION %s FROM %s', f.oid::regprocedure, a.grantee::regrole)
             FROM pg_proc AS f CROSS JOIN LATERAL aclexplode(f.proacl) AS a
             WHERE starts_with(f.proname, $1) AND a.grantee NOT IN (0, f.proowner) AND ",
            is_ours!()
        ),
        &[text(format!("{kind}_"))],
        |row| row.required::<String>(1),
    );
    commands.iter().for_each(|sql| command(sql));
}

/// The owner adds partitions, and PostgreSQL then creates our triggers on them in his name.
fn grant_triggers(kind: &str, owner: pg_sys::Oid) {
    let commands = query(
        Sees::Latest,
        concat!(
            "SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', f.oid::regprocedure, $2::regrole)
             FROM pg_proc AS f WHERE starts_with(f.proname, $1) AND ",
            is_ours!()
        ),
        &[
            text(format!("{kind}_")),
            (pg_sys::OIDOID, owner.into_datum()),
        ],
        |row| row.required::<String>(1),
    );
    commands.iter().for_each(|sql| command(sql));
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
    catalog::lock(relation, Lock::Everything);
    drop_triggers(kind);
    revoke_triggers(kind);
    forget_binding(kind);
    Ok(true)
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
    let argument = if trigger.bumps { "'bump'" } else { "" };
    command(&format!(
        "CREATE TRIGGER {name} {} ON {table} FOR EACH {level} {when} EXECUTE FUNCTION {}({argument})",
        trigger.event,
        catalog::place(trigger.function),
    ));
    // Also under session_replication_role = replica, and where logical replication applies a change.
    command(&format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"));
}

/// Drops what an earlier attach created, on the table and on its partitions.
fn drop_triggers(kind: &str) {
    let commands = query(
        Sees::Latest,
        concat!(
            "SELECT format('DROP TRIGGER %I ON %I.%I', t.tgname, n.nspname, c.relname)
             FROM pg_trigger AS t
             JOIN pg_proc AS f ON f.oid = t.tgfoid
             JOIN pg_class AS c ON c.oid = t.tgrelid
             JOIN pg_namespace AS n ON n.oid = c.relnamespace
             WHERE t.tgparentid = 0 AND starts_with(t.tgname, $1) AND starts_with(f.proname, $2) AND ",
            is_ours!(),
            " ORDER BY t.tgrelid, t.tgname"
        ),
        &[text(TRIGGER_PREFIX), text(format!("{kind}_"))],
        |row| row.required::<String>(1),
    );
    commands.iter().for_each(|sql| command(sql));
}
