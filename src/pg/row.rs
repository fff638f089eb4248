//! The rows that a trigger is given, read by column name: partitions order their columns differently.

use core::ffi::CStr;
use core::marker::PhantomData;
use std::ffi::CString;

use pgrx::prelude::*;
use pgrx::{AllocatedByPostgres, PgTupleDesc};

/// OLD or NEW of a row trigger.
pub struct TriggerRow<'a> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    trigger: PhantomData<&'a pg_sys::TriggerData>,
}

impl<'a> TriggerRow<'a> {
    /// The row before the change; None for an INSERT.
    pub fn old(trigger: &'a PgTrigger<'a>) -> Option<Self> {
        let data = trigger.trigger_data();
        let inserts = pg_sys::TRIGGER_EVENT_OPMASK & data.tg_event == pg_sys::TRIGGER_EVENT_INSERT;
        if inserts { None } else { Self::of(data, data.tg_trigtuple) }
    }

    /// The row after the change; None for a DELETE.
    pub fn new(trigger: &'a PgTrigger<'a>) -> Option<Self> {
        let data = trigger.trigger_data();
        match pg_sys::TRIGGER_EVENT_OPMASK & data.tg_event {
            pg_sys::TRIGGER_EVENT_INSERT => Self::of(data, data.tg_trigtuple),
            pg_sys::TRIGGER_EVENT_UPDATE => Self::of(data, data.tg_newtuple),
            _ => None,
        }
    }

    fn of(data: &'a pg_sys::TriggerData, tuple: pg_sys::HeapTuple) -> Option<Self> {
        if tuple.is_null() || data.tg_relation.is_null() {
            return None;
        }
        // SAFETY: a row trigger's relation is open while the trigger runs, and describes its tuples.
        let descriptor = unsafe { (*data.tg_relation).rd_att };
        Some(Self { tuple, descriptor, trigger: PhantomData })
    }

    fn number(&self, column: &str) -> Option<i32> {
        let name = CString::new(column).ok()?;
        // SAFETY: the descriptor lives as long as self; the name is NUL-terminated.
        let number = unsafe { pg_sys::SPI_fnumber(self.descriptor, name.as_ptr()) };
        (number > 0).then_some(number)
    }

    /// A column of any type, as its type prints it.
    pub fn text(&self, column: &str) -> Option<String> {
        let number = self.number(column)?;
        // SAFETY: tuple and descriptor belong together; the answer is NULL or a palloc'd string, copied here.
        unsafe {
            let value = pg_sys::SPI_getvalue(self.tuple, self.descriptor, number);
            if value.is_null() {
                return None;
            }
            let text = CStr::from_ptr(value).to_string_lossy().into_owned();
            pg_sys::pfree(value.cast());
            Some(text)
        }
    }

    /// A column of type integer or bigint.
    pub fn bigint(&self, column: &str) -> Option<i64> {
        let number = self.number(column)?;
        // SAFETY: tuple and descriptor belong together; the datum is read as what the column's type says.
        unsafe {
            let mut is_null = true;
            let datum = pg_sys::SPI_getbinval(self.tuple, self.descriptor, number, &mut is_null);
            match pg_sys::getBaseType(pg_sys::SPI_gettypeid(self.descriptor, number)) {
                pg_sys::INT4OID => i32::from_datum(datum, is_null).map(i64::from),
                pg_sys::INT8OID => i64::from_datum(datum, is_null),
                _ => None,
            }
        }
    }

    /// A boolean column.
    pub fn boolean(&self, column: &str) -> Option<bool> {
        let number = self.number(column)?;
        // SAFETY: as in `bigint`.
        unsafe {
            let mut is_null = true;
            let datum = pg_sys::SPI_getbinval(self.tuple, self.descriptor, number, &mut is_null);
            match pg_sys::getBaseType(pg_sys::SPI_gettypeid(self.descriptor, number)) {
                pg_sys::BOOLOID => bool::from_datum(datum, is_null),
                _ => None,
            }
        }
    }

    /// The row with another value in a column of type integer or bigint; None when it does not fit there.
    pub fn with_bigint(&self, column: &str, value: i64) -> Option<PgHeapTuple<'a, AllocatedByPostgres>> {
        let mut number = self.number(column)?;
        // SAFETY: tuple and descriptor belong together and outlive the trigger's call, as does the copy that
        // heap_modify_tuple_by_cols makes in its memory context; the arrays have one element each.
        unsafe {
            let mut datum = match pg_sys::getBaseType(pg_sys::SPI_gettypeid(self.descriptor, number)) {
                pg_sys::INT4OID => i32::try_from(value).ok()?.into_datum()?,
                pg_sys::INT8OID => value.into_datum()?,
                _ => return None,
            };
            let tuple = pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                self.descriptor,
                1,
                &mut number,
                &mut datum,
                &mut false,
            );
            Some(PgHeapTuple::from_heap_tuple(PgTupleDesc::from_pg_unchecked(self.descriptor), tuple))
        }
    }
}
