//! Arguments of type `name` and `name[]`.

use core::ffi::CStr;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::nullable::Nullable;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

/// A `name` argument.
pub fn name_argument(name: Option<&CStr>) -> Option<String> {
    name.map(|name| name.to_string_lossy().into_owned())
}

/// The elements of a `name[]`; None is NULL.
pub struct Names(pub Vec<Option<String>>);

impl FromDatum for Names {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        let (mut elements, mut nulls, mut count) =
            (core::ptr::null_mut(), core::ptr::null_mut(), 0);
        // SAFETY: the caller says that the datum is a non-null name[]; deconstruct_array fills both arrays with
        // `count` elements, each a NUL-terminated NameData, in the current memory context.
        unsafe {
            let array = pg_sys::pg_detoast_datum(datum.cast_mut_ptr()).cast::<pg_sys::ArrayType>();
            let length = i32::try_from(pg_sys::NAMEDATALEN).ok()?;
            let align = b'c'.cast_signed();
            pg_sys::deconstruct_array(
                array,
                pg_sys::NAMEOID,
                length,
                false,
                align,
                &mut elements,
                &mut nulls,
                &mut count,
            );
            let count = usize::try_from(count).ok()?;
            let name = |i: usize| {
                let element = *elements.add(i);
                (!*nulls.add(i)).then(|| {
                    CStr::from_ptr(element.cast_mut_ptr())
                        .to_string_lossy()
                        .into_owned()
                })
            };
            Some(Self((0..count).map(name).collect()))
        }
    }
}

// SAFETY: the argument is declared name[] in SQL, and read by FromDatum above.
unsafe impl<'fcx> ArgAbi<'fcx> for Names {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: see the impl.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or_else(|| Self(Vec::new()))
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: see the impl.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

// SAFETY: names the SQL type whose datums the impls above read.
unsafe impl SqlTranslatable for Names {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(Names);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: core::result::Result<SqlMappingRef, ArgumentError> =
        Ok(SqlMappingRef::literal("name[]"));
    const RETURN_SQL: core::result::Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("name[]")));
}
