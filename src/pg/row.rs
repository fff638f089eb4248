//! The rows of a result or a table, read as what their columns are.

use core::ffi::CStr;
use core::marker::PhantomData;

use pgrx::datum::{Inet, Interval, TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use super::boundary;
use super::json::JsonText;
use crate::error::Error;

/// A type that a column can be read as.
///
/// # Safety
/// `from_datum` must read the datums of every SQL type that `fits`.
pub unsafe trait Value: FromDatum {
    /// Can a column of that SQL type be read so?
    fn fits(type_oid: pg_sys::Oid) -> bool;
}

macro_rules! reads {
    ($($rust:ty: $($sql:ident)|+;)*) => {$(
        // SAFETY: pgrx reads these types so; a varchar is a text, a regclass an oid.
        unsafe impl Value for $rust {
            fn fits(type_oid: pg_sys::Oid) -> bool {
                matches!(type_oid, $(pg_sys::$sql)|+)
            }
        }
    )*};
}

reads! {
    bool: BOOLOID;
    i8: CHAROID;
    i32: INT4OID;
    i64: INT8OID;
    f64: FLOAT8OID;
    String: TEXTOID | VARCHAROID;
    Vec<String>: TEXTARRAYOID;
    Vec<u8>: BYTEAOID;
    pg_sys::Oid: OIDOID | REGCLASSOID;
    JsonText: JSONBOID;
    Inet: INETOID;
    Interval: INTERVALOID;
    TimestampWithTimeZone: TIMESTAMPTZOID;
    Uuid: UUIDOID;
}

/// A row, valid inside the closure that reads it.
pub struct Row<'a> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    lives: PhantomData<&'a pg_sys::HeapTupleData>,
}

/// How a column of a row is named: by its place in the query's list, from 1, or by its name in the table.
pub trait ColumnRef: Copy {
    /// Its number; None when there is none.
    fn number(self, row: &Row<'_>) -> Option<i32>;
    /// As an error names it.
    fn describe(self) -> String;
}

impl ColumnRef for i32 {
    fn number(self, row: &Row<'_>) -> Option<i32> {
        // SAFETY: the descriptor lives as long as the row.
        let count = unsafe { (*row.descriptor).natts };
        (1..=count).contains(&self).then_some(self)
    }

    fn describe(self) -> String {
        format!("column {self} of an internal query")
    }
}

impl ColumnRef for &CStr {
    fn number(self, row: &Row<'_>) -> Option<i32> {
        // SAFETY: the descriptor lives as long as the row; the name is NUL-terminated.
        let number = unsafe { pg_sys::SPI_fnumber(row.descriptor, self.as_ptr()) };
        (number > 0).then_some(number)
    }

    fn describe(self) -> String {
        format!("column {} of an internal table", self.to_string_lossy())
    }
}

impl<'a> Row<'a> {
    /// A tuple and what describes it.
    ///
    /// # Safety
    /// The two belong together and live as long as the row.
    pub unsafe fn new(tuple: pg_sys::HeapTuple, descriptor: pg_sys::TupleDesc) -> Self {
        Self {
            tuple,
            descriptor,
            lives: PhantomData,
        }
    }

    /// A column; None for NULL, and for a name that the table has not (before its update to this version, say). One of
    /// another type is an internal error.
    pub fn get<T: Value>(&self, column: impl ColumnRef) -> Option<T> {
        let number = column.number(self)?;
        // SAFETY: the descriptor lives as long as the row, and has a column of that number.
        let type_oid = unsafe { pg_sys::SPI_gettypeid(self.descriptor, number) };
        require_fit::<T>(type_oid, || column.describe());
        let mut is_null = true;
        // SAFETY: tuple and descriptor belong together; the type fits. T copies what it needs.
        unsafe {
            let datum = pg_sys::SPI_getbinval(self.tuple, self.descriptor, number, &mut is_null);
            T::from_datum(datum, is_null)
        }
    }

    /// A column that cannot be NULL: if it is, that is an internal error.
    pub fn required<T: Value>(&self, column: impl ColumnRef) -> T {
        self.get(column)
            .unwrap_or_else(|| missing(&column.describe()))
    }
}

/// The internal error of a value that cannot be NULL, and is.
pub fn missing(described: &str) -> ! {
    boundary::raise(Error::Internal(format!("{described} is missing")))
}

/// The row of a query that has one whatever the tables hold, an aggregate's say: that there is none is an internal error.
pub fn only<T>(rows: Vec<T>) -> T {
    match rows.into_iter().next() {
        Some(row) => row,
        None => boundary::raise(Error::Internal("an internal query has no row".to_owned())),
    }
}

/// Raises an internal error unless a column of that type, or of a domain over it, can be read as `T`.
pub fn require_fit<T: Value>(type_oid: pg_sys::Oid, describe: impl FnOnce() -> String) {
    // SAFETY: a catalog look-up.
    if !T::fits(type_oid) && !T::fits(unsafe { pg_sys::getBaseType(type_oid) }) {
        boundary::raise(Error::Internal(format!(
            "{} is of another type",
            describe()
        )));
    }
}
