//! What of a database a worker may touch. It runs as a superuser, in databases that belong to others.

use pgrx::prelude::*;

use crate::pg::acting::ActingAs;
use crate::pg::catalog;
use crate::pg::local::process_local;
use crate::pg::plan::{Plan, Sees};

process_local! {
    /// The tables that belong to the extension and to its owner, a superuser; on which no code runs but a superuser's.
    static OWN_TABLES: Plan = Plan::prepare(
        "SELECT c.oid
         FROM pg_catalog.pg_extension AS e
         JOIN pg_catalog.pg_authid AS o ON o.oid = e.extowner AND o.rolsuper
         JOIN pg_catalog.pg_depend AS d
             ON d.refclassid = 'pg_catalog.pg_extension'::regclass AND d.refobjid = e.oid
             AND d.classid = 'pg_catalog.pg_class'::regclass AND d.deptype = 'e'
         JOIN pg_catalog.pg_class AS c
             ON c.oid = d.objid AND c.relkind = 'r' AND c.relowner = e.extowner AND NOT c.relhasrules
         WHERE e.extname = 'auth_ext'
           AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_trigger AS t
               JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid
               JOIN pg_catalog.pg_authid AS f ON f.oid = p.proowner
               WHERE t.tgrelid = c.oid AND NOT f.rolsuper
           )",
        &[],
    );
}

/// In a security-restricted context a deferred trigger is an error, and nobody becomes another role: everything that a
/// worker does in a database runs in one.
pub fn restricted() -> ActingAs {
    ActingAs::reader(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID))
}

/// Are all of these tables the extension's, as it made them? Locked ones stay so until the transaction ends.
pub fn are_own(names: &[&core::ffi::CStr]) -> bool {
    let own: Vec<pg_sys::Oid> =
        OWN_TABLES.with(|plan| plan.run(Sees::Latest, &[], 0, |row| row.required(1)));
    names
        .iter()
        .all(|name| own.contains(&catalog::auth_relation(name)))
}
