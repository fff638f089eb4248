//! A connection that is logging in, as PostgreSQL 18 keeps it: `Port` of libpq/libpq-be.h and `HbaLine` of libpq/hba.h, of which pgrx
//! binds nothing. Both are written down here up to the last member that is needed.

use core::ffi::{CStr, c_char, c_int};
use std::ffi::CString;

use pgrx::pg_sys::ffi::pg_guard_ffi_boundary;
use pgrx::prelude::*;

type Text = *mut c_char;
type List = *mut pg_sys::List;

#[repr(C)]
struct SockAddr {
    /// `struct sockaddr_storage`, of 128 octets.
    storage: [u64; 16],
    length: u32,
}

#[repr(C)]
#[allow(dead_code, reason = "what is not read keeps the rest in its place")]
struct Port {
    sock: c_int,
    noblock: bool,
    proto: u32,
    laddr: SockAddr,
    raddr: SockAddr,
    remote_host: Text,
    remote_hostname: Text,
    remote_hostname_resolv: c_int,
    remote_hostname_errcode: c_int,
    remote_port: Text,
    local_host: [c_char; 64],
    database_name: Text,
    user_name: Text,
    cmdline_options: Text,
    guc_options: List,
    application_name: Text,
    hba: *mut HbaLine,
}

#[repr(C)]
#[allow(dead_code, reason = "what is not read keeps the rest in its place")]
struct HbaLine {
    sourcefile: Text,
    linenumber: c_int,
    rawline: Text,
    conntype: c_int,
    databases: List,
    roles: List,
    addr: [u64; 16],
    addrlen: c_int,
    mask: [u64; 16],
    masklen: c_int,
    ip_cmp_method: c_int,
    hostname: Text,
    auth_method: c_int,
    usermap: Text,
    pamservice: Text,
    pam_use_hostname: bool,
    ldaptls: bool,
    ldapscheme: Text,
    ldapserver: Text,
    ldapport: c_int,
    ldapbinddn: Text,
    ldapbindpasswd: Text,
    ldapsearchattribute: Text,
    ldapsearchfilter: Text,
    ldapbasedn: Text,
    ldapscope: c_int,
    ldapprefix: Text,
    ldapsuffix: Text,
    clientcert: c_int,
    clientcertname: c_int,
    krb_realm: Text,
    include_realm: bool,
    compat_realm: bool,
    upn_username: bool,
    radius: [List; 8],
    oauth_issuer: Text,
    oauth_scope: Text,
    oauth_validator: Text,
    oauth_skip_usermap: bool,
}

/// What a C compiler makes of PostgreSQL 18's headers.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(
    core::mem::offset_of!(Port, user_name) == 392
        && core::mem::offset_of!(Port, hba) == 424
        && core::mem::offset_of!(HbaLine, auth_method) == 328
        && core::mem::offset_of!(HbaLine, oauth_issuer) == 536
        && core::mem::offset_of!(HbaLine, oauth_skip_usermap) == 560,
    "the members stand where PostgreSQL has them"
);

/// `uaOAuth` of `UserAuth`.
const OAUTH: c_int = 15;
const STATUS_OK: c_int = 0;

unsafe extern "C-unwind" {
    fn check_usermap(
        map: *const c_char,
        role: *const c_char,
        system_user: *const c_char,
        case_insensitive: bool,
    ) -> c_int;
    fn set_authn_id(port: *mut pg_sys::Port, name: *const c_char);
}

/// Who decides which role a token may have.
#[derive(Clone, Copy)]
pub enum Decides {
    /// The token itself: `delegate_ident_mapping=1`.
    Token,
    /// The line's ident map; without one the user's id is the role.
    Map(*const c_char),
}

impl Decides {
    /// Does the ident map let this user be that role?
    pub fn allows(self, user: &str, role: &str) -> bool {
        let (Self::Map(map), Ok(user), Ok(role)) = (self, CString::new(user), CString::new(role))
        else {
            return false;
        };
        // SAFETY: the name of the map is NULL or belongs to the line, which is there until the start-up is over; the others are
        // NUL-terminated. The maps were read when the server began, and are kept as long as the line.
        unsafe {
            pg_guard_ffi_boundary(|| check_usermap(map, role.as_ptr(), user.as_ptr(), false))
                == STATUS_OK
        }
    }
}

/// What the client's first message set: `options`, and parameters by name. Both are kept as long as the backend.
pub struct Options {
    switches: Text,
    settings: List,
}

/// A connection that is being authenticated by a validator.
pub struct Connecting {
    /// By whose word it gets its role.
    pub decides: Decides,
    /// What it set.
    pub options: Options,
}

