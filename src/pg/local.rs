//! Variables of this process.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

/// A variable of this process (a backend has one thread), as `thread_local!` makes one, but it is never destroyed.
///
/// PostgreSQL calls hooks and callbacks of ours while the process exits, also after `exit()` has run the destructors of
/// thread-local variables: one that was destroyed would panic there, and the panic would end every session of the server.
pub struct Local<T: 'static>(&'static LocalKey<ManuallyDrop<T>>);

impl<T> Local<T> {
    /// For [`process_local`] only.
    pub const fn new(key: &'static LocalKey<ManuallyDrop<T>>) -> Self {
        Self(key)
    }

    /// Lends the value; makes it when this is the first use.
    pub fn with<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        self.0.with(|value| body(value))
    }
}

impl<T> Local<Cell<T>> {
    /// Puts a value in, and gives back the one that was there.
    pub fn replace(&self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    /// Puts a value in.
    pub fn set(&self, value: T) {
        self.replace(value);
    }

    /// A copy of the value.
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }
}

impl<T> Local<RefCell<T>> {
    /// Lends what is inside, to read.
    pub fn with_borrow<R>(&self, body: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| body(&cell.borrow()))
    }

    /// Lends what is inside, to change.
    pub fn with_borrow_mut<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| body(&mut cell.borrow_mut()))
    }

    /// Puts a value in, and gives back the one that was there.
    pub fn replace(&self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }

    /// Puts a value in.
    pub fn set(&self, value: T) {
        self.replace(value);
    }

    /// Leaves the default value, and gives back the one that was there.
    pub fn take(&self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Runs `body` with another value. The one that was there comes back, also after an error.
    pub fn during<R>(&'static self, value: T, body: impl FnOnce() -> R) -> R {
        let _restore = Restore {
            local: self,
            before: Some(self.replace(value)),
        };
        body()
    }
}

/// Puts a value back when it goes out of scope.
struct Restore<T: 'static> {
    local: &'static Local<RefCell<T>>,
    before: Option<T>,
}

impl<T> Drop for Restore<T> {
    fn drop(&mut self) {
        if let Some(before) = self.before.take() {
            self.local.set(before);
        }
    }
}

/// Declares [`Local`]s as `thread_local!` does: `process_local! { static COUNT: Cell<u64> = Cell::new(0); }`.
macro_rules! process_local {
    ($($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $value:expr;)+) => {$(
        $(#[$attribute])*
        $visibility static $name: $crate::pg::local::Local<$type> = {
            ::std::thread_local! {
                static KEY: ::std::mem::ManuallyDrop<$type> = ::std::mem::ManuallyDrop::new($value);
            }
            $crate::pg::local::Local::new(&KEY)
        };
    )+};
}
pub(crate) use process_local;
