//! The extension's own tables and functions, found by what they are: members of the extension, wherever their schema went.
//!
//! A name proves nothing. After `ALTER SCHEMA auth RENAME` anybody with CREATE on the database may make another `auth`, with
//! an `issuers` in it. So tables are known by their oids, and what we say in SQL names them by where they are now.

use core::ffi::CStr;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::prelude::*;

use super::local::process_local;
use super::row::Row;
use super::watch::Watched;
use super::{READ_LOCK, boundary, scan};
use crate::error::Error;

/// The members of the extension. Another value for each arrangement: plans are kept with the one that they were made for.
#[derive(PartialEq, Eq)]
pub struct Members {
    owner: pg_sys::Oid,
    /// The extension's schema.
    schema: String,
    /// Tables and views, by name.
    relations: HashMap<String, Member>,
    /// Functions. Their names are looked up when a statement asks: a new connection has no time for a hundred.
    functions: Vec<pg_sys::Oid>,
}

#[derive(PartialEq, Eq)]
struct Member {
    oid: pg_sys::Oid,
    /// Schema and name, quoted.
    place: String,
}

process_local! {
    static MEMBERS: Watched<Option<Rc<Members>>> = Watched::new(true);
    /// The last arrangement that was found.
    static LAST: RefCell<Option<Rc<Members>>> = const { RefCell::new(None) };
}

/// The oid of one of our tables or views; InvalidOid when there is none.
pub fn auth_relation(name: &CStr) -> pg_sys::Oid {
    let Ok(name) = name.to_str() else {
        return pg_sys::InvalidOid;
    };
    let look = |members: Rc<Members>| members.relations.get(name).map(|member| member.oid);
    current()
        .and_then(look)
        // While the extension is created or updated it gets members without a message that we would hear.
        .or_else(|| read_anew().and_then(look))
        .unwrap_or(pg_sys::InvalidOid)
}

/// Is that table there? It is not before the extension is updated to the version that has it, nor after DROP EXTENSION in the same
/// transaction.
pub fn has_auth_relation(name: &CStr) -> bool {
    auth_relation(name) != pg_sys::InvalidOid
}

/// The oid of one of our functions; None when there is none.
pub fn function(name: &str) -> Option<pg_sys::Oid> {
    Some(current()?.function(name)?.oid)
}

/// Is that one of our functions?
pub fn has_function(oid: pg_sys::Oid) -> bool {
    current().is_some_and(|members| members.functions.contains(&oid))
}

/// The extension's schema, as it is called now.
pub fn our_schema() -> Option<String> {
    current().map(|members| members.schema.clone())
}

/// `auth.name` as where that member is now, for statements that also name an application's table.
pub fn place(name: &str) -> String {
    locate(name).1
}

/// Who owns the extension, and so runs its internal queries; InvalidOid where it is not installed.
pub fn extension_owner() -> pg_sys::Oid {
    current().map_or(pg_sys::InvalidOid, |members| members.owner)
}

/// The members as they are now, the same value while nothing about them changes; None where the extension is not
/// installed.
pub fn current() -> Option<Rc<Members>> {
    let members = MEMBERS.with(|watched| {
        watched.current(Vec::new, |watch| {
            watch.also(read()?.relations.values().map(|table| table.oid));
            // Once more, now that they are watched.
            let members = read()?;
            LAST.with_borrow_mut(|last| match last {
                Some(same) if **same == members => Some(Rc::clone(same)),
                _ => Some(Rc::clone(last.insert(Rc::new(members)))),
            })
        })
    });
    members.as_ref().clone()
}

fn read_anew() -> Option<Rc<Members>> {
    MEMBERS.with(Watched::forget);
    current()
}

impl Members {
    /// One of our functions: those that our statements name are not overloaded.
    fn function(&self, name: &str) -> Option<Member> {
        let named = |oid: &pg_sys::Oid| named(*oid, function_name);
        let (_, member) = (self.functions.iter())
            .filter_map(named)
            .find(|(known, _)| known == name)?;
        Some(member)
    }

    /// `sql` with every `auth.name` in it replaced by the place of that member; None where one is missing.
    /// What is quoted stays as it is.
    fn located(&self, sql: &str) -> Option<String> {
        const SCHEMA: &str = "auth.";
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let is_word = |c: char| is_name(c) || "$.\"".contains(c);
        let mut located = String::with_capacity(sql.len());
        let mut quote: Option<char> = None;
        let mut rest = sql;
        while let Some(c) = rest.chars().next() {
            let in_word = located.chars().next_back().is_some_and(is_word);
            if quote.is_none()
                && !in_word
                && let Some(after) = rest.strip_prefix(SCHEMA)
            {
                let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                match self.relations.get(name) {
                    Some(member) => located.push_str(&member.place),
                    None => located.push_str(&self.function(name)?.place),
                }
                rest = after;
                continue;
            }
            quote = match quote {
                Some(open) if open == c => None,
                None if c == '\'' || c == '"' => Some(c),
                same => same,
            };
            located.push(c);
            rest = &rest[c.len_utf8()..];
        }
        Some(located)
    }
}