impl Connecting {
    /// Takes over from PostgreSQL what it would do before the token can be verified: asking the ident map, and obeying the client's
    /// settings, a superuser's with a superuser's rights. None where the connection is not what this file says it is.
    ///
    /// # Safety
    /// `role` is what PostgreSQL passed to the validator.
    pub unsafe fn take_over(role: *const c_char) -> Option<Self> {
        // SAFETY: MyProcPort is this connection while it is being authenticated. That its role is the one passed, and its line one with an
        // issuer for OAuth, says that the members are where they were expected.
        unsafe {
            let port = pg_sys::MyProcPort.cast::<Port>().as_mut()?;
            if !core::ptr::eq(port.user_name, role) {
                return None;
            }
            let hba = port.hba.as_mut()?;
            if hba.auth_method != OAUTH || hba.oauth_issuer.is_null() {
                return None;
            }
            let decides = if hba.oauth_skip_usermap {
                Decides::Token
            } else {
                Decides::Map(hba.usermap)
            };
            hba.oauth_skip_usermap = true;
            let options = Options {
                switches: core::mem::replace(&mut port.cmdline_options, core::ptr::null_mut()),
                settings: core::mem::replace(&mut port.guc_options, core::ptr::null_mut()),
            };
            Some(Self { decides, options })
        }
    }
}

impl Options {
    /// Obeys them now, as `process_startup_options` (postinit.c) would have.
    pub fn apply(&self) {
        // SAFETY: inside of the start-up's transaction. The texts are NUL-terminated, the list one of alternating names and values, as
        // ProcessStartupPacket made them; the array is as long as pg_split_opts asks for.
        unsafe {
            let context = if pg_sys::superuser_arg(pg_sys::GetSessionUserId()) {
                pg_sys::GucContext::PGC_SU_BACKEND
            } else {
                pg_sys::GucContext::PGC_BACKEND
            };
            if !self.switches.is_null() {
                let longest = 2 + CStr::from_ptr(self.switches).count_bytes().div_ceil(2);
                let mut arguments = vec![core::ptr::null_mut(); longest + 1];
                if let Some(program) = arguments.first_mut() {
                    *program = c"postgres".as_ptr().cast_mut();
                }
                let mut count: c_int = 1;
                pg_sys::pg_split_opts(arguments.as_mut_ptr(), &mut count, self.switches);
                pg_sys::process_postgres_switches(
                    count,
                    arguments.as_mut_ptr(),
                    context,
                    core::ptr::null_mut(),
                );
            }
            let length = self.settings.as_ref().map_or(0, |list| list.length);
            for i in (0..usize::try_from(length).unwrap_or(0)).step_by(2) {
                let text = |i| (*(*self.settings).elements.add(i)).ptr_value.cast();
                pg_sys::SetConfigOption(
                    text(i),
                    text(i + 1),
                    context,
                    pg_sys::GucSource::PGC_S_CLIENT,
                );
            }
            // Those that the client asked for.
            pg_sys::process_session_preload_libraries();
        }
    }
}

/// Why that role may not log in at all; None: it may, once its token is verified.
pub fn why_not(role: &CStr, superusers_may: bool) -> Option<&'static str> {
    // SAFETY: the shared catalogs can be read, as the methods that ask for a password do; the row is read before it is released.
    unsafe {
        if pg_sys::am_walsender {
            return Some("replication connections take no tokens");
        }
        let oid = pg_sys::get_role_oid(role.as_ptr(), true);
        if oid == pg_sys::InvalidOid {
            return Some("there is no such role");
        }
        let cache = pg_sys::SysCacheIdentifier::AUTHOID.cast_signed();
        let tuple = pg_sys::SearchSysCache1(cache, pg_sys::Datum::from(oid));
        if tuple.is_null() {
            return Some("there is no such role");
        }
        let may_log_in =
            (*pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_authid>()).rolcanlogin;
        pg_sys::ReleaseSysCache(tuple);
        if !may_log_in {
            return Some("the role may not log in");
        }
        if pg_sys::superuser_arg(oid) && !superusers_may {
            return Some("superusers take no tokens unless auth_ext.login_superusers is on");
        }
        None
    }
}

/// The role that the connection has got.
pub fn session_role() -> CString {
    // SAFETY: reads a variable of the backend, and the catalog; a new string.
    unsafe { CStr::from_ptr(pg_sys::GetUserNameFromId(pg_sys::GetSessionUserId(), false)) }
        .to_owned()
}

/// Says who it is: to SYSTEM_USER, to parallel workers and, where connections are logged, to the log.
pub fn set_system_user(user: &str) {
    let Ok(user) = CString::new(user) else { return };
    // SAFETY: called once, where no other method of authentication has said it; PostgreSQL copies both texts.
    unsafe {
        pg_guard_ffi_boundary(|| set_authn_id(pg_sys::MyProcPort, user.as_ptr()));
        pg_sys::InitializeSystemUser(user.as_ptr(), c"oauth".as_ptr());
    }
}
