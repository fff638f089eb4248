//! Plain lines on the standard error.

use std::io::{Write, stderr};

/// Longer words are cut: some of them come from a foreign server's certificate.
const LONGEST: usize = 300;

/// Says something of an issuer, or of the database.
pub fn say(subject: &str, words: &str) {
    let subject = if subject.is_empty() { "''" } else { subject };
    // Where nobody reads, nobody can be told so.
    writeln!(stderr(), "{}: {}", one_line(subject), one_line(words)).ok();
}

/// As it can stand in a log: on one line, and not too long.
fn one_line(words: &str) -> String {
    let mut line = String::new();
    for c in words.chars().take(LONGEST) {
        match c.is_control() {
            true => line.extend(c.escape_default()),
            false => line.push(c),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_one_short_line() {
        let said = one_line(&format!("one\ntwo\u{1b}[31m{}", "x".repeat(1000)));
        assert!(said.starts_with("one\\ntwo\\u{1b}[31mxx"), "{said}");
        assert!(said.len() < LONGEST + 20);
    }
}
