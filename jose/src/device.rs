//! The fingerprint of a device, and the hash of it that a token can be bound to.

use crate::json::{Object, Value};
use crate::{Claims, Fingerprint, Refusal};
use std::fmt::Write;

/// A device fingerprint that is no JSON object, or is nested deeper than 32 levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device fingerprint must be a JSON object, nested at most 32 deep")]
pub struct InvalidDevice;

/// The lower-case hex SHA-256 of a device fingerprint in its canonical form: that of Python's
/// `json.dumps(fingerprint, sort_keys=True)`. `None` for an empty object, which binds nothing.
///
/// Fractions and exponents are written as Python writes the nearest double; integers of any size
/// as they are.
///
/// # Errors
/// [`InvalidDevice`] for JSON text that is no object, nested too deep, or names a member twice.
pub fn device_hash(json: &str) -> Result<Option<String>, InvalidDevice> {
    let object = Object::parse(json).ok_or(InvalidDevice)?;
    if object.members().next().is_none() {
        return Ok(None);
    }
    let mut canonical = String::with_capacity(json.len());
    write_object(&object, &mut canonical).ok_or(InvalidDevice)?;
    Ok(Some(Fingerprint::of(&canonical).into_string()))
}

impl Claims<'_> {
    /// Whether the token may be presented by the device of this hash. Only a token that is bound to
    /// a device is checked, and only where the caller says which one it is.
    ///
    /// # Errors
    /// [`Refusal::DeviceMismatch`] when it is bound to another one.
    pub fn on_device(&self, device_hash: Option<&str>) -> Result<(), Refusal> {
        match (self.device_hash.as_deref(), device_hash) {
            (Some(bound), Some(presented)) if bound != presented => Err(Refusal::DeviceMismatch),
            _ => Ok(()),
        }
    }
}

fn write_object(object: &Object<'_>, out: &mut String) -> Option<()> {
    let mut members: Vec<_> = object.members().collect();
    // UTF-8 sorts as its code points do.
    members.sort_unstable_by_key(|(name, _)| *name);
    out.push('{');
    for (i, (name, value)) in members.into_iter().enumerate() {
        out.push_str(if i == 0 { "" } else { ", " });
        write_string(name, out);
        out.push_str(": ");
        write_value(value, out)?;
    }
    out.push('}');
    Some(())
}

/// Recurses as deep as [`Object::parse`] allows nesting.
fn write_value(value: Value<'_>, out: &mut String) -> Option<()> {
    if let Some(text) = value.string() {
        write_string(&text, out);
    } else if value.text().starts_with('{') {
        write_object(&Object::parse(value.text())?, out)?;
    } else if let Some(elements) = value.elements() {
        out.push('[');
        for (i, element) in elements.into_iter().enumerate() {
            out.push_str(if i == 0 { "" } else { ", " });
            write_value(element, out)?;
        }
        out.push(']');
    } else if value.number().is_some() && value.text().contains(['.', 'e', 'E']) {
        write_double(value.text().parse().ok()?, out);
    } else {
        // Python's integers have no negative zero.
        out.push_str(if value.text() == "-0" {
            "0"
        } else {
            value.text()
        });
    }
    Some(())
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// As Python's `repr` of a float: the shortest digits that read back the same, an exponent of at
/// least two digits below 1e-4 and from 1e16 on.
fn write_double(double: f64, out: &mut String) {
    if double.is_infinite() {
        out.push_str(if double > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        });
        return;
    }
    let magnitude = double.abs();
    if magnitude == 0.0 || (1e-4..1e16).contains(&magnitude) {
        let _ = write!(out, "{double:?}");
        return;
    }
    let text = format!("{double:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(json: &str) -> String {
        let mut out = String::new();
        write_object(&Object::parse(json).unwrap(), &mut out).unwrap();
        out
    }

    #[test]
    fn the_hash_is_the_one_the_service_computes() {
        let device = r#"{"user_agent":"Mozilla/5.0","accept_encoding":"gzip, deflate, br",
            "accept_language":"en-US,en;q=0.9","client_ip":"203.0.113.7",
            "sec_ch_ua":"\"Chromium\";v=\"124\"","sec_ch_ua_platform":"\"macOS\""}"#;
        assert_eq!(
            device_hash(device).unwrap().unwrap(),
            "dc23959c76cda561b154e2fd020e96647c8fa02725216004b955519a19d79e45"
        );
    }

    #[test]
    fn text_is_escaped_and_sorted_as_python_does() {
        assert_eq!(
            canonical(
                "{\"b\":\"\u{e9}\u{7f}\u{1f600}\",\"a\":{\"\u{ffff}\":1,\"\u{10000}\":2},\"B\":[true,null,[]]}"
            ),
            r#"{"B": [true, null, []], "a": {"\uffff": 1, "\ud800\udc00": 2}, "b": "\u00e9\u007f\ud83d\ude00"}"#
        );
        assert_eq!(
            canonical(r#"{"a":"\b\f\n\r\t\u0001\/"}"#),
            r#"{"a": "\b\f\n\r\t\u0001/"}"#
        );
    }

    #[test]
    fn numbers_are_written_as_python_does() {
        for (json, python) in [
            ("0.0", "0.0"),
            ("-0.0", "-0.0"),
            ("1.50", "1.5"),
            ("-0", "0"),
            (
                "123456789012345678901234567890",
                "123456789012345678901234567890",
            ),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1234567890123456.5", "1234567890123456.5"),
            ("12345678901234567.5", "1.2345678901234568e+16"),
            ("1e22", "1e+22"),
            ("1e100", "1e+100"),
            ("1e999", "Infinity"),
        ] {
            assert_eq!(
                canonical(&format!("{{\"n\":{json}}}")),
                format!("{{\"n\": {python}}}")
            );
        }
    }

    #[test]
    fn an_empty_device_binds_nothing_and_anything_but_an_object_is_refused() {
        assert_eq!(device_hash("{}"), Ok(None));
        for bad in [
            "null",
            "[]",
            "\"x\"",
            "{\"a\":1,\"a\":1}",
            &"{\"a\":".repeat(40),
        ] {
            assert_eq!(device_hash(bad), Err(InvalidDevice));
        }
    }
}
