//! Waking another process.

use pgrx::prelude::*;

/// The address of a process's latch, in shared memory, which every process sees at the same place.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Latch(usize);

impl Latch {
    /// This process's.
    pub fn own() -> Self {
        // SAFETY: set when the process begins; the address itself is read here.
        Self(unsafe { pg_sys::MyLatch }.expose_provenance())
    }

    /// Wakes the process. When it is gone, another may wake for nothing.
    pub fn set(self) {
        if self.0 != 0 {
            // SAFETY: an address that `own` took in a process with a PGPROC, whose latch stays in shared memory
            // as long as the server runs. Registry entries do not outlive that memory.
            unsafe { pg_sys::SetLatch(core::ptr::with_exposed_provenance_mut(self.0)) };
        }
    }
}
