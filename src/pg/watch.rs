//! Knowing that a cached look at some relations has become stale.
//!
//! A trigger on each configuration table calls `CacheInvalidateRelcacheByRelid`: PostgreSQL delivers the
//! message to every backend when the transaction commits, to the own backend also when it rolls back to
//! a savepoint or aborts, and to standbys with the WAL. The signal needs no preload and no shared memory.

use core::ffi::c_void;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::local::process_local;
use super::transaction;
use pgrx::prelude::*;

/// What is kept of some relations, until they change.
pub struct Watched<T> {
    watch: Rc<Watch>,
    kept: RefCell<Option<Rc<T>>>,
}

/// The relations that something was read from, and whether nothing was heard of them since.
pub struct Watch {
    fresh: Cell<bool>,
    relations: RefCell<Vec<pg_sys::Oid>>,
    names_tables: bool,
    /// Was it read in a transaction that has written something, and may undo it?
    undoable: Cell<bool>,
}

process_local! {
    /// All that were made: for the callbacks.
    static WATCHES: RefCell<Vec<Rc<Watch>>> = const { RefCell::new(Vec::new()) };
}

impl<T> Watched<T> {
    /// Nothing is kept yet. `names_tables`: what will be kept names tables by their schemas, which can be renamed.
    pub fn new(names_tables: bool) -> Self {
        let watch = Rc::new(Watch {
            fresh: Cell::new(false),
            relations: RefCell::new(Vec::new()),
            names_tables,
            undoable: Cell::new(false),
        });
        WATCHES.with_borrow_mut(|watches| watches.push(Rc::clone(&watch)));
        Self {
            watch,
            kept: RefCell::new(None),
        }
    }

    /// What `read` makes of `relations`, as committed now (and as changed by this transaction): another value whenever
    /// one of them may have changed. `read` may name further relations ([`Watch::also`]).
    pub fn current(
        &self,
        relations: impl Fn() -> Vec<pg_sys::Oid>,
        read: impl Fn(&Watch) -> T,
    ) -> Rc<T> {
        // A change that arrives while we read makes the watch stale again: then read once more.
        loop {
            if self.watch.is_fresh()
                && let Some(value) = self.kept.borrow().as_ref()
            {
                return Rc::clone(value);
            }
            // Should the reading be cancelled, nothing old must pass for fresh.
            self.kept.replace(None);
            self.watch.begin(relations());
            let value = read(&self.watch);
            self.kept.replace(Some(Rc::new(value)));
        }
    }

    /// To be called before more of the same relations is read into what is kept.
    pub fn reads_more(&self) {
        self.watch.may_be_undone();
    }

    /// Throws away what is kept.
    pub fn forget(&self) {
        self.watch.fresh.set(false);
    }

    /// Does what [`Watched::current`] gave last still hold, by the messages that were read before: after a lock was
    /// taken, say?
    pub fn was_fresh(&self) -> bool {
        self.watch.fresh.get()
    }
}

impl Watch {
    /// Reads the messages that have arrived: a session that stays in one transaction and takes no new lock would not.
    fn is_fresh(&self) -> bool {
        // SAFETY: may be called wherever a lock could be taken, as in every SQL function.
        unsafe { pg_sys::AcceptInvalidationMessages() };
        self.fresh.get()
    }

    /// What happens to `relations` from here on counts.
    fn begin(&self, relations: Vec<pg_sys::Oid>) {
        self.relations.replace(relations);
        self.undoable.set(false);
        self.may_be_undone();
        self.fresh.set(true);
    }

    /// What is read now may see what this transaction has written.
    fn may_be_undone(&self) {
        self.undoable
            .set(self.undoable.get() || transaction::has_written());
    }

    /// What happens to `relations` from here on counts, too.
    pub fn also(&self, relations: impl IntoIterator<Item = pg_sys::Oid>) {
        self.relations.borrow_mut().extend(relations);
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

/// Registers the callbacks, once in a backend.
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
        pg_sys::RegisterXactCallback(Some(transaction_ends), core::ptr::null_mut());
        pg_sys::RegisterSubXactCallback(Some(subtransaction_ends), core::ptr::null_mut());
    }
}

/// A transaction or subtransaction aborts: what was read of its changes is stale. PostgreSQL sends the messages that its triggers
/// asked for, but a statement can fail before its AFTER triggers have fired. This must not fail, and cannot.
fn undone() {
    each_watch(|watch| {
        if watch.undoable.get() {
            watch.fresh.set(false);
        }
    });
}

unsafe extern "C-unwind" fn transaction_ends(event: pg_sys::XactEvent::Type, _: *mut c_void) {
    match event {
        pg_sys::XactEvent::XACT_EVENT_ABORT | pg_sys::XactEvent::XACT_EVENT_PARALLEL_ABORT => {
            undone();
        }
        pg_sys::XactEvent::XACT_EVENT_COMMIT => each_watch(|watch| watch.undoable.set(false)),
        _ => {}
    }
}

unsafe extern "C-unwind" fn subtransaction_ends(
    event: pg_sys::SubXactEvent::Type,
    _: pg_sys::SubTransactionId,
    _: pg_sys::SubTransactionId,
    _: *mut c_void,
) {
    if event == pg_sys::SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        undone();
    }
}

/// No callback runs while a watch is being added: that takes no PostgreSQL call.
fn each_watch(tell: impl Fn(&Watch)) {
    WATCHES.with_borrow(|watches| watches.iter().for_each(|watch| tell(watch)));
}

/// A schema was renamed, maybe. Must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn schema_changed(_argument: pg_sys::Datum, _cache: i32, _hash: u32) {
    each_watch(|watch| {
        if watch.names_tables {
            watch.fresh.set(false);
        }
    });
}

/// PostgreSQL has invalidated what it knew of `relation` (InvalidOid: of all). Must not fail.
#[pg_guard]
unsafe extern "C-unwind" fn relation_changed(_argument: pg_sys::Datum, relation: pg_sys::Oid) {
    each_watch(|watch| watch.heard(relation));
}

/// Tells every backend that what was cached of `relation` is stale, when this transaction commits.
pub fn announce(relation: pg_sys::Oid) {
    // SAFETY: queues a message in the running transaction; the relation is locked by the trigger's command.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}
