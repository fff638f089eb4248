//! Acting as another role, for the length of a scope.

use pgrx::prelude::*;
use std::ffi::CString;

/// While it lives, the backend acts as another role, as PostgreSQL's own foreign-key triggers do
/// (`ri_PerformCheck`): the caller needs no right on the tables, and cannot `SET ROLE` meanwhile.
///
/// After an error nothing is restored here: the abort of the (sub)transaction does it.
pub struct ActingAs {
    saved_user: pg_sys::Oid,
    saved_context: i32,
    guc_level: Option<i32>,
}

impl ActingAs {
    /// Acts as `role`: queries only, every name in them qualified.
    pub fn reader(role: pg_sys::Oid) -> Self {
        let mut saved_user = pg_sys::InvalidOid;
        let mut saved_context = 0;
        // SAFETY: both calls only read and set two variables of the backend.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut saved_user, &mut saved_context);
            pg_sys::SetUserIdAndSecContext(role, saved_context | FLAGS);
        }
        Self { saved_user, saved_context, guc_level: None }
    }

    /// Acts as `role` for commands that may run triggers of the application: these see a fixed
    /// `search_path` of `pg_catalog`, the table's own `schema` and `pg_temp`, so that a caller's
    /// path cannot put functions of its own in their way.
    pub fn writer(role: pg_sys::Oid, schema: Option<&str>) -> Self {
        let mut acting = Self::reader(role);
        let path = match schema {
            Some(schema) => format!("pg_catalog, {}, pg_temp", pgrx::spi::quote_identifier(schema)),
            None => "pg_catalog, pg_temp".to_owned(),
        };
        let path = CString::new(path).unwrap_or_default();
        // SAFETY: name and value are NUL-terminated; the level opened here is closed in drop, or by
        // the abort of the transaction.
        unsafe {
            acting.guc_level = Some(pg_sys::NewGUCNestLevel());
            pg_sys::set_config_option(
                c"search_path".as_ptr(),
                path.as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
        }
        acting
    }
}

/// `NOFORCE_RLS`: row security that the owner forces upon itself does not apply to the check.
#[allow(clippy::cast_possible_wrap, reason = "two flags of one bit each")]
const FLAGS: i32 =
    (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS) as i32;

impl Drop for ActingAs {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // SAFETY: restores what `reader` saved and closes the level that `writer` opened, in reverse order.
        unsafe {
            if let Some(level) = self.guc_level {
                pg_sys::AtEOXact_GUC(true, level);
            }
            pg_sys::SetUserIdAndSecContext(self.saved_user, self.saved_context);
        }
    }
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