/// The members now, and a statement of ours with each `auth.name` as the place of that member. An error is raised where
/// the extension or the member is missing.
pub fn locate(sql: &str) -> (Rc<Members>, String) {
    let known = current().and_then(|members| Some((members.located(sql)?, members)));
    if let Some((located, members)) = known {
        return (members, located);
    }
    let Some(members) = read_anew() else {
        boundary::raise(Error::NO_EXTENSION)
    };
    match members.located(sql) {
        Some(located) => (members, located),
        None => boundary::raise(Error::OLD_EXTENSION),
    }
}

/// Reads the members from `pg_depend`.
fn read() -> Option<Members> {
    // PostgreSQL's catalog/pg_depend.h, which pgrx does not bind.
    const DEPEND: u32 = 2608;
    const DEPEND_BY_REFERENCE: u32 = 2674;
    const REFERENCED_CLASS: i16 = 4;
    const REFERENCED_OBJECT: i16 = 5;
    const MEMBER: i8 = b'e'.cast_signed();
    // SAFETY: the name is NUL-terminated; a missing extension is InvalidOid.
    let extension = unsafe { pg_sys::get_extension_oid(c"auth_ext".as_ptr(), true) };
    let (owner, schema) = owner_and_schema(extension)?;
    let mut members = Members {
        owner,
        schema: schema_name(schema)?,
        relations: HashMap::new(),
        functions: Vec::new(),
    };
    let keys = [
        key(REFERENCED_CLASS, pg_sys::ExtensionRelationId),
        key(REFERENCED_OBJECT, extension),
    ];
    let (table, index) = (
        pg_sys::Oid::from(DEPEND),
        pg_sys::Oid::from(DEPEND_BY_REFERENCE),
    );
    catalog_rows(table, index, &keys, |row| {
        let (class, oid) = (row.required::<pg_sys::Oid>(1), row.required(2));
        if row.get::<i8>(7) != Some(MEMBER) {
            return;
        }
        if class == pg_sys::RelationRelationId {
            members.relations.extend(named(oid, relation_name));
        } else if class == pg_sys::ProcedureRelationId {
            members.functions.push(oid);
        }
    });
    Some(members)
}

fn owner_and_schema(extension: pg_sys::Oid) -> Option<(pg_sys::Oid, pg_sys::Oid)> {
    const OID: i16 = 1;
    const OWNER: i32 = 3;
    const SCHEMA: i32 = 4;
    let mut found = None;
    let (table, index) = (
        pg_sys::ExtensionRelationId,
        pg_sys::Oid::from(EXTENSION_BY_OID),
    );
    catalog_rows(table, index, &[key(OID, extension)], |row| {
        found = row.get(OWNER).zip(row.get(SCHEMA));
    });
    found
}

/// `pg_extension_oid_index`.
const EXTENSION_BY_OID: u32 = 3080;

/// A condition on a column of a catalog.
pub(super) fn key(column: i16, oid: pg_sys::Oid) -> pg_sys::ScanKeyData {
    let equal = pg_sys::Oid::from(pg_sys::F_OIDEQ);
    // SAFETY: compares oids, which have no collation.
    unsafe { scan::equals(column, pg_sys::InvalidOid, equal, oid.into()) }
}

/// Reads the rows of a catalog that have these keys.
pub(super) fn catalog_rows(
    table: pg_sys::Oid,
    index: pg_sys::Oid,
    keys: &[pg_sys::ScanKeyData],
    read: impl FnMut(&Row<'_>),
) {
    // SAFETY: a catalog and its index, locked while they are read. All is closed here, or by the abort after an error.
    unsafe {
        let relation = pg_sys::table_open(table, READ_LOCK);
        let own = core::ptr::null_mut();
        scan::each_row(relation, index, own, &mut keys.to_vec(), read);
        pg_sys::table_close(relation, READ_LOCK);
    }
}

type Name = (*mut core::ffi::c_char, pg_sys::Oid);

fn relation_name(oid: pg_sys::Oid) -> Name {
    // SAFETY: catalog look-ups by oid; NULL and InvalidOid for what is gone.
    unsafe { (pg_sys::get_rel_name(oid), pg_sys::get_rel_namespace(oid)) }
}

fn function_name(oid: pg_sys::Oid) -> Name {
    // SAFETY: as above.
    unsafe { (pg_sys::get_func_name(oid), pg_sys::get_func_namespace(oid)) }
}

/// A copy of a name that a catalog look-up gave; None where there was none.
fn owned(name: *mut core::ffi::c_char) -> Option<String> {
    // SAFETY: NULL or a palloc'd, NUL-terminated string.
    unsafe { (!name.is_null()).then(|| CStr::from_ptr(name).to_string_lossy().into_owned()) }
}

fn schema_name(schema: pg_sys::Oid) -> Option<String> {
    // SAFETY: a catalog look-up by oid.
    owned(unsafe { pg_sys::get_namespace_name(schema) })
}

/// A member's name, and the member.
fn named(oid: pg_sys::Oid, look_up: impl Fn(pg_sys::Oid) -> Name) -> Option<(String, Member)> {
    let (name, schema) = look_up(oid);
    let name = owned(name)?;
    let place = pgrx::spi::quote_qualified_identifier(schema_name(schema)?, name.clone());
    Some((name, Member { oid, place }))
}
