//! The unique index by which one row is found.

use pgrx::prelude::*;

use super::READ_LOCK;
use super::catalog::{Column, column};

/// A unique index over just some columns.
pub struct UniqueIndex {
    /// Its oid.
    pub oid: pg_sys::Oid,
    /// Is it one that can be scanned by any snapshot from now on, with the `=` of the columns' types and collations?
    pub is_plain: bool,
}

/// The unique index of `relation` over just the columns `keys`, in their order: no two rows share them. A plain one where
/// there are several. One that leaves out rows with a NULL among the keys serves as well: nobody looks for those.
pub fn unique_index(relation: pg_sys::Oid, keys: &[&str]) -> Option<UniqueIndex> {
    let columns: Vec<Column> = keys
        .iter()
        .map(|key| column(relation, key))
        .collect::<Option<_>>()?;
    let mut found: Option<UniqueIndex> = None;
    // SAFETY: the table is open and locked while its list of indexes, a copy, is read; each index too, whose rd_index and
    // per-column arrays are valid while it is open.
    unsafe {
        let table = pg_sys::try_relation_open(relation, READ_LOCK);
        if table.is_null() {
            return None;
        }
        let list = pg_sys::RelationGetIndexList(table);
        let count = list.as_ref().map_or(0, |list| list.length);
        for i in 0..usize::try_from(count).unwrap_or(0) {
            let oid = (*(*list).elements.add(i)).oid_value;
            let index = pg_sys::try_relation_open(oid, READ_LOCK);
            if index.is_null() {
                continue;
            }
            if is_unique_over(index, &columns) && !found.as_ref().is_some_and(|f| f.is_plain) {
                let is_plain = is_plain(index, &columns);
                found = Some(UniqueIndex { oid, is_plain });
            }
            pg_sys::relation_close(index, READ_LOCK);
        }
        pg_sys::relation_close(table, READ_LOCK);
    }
    found
}

unsafe fn is_unique_over(index: pg_sys::Relation, columns: &[Column]) -> bool {
    // SAFETY: an open index, whose pg_index row has a number for each of its columns; the row is complete.
    unsafe {
        let form = &*(*index).rd_index;
        form.indisunique
            && form.indimmediate
            && form.indisvalid
            && form.indislive
            && usize::try_from(form.indnkeyatts) == Ok(columns.len())
            && columns
                .iter()
                .enumerate()
                .all(|(i, column)| *form.indkey.values.as_ptr().add(i) == column.number)
            && stored_predicate(index).is_none_or(|stored| leaves_out_nulls_only(stored, columns))
    }
}

/// What a partial index asks of its rows, as the catalog has it. PostgreSQL's own function (`RelationGetIndexPredicate`) simplifies it, for
/// which it runs functions of whoever made the index, as the present user.
unsafe fn stored_predicate(index: pg_sys::Relation) -> Option<*const pg_sys::Node> {
    // SAFETY: an open index, whose row of pg_index is complete; what is stored there is a text that PostgreSQL has written for this
    // function, which reads it and runs nothing.
    unsafe {
        let cache = pg_sys::SysCacheIdentifier::INDEXRELID.cast_signed();
        let number = i16::try_from(pg_sys::Anum_pg_index_indpred).unwrap_or(0);
        let mut is_null = false;
        let stored = pg_sys::SysCacheGetAttr(cache, (*index).rd_indextuple, number, &mut is_null);
        (!is_null).then(|| {
            let text = pg_sys::text_to_cstring(stored.cast_mut_ptr());
            pg_sys::stringToNode(text)
                .cast::<pg_sys::Node>()
                .cast_const()
        })
    }
}

/// Is it only, of one of `columns` or of several joined by AND, that they are not NULL?
unsafe fn leaves_out_nulls_only(predicate: *const pg_sys::Node, columns: &[Column]) -> bool {
    // SAFETY: nodes say by their tag what they are; a NullTest has an argument, and a BoolExpr a list of them.
    unsafe {
        match (*predicate).type_ {
            pg_sys::NodeTag::T_NullTest => {
                let test = &*predicate.cast::<pg_sys::NullTest>();
                let argument = test.arg.cast::<pg_sys::Node>();
                test.nulltesttype == pg_sys::NullTestType::IS_NOT_NULL
                    && (*argument).type_ == pg_sys::NodeTag::T_Var
                    && columns
                        .iter()
                        .any(|column| column.number == (*argument.cast::<pg_sys::Var>()).varattno)
            }
            pg_sys::NodeTag::T_BoolExpr => {
                let joined = &*predicate.cast::<pg_sys::BoolExpr>();
                let count = joined.args.as_ref().map_or(0, |list| list.length);
                joined.boolop == pg_sys::BoolExprType::AND_EXPR
                    && (0..usize::try_from(count).unwrap_or(0)).all(|i| {
                        let argument = (*(*joined.args).elements.add(i)).ptr_value;
                        leaves_out_nulls_only(argument.cast(), columns)
                    })
            }
            _ => false,
        }
    }
}

unsafe fn is_plain(index: pg_sys::Relation, columns: &[Column]) -> bool {
    const UUID_BTREE_FAMILY: u32 = 2968;
    // SAFETY: an open index, which has an operator family for each of its key columns.
    unsafe {
        (*(*index).rd_rel).relam == pg_sys::BTREE_AM_OID
            && !(*(*index).rd_index).indcheckxmin
            && columns.iter().enumerate().all(|(i, column)| {
                let family = match column.type_oid {
                    pg_sys::TEXTOID | pg_sys::VARCHAROID => pg_sys::TEXT_BTREE_FAM_OID,
                    pg_sys::UUIDOID => pg_sys::Oid::from(UUID_BTREE_FAMILY),
                    _ => pg_sys::INTEGER_BTREE_FAM_OID,
                };
                column.deterministic
                    && *(*index).rd_opfamily.add(i) == family
                    && *(*index).rd_indcollation.add(i) == column.collation
            })
    }
}
