//! One JSON value, as the text it stands in.

use super::Decimal;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The text of one valid JSON value, without white space around it.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(&'a str);

impl<'a> Value<'a> {
    /// `text` must be one valid JSON value that has passed the lexical inspection.
    pub(super) const fn new(text: &'a str) -> Self {
        Self(text)
    }

    /// A value of a rule, which was read as part of an object.
    pub(crate) const fn of_rule(text: &'a str) -> Self {
        Self(text)
    }

    /// The text itself.
    pub(crate) const fn text(self) -> &'a str {
        self.0
    }

    /// The string it is, unescaped; `None` for any other type.
    pub(crate) fn string(self) -> Option<Cow<'a, str>> {
        let content = self.0.strip_prefix('"')?.strip_suffix('"')?;
        if content.contains('\\') {
            serde_json::from_str(self.0).ok().map(Cow::Owned)
        } else {
            Some(Cow::Borrowed(content))
        }
    }

    /// The number it is; `None` for any other type.
    pub(crate) fn number(self) -> Option<Decimal<'a>> {
        Decimal::parse(self.0)
    }

    /// The elements of the array it is; `None` for any other type.
    pub(crate) fn elements(self) -> Option<Vec<Self>> {
        if !self.0.starts_with('[') {
            return None;
        }
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.0).ok()?;
        Some(elements.into_iter().map(|e| Self(e.get())).collect())
    }

    /// The strings of the array of strings it is; `None` for any other type.
    pub(crate) fn strings(self) -> Option<Vec<Cow<'a, str>>> {
        self.elements()?.into_iter().map(Self::string).collect()
    }

    /// The members of the object it is, by name; of a name that is there twice the last. `None` for
    /// any other type.
    pub(crate) fn last_members(self) -> Option<BTreeMap<Cow<'a, str>, Self>> {
        let members = super::object::members(self.0)?;
        Some(
            members
                .into_iter()
                .map(|(name, v)| (name, Self(v.get())))
                .collect(),
        )
    }

    /// Whether it is the literal `true`.
    pub(crate) fn is_true(self) -> bool {
        self.0 == "true"
    }
}
