//! What a background worker needs of PostgreSQL beyond what pgrx offers.

use core::ffi::CStr;
use core::time::Duration;

use pgrx::prelude::*;

use super::catalog;

/// This process.
pub fn own_pid() -> i32 {
    // SAFETY: set when the process begins.
    unsafe { pg_sys::MyProcPid }
}

/// The database that this process is connected to.
pub fn own_database() -> pg_sys::Oid {
    // SAFETY: set when the process connects.
    unsafe { pg_sys::MyDatabaseId }
}

/// Runs `callback` when the process ends, however orderly.
pub fn at_exit(callback: unsafe extern "C-unwind" fn(i32, pg_sys::Datum)) {
    // SAFETY: the callback is a function of this library, which is never unloaded.
    unsafe { pg_sys::before_shmem_exit(Some(callback), pg_sys::Datum::from(0)) };
}

/// Sets what this process needs, whatever is set for its database: transactions that may write and take their time, and
/// whose commits do not wait for the disk.
pub fn prepare_to_write() {
    const SETTINGS: [(&CStr, &CStr); 6] = [
        (c"synchronous_commit", c"off"),
        (c"default_transaction_read_only", c"off"),
        (c"default_transaction_isolation", c"read committed"),
        (c"statement_timeout", c"0"),
        (c"lock_timeout", c"0"),
        (c"idle_in_transaction_session_timeout", c"0"),
    ];
    #[cfg(any(feature = "pg15", feature = "pg16"))]
    const NEWER: [(&CStr, &CStr); 0] = [];
    #[cfg(not(any(feature = "pg15", feature = "pg16")))]
    const NEWER: [(&CStr, &CStr); 1] = [(c"transaction_timeout", c"0")];
    for (name, value) in SETTINGS.into_iter().chain(NEWER) {
        // SAFETY: both are NUL-terminated; the parameter exists and takes the value.
        unsafe {
            pg_sys::SetConfigOption(
                name.as_ptr(),
                value.as_ptr(),
                pg_sys::GucContext::PGC_SUSET,
                pg_sys::GucSource::PGC_S_OVERRIDE,
            );
        }
    }
}

/// Reads the configuration files again.
pub fn reload_configuration() {
    // SAFETY: outside of a transaction, as the main loop of a backend does.
    unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
}

/// Sleeps, whoever sets the latch; the process ends when the postmaster is gone.
pub fn sleep(pause: Duration) {
    let flags = pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = core::ffi::c_long::try_from(pause.as_millis()).unwrap_or(1000);
    // SAFETY: without WL_LATCH_SET no latch is needed.
    unsafe {
        pg_sys::WaitLatch(
            core::ptr::null_mut(),
            flags.cast_signed(),
            milliseconds,
            pg_sys::PG_WAIT_EXTENSION,
        );
    }
}

/// Hands the counters of what was read and written to the statistics system, for autovacuum.
pub fn report_statistics() {
    // SAFETY: outside of a transaction.
    unsafe { pg_sys::pgstat_report_stat(false) };
}

/// What can be said of tables of schema `auth` without waiting.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    /// They are there, and locked until the transaction ends.
    Locked,
    /// Somebody else has locked one.
    Busy,
    /// One does not exist.
    Gone,
}

/// Locks tables of schema `auth` as a writer does, unless that would have to wait.
pub fn try_lock(names: &[&CStr]) -> Tables {
    for name in names {
        let relation = catalog::auth_relation(name);
        if relation == pg_sys::InvalidOid {
            return Tables::Gone;
        }
        #[allow(clippy::cast_possible_wrap, reason = "a small constant")]
        let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
        // SAFETY: inside a transaction, which releases the lock. Takes what invalidation messages there are.
        if !unsafe { pg_sys::ConditionalLockRelationOid(relation, mode) } {
            return Tables::Busy;
        }
        if catalog::auth_relation(name) != relation {
            return Tables::Gone;
        }
    }
    Tables::Locked
}

/// The databases that one can connect to and that are no templates.
pub fn databases() -> Vec<pg_sys::Oid> {
    let mut found = Vec::new();
    // SAFETY: inside a transaction of a process that sees the shared catalogs; as PostgreSQL's own
    // get_database_list (autovacuum.c) does it. Each tuple is read before the next is fetched.
    unsafe {
        #[allow(clippy::cast_possible_wrap, reason = "a small constant")]
        let mode = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let relation = pg_sys::table_open(pg_sys::DatabaseRelationId, mode);
        let scan = pg_sys::table_beginscan_catalog(relation, 0, core::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let form = &*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_database>();
            // A connection limit of -2 marks a database whose DROP was interrupted.
            if form.datallowconn && !form.datistemplate && form.datconnlimit != -2 {
                found.push(form.oid);
            }
        }
        if let Some(end) = (*(*scan).rs_rd)
            .rd_tableam
            .as_ref()
            .and_then(|am| am.scan_end)
        {
            end(scan);
        }
        pg_sys::table_close(relation, mode);
    }
    found
}
