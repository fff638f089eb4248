//! What a command that changes tables has done, as an event trigger is told.

use core::ffi::{CStr, c_char};

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

/// What matters of a command.
pub enum Command {
    /// A table may have become a partition.
    NewPartition,
    /// A table was given this name.
    Renamed(String),
    /// The table of this name was moved to another schema.
    Moved(String),
    /// None of this.
    Other,
}

// SAFETY: takes no argument of the call, but looks at what called.
unsafe impl<'fcx> ArgAbi<'fcx> for Command {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the call is the one that PostgreSQL made.
        unsafe { Self::behind(pg_sys::FunctionCallInfo::unbox_arg_unchecked(arg)) }
    }

    fn is_virtual_arg() -> bool {
        true
    }
}

// SAFETY: no SQL type: the function is declared without arguments.
unsafe impl SqlTranslatable for Command {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Command);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: core::result::Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::Skip);
    const RETURN_SQL: core::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::Skip));
}

impl Command {
    /// The command behind the call of an event trigger's function.
    unsafe fn behind(call: pg_sys::FunctionCallInfo) -> Self {
        // SAFETY: the context of a call is NULL or a node. Of an event trigger's the parse tree is a valid node, too, read as
        // what its tag says.
        unsafe {
            let context = (*call).context;
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_EventTriggerData {
                return Self::Other;
            }
            let tree = (*context.cast::<pg_sys::EventTriggerData>()).parsetree;
            if tree.is_null() {
                return Self::Other;
            }
            match (*tree).type_ {
                pg_sys::NodeTag::T_CreateStmt
                    if !(*tree.cast::<pg_sys::CreateStmt>()).partbound.is_null() =>
                {
                    Self::NewPartition
                }
                pg_sys::NodeTag::T_CreateSchemaStmt => Self::NewPartition,
                pg_sys::NodeTag::T_AlterTableStmt if attaches(tree.cast()) => Self::NewPartition,
                pg_sys::NodeTag::T_RenameStmt => {
                    let rename = &*tree.cast::<pg_sys::RenameStmt>();
                    if rename.renameType == pg_sys::ObjectType::OBJECT_TABLE {
                        Self::Renamed(text(rename.newname))
                    } else {
                        Self::Other
                    }
                }
                pg_sys::NodeTag::T_AlterObjectSchemaStmt => {
                    let moves = &*tree.cast::<pg_sys::AlterObjectSchemaStmt>();
                    match moves.relation.as_ref() {
                        Some(table) if moves.objectType == pg_sys::ObjectType::OBJECT_TABLE => {
                            Self::Moved(text(table.relname))
                        }
                        _ => Self::Other,
                    }
                }
                _ => Self::Other,
            }
        }
    }
}

unsafe fn attaches(statement: *mut pg_sys::AlterTableStmt) -> bool {
    // SAFETY: a valid ALTER TABLE, whose list holds AlterTableCmd nodes.
    unsafe {
        let Some(commands) = (*statement).cmds.as_ref() else {
            return false;
        };
        (0..usize::try_from(commands.length).unwrap_or(0)).any(|i| {
            let command = (*commands.elements.add(i)).ptr_value;
            (*command.cast::<pg_sys::AlterTableCmd>()).subtype
                == pg_sys::AlterTableType::AT_AttachPartition
        })
    }
}

unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: a NUL-terminated string of the parse tree, copied.
    unsafe { CStr::from_ptr(text) }
        .to_string_lossy()
        .into_owned()
}
