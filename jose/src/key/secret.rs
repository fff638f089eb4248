//! Octets that must not leak.

use super::KeyError;
use jsonwebtoken::Algorithm;
use std::fmt;
use zeroize::Zeroizing;

/// Secret octets: an HMAC secret, or a private key as PKCS#8 DER. Wiped when dropped; it cannot be
/// printed, compared or serialized.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the octets over.
    #[must_use]
    pub fn new(octets: Vec<u8>) -> Self {
        Self(Zeroizing::new(octets))
    }

    /// The octets, for storing or using them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Are they the same octets? The answer takes as long wherever they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The length of an HMAC algorithm's hash in octets, which is also the least length of a secret
/// (RFC 7518 section 3.2).
pub(super) const fn least_length(algorithm: Algorithm) -> Result<usize, KeyError> {
    match algorithm {
        Algorithm::HS256 => Ok(32),
        Algorithm::HS384 => Ok(48),
        Algorithm::HS512 => Ok(64),
        _ => Err(KeyError::KeyType),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = super::Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.expose(), b"hunter2");
    }
}
