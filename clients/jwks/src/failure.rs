//! Why something could not be done, in words for the log.

use std::error::Error;
use std::fmt;

/// No URL, body, key or password is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    pub fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }

    /// The cause behind an error, and behind that: what happened in the end.
    pub fn cause(error: &(dyn Error + 'static)) -> Self {
        let mut last = error;
        while let Some(cause) = last.source() {
            last = cause;
        }
        Self(last.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_cause_is_told() {
        let inner = std::io::Error::other(Failure::new("the reason"));
        assert_eq!(Failure::cause(&inner).to_string(), "the reason");
    }
}
