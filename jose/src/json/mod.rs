//! Strict JSON objects, read without building a tree.
//!
//! `serde_json` decides what is valid syntax; a lexical pass before it enforces what serde
//! does not: bounded nesting, whole surrogate pairs, no U+0000, and numbers that Postgres can hold.

mod decimal;
mod equal;
mod lexical;
mod object;
mod value;

pub(crate) use decimal::Decimal;
pub(crate) use equal::equal;
pub(crate) use object::{Object, member};
pub(crate) use value::Value;

/// `text` as a JSON string literal, quotes included.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
