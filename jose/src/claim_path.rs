//! Where in a payload a claim stands: a member's name, or a JSON Pointer.

use crate::Refusal;
use crate::json::{Object, Value, member};

/// A claim of the payload: a member's name, or, when the text begins with `/`, a JSON Pointer
/// (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPath {
    text: String,
    /// The members to walk, unescaped; never empty.
    steps: Vec<String>,
}

impl ClaimPath {
    /// Reads a name or a pointer. `None` for an empty text, and for a `~` that is neither `~0` nor
    /// `~1` in a pointer.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let steps = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescape).collect::<Option<_>>()?,
            None if text.is_empty() => return None,
            None => vec![text.to_owned()],
        };
        Some(Self {
            text: text.to_owned(),
            steps,
        })
    }

    /// The member of that name.
    pub(crate) fn member(name: &str) -> Self {
        Self {
            text: name.to_owned(),
            steps: vec![name.to_owned()],
        }
    }

    /// The members to walk, from the payload on.
    #[must_use]
    pub fn steps(&self) -> &[String] {
        &self.steps
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The member of the payload that it names or leads into.
    #[must_use]
    pub fn first(&self) -> &str {
        self.steps.first().map_or("", String::as_str)
    }

    /// The name, where it names a member of the payload itself.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [name] => Some(name),
            _ => None,
        }
    }

    /// The claim in a payload. `None` when there is none.
    ///
    /// # Errors
    /// [`Refusal::Malformed`] when an object on the way has a name twice.
    pub(crate) fn find<'a>(&self, payload: &'a Object<'_>) -> Result<Option<Value<'a>>, Refusal> {
        let mut value = payload.get(self.first());
        for step in self.steps.iter().skip(1) {
            let Some(parent) = value else {
                return Ok(None);
            };
            value = match parent.elements() {
                Some(elements) => index(step).and_then(|at| elements.get(at).copied()),
                None => member(parent, step).map_err(|_| Refusal::Malformed)?,
            };
        }
        Ok(value)
    }
}

fn unescape(step: &str) -> Option<String> {
    let mut text = String::with_capacity(step.len());
    let mut characters = step.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '~' => match characters.next()? {
                '0' => '~',
                '1' => '/',
                _ => return None,
            },
            other => other,
        });
    }
    Some(text)
}

/// RFC 6901 section 4: digits without leading zeros. `-` is the element after the last: none.
fn index(step: &str) -> Option<usize> {
    let is_number = step.bytes().all(|b| b.is_ascii_digit());
    let is_minimal = step == "0" || !step.starts_with('0');
    (is_number && is_minimal)
        .then(|| step.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(payload: &str, path: &str) -> Result<Option<String>, Refusal> {
        let payload = Object::parse(payload).unwrap();
        let found = ClaimPath::parse(path).unwrap().find(&payload)?;
        Ok(found.map(|value| value.text().to_owned()))
    }

    #[test]
    fn a_name_is_a_member_and_a_pointer_walks() {
        let payload = r#"{"a/b":1,"a":{"b":[10,{"c~d":2}],"":3,"0":4},"https://x/roles":["r"]}"#;
        for (path, found) in [
            ("a/b", Some("1")),
            ("/a~1b", Some("1")),
            ("/a/b/0", Some("10")),
            ("/a/b/1/c~0d", Some("2")),
            ("/a/", Some("3")),
            ("/a/0", Some("4")),
            ("https://x/roles", Some(r#"["r"]"#)),
            ("/https:~1~1x~1roles", Some(r#"["r"]"#)),
            ("/a/b/01", None),
            ("/a/b/-", None),
            ("/a/b/2", None),
            ("/a/b/0/x", None),
            ("/x/y", None),
            ("/", None),
            ("x", None),
        ] {
            assert_eq!(find(payload, path), Ok(found.map(str::to_owned)), "{path}");
        }
    }

    #[test]
    fn a_name_twice_on_the_way_is_malformed() {
        let payload = r#"{"a":{"b":1,"b":1,"c":{"d":1}},"e":{"f":{"g":1,"g":1}}}"#;
        assert_eq!(find(payload, "/a/c/d"), Err(Refusal::Malformed));
        assert_eq!(find(payload, "/a/x"), Err(Refusal::Malformed));
        assert!(find(payload, "/e/f").is_ok());
        assert!(find(payload, "a").is_ok());
    }

    #[test]
    fn what_is_no_path_is_none() {
        for bad in ["", "/~", "/a~2b", "/a/~"] {
            assert_eq!(ClaimPath::parse(bad), None, "{bad}");
        }
        assert_eq!(ClaimPath::parse("~").unwrap().name(), Some("~"));
        assert_eq!(ClaimPath::parse("/sub").unwrap().name(), Some("sub"));
    }
}
