//! Every `auth_ext.*` parameter. A superuser may SET them, an ordinary role may not.

use core::ffi::CStr;
use core::time::Duration;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};

use crate::pg::{carrier, guc, preload, slots};

/// How committed changes reach listeners (`auth_ext.notify`).
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, reason = "the names are the values a user types")]
pub enum Notify {
    /// The changing transaction sends the notification itself, when it commits.
    inline,
    /// A background worker sends it; the changing transaction only wakes it.
    relay,
    /// Nothing is sent.
    off,
}

/// What becomes of what runs under an identity that ends (`auth_ext.when_ended`).
#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
#[allow(non_camel_case_types, reason = "the names are the values a user types")]
pub enum WhenEnded {
    /// It goes on; statements that begin later do not see the identity.
    hide,
    /// A session's connection is terminated, a transaction's running statement cancelled.
    hang_up,
}

static WHEN_ENDED: GucSetting<WhenEnded> = GucSetting::<WhenEnded>::new(WhenEnded::hide);
static NOTIFY: GucSetting<Notify> = GucSetting::<Notify>::new(Notify::inline);
static MAX_TOKEN_SIZE: GucSetting<i32> = GucSetting::<i32>::new(16 * 1024);
static VERIFIED_CACHE_SIZE: GucSetting<i32> = GucSetting::<i32>::new(2048);
static BULK_THRESHOLD: GucSetting<i32> = GucSetting::<i32>::new(1000);
static LOG_RETENTION: GucSetting<i32> = GucSetting::<i32>::new(60 * 60);
static PRUNE_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10 * 60);
static MAX_WORKERS: GucSetting<i32> = GucSetting::<i32>::new(4);
static LOGICAL_MESSAGES: GucSetting<bool> = GucSetting::<bool>::new(false);
static MAX_STANDBY_STALENESS: GucSetting<i32> = GucSetting::<i32>::new(-1);
static STANDBY_HEARTBEAT: GucSetting<i32> = GucSetting::<i32>::new(0);
static LOGIN_SUPERUSERS: GucSetting<bool> = GucSetting::<bool>::new(false);
static SYNCHRONOUS_COMMIT: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Defines the parameters and reserves the prefix, so that a misspelt one is an error.
pub fn init() {
    guc::define_enum(
        c"auth_ext.notify",
        c"How committed changes are announced on channel auth_invalidation.",
        c"inline: by the changing transaction, when it commits. relay: by a background worker. off: not at all.",
        &NOTIFY,
    );
    guc::define_enum(
        c"auth_ext.when_ended",
        c"What becomes of what runs under an identity that ends.",
        c"hide: it goes on. hang_up: the connection of a session's is terminated, the running statement of a transaction's cancelled.",
        &WHEN_ENDED,
    );
    define_int(
        c"auth_ext.max_token_size",
        c"A longer token is refused as too_large before any decoding.",
        &MAX_TOKEN_SIZE,
        256..=16 * 1024 * 1024,
        GucFlags::UNIT_BYTE,
    );
    define_int(
        c"auth_ext.verified_cache_size",
        c"How many tokens a backend remembers as verified, so that their signatures are checked once.",
        &VERIFIED_CACHE_SIZE,
        0..=1_000_000,
        GucFlags::empty(),
    );
    define_int(
        c"auth_ext.bulk_threshold",
        c"A transaction that touches more users than this sends one flush in place of its events.",
        &BULK_THRESHOLD,
        1..=1_000_000,
        GucFlags::empty(),
    );
    carrier::init();
    define_int(
        c"auth_ext.log_retention",
        c"How long prune() keeps events in the log, for listeners that were away.",
        &LOG_RETENTION,
        1..=i32::MAX,
        GucFlags::UNIT_S,
    );
    guc::define_int_of_the_server(
        c"auth_ext.prune_interval",
        c"How often a background worker prunes each database with the extension.",
        c"0: never. Without the preloaded library nobody does.",
        &PRUNE_INTERVAL,
        0..=i32::MAX / 1000,
        GucFlags::UNIT_S,
    );
    guc::define_int_of_the_server(
        c"auth_ext.max_workers",
        c"How many background workers run at a time; databases share them.",
        c"Each takes one of max_worker_processes while it has something to do.",
        &MAX_WORKERS,
        1..=64,
        GucFlags::empty(),
    );
    GucRegistry::define_bool_guc(
        c"auth_ext.logical_messages",
        c"Writes every event as a logical message with prefix auth_ext, too.",
        c"For consumers of logical decoding; needs wal_level = logical to be of use.",
        &LOGICAL_MESSAGES,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_bool_guc(
        c"auth_ext.synchronous_commit",
        c"Waits at the commit of every change that listeners hear of until it is on disk.",
        c"Here, and on the standbys that are waited for. off: as synchronous_commit says. Then a crash or a failover can bring an ended session back to life.",
        &SYNCHRONOUS_COMMIT,
        GucContext::Suset,
        GucFlags::empty(),
    );
    GucRegistry::define_int_guc(
        c"auth_ext.max_standby_staleness",
        c"How far a standby may be behind its primary and still verify.",
        c"-1: however far. Otherwise it has to show that all is replayed that was committed that long ago, or refuses as stale_standby.",
        &MAX_STANDBY_STALENESS,
        -1,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_MS,
    );
    guc::define_int_of_the_server(
        c"auth_ext.standby_heartbeat",
        c"How often the primary writes a commit, by which standbys know how old they are.",
        c"0: never. Each takes a transaction id.",
        &STANDBY_HEARTBEAT,
        0..=i32::MAX,
        GucFlags::UNIT_MS,
    );
    GucRegistry::define_bool_guc(
        c"auth_ext.login_superusers",
        c"Lets superusers log in with a token.",
        c"For PostgreSQL 18, where oauth_validator_libraries names auth_ext.",
        &LOGIN_SUPERUSERS,
        GucContext::Sighup,
        GucFlags::empty(),
    );
    guc::reserve_prefix();
}

/// Without the preloaded library there is no relay.
impl guc::Checked for Notify {
    fn why_not(self) -> Option<&'static CStr> {
        (self == Self::relay).then(preload::hint).flatten()
    }
}

