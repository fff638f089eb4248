//! The members of a JSON object, by name and as text.

use crate::json::{Object, quote};

/// The names of a JSON object's members, unescaped and in order; `None` for text that is no strict
/// JSON object.
#[must_use]
pub fn member_names(json: &str) -> Option<Vec<String>> {
    let object = Object::parse(json)?;
    Some(object.members().map(|(name, _)| name.to_owned()).collect())
}

/// The JSON object without the members of these names, the other values as they stood; `None` for
/// text that is no strict JSON object.
#[must_use]
pub fn without_members(json: &str, names: &[&str]) -> Option<String> {
    let object = Object::parse(json)?;
    let kept: Vec<String> = object
        .members()
        .filter(|(name, _)| !names.contains(name))
        .map(|(name, value)| format!("{}:{}", quote(name), value.text()))
        .collect();
    Some(format!("{{{}}}", kept.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stands_as_it_stood() {
        assert_eq!(
            without_members(
                r#"{"a": 1e400, "\u0062":2, "c":{"b": [ 1 ]}, "é\"":"x"}"#,
                &["b"]
            )
            .unwrap(),
            r#"{"a":1e400,"c":{"b": [ 1 ]},"é\"":"x"}"#
        );
        assert_eq!(without_members(r#"{"a":1}"#, &["a"]).unwrap(), "{}");
        assert_eq!(without_members("[]", &[]), None);
        assert_eq!(member_names(r#"{"\u0061":1,"b":2}"#).unwrap(), ["a", "b"]);
    }
}
