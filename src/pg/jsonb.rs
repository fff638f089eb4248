//! A `jsonb` made from the members of an object that was read before: as `jsonb_in` would make it of their text, without reading
//! that again.

use core::ffi::c_char;
use std::borrow::Cow;

use pgrx::pg_sys::{JsonbIteratorToken as Token, jbvType as Type};
use pgrx::prelude::*;
use serde_json::value::RawValue;

use super::json::{JsonText, Jsonb};

impl Jsonb {
    /// From the members of an object: their names, and the text of each one's value, valid JSON. None where a name is there twice.
    pub fn of_members<'a>(members: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let mut members: Vec<_> = members
            .map(|(name, value)| Some((name, Member::read(value)?)))
            .collect::<Option<_>>()?;
        // As jsonb keeps them: the shorter names first (lengthCompareJsonbStringValue).
        members.sort_unstable_by_key(|(name, _)| (name.len(), *name));
        if members.array_windows().any(|[a, b]| a.0 == b.0) {
            return None;
        }
        let mut arrays = Vec::new();
        let mut pairs: Vec<_> = members
            .iter()
            .map(|(name, value)| {
                Some(pg_sys::JsonbPair {
                    key: string(name)?,
                    value: value.as_jsonb(&mut arrays)?,
                    ..Default::default()
                })
            })
            .collect::<Option<_>>()?;
        let mut object = of_type(Type::jbvObject);
        object.val.object.nPairs = i32::try_from(pairs.len()).ok()?;
        object.val.object.pairs = pairs.as_mut_ptr();
        // SAFETY: a complete value: an object with its pairs, sorted and unique, whose strings and arrays live until
        // JsonbValueToJsonb has copied them: in `members`, which hold what was unescaped, and in `arrays`. That function returns a
        // palloc'd varlena, plain and complete.
        unsafe { Some(Self::take(pg_sys::JsonbValueToJsonb(&mut object).cast())) }
    }
}

/// A value, by its type.
enum Member<'a> {
    Null,
    Bool(bool),
    String(Cow<'a, str>),
    Integer(i64),
    /// An array without arrays or objects in it.
    Flat(Vec<Self>),
    /// Another number or array, or an object.
    Other(pg_sys::Datum),
}

impl<'a> Member<'a> {
    fn read(text: &'a str) -> Option<Self> {
        Some(match text.as_bytes().first()? {
            b'n' => Self::Null,
            b't' => Self::Bool(true),
            b'f' => Self::Bool(false),
            b'"' if !text.contains('\\') => {
                Self::String(text.get(1..text.len().checked_sub(1)?)?.into())
            }
            b'"' => Self::String(Cow::Owned(serde_json::from_str(text).ok()?)),
            b'[' if text.rfind(['[', '{']) == Some(0) => {
                let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let elements = elements.iter().map(|element| Self::read(element.get()));
                Self::Flat(elements.collect::<Option<_>>()?)
            }
            _ => match text.parse() {
                Ok(integer) => Self::Integer(integer),
                Err(_) => Self::Other(JsonText(text.to_owned()).into_datum()?),
            },
        })
    }

    /// The elements of arrays are put into `arrays`, which the value must not outlive, nor self.
    fn as_jsonb(&self, arrays: &mut Vec<Vec<pg_sys::JsonbValue>>) -> Option<pg_sys::JsonbValue> {
        Some(match self {
            Self::Null => of_type(Type::jbvNull),
            Self::Bool(value) => {
                let mut made = of_type(Type::jbvBool);
                made.val.boolean = *value;
                made
            }
            Self::String(value) => string(value)?,
            Self::Integer(value) => {
                let mut made = of_type(Type::jbvNumeric);
                // SAFETY: makes a palloc'd numeric.
                made.val.numeric = unsafe { pg_sys::int64_to_numeric(*value) };
                made
            }
            Self::Flat(elements) => {
                let mut elements: Vec<_> = elements
                    .iter()
                    .map(|element| element.as_jsonb(arrays))
                    .collect::<Option<_>>()?;
                let mut made = of_type(Type::jbvArray);
                made.val.array.nElems = i32::try_from(elements.len()).ok()?;
                made.val.array.elems = elements.as_mut_ptr();
                made.val.array.rawScalar = false;
                arrays.push(elements);
                made
            }
            Self::Other(jsonb) => {
                let mut packed = pg_sys::JsonbValue::default();
                let mut state = core::ptr::null_mut();
                let null = core::ptr::null_mut();
                // SAFETY: the datum is a jsonb as jsonb_in made it, palloc'd and not compressed. Pushed into an array it is unpacked
                // (a scalar, too, which is an array of one, marked as such), and then the one element. What is unpacked points into
                // the datum, and is palloc'd as that is.
                unsafe {
                    pg_sys::JsonbToJsonbValue(jsonb.cast_mut_ptr(), &mut packed);
                    pg_sys::pushJsonbValue(&mut state, Token::WJB_BEGIN_ARRAY, null);
                    pg_sys::pushJsonbValue(&mut state, Token::WJB_ELEM, &mut packed);
                    let array = pg_sys::pushJsonbValue(&mut state, Token::WJB_END_ARRAY, null);
                    *(*array).val.array.elems
                }
            }
        })
    }
}

/// A value of that type, which is still to be filled in.
fn of_type(type_: Type::Type) -> pg_sys::JsonbValue {
    pg_sys::JsonbValue {
        type_,
        ..Default::default()
    }
}

/// A string, which must outlive what is made of it. None for one that is too long.
fn string(text: &str) -> Option<pg_sys::JsonbValue> {
    let mut made = of_type(Type::jbvString);
    made.val.string.len = i32::try_from(text.len()).ok()?;
    made.val.string.val = text.as_ptr().cast::<c_char>().cast_mut();
    Some(made)
}
