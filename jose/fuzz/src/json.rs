//! jose's reading of JSON against serde_json's: the same objects, the same values, numbers to the last digit.
//!
//! A line, and the rest: each for itself, and the one compared with the other.

use jose::{RequiredClaims, Rules, UnixMicros, judge_payload, member_names, without_members};

use crate::claims::share_one;
use crate::tree::{Tree, number};

pub fn target(text: &str) {
    object(text);
    if let Some((one, other)) = text.split_once('\n') {
        object(one);
        compare(one, other);
        compare(one, one);
    }
    date(text);
}

/// Exactly the strict objects are taken, with all that is in them.
fn object(text: &str) {
    let names = member_names(text);
    let Some(tree) = Tree::strict_object(text) else {
        assert_eq!(names, None, "serde_json refuses it, or it is not strict");
        assert_eq!(without_members(text, &[]), None);
        return;
    };
    let names = names.expect("a strict object");
    assert!(names.iter().eq(tree.members().iter().map(|(name, _)| name)));
    // Printing and reading again changes nothing.
    let printed = without_members(text, &[]).expect("a strict object");
    assert!(Tree::read(&printed).is_some_and(|read| read.equals(&tree)));
    assert_eq!(
        without_members(&printed, &[]).as_deref(),
        Some(printed.as_str())
    );
    for (name, _) in tree.members() {
        let less = without_members(&printed, &[name]).expect("a strict object");
        let less = Tree::strict_object(&less).expect("a strict object");
        assert!(less.get(name).is_none() && less.members().len() + 1 == names.len());
    }
}

/// The rule `one` holds for the claim `other` exactly where they are equal as `jsonb`.
fn compare(one: &str, other: &str) {
    let rule = format!("{{\"x\":{one}}}");
    let payload = format!("{{\"iss\":\"i\",\"sub\":\"u\",\"exp\":1,\"x\":{other}}}");
    let (Some(rule_tree), Some(payload_tree)) =
        (Tree::strict_object(&rule), Tree::strict_object(&payload))
    else {
        return;
    };
    let (Some(accepted), Some(claim)) = (rule_tree.get("x"), payload_tree.get("x")) else {
        return;
    };
    // What is no value of its own: `1,"y":2`.
    if rule_tree.members().len() != 1 || payload_tree.members().len() != 4 {
        return;
    }
    let rules = Rules {
        required_claims: RequiredClaims::parse(&rule).expect("an object"),
        ..Rules::new("i".to_owned(), Vec::new())
    };
    assert_eq!(
        judge_payload(&payload, "JWT", &rules).is_ok(),
        share_one(accepted, claim),
        "{one} {other}"
    );
}

/// A NumericDate is exact.
fn date(text: &str) {
    if let Some(Tree::Number(text)) = Tree::read(text) {
        assert_eq!(
            UnixMicros::parse_numeric_date(&text).map(|at| at.0),
            fitting_micros(&text),
            "{text}"
        );
    }
}

/// jose reads no exponent that Postgres would not.
fn fitting_micros(text: &str) -> Option<i64> {
    let exponent = text.split_once(['e', 'E']).map_or(0, |(_, exponent)| {
        exponent.parse::<i128>().unwrap_or(i128::MAX)
    });
    if exponent.checked_abs()? >= 1_073_741_823 {
        return None;
    }
    micros(text)
}

/// Microseconds, cut off; `None` before 1970 and after 9999.
pub fn micros(text: &str) -> Option<i64> {
    let value = number(text);
    if value.digits.is_empty() {
        return Some(0);
    }
    if value.negative {
        return None;
    }
    let power = value.power + 6;
    let digits = match usize::try_from(power) {
        Ok(zeros) if zeros > 20 => return None,
        Ok(zeros) => value.digits + &"0".repeat(zeros),
        Err(_) => {
            let kept = i128::try_from(value.digits.len()).ok()? + power;
            value
                .digits
                .get(..usize::try_from(kept).unwrap_or(0))?
                .to_owned()
        }
    };
    let micros: i64 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    (micros < 253_402_300_800_000_000).then_some(micros)
}
