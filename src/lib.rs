//! auth_ext: authentication where the truth is.
//!
//! A token enters at [`token`], is decoded and verified with the keys of [`trust`], checked against
//! the users row of [`accounts`]; what changes there leaves as an event through [`invalidation`].
//! Imports point down this table; each room's SQL functions are in its `functions.rs`.
//!
//! | module | holds |
//! |---|---|
//! | [`operations`] | what an operator looks at and runs: health, prune |
//! | [`identity`] | who is authenticated, for row-security policies |
//! | [`session`] | logins that a person can see: open, refresh, list, end |
//! | [`token`] | decode → claims → session; verify, check, decode, issue, refresh, revoke, single sign-on |
//! | [`api_key`] | the attached API-key table: generation, verification, events |
//! | [`accounts`] | the attached users table: look-up, version bump, triggers; the attached identities table; one-time tokens |
//! | [`relay`] | background workers that send the notifications, and how far they are |
//! | [`attach`] | binding an application's table: columns, triggers, ids |
//! | [`trust`] | issuers and signing keys: tables, functions, the per-backend cache |
//! | [`invalidation`] | events, collected in a transaction, logged and sent when it commits; the log and its cursor |
//! | [`staleness`] | how old a standby may be, and is |
//! | [`statistics`] | what is counted for the operator, in shared memory |
//! | [`settings`] | every `auth_ext.*` parameter |
//! | [`pg`] | small safe wrappers around what PostgreSQL offers in C: all unsafe code |
//! | [`error`] | the one error type, and the one place that turns it into SQLSTATE and DETAIL |
//!
//! Every SQL declaration stands in `sql/`, written by hand: names, defaults, volatility, comments and
//! grants can be read there without reading Rust.

mod accounts;
mod api_key;
mod attach;
mod error;
mod identity;
mod invalidation;
mod operations;
#[allow(unsafe_code, reason = "all of it is there, behind safe types")]
mod pg;
mod relay;
mod session;
mod settings;
mod staleness;
mod statistics;
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
    pg::boundary::init();
    pg::log_hook::init();
    pg::preload::init();
    if pg::preload::is_preloaded() {
        pg::shared::init();
    }
    relay::init(relay::Tasks {
        prune: relay::Task {
            tables: &operations::PRUNED_TABLES,
            step: operations::prune_some,
        },
        hang_up: relay::Task {
            tables: &identity::WATCHED_TABLES,
            step: identity::hang_up,
        },
    });
    settings::init();
    pg::watch::init();
    pg::hooks::init(identity::on_discard_all);
    #[cfg(feature = "pg18")]
    pg::oauth::init(pg::oauth::Rules {
        superusers: settings::login_superusers,
        admit: identity::admit,
    });
    invalidation::init(invalidation::Ends {
        settle: accounts::settle,
        settle_bulk: accounts::settle_bulk,
        wake: relay::wake,
    });
}
