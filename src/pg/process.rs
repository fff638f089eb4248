//! What a background worker needs of PostgreSQL beyond what pgrx offers.

use core::ffi::CStr;
use core::time::Duration;
use std::collections::HashMap;

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
    const SETTINGS: [(&CStr, &CStr); 10] = [
        (c"search_path", c"pg_catalog, pg_temp"),
        (c"exit_on_error", c"off"),
        (c"transform_null_equals", c"off"),
        (c"default_transaction_deferrable", c"off"),
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

/// Does somebody hold a lock on the database that keeps others from connecting: CREATE DATABASE … TEMPLATE, ALTER DATABASE …
/// RENAME or DROP DATABASE? They fail when others are connected for longer than five seconds.
pub fn is_claimed(database: pg_sys::Oid) -> bool {
    let tag = pg_sys::LOCKTAG {
        locktag_field1: 0,
        locktag_field2: pg_sys::DatabaseRelationId.to_u32(),
        locktag_field3: database.to_u32(),
        locktag_field4: 0,
        locktag_type: pg_sys::LockTagType::LOCKTAG_OBJECT as u8,
        locktag_lockmethodid: pg_sys::DEFAULT_LOCKMETHOD as u8,
    };
    #[allow(clippy::cast_possible_wrap, reason = "a small constant")]
    let mode = pg_sys::RowExclusiveLock as pg_sys::LOCKMODE;
    // SAFETY: inside a transaction; the lock that a connecting backend takes (InitPostgres), released at once.
    unsafe {
        let taken = pg_sys::LockAcquire(&tag, mode, false, true)
            != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL;
        if taken {
            pg_sys::LockRelease(&tag, mode, false);
        }
        !taken
    }
}

/// Can there be prepared transactions? Their COMMIT PREPARED wakes nobody.
pub fn may_hold_prepared() -> bool {
    super::parameter(c"max_prepared_transactions").is_some_and(|most| most != "0")
}

/// Is the server shutting down? The postmaster says so in its file before it ends its children.
fn server_is_stopping() -> bool {
    const STATUS: usize = 7;
    std::fs::read_to_string("postmaster.pid").is_ok_and(|file| {
        file.lines()
            .nth(STATUS)
            .is_some_and(|status| status.starts_with("stopping"))
    })
}

/// Ends a background worker that was told to end. PostgreSQL starts one again that did not end with 0: what was only
/// terminated comes back.
pub fn end_as_told() {
    if server_is_stopping() {
        return;
    }
    crate::error::log(
        "auth_ext relay launcher was terminated; the server starts it again".to_owned(),
    );
    // SAFETY: the frames on the stack own nothing that outlives the process.
    unsafe { pg_sys::proc_exit(1) }
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

/// The databases that one can connect to and that are no templates, with their names.
pub fn databases() -> HashMap<pg_sys::Oid, String> {
    let mut found = HashMap::new();
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
                let name = CStr::from_ptr(form.datname.data.as_ptr());
                found.insert(form.oid, name.to_string_lossy().into_owned());
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
