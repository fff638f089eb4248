//! Acting as another role, for the length of a scope.

use core::ffi::CStr;
use pgrx::prelude::*;
use std::ffi::CString;

use super::{guc, members};

/// While it lives, the backend acts as another role, as PostgreSQL's own foreign-key triggers do
/// (`ri_PerformCheck`), and with a fixed `search_path`: the caller needs no right on the tables, cannot
/// `SET ROLE` meanwhile, and cannot put functions of its own in the way.
///
/// After an error nothing is restored here: the abort of the (sub)transaction does it.
pub struct ActingAs {
    saved_user: pg_sys::Oid,
    saved_context: i32,
    guc_level: Option<i32>,
}

impl ActingAs {
    /// Acts as `role` for commands on our own tables that qualify every name, down to the operators: they need no
    /// `search_path`, whose change costs more than such a command.
    pub fn qualified(role: pg_sys::Oid) -> Self {
        Self::new(role, None)
    }

    /// Acts as `role` for queries on tables of `role`'s own: planning runs functions of the table's owner (of an index predicate, say) with
    /// all of `role`'s rights. They find nothing that the caller put into his `search_path`.
    pub fn reader(role: pg_sys::Oid) -> Self {
        Self::new(role, Some(OURS.to_owned()))
    }

    /// Acts as `role` for commands that may run triggers of the application: these see the table's own
    /// `schema` between `pg_catalog` and `pg_temp`.
    pub fn writer(role: pg_sys::Oid, schema: Option<&str>) -> Self {
        let path = match schema {
            Some(schema) => format!(
                "pg_catalog, {}, pg_temp",
                pgrx::spi::quote_identifier(schema)
            ),
            None => OURS.to_owned(),
        };
        Self::new(role, Some(path))
    }

    /// Without just-in-time compilation, which would take longer than any query of our own tables.
    pub fn without_jit(self) -> Self {
        if self.guc_level.is_some() {
            set(c"jit", c"off");
        }
        self
    }

    /// With plans that look rows up by an index, whatever the statistics say.
    pub fn by_index(self) -> Self {
        if self.guc_level.is_some() {
            set(c"enable_seqscan", c"off");
        }
        self
    }

    fn new(role: pg_sys::Oid, path: Option<String>) -> Self {
        let path = path.map(|path| CString::new(path).unwrap_or_default());
        let mut saved_user = pg_sys::InvalidOid;
        let mut saved_context = 0;
        // SAFETY: user and context are variables of the backend; name and value of the setting are
        // NUL-terminated; the level opened here is closed in drop, or by the abort of the transaction.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut saved_user, &mut saved_context);
            let guc_level = path.map(|path| {
                let level = pg_sys::NewGUCNestLevel();
                set(c"search_path", &path);
                level
            });
            pg_sys::SetUserIdAndSecContext(role, saved_context | FLAGS);
            Self {
                saved_user,
                saved_context,
                guc_level,
            }
        }
    }
}

/// Sets a parameter until the level of settings that is open ends.
fn set(name: &CStr, value: &CStr) {
    guc::set(name, value, pg_sys::GucAction::GUC_ACTION_SAVE);
}

const OURS: &str = "pg_catalog, pg_temp";

/// `RESTRICTED_OPERATION`: what triggers of the application do ends with the scope. PostgreSQL then refuses to queue a trigger of
/// any table until COMMIT (`afterTriggerMarkEvents`, trigger.c), where the trigger would run as whoever commits. It also refuses
/// cursors WITH HOLD, temporary tables and SET ROLE. `NOFORCE_RLS`: row security that the owner forces upon itself does not apply
/// to the check.
#[allow(clippy::cast_possible_wrap, reason = "flags of one bit each")]
const FLAGS: i32 = (pg_sys::SECURITY_LOCAL_USERID_CHANGE
    | pg_sys::SECURITY_RESTRICTED_OPERATION
    | pg_sys::SECURITY_NOFORCE_RLS) as i32;

impl Drop for ActingAs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: restores what `new` saved, in reverse order. The level is closed as if by an abort: a SET
        // that a trigger made meanwhile must not outlive it.
        unsafe {
            pg_sys::SetUserIdAndSecContext(self.saved_user, self.saved_context);
            if let Some(level) = self.guc_level {
                pg_sys::AtEOXact_GUC(false, level);
            }
        }
    }
}

/// May the current user execute that function of the extension's? False when there is none.
pub fn may_execute(function: &str) -> bool {
    let Some(oid) = members::function(function) else {
        return false;
    };
    // SAFETY: a catalog look-up by values; GetUserId reads a variable.
    unsafe {
        let right = pg_sys::AclMode::from(pg_sys::ACL_EXECUTE);
        #[cfg(feature = "pg15")]
        let answer = pg_sys::pg_proc_aclcheck(oid, pg_sys::GetUserId(), right);
        #[cfg(not(feature = "pg15"))]
        let answer =
            pg_sys::object_aclcheck(pg_sys::ProcedureRelationId, oid, pg_sys::GetUserId(), right);
        answer == pg_sys::AclResult::ACLCHECK_OK
    }
}

/// The role that the statement runs as.
pub fn current_role() -> pg_sys::Oid {
    // SAFETY: reads a variable of the backend.
    unsafe { pg_sys::GetUserId() }
}

/// Is that a superuser?
pub fn is_superuser() -> bool {
    // SAFETY: a catalog look-up by a variable of the backend, which PostgreSQL keeps.
    unsafe { pg_sys::superuser() }
}

/// Is the current user the owner of `relation`, or a member of the role that is?
pub fn owns(relation: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up by values; GetUserId reads a variable.
    unsafe {
        #[cfg(feature = "pg15")]
        {
            pg_sys::pg_class_ownercheck(relation, pg_sys::GetUserId())
        }
        #[cfg(not(feature = "pg15"))]
        {
            pg_sys::object_ownercheck(pg_sys::RelationRelationId, relation, pg_sys::GetUserId())
        }
    }
}