/// Without the preloaded library nobody hangs up.
impl guc::Checked for WhenEnded {
    fn why_not(self) -> Option<&'static CStr> {
        (self == Self::hang_up).then(preload::hint).flatten()
    }

    fn assigned(self) {
        slots::hang_up(self == Self::hang_up);
    }
}

fn define_int(
    name: &'static CStr,
    description: &'static CStr,
    setting: &'static GucSetting<i32>,
    range: core::ops::RangeInclusive<i32>,
    unit: GucFlags,
) {
    let (min, max) = range.into_inner();
    GucRegistry::define_int_guc(
        name,
        description,
        c"",
        setting,
        min,
        max,
        GucContext::Suset,
        unit,
    );
}

/// `auth_ext.when_ended`.
pub fn when_ended() -> WhenEnded {
    WHEN_ENDED.get()
}

/// `auth_ext.notify`.
pub fn notify() -> Notify {
    NOTIFY.get()
}

/// `auth_ext.max_token_size`, in octets.
pub fn max_token_size() -> usize {
    usize::try_from(MAX_TOKEN_SIZE.get()).unwrap_or(0)
}

/// `auth_ext.verified_cache_size`, in tokens.
pub fn verified_cache_size() -> usize {
    usize::try_from(VERIFIED_CACHE_SIZE.get()).unwrap_or(0)
}

/// `auth_ext.bulk_threshold`, in users.
pub fn bulk_threshold() -> usize {
    usize::try_from(BULK_THRESHOLD.get()).unwrap_or(0)
}

/// `auth_ext.log_retention`, in seconds.
pub fn log_retention() -> i32 {
    LOG_RETENTION.get()
}

/// `auth_ext.prune_interval`; None: never.
pub fn prune_interval() -> Option<Duration> {
    let seconds = u64::try_from(PRUNE_INTERVAL.get())
        .ok()
        .filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds))
}

/// `auth_ext.max_workers`.
pub fn max_workers() -> usize {
    usize::try_from(MAX_WORKERS.get()).unwrap_or(1)
}

/// `auth_ext.logical_messages`.
pub fn logical_messages() -> bool {
    LOGICAL_MESSAGES.get()
}

/// `auth_ext.synchronous_commit`.
pub fn commits_synchronously() -> bool {
    SYNCHRONOUS_COMMIT.get()
}

/// `auth_ext.max_standby_staleness`, in microseconds; None: standbys may be however far behind.
pub fn max_standby_staleness() -> Option<u64> {
    let milliseconds = u64::try_from(MAX_STANDBY_STALENESS.get()).ok()?;
    Some(milliseconds.saturating_mul(1000))
}

/// `auth_ext.standby_heartbeat`; None: never.
pub fn standby_heartbeat() -> Option<Duration> {
    let milliseconds = u64::try_from(STANDBY_HEARTBEAT.get())
        .ok()
        .filter(|milliseconds| *milliseconds > 0)?;
    Some(Duration::from_millis(milliseconds))
}

/// `auth_ext.login_superusers`.
#[cfg(feature = "pg18")]
pub fn login_superusers() -> bool {
    LOGIN_SUPERUSERS.get()
}
