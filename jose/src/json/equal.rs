//! Equality of JSON values as Postgres' `jsonb` has it.

use super::Value;

/// Whether the two are equal as `jsonb`: numbers by value, strings by their characters, objects
/// whatever the order of their members (the last of a name counts). It recurses as deep as the
/// lexical inspection allows.
pub(crate) fn equal(a: Value<'_>, b: Value<'_>) -> bool {
    if let (Some(a), Some(b)) = (a.number(), b.number()) {
        return a.equals(b);
    }
    if let (Some(a), Some(b)) = (a.string(), b.string()) {
        return a == b;
    }
    if let (Some(a), Some(b)) = (a.elements(), b.elements()) {
        return a.len() == b.len() && a.into_iter().zip(b).all(|(a, b)| equal(a, b));
    }
    if let (Some(a), Some(b)) = (a.last_members(), b.last_members()) {
        return a.len() == b.len()
            && a.into_iter()
                .zip(b)
                .all(|((name, a), (other, b))| name == other && equal(a, b));
    }
    // true, false and null.
    a.text() == b.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn are_equal(a: &str, b: &str) -> bool {
        let equal = equal(Value::new(a), Value::new(b));
        assert_eq!(equal, super::equal(Value::new(b), Value::new(a)), "{a} {b}");
        equal
    }

    #[test]
    fn values_are_equal_as_jsonb_has_it() {
        for (a, b) in [
            ("1", "1.0"),
            ("1", "10e-1"),
            ("0", "-0.00e5"),
            ("100", "1e2"),
            ("0.001", "1E-3"),
            (r#""a""#, r#""\u0061""#),
            ("[1,[2]]", "[ 1.0 , [2] ]"),
            (r#"{"a":1,"b":2}"#, r#"{"b":2.0,"\u0061":1}"#),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            ("null", "null"),
            ("{}", "{ }"),
        ] {
            assert!(are_equal(a, b), "{a} {b}");
        }
        for (a, b) in [
            ("1", "-1"),
            ("1", "2"),
            ("1", "10"),
            ("1", "1.01"),
            ("1", r#""1""#),
            ("12345678901234567890", "12345678901234567891"),
            ("0", "null"),
            ("false", "null"),
            (r#""a""#, r#""A""#),
            ("[1,2]", "[2,1]"),
            ("[1]", "[1,1]"),
            ("[]", "{}"),
            (r#"{"a":1}"#, r#"{"b":1}"#),
            (r#"{"a":1}"#, r#"{"a":1,"b":1}"#),
        ] {
            assert!(!are_equal(a, b), "{a} {b}");
        }
    }
}
