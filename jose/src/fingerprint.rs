//! What a secret is known by where the secret itself must not be.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write};

/// The SHA-256 of `text`'s UTF-8 octets, to know it again by.
#[must_use]
pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The lower-case hex SHA-256 of a text's UTF-8 octets: 64 characters.
///
/// A look-up identifier, not password storage: the keys are 256 random bits, so that an unsalted
/// fast hash gives nothing away and can be indexed. Scanners flag it; that is why this says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// That of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut hex = String::with_capacity(64);
        for octet in digest(text) {
            // Writing to a String cannot fail.
            let _ = write!(hex, "{octet:02x}");
        }
        Self(hex)
    }

    /// Its 64 characters.
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

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fingerprint_is_the_one_the_service_computes() {
        assert_eq!(
            super::Fingerprint::of(&format!("rfs{}", "a".repeat(64))).as_str(),
            "b97e9d3ee11b67f92db68feb32601dc605acaac0b35c5de04469d0edcd0da445"
        );
    }
}
