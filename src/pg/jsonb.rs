//! A `jsonb` made from the members of an object that was read before: as `jsonb_in` would make it of their text, without reading
//! that again.

use core::ffi::c_char;
use std::borrow::Cow;

use pgrx::pg_sys::{JsonbIteratorToken as Token, jbvType as Type};
use pgrx::prelude::*;

use super::json::{JsonText, Jsonb};

impl Jsonb {
    /// From the members of an object: their names, and the text of each one's value, valid JSON.
    pub fn of_members(members: &[(&str, &str)]) -> Option<Self> {
        let values: Vec<_> = members
            .iter()
            .map(|(name, value)| Some((string(name)?, Member::read(value)?)))
            .collect::<Option<_>>()?;
        let mut state = core::ptr::null_mut();
        // SAFETY: an object is begun, filled with pairs of a key and a value, and ended. All strings live until
        // JsonbValueToJsonb has copied them: `members` is borrowed, and `values` holds what was unescaped. That function returns a
        // palloc'd varlena, plain and complete.
        unsafe {
            let null = core::ptr::null_mut();
            pg_sys::pushJsonbValue(&mut state, Token::WJB_BEGIN_OBJECT, null);
            for (name, value) in &values {
                let (mut name, mut value) = (*name, value.as_jsonb()?);
                pg_sys::pushJsonbValue(&mut state, Token::WJB_KEY, &mut name);
                pg_sys::pushJsonbValue(&mut state, Token::WJB_VALUE, &mut value);
            }
            let object = pg_sys::pushJsonbValue(&mut state, Token::WJB_END_OBJECT, null);
            Some(Self::take(pg_sys::JsonbValueToJsonb(object).cast()))
        }
    }
}

/// A value, by its type.
enum Member<'a> {
    Null,
    Bool(bool),
    String(Cow<'a, str>),
    Integer(i64),
    /// Another number, an array or an object.
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
            _ => match text.parse() {
                Ok(integer) => Self::Integer(integer),
                Err(_) => Self::Other(JsonText(text.to_owned()).into_datum()?),
            },
        })
    }

    fn as_jsonb(&self) -> Option<pg_sys::JsonbValue> {
        let mut made = pg_sys::JsonbValue::default();
        match self {
            Self::Null => made.type_ = Type::jbvNull,
            Self::Bool(value) => {
                made.type_ = Type::jbvBool;
                made.val.boolean = *value;
            }
            Self::String(value) => made = string(value)?,
            Self::Integer(value) => {
                made.type_ = Type::jbvNumeric;
                // SAFETY: makes a palloc'd numeric.
                made.val.numeric = unsafe { pg_sys::int64_to_numeric(*value) };
            }
            // SAFETY: the datum is a jsonb as jsonb_in made it, palloc'd and not compressed. What is pushed from it (a scalar is
            // an array of one, marked as such) is copied.
            Self::Other(jsonb) => unsafe {
                pg_sys::JsonbToJsonbValue(jsonb.cast_mut_ptr(), &mut made)
            },
        }
        Some(made)
    }
}

/// A string, which must outlive what it is pushed to. None for one that is too long.
fn string(text: &str) -> Option<pg_sys::JsonbValue> {
    let mut made = pg_sys::JsonbValue {
        type_: Type::jbvString,
        ..Default::default()
    };
    made.val.string.len = i32::try_from(text.len()).ok()?;
    made.val.string.val = text.as_ptr().cast::<c_char>().cast_mut();
    Some(made)
}
