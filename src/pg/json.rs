//! JSON as text in and out of `jsonb`, unaltered: numbers of any size survive.

use core::ffi::CStr;
use std::ffi::CString;
use std::rc::Rc;

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::fcinfo::{direct_function_call, direct_function_call_as_datum};
use pgrx::nullable::Nullable;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

/// A `jsonb` value that is kept, to be returned many times.
#[derive(Clone, PartialEq, Eq)]
pub struct Jsonb(Rc<[u8]>);

impl Jsonb {
    /// From the text of a valid JSON value.
    pub fn parse(json: &str) -> Option<Self> {
        let datum = JsonText(json.to_owned()).into_datum()?;
        // SAFETY: jsonb_in returns a palloc'd varlena, plain and complete.
        Some(unsafe { Self::take(datum.cast_mut_ptr()) })
    }

    /// Copies a value, and frees it.
    ///
    /// # Safety
    /// It is a palloc'd jsonb, plain and complete: of as many octets as its header says.
    pub(super) unsafe fn take(value: *mut pg_sys::varlena) -> Self {
        // SAFETY: as the caller says.
        unsafe {
            let octets = core::slice::from_raw_parts(value.cast::<u8>(), pgrx::varsize_any(value));
            let kept = Self(octets.into());
            pg_sys::pfree(value.cast());
            kept
        }
    }

    /// The top-level member `name`, as JSON text.
    pub fn json_of(&self, name: &str) -> Option<String> {
        // SAFETY: jsonb_object_field takes a jsonb and a text, and returns a jsonb or NULL; jsonb_out a NUL-terminated string.
        unsafe {
            let member = direct_function_call_as_datum(
                pg_sys::jsonb_object_field,
                &[self.clone().into_datum(), name.into_datum()],
            )?;
            let text = direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(member)])?;
            Some(text.to_string_lossy().into_owned())
        }
    }

    /// The top-level member `name`, as `->>` gives it.
    pub fn text_of(&self, name: &str) -> Option<String> {
        // SAFETY: jsonb_object_field_text takes a jsonb and a text, and returns a text or NULL.
        unsafe {
            direct_function_call::<String>(
                pg_sys::jsonb_object_field_text,
                &[self.clone().into_datum(), name.into_datum()],
            )
        }
    }
}

impl IntoDatum for Jsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: palloc'd room for a copy of the octets that `parse` took from a jsonb.
        unsafe {
            let copy = pg_sys::palloc(self.0.len()).cast::<u8>();
            copy.copy_from_nonoverlapping(self.0.as_ptr(), self.0.len());
            Some(copy.into())
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

/// The text of a valid JSON value whose SQL type is `jsonb`.
pub struct JsonText(pub String);

impl IntoDatum for JsonText {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let text = CString::new(self.0).ok()?;
        // SAFETY: jsonb_in takes one NUL-terminated string, which outlives the call.
        unsafe { direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text.as_ptr().into())]) }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

impl FromDatum for JsonText {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the caller says that the datum is a non-null jsonb; jsonb_out detoasts it and
        // returns a NUL-terminated string in the current memory context.
        let text = unsafe { direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)]) };
        text.map(|text| Self(text.to_string_lossy().into_owned()))
    }
}

macro_rules! is_jsonb {
    ($type:ident) => {
        // SAFETY: the datum is jsonb, as its IntoDatum makes it.
        unsafe impl BoxRet for $type {
            unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> pgrx::datum::Datum<'fcx> {
                match self.into_datum() {
                    // SAFETY: returned as the function's result, as BoxRet asks.
                    Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
                    None => fcinfo.return_null(),
                }
            }
        }

        // SAFETY: names the SQL type whose datums the impls in this file read and make.
        unsafe impl SqlTranslatable for $type {
            const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!($type);
            const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
            const ARGUMENT_SQL: core::result::Result<SqlMappingRef, ArgumentError> =
                Ok(SqlMappingRef::literal("jsonb"));
            const RETURN_SQL: core::result::Result<ReturnsRef, ReturnsError> =
                Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
        }
    };
}

is_jsonb!(JsonText);
is_jsonb!(Jsonb);

// SAFETY: the argument is declared jsonb in SQL, and read by FromDatum above.
unsafe impl<'fcx> ArgAbi<'fcx> for JsonText {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: see the impl.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Self("null".to_owned()))
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: see the impl.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}
