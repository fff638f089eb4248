//! A JSON object whose members can be looked up, and whose names are unique.

use super::{Value, lexical};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// One JSON object with its exact text. Top-level names are unique; values are kept as text.
pub(crate) struct Object<'t> {
    text: Cow<'t, str>,
    members: Vec<Member>,
}

/// Positions in the object's text rather than references into it, so that an object can own its
/// text and be moved.
struct Member {
    name: Name,
    value: Range<usize>,
}

enum Name {
    /// As it stands in the text.
    Plain(Range<usize>),
    /// It was written with escapes.
    Unescaped(String),
}

impl<'t> Object<'t> {
    /// Reads one JSON object (RFC 8259; JSON white space around it is allowed).
    ///
    /// `None` for any other text, for names that occur twice at the top level after unescaping,
    /// and for what the lexical inspection refuses: nesting over 32 levels, U+0000, lone
    /// surrogates, numbers beyond Postgres' `numeric`. O(n log n) in the length.
    pub(crate) fn parse(text: impl Into<Cow<'t, str>>) -> Option<Self> {
        let text = text.into();
        lexical::inspect(&text)?;
        let parsed = parse_unique(&text)?;
        let mut members = Vec::with_capacity(parsed.len());
        for (name, value) in parsed {
            members.push(Member::locate(&text, name, value)?);
        }
        Some(Self { text, members })
    }

    /// Whether some object *inside* this one has two members of the same name.
    pub(crate) fn has_duplicates_below(&self) -> bool {
        self.members
            .iter()
            .filter_map(|member| self.text.get(member.value.clone()))
            .any(|value| !is_unique_throughout(value))
    }

    /// The exact text the object was read from.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The member of that name (compared after unescaping); `None` when there is none.
    pub(crate) fn get(&self, name: &str) -> Option<Value<'_>> {
        let member = self.members.iter().find(|m| m.is_named(name, &self.text))?;
        self.text.get(member.value.clone()).map(Value::new)
    }

    /// Every member in order, names unescaped.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&str, Value<'_>)> {
        self.members.iter().filter_map(|member| {
            let value = self.text.get(member.value.clone())?;
            Some((member.name(&self.text)?, Value::new(value)))
        })
    }
}

impl Member {
    fn locate(text: &str, name: Cow<'_, str>, value: &RawValue) -> Option<Self> {
        let name = match name {
            Cow::Borrowed(plain) => Name::Plain(position(text, plain)?),
            Cow::Owned(unescaped) => Name::Unescaped(unescaped),
        };
        let value = position(text, value.get())?;
        Some(Self { name, value })
    }

    fn name<'a>(&'a self, text: &'a str) -> Option<&'a str> {
        match &self.name {
            Name::Plain(range) => text.get(range.clone()),
            Name::Unescaped(name) => Some(name),
        }
    }

    fn is_named(&self, wanted: &str, text: &str) -> bool {
        match &self.name {
            Name::Plain(range) => {
                range.len() == wanted.len()
                    && text.as_bytes().get(range.clone()) == Some(wanted.as_bytes())
            }
            Name::Unescaped(name) => name == wanted,
        }
    }
}

/// Where `part`, a slice of `text`, stands in it.
fn position(text: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(text.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= text.len()).then_some(start..end)
}

pub(super) type Pairs<'a> = Vec<(Cow<'a, str>, &'a RawValue)>;

/// The members of the object `text`, or `None` when it is none or a name occurs twice.
fn parse_unique(text: &str) -> Option<Pairs<'_>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    // Sorted rather than hashed: nobody can choose names that make it slow.
    let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    let unique = names.array_windows().all(|[a, b]| a != b);
    drop(names);
    unique.then_some(members)
}

/// The members of the object `text` in order, duplicates included; `None` when it is none.
pub(super) fn members(text: &str) -> Option<Pairs<'_>> {
    if !text.starts_with('{') {
        return None;
    }
    let Members(members) = serde_json::from_str(text).ok()?;
    Some(members)
}

