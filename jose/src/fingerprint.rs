//! The name under which caches and events know an API key.

use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The SHA-256 of `text`'s UTF-8 octets, to know it again by.
#[must_use]
pub fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// The lower-case hex SHA-256 of `key`'s UTF-8 octets: 64 characters.
///
/// A look-up identifier, not password storage: the keys are 256 random bits, so that an unsalted
/// fast hash gives nothing away and can be indexed. Scanners flag it; that is why this says so.
#[must_use]
pub fn fingerprint(key: &str) -> String {
    let mut hex = String::with_capacity(64);
    for octet in digest(key) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{octet:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_fingerprint_is_the_one_the_service_computes() {
        assert_eq!(
            super::fingerprint(&format!("rfs{}", "a".repeat(64))),
            "b97e9d3ee11b67f92db68feb32601dc605acaac0b35c5de04469d0edcd0da445"
        );
    }
}
