//! The rows that a trigger is given, read by column name: partitions order their columns differently.

use core::ffi::CStr;
use core::marker::PhantomData;

use pgrx::prelude::*;
use pgrx::{AllocatedByPostgres, PgTupleDesc};

/// The room for a name of PostgreSQL's, with the NUL behind it.
const NAMEDATALEN: usize = size_of::<pg_sys::NameData>();

/// OLD or NEW of a row trigger.
pub struct TriggerRow<'a> {
    tuple: pg_sys::HeapTuple,
    descriptor: pg_sys::TupleDesc,
    trigger: PhantomData<&'a pg_sys::TriggerData>,
}

/// Where a tuple stands: which table, page and line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RowPlace {
    table: pg_sys::Oid,
    block: (u16, u16),
    offset: u16,
}

/// A column of a trigger's rows.
#[derive(Clone, Copy)]
pub struct TriggerColumn {
    number: i32,
    /// Its type, a domain resolved to what it is over.
    base_type: pg_sys::Oid,
}

impl<'a> TriggerRow<'a> {
    /// The row before the change; None for an INSERT.
    pub fn old(trigger: &'a PgTrigger<'a>) -> Option<Self> {
        let data = trigger.trigger_data();
        let inserts = pg_sys::TRIGGER_EVENT_OPMASK & data.tg_event == pg_sys::TRIGGER_EVENT_INSERT;
        if inserts {
            None
        } else {
            Self::of(data, data.tg_trigtuple)
        }
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
        Some(Self {
            tuple,
            descriptor,
            trigger: PhantomData,
        })
    }

    /// Finds a column of the rows of this trigger: OLD and NEW have the same ones.
    pub fn column(&self, name: &str) -> Option<TriggerColumn> {
        // Not a CString: this is asked for each of a million rows.
        let mut terminated = [0_u8; NAMEDATALEN];
        terminated
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        // None for a name that is too long, or has a NUL in it.
        let name = CStr::from_bytes_with_nul(terminated.get(..=name.len())?).ok()?;
        // SAFETY: the descriptor lives as long as self; the name is NUL-terminated; the rest are catalog look-ups.
        unsafe {
            let number = pg_sys::SPI_fnumber(self.descriptor, name.as_ptr());
            if number <= 0 {
                return None;
            }
            let base_type = match pg_sys::SPI_gettypeid(self.descriptor, number) {
                plain @ (pg_sys::INT8OID | pg_sys::INT4OID | pg_sys::BOOLOID) => plain,
                other => pg_sys::getBaseType(other),
            };
            Some(TriggerColumn { number, base_type })
        }
    }

    /// Where the tuple stands.
    pub fn place(&self) -> RowPlace {
        // SAFETY: the tuple lives as long as self.
        let (table, tuple) = unsafe { ((*self.tuple).t_tableOid, (*self.tuple).t_self) };
        RowPlace {
            table,
            block: (tuple.ip_blkid.bi_hi, tuple.ip_blkid.bi_lo),
            offset: tuple.ip_posid,
        }
    }

    /// A column of any type, as its type prints it.
    pub fn text(&self, column: TriggerColumn) -> Option<String> {
        // SAFETY: tuple and descriptor belong together; the answer is NULL or a palloc'd string, copied here.
        unsafe {
            let value = pg_sys::SPI_getvalue(self.tuple, self.descriptor, column.number);
            if value.is_null() {
                return None;
            }
            let text = CStr::from_ptr(value).to_string_lossy().into_owned();
            pg_sys::pfree(value.cast());
            Some(text)
        }
    }

    /// Half of the largest number that a column of type integer or bigint holds.
    pub fn half_of(&self, column: TriggerColumn) -> i64 {
        match column.base_type {
            pg_sys::INT4OID => i64::from(i32::MAX / 2),
            _ => i64::MAX / 2,
        }
    }

    /// A column of type integer or bigint.
    pub fn bigint(&self, column: TriggerColumn) -> Option<i64> {
        // SAFETY: the datum is read as what the column's type says.
        unsafe {
            match column.base_type {
                pg_sys::INT4OID => self.get::<i32>(column).map(i64::from),
                pg_sys::INT8OID => self.get(column),
                _ => None,
            }
        }
    }

    /// A boolean column.
    pub fn boolean(&self, column: TriggerColumn) -> Option<bool> {
        // SAFETY: the datum is read as what the column's type says.
        unsafe {
            if column.base_type == pg_sys::BOOLOID {
                self.get(column)
            } else {
                None
            }
        }
    }

    /// # Safety
    /// `T` must be the type of the column.
    unsafe fn get<T: FromDatum>(&self, column: TriggerColumn) -> Option<T> {
        let mut is_null = true;
        // SAFETY: tuple and descriptor belong together.
        unsafe {
            let datum =
                pg_sys::SPI_getbinval(self.tuple, self.descriptor, column.number, &mut is_null);
            T::from_datum(datum, is_null)
        }
    }

    /// A column's text where it differs from that of `other`. Integers are compared without it.
    pub fn text_unless_same(&self, other: &Self, column: TriggerColumn) -> Option<String> {
        match (self.bigint(column), other.bigint(column)) {
            (Some(one), Some(other)) if one == other => None,
            _ => self
                .text(column)
                .filter(|text| other.text(column).as_ref() != Some(text)),
        }
    }

    /// The row with another value in a column of type integer or bigint; None when it does not fit there.
    pub fn with_bigint(
        &self,
        column: TriggerColumn,
        value: i64,
    ) -> Option<PgHeapTuple<'a, AllocatedByPostgres>> {
        let datum = match column.base_type {
            pg_sys::INT4OID => i32::try_from(value).ok()?.into_datum()?,
            pg_sys::INT8OID => value.into_datum()?,
            _ => return None,
        };
        // PostgreSQL declares these const from 17 on, and takes pointers that may write before.
        let (mut columns, mut values, mut nulls) = ([column.number], [datum], [false]);
        // SAFETY: tuple and descriptor belong together and outlive the trigger's call, as does the copy that
        // heap_modify_tuple_by_cols makes in its memory context; the arrays have one element each.
        unsafe {
            let tuple = pg_sys::heap_modify_tuple_by_cols(
                self.tuple,
                self.descriptor,
                1,
                columns.as_mut_ptr(),
                values.as_mut_ptr(),
                nulls.as_mut_ptr(),
            );
            Some(PgHeapTuple::from_heap_tuple(
                PgTupleDesc::from_pg_unchecked(self.descriptor),
                tuple,
            ))
        }
    }
}