/// An object has a name twice.
pub(crate) struct DuplicateName;

/// The member of that name of a value; none when it is no object, or has no such member.
pub(crate) fn member<'a>(value: Value<'a>, name: &str) -> Result<Option<Value<'a>>, DuplicateName> {
    if !value.text().starts_with('{') {
        return Ok(None);
    }
    let members = parse_unique(value.text()).ok_or(DuplicateName)?;
    let found = members.into_iter().find(|(known, _)| known == name);
    Ok(found.map(|(_, value)| Value::new(value.get())))
}

/// Whether no object in this valid, inspected value has duplicate names. Recurses at most as deep
/// as the inspection allows, and reads each level once: linear in depth × length.
fn is_unique_throughout(value: &str) -> bool {
    if value.starts_with('{') {
        parse_unique(value)
            .is_some_and(|members| members.iter().all(|(_, v)| is_unique_throughout(v.get())))
    } else if let Some(elements) = Value::new(value).elements() {
        elements.iter().all(|e| is_unique_throughout(e.text()))
    } else {
        true
    }
}

/// Every member in order, duplicates included, values unread.
struct Members<'a>(Pairs<'a>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        // As many as a token has, mostly.
        let mut members = Vec::with_capacity(8);
        while let Some((BorrowedName(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Members(members))
    }
}

/// A name that borrows from the text where it can, which serde's own `Cow` never does.
struct BorrowedName<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for BorrowedName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = BorrowedName<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(BorrowedName(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(BorrowedName(Cow::Owned(name.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_by_its_unescaped_name() {
        let object = Object::parse(" {\"\\u0061b\": [1, 2] , \"c\":\"x\\ty\"}\n").unwrap();
        assert_eq!(object.get("ab").unwrap().text(), "[1, 2]");
        assert_eq!(object.get("c").unwrap().string().unwrap(), "x\ty");
        assert!(object.get("d").is_none());
        assert!(object.get("\\u0061b").is_none());
    }

    #[test]
    fn a_name_twice_at_the_top_is_refused_however_it_is_written() {
        assert!(Object::parse(r#"{"a":1,"b":2,"a":1}"#).is_none());
        assert!(Object::parse(r#"{"a":1,"\u0061":1}"#).is_none());
        assert!(Object::parse(r#"{"a":1,"A":1}"#).is_some());
    }

    #[test]
    fn duplicates_below_the_top_are_found_at_any_level() {
        let below = |text: &'static str| Object::parse(text).unwrap().has_duplicates_below();
        assert!(below(r#"{"a":{"b":1,"b":2}}"#));
        assert!(below(r#"{"a":[[0,{"b":1,"\u0062":2}]]}"#));
        assert!(!below(r#"{"a":{"b":1},"c":[{"b":1},{"b":1e400}]}"#));
    }

    #[test]
    fn only_one_strict_object_is_read() {
        for bad in [
            "",
            "null",
            "[]",
            "1",
            "\"a\"",
            "{}{}",
            "{} x",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":1,}",
            "{\"a\":NaN}",
            "\u{feff}{}",
            "{\"a\":\"\u{1}\"}",
            "{\"a\" 1}",
            "{\"a\":1e200000}",
            "{a:1}",
            "{1:1}",
        ] {
            assert!(Object::parse(bad).is_none(), "{bad:?}");
        }
        assert!(Object::parse("{\"$serde_json::private::RawValue\":\"1\"}").is_some());
    }

    #[test]
    fn a_large_text_is_read_in_linear_time() {
        let names: String = (0..300_000).map(|i| format!("\"n{i}\":[0],")).collect();
        let text = format!("{{{names}\"z\":0}}");
        assert!(Object::parse(text.as_str()).is_some_and(|o| o.get("z").is_some()));
        assert!(Object::parse("{\"a\":".repeat(2_000_000)).is_none());
    }
}
