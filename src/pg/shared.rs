//! Shared memory that begins as zeros, read and written by every process without a lock.

use core::ffi::{CStr, c_void};
use core::marker::PhantomData;
use core::sync::atomic::{AtomicPtr, Ordering};

use std::cell::Cell;

use super::local::process_local;
use pgrx::prelude::*;

/// A type of which any bytes that are zero are a value, and that every process may use at the same time.
///
/// # Safety
/// It consists of integer atomics only (so that it is `Sync`, and zeros are a value), and of no address. It is aligned to 64 bytes at
/// most: ShmemInitStruct aligns to 128.
pub unsafe trait Zeroed: Sync + 'static {}

/// So many `T` in shared memory.
pub struct Area<T> {
    name: &'static CStr,
    /// Asked when the server has read its settings.
    count: fn() -> usize,
    address: AtomicPtr<c_void>,
    of: PhantomData<fn() -> T>,
}

/// An [`Area`], whatever it holds.
trait Reserve: Sync {
    fn request(&self);
    fn create(&self);
}

impl<T: Zeroed> Area<T> {
    /// For a static.
    pub const fn new(name: &'static CStr, count: fn() -> usize) -> Self {
        Self {
            name,
            count,
            address: AtomicPtr::new(core::ptr::null_mut()),
            of: PhantomData,
        }
    }

    fn size(&self) -> usize {
        (self.count)().saturating_mul(size_of::<T>())
    }

    /// All of it; nothing where the library was not preloaded.
    pub fn all(&self) -> &'static [T] {
        let address = self.address.load(Ordering::Relaxed);
        if address.is_null() {
            return &[];
        }
        // SAFETY: `create` stored the address of `count()` values, zeroed, aligned as `Zeroed` asks for, in memory that stays for
        // the life of this process; `count` answers the same as then. All processes use them through atomics only.
        unsafe { core::slice::from_raw_parts(address.cast::<T>(), (self.count)()) }
    }
}

impl<T: Zeroed> Reserve for Area<T> {
    fn request(&self) {
        // SAFETY: called by shmem_request_hook.
        unsafe { pg_sys::RequestAddinShmemSpace(self.size()) };
    }

    fn create(&self) {
        let mut found = false;
        // SAFETY: called by shmem_startup_hook with the lock that ShmemInitStruct wants; what is new is as large as was asked for.
        unsafe {
            let address = pg_sys::ShmemInitStruct(self.name.as_ptr(), self.size(), &mut found);
            if !found {
                core::ptr::write_bytes(address.cast::<u8>(), 0, self.size());
            }
            self.address.store(address, Ordering::Relaxed);
        }
    }
}

/// AddinShmemInitLock: the same number in 15 to 18.
const ADDIN_SHMEM_INIT_LOCK: usize = 21;

static AREAS: [&dyn Reserve; 2] = [&super::counters::SETS, &super::slots::SLOTS];

process_local! {
    static NEXT_REQUEST: Cell<pg_sys::shmem_request_hook_type> = const { Cell::new(None) };
    static NEXT_STARTUP: Cell<pg_sys::shmem_startup_hook_type> = const { Cell::new(None) };
}

/// While the server loads its shared libraries.
pub fn init() {
    // SAFETY: in the postmaster, which has one thread; the hooks that were there are kept and called.
    unsafe {
        NEXT_REQUEST.set(pg_sys::shmem_request_hook);
        pg_sys::shmem_request_hook = Some(request);
        NEXT_STARTUP.set(pg_sys::shmem_startup_hook);
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

unsafe extern "C-unwind" fn request() {
    if let Some(next) = NEXT_REQUEST.get() {
        // SAFETY: called as PostgreSQL would have called it.
        unsafe { next() };
    }
    AREAS.iter().for_each(|area| area.request());
}

unsafe extern "C-unwind" fn startup() {
    if let Some(next) = NEXT_STARTUP.get() {
        // SAFETY: called as PostgreSQL would have called it.
        unsafe { next() };
    }
    // SAFETY: the lock that ShmemInitStruct wants; an error in the postmaster ends it.
    unsafe {
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(ADDIN_SHMEM_INIT_LOCK)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        AREAS.iter().for_each(|area| area.create());
        pg_sys::LWLockRelease(lock);
    }
}
