//! Whether the server that a standby follows is a primary: asked by a connection of our own, since nothing in the stream tells.

use core::ffi::{CStr, c_char};
use std::cell::RefCell;
use std::ffi::CString;
use std::time::{Duration, Instant};

use pgrx::prelude::*;

use super::local::process_local;

/// So long a "no" is believed: the upstream may be promoted.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// One life of the walreceiver: it follows one server, on one connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Walreceiver {
    /// Its process.
    pub pid: i32,
    /// When it was started.
    pub started: i64,
}

struct Answer {
    of: Walreceiver,
    is_primary: bool,
    at: Instant,
}

process_local! {
    static LAST: RefCell<Option<Answer>> = const { RefCell::new(None) };
}

/// Is the server at the other end, at this host and port, a primary? A primary does not become a standby without ending its
/// connections, so a "yes" stays one as long as the walreceiver lives. False where it cannot be asked.
pub fn is_primary(of: Walreceiver, host: &str, port: i32) -> bool {
    let known = LAST.with_borrow(|last| {
        last.as_ref()
            .filter(|last| last.of == of && (last.is_primary || last.at.elapsed() < ASK_AGAIN))
            .map(|last| last.is_primary)
    });
    if let Some(known) = known {
        return known;
    }
    let conninfo = super::parameter(c"primary_conninfo").unwrap_or_default();
    let is_primary = question(&conninfo, host, port).is_some_and(|question| connects(&question));
    LAST.replace(Some(Answer {
        of,
        is_primary,
        at: Instant::now(),
    }));
    is_primary
}

/// The connection string to the same server, which connects to a primary only. None where it is not clear that it is the same.
fn question(conninfo: &str, host: &str, port: i32) -> Option<CString> {
    const ATTRIBUTES: &str = "target_session_attrs=primary";
    // Of several hosts in a URI another one could answer.
    let is_uri = conninfo.starts_with("postgres://") || conninfo.starts_with("postgresql://");
    let text = if is_uri && !conninfo.contains(',') {
        let joint = if conninfo.contains('?') { '&' } else { '?' };
        format!("{conninfo}{joint}{ATTRIBUTES}")
    } else if !is_uri && !host.is_empty() {
        // Of two values the last one counts.
        let host = host.replace('\\', "\\\\").replace('\'', "\\'");
        format!("{conninfo} host='{host}' port={port} {ATTRIBUTES}")
    } else {
        return None;
    };
    CString::new(text).ok()
}

/// Connects as the walreceiver does, by the server's own rules, and leaves.
fn connects(conninfo: &CStr) -> bool {
    const NAME: &CStr = c"auth_ext";
    // SAFETY: the library is PostgreSQL's own, which sets the functions when it is loaded, and stays. The strings are NUL-terminated. An error
    // (a cancel, say) passes as PostgreSQL's do: nothing here owns what would have to be dropped but memory.
    unsafe {
        if pg_sys::WalReceiverFunctions.is_null() {
            pg_sys::load_file(c"libpqwalreceiver".as_ptr(), false);
        }
        let functions = pg_sys::WalReceiverFunctions;
        if functions.is_null() {
            return false;
        }
        let (Some(connect), Some(disconnect)) =
            ((*functions).walrcv_connect, (*functions).walrcv_disconnect)
        else {
            return false;
        };
        let mut complaint: *mut c_char = core::ptr::null_mut();
        let complaint = &raw mut complaint;
        let connection = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            #[cfg(feature = "pg15")]
            {
                connect(conninfo.as_ptr(), false, NAME.as_ptr(), complaint)
            }
            #[cfg(feature = "pg16")]
            {
                connect(conninfo.as_ptr(), false, false, NAME.as_ptr(), complaint)
            }
            #[cfg(any(feature = "pg17", feature = "pg18"))]
            {
                connect(
                    conninfo.as_ptr(),
                    true,
                    false,
                    false,
                    NAME.as_ptr(),
                    complaint,
                )
            }
        });
        if connection.is_null() {
            return false;
        }
        pg_sys::ffi::pg_guard_ffi_boundary(|| disconnect(connection));
        true
    }
}
