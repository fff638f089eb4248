//! auth_ext: authentication where the truth is.
//!
//! A token enters at [`token`], is decoded and verified with the keys of [`trust`], checked against
//! the users row of [`accounts`]; what changes there leaves as an event through [`invalidation`].
//!
//! | module | holds |
//! |---|---|
//! | [`settings`] | every `auth_ext.*` parameter |
//! | [`error`] | the one error type, and the one place that turns it into SQLSTATE and DETAIL |
//! | [`trust`] | issuers and signing keys: tables, functions, the per-backend cache |
//! | [`accounts`] | the attached users table: binding, look-up, version bump, triggers |
//! | [`token`] | decode → claims → session; verify, check, decode, issue |
//! | [`api_key`] | the attached API-key table and key fingerprints |
//! | [`identity`] | who is authenticated, for row-security policies |
//! | [`flows`] | single sign-on, one-time tokens, pruning |
//! | [`invalidation`] | events, collected in a transaction, logged and sent when it commits; the log and its cursor |
//! | [`relay`] | background workers that send the notifications |
//! | [`health`] | what an operator looks at |
//! | [`pg`] | small safe wrappers around what PostgreSQL offers in C |
//!
//! Every SQL declaration stands in `sql/`, written by hand: names, defaults, volatility, comments and
//! grants can be read there without reading Rust.

mod accounts;
mod api_key;
mod error;
mod flows;
mod health;
mod identity;
mod invalidation;
mod pg;
mod relay;
mod settings;
#[cfg(feature = "pg_test")]
mod tests;
mod token;
mod trust;

use core::ffi::CStr;

use pgrx::prelude::*;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };
pgrx::pg_module_magic!(name = c"auth_ext", version = VERSION);

pgrx::extension_sql_file!("../sql/bootstrap.sql", name = "bootstrap", bootstrap);
pgrx::extension_sql_file!(
    "../sql/functions.sql",
    name = "functions",
    requires = ["bootstrap"]
);
pgrx::extension_sql_file!("../sql/finalize.sql", name = "finalize", finalize);

/// Called by PostgreSQL once, when a backend loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    error::init();
    relay::init();
    settings::init();
    pg::watch::init();
    pg::hooks::init(identity::on_discard_all);
}
