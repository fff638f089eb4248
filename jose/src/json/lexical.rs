//! What a JSON text may not contain although its syntax allows it.
//!
//! The pass runs before any parser. On text that turns out to be invalid JSON it may misread a
//! token, but it only ever refuses, and the parser refuses the rest; it never recurses.

use super::Decimal;

/// The outermost object is level 1.
const MAX_NESTING: usize = 32;

/// `None` when `text` nests deeper than [`MAX_NESTING`], or holds an escaped U+0000, a lone
/// surrogate escape, or a number that Postgres' `numeric` cannot hold. Linear, no allocation.
pub(super) fn inspect(text: &str) -> Option<()> {
    let bytes = text.as_bytes();
    let mut depth: usize = 0;
    let mut at: usize = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => end_of_string(bytes, at.saturating_add(1))?,
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                if !Decimal::parse(text.get(at..end)?)?.fits_numeric() {
                    return None;
                }
                end
            }
            other => {
                match other {
                    b'{' | b'[' if depth < MAX_NESTING => depth = depth.saturating_add(1),
                    b'{' | b'[' => return None,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at.saturating_add(1)
            }
        };
    }
    Some(())
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let rest = bytes.get(start..).unwrap_or_default();
    let length = rest
        .iter()
        .take_while(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
        .count();
    start.saturating_add(length)
}

/// The position after the closing quote of the string whose content begins at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at)? {
            b'"' => return at.checked_add(1),
            b'\\' if bytes.get(at.checked_add(1)?)? == &b'u' => at = end_of_escape(bytes, at)?,
            b'\\' => at = at.checked_add(2)?,
            _ => at = at.checked_add(1)?,
        }
    }
}

/// The position after the `\uXXXX` at `at`, or after its pair when it is a high surrogate.
fn end_of_escape(bytes: &[u8], at: usize) -> Option<usize> {
    match code_unit(bytes, at)? {
        0 | 0xDC00..=0xDFFF => None,
        0xD800..=0xDBFF => {
            let low = at.checked_add(6)?;
            matches!(code_unit(bytes, low)?, 0xDC00..=0xDFFF).then_some(low.checked_add(6)?)
        }
        _ => at.checked_add(6),
    }
}

/// The UTF-16 code unit that `\uXXXX` at `at` names.
fn code_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at.checked_add(6)?)?;
    let digits = escape.strip_prefix(b"\\u")?;
    digits.iter().try_fold(0_u16, |unit, digit| {
        let value = char::from(*digit).to_digit(16)?;
        unit.checked_mul(16)?
            .checked_add(u16::try_from(value).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_allowed_to_32_levels() {
        let nested = |levels| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(inspect(&nested(32)).is_some());
        assert!(inspect(&nested(33)).is_none());
        assert!(inspect(r#"{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}"#).is_some());
        assert!(inspect(&"[]".repeat(100)).is_some());
    }

    #[test]
    fn escapes_name_whole_characters_other_than_nul() {
        for good in [
            r#""\u0041""#,
            r#""\ud83d\ude00""#,
            r#""\\u0000""#,
            r#""\\\"\u0001""#,
            r#""\uDBFF\uDFFF""#,
        ] {
            assert!(inspect(good).is_some(), "{good}");
        }
        for bad in [
            r#""\u0000""#,
            r#""\ud83d""#,
            r#""\ude00""#,
            r#""\ude00\ud83d""#,
            r#""\ud83d\ud83d""#,
            r#""\ud83dx\ude00""#,
            r#""\u00g0""#,
            r#""\u00"#,
            r#""\"#,
            r#"""#,
            r#"{"\ud800":1}"#,
            r#""\u+041""#,
        ] {
            assert!(inspect(bad).is_none(), "{bad}");
        }
    }
}
