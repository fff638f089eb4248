//! The one row that an SQL function answers: a composite value, which stands in every expression.

use core::ffi::CStr;

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

use super::boundary;
use crate::error::Error;

/// The row, column by column. The function is declared `RETURNS record` with OUT parameters of these names and types.
#[derive(Default)]
pub struct OneRow(Vec<Field>);

struct Field {
    name: &'static CStr,
    type_oid: pg_sys::Oid,
    value: Option<pg_sys::Datum>,
}

impl OneRow {
    /// Adds a column. One that the declaration has not (that of an older version, before its update) is left out.
    #[must_use]
    pub fn with<T: IntoDatum>(mut self, name: &'static CStr, value: T) -> Self {
        self.0.push(Field {
            name,
            type_oid: T::type_oid(),
            value: value.into_datum(),
        });
        self
    }
}

// SAFETY: the datum is a composite value of the type that the call's declaration says.
unsafe impl BoxRet for OneRow {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
        // SAFETY: PostgreSQL's own description of the call, which outlives it. The descriptor lives as long as the function's
        // memory context, and names and types of the values are compared with it before the tuple is formed of as many values as it
        // has columns. A name that is found has a number from 1 to that count, since no OUT parameter is named as a system column.
        unsafe {
            let descriptor = result_descriptor(fcinfo.as_mut_ptr());
            let count = usize::try_from((*descriptor).natts).unwrap_or(0);
            let mut values = vec![pg_sys::Datum::from(0); count];
            let mut nulls = vec![true; count];
            for field in self.0 {
                let number = pg_sys::SPI_fnumber(descriptor, field.name.as_ptr());
                let Some(i) = usize::try_from(number).ok().and_then(|n| n.checked_sub(1)) else {
                    continue;
                };
                if pg_sys::SPI_gettypeid(descriptor, number) != field.type_oid {
                    boundary::raise(Error::Internal(format!(
                        "the result column {} is of another type",
                        field.name.to_string_lossy()
                    )));
                }
                if let (Some(value), Some(slot), Some(null)) =
                    (field.value, values.get_mut(i), nulls.get_mut(i))
                {
                    (*slot, *null) = (value, false);
                }
            }
            let tuple =
                pg_sys::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            fcinfo.return_raw_datum(pg_sys::HeapTupleHeaderGetDatum((*tuple).t_data))
        }
    }
}

/// The descriptor of the function's result, looked up once for all its calls in a query.
///
/// # Safety
/// `call` is a call of a function that keeps nothing else in `fn_extra`.
unsafe fn result_descriptor(call: pg_sys::FunctionCallInfo) -> pg_sys::TupleDesc {
    // SAFETY: a call has an flinfo with a memory context that lives as long as itself; get_call_result_type gives a descriptor when it
    // says that the type is composite.
    unsafe {
        let function = (*call).flinfo;
        if (*function).fn_extra.is_null() {
            let mut descriptor = core::ptr::null_mut();
            let class = pg_sys::get_call_result_type(call, core::ptr::null_mut(), &mut descriptor);
            if class != pg_sys::TypeFuncClass::TYPEFUNC_COMPOSITE || descriptor.is_null() {
                boundary::raise(Error::Internal(
                    "the function is not declared to answer a row".to_owned(),
                ));
            }
            (*function).fn_extra = PgMemoryContexts::For((*function).fn_mcxt).switch_to(|_| {
                pg_sys::BlessTupleDesc(pg_sys::CreateTupleDescCopy(descriptor)).cast()
            });
        }
        (*function).fn_extra.cast()
    }
}

// SAFETY: names the SQL type of the datum that BoxRet above returns.
unsafe impl SqlTranslatable for OneRow {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(OneRow);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: core::result::Result<SqlMappingRef, ArgumentError> =
        Err(ArgumentError::NotValidAsArgument("OneRow"));
    const RETURN_SQL: core::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("record")));
}
