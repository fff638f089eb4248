//! The id of a key.

use crate::KeyError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The id of a key, unique within its issuer (RFC 7515 section 4.1.4): a text that a token can carry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Kid(String);

impl Kid {
    /// The longest, in UTF-8 octets.
    pub const MAX_BYTES: usize = 512;

    /// `None` for a text of more than [`Kid::MAX_BYTES`] octets, or with U+0000.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Option<Self> {
        Some(text.into())
            .filter(|text| text.len() <= Self::MAX_BYTES && !text.contains('\0'))
            .map(Self)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, owned.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl TryFrom<String> for Kid {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(text).ok_or(KeyError::Kid)
    }
}

impl fmt::Display for Kid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::Kid;

    #[test]
    fn what_no_token_can_carry_is_no_kid() {
        for good in ["", "k".repeat(512).as_str(), "é".repeat(256).as_str()] {
            assert!(Kid::new(good).is_some(), "{good}");
        }
        for bad in ["\0", "k".repeat(513).as_str(), "é".repeat(257).as_str()] {
            assert!(Kid::new(bad).is_none(), "{bad}");
        }
        let stored = serde_json::to_string(&Kid::new("k")).unwrap();
        assert_eq!(stored, r#""k""#);
        assert!(serde_json::from_str::<Kid>(&format!("\"{}\"", "k".repeat(513))).is_err());
    }
}
