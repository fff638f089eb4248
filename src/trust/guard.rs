//! Who may write what trust follows from.

use pgrx::prelude::*;

use crate::error::{Error, Result, quoted};
use crate::pg::boundary::sql;
use crate::pg::plan::{Sees, query, text};
use crate::pg::{acting, catalog};

/// Trigger of our tables, before a statement: `pg_write_all_data` writes whatever table it likes, these not. Our own functions write as the
/// extension's owner; others need a grant on the table or a column of it.
#[pg_trigger(sql = false)]
fn refuse_writer<'a>(
    trigger: &'a PgTrigger<'a>,
) -> core::result::Result<Option<PgHeapTuple<'a, pgrx::AllocatedByPostgres>>, PgTriggerError> {
    let table = trigger.relid()?;
    let right = match trigger.op()? {
        PgTriggerOperation::Insert => "INSERT",
        PgTriggerOperation::Update => "UPDATE",
        PgTriggerOperation::Delete => "DELETE",
        PgTriggerOperation::Truncate => "TRUNCATE",
    };
    sql(|| require(table, right));
    Ok(None)
}

fn require(table: pg_sys::Oid, right: &str) -> Result<()> {
    if acting::is_superuser() || is_granted(table, right) {
        return Ok(());
    }
    let name = catalog::relation(table).map_or(String::new(), |table| table.qualified_name);
    Err(Error::Forbidden(format!(
        "permission denied for table {}",
        quoted(&name)
    )))
}

fn is_granted(table: pg_sys::Oid, right: &str) -> bool {
    let role = acting::current_role();
    let granted = query(
        Sees::Latest,
        "SELECT FROM (
             SELECT a.grantee, a.privilege_type FROM pg_class AS c, aclexplode(c.relacl) AS a WHERE c.oid = $1
             UNION ALL
             SELECT a.grantee, a.privilege_type FROM pg_attribute AS t, aclexplode(t.attacl) AS a WHERE t.attrelid = $1
         ) AS a
         WHERE a.privilege_type = $3 AND CASE a.grantee WHEN 0 THEN true ELSE pg_has_role($2, a.grantee, 'USAGE') END
         LIMIT 1",
        &[
            (pg_sys::OIDOID, table.into_datum()),
            (pg_sys::OIDOID, role.into_datum()),
            text(right),
        ],
        |_| (),
    );
    !granted.is_empty()
}
