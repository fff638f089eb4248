//! Knowing that a cached look at some relations has become stale.
//!
//! A trigger on each configuration table calls `CacheInvalidateRelcacheByRelid`: PostgreSQL delivers the
//! message to every backend when the transaction commits, to the own backend also when it rolls back to
//! a savepoint or aborts, and to standbys with the WAL. The signal needs no preload and no shared memory.

use std::cell::{Cell, RefCell};

use pgrx::prelude::*;

/// The relations that a cache was made from, and whether nothing was heard of them since.
pub struct Watch {
    fresh: Cell<bool>,
    relations: RefCell<Vec<pg_sys::Oid>>,
}

thread_local! {
    /// Issuers and signing keys.
    pub static TRUST: Watch = const { Watch::new() };
    /// The attached tables, and what the catalogs say of them.
    pub static ATTACHED: Watch = const { Watch::new() };
}

impl Watch {
    const fn new() -> Self {
        Self {
            fresh: Cell::new(false),
            relations: RefCell::new(Vec::new()),
        }
    }

    /// True while a cache that was built after the last [`Watch::begin`] still holds. Reads the messages
    /// that have arrived: a session that stays in one transaction and takes no new lock would not.
    pub fn is_fresh(&self) -> bool {
        // SAFETY: may be called wherever a lock could be taken, as in every SQL function.
        unsafe { pg_sys::AcceptInvalidationMessages() };
        self.fresh.get()
    }

    /// The same, of the messages that were read before: after a lock was taken, say.
    pub fn was_fresh(&self) -> bool {
        self.fresh.get()
    }

    /// To be called before a cache is read anew from `relations`: what happens to them from here on counts.
    pub fn begin(&self, relations: Vec<pg_sys::Oid>) {
        self.relations.replace(relations);
        self.fresh.set(true);
    }

    /// Throws the cache away.
    pub fn end(&self) {
        self.fresh.set(false);
    }

    fn heard(&self, relation: pg_sys::Oid) {
        let concerns = relation == pg_sys::InvalidOid
            || self
                .relations
                .try_borrow()
                .map_or(true, |watched| watched.contains(&relation));
        if concerns {
            self.fresh.set(false);
        }
    }
}

/// Registers the callback, once in a backend.
pub fn init() {
    // SAFETY: a backend has room for ten callbacks of the one kind and 64 of the other; these are ours.
    unsafe {
        #[allow(clippy::cast_possible_wrap, reason = "a small constant")]
        let namespaces = pg_sys::SysCacheIdentifier::NAMESPACEOID as i32;
        pg_sys::CacheRegisterRelcacheCallback(Some(relation_changed), pg_sys::Datum::from(0));
        pg_sys::CacheRegisterSyscacheCallback(
            namespaces,
            Some(schema_changed),
            pg_sys::Datum::from(0),
        );
    }
}

/// A schema was renamed, maybe: our plans name tables with their schemas. Must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    ATTACHED.with(Watch::end);
}

/// PostgreSQL has invalidated what it knew of `relation` (InvalidOid: of all). Must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    TRUST.with(|watch| watch.heard(relation));
    ATTACHED.with(|watch| watch.heard(relation));
}

/// Tells every backend that what was cached of `relation` is stale, when this transaction commits.
pub fn announce(relation: pg_sys::Oid) {
    // SAFETY: queues a message in the running transaction; the relation is locked by the trigger's command.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}
