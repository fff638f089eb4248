//! A key ready to verify: parsed once, used many times.

use super::KeyError;
use super::public::PublicKey;
use crate::Algorithm;
use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use std::fmt;

/// A key that verifies signatures of one algorithm.
pub struct VerifyingKey {
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    /// Boxed: its prepared states are far larger than a pointer to a parsed key.
    Hmac(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl VerifyingKey {
    pub(super) fn hmac(algorithm: Algorithm, key: hmac::Key) -> Self {
        Self {
            algorithm,
            material: Material::Hmac(Box::new(key)),
        }
    }

    pub(super) fn public(algorithm: Algorithm, key: &PublicKey) -> Result<Self, KeyError> {
        Ok(Self {
            algorithm,
            material: Material::Public(key.parse(algorithm)?),
        })
    }

    /// The one algorithm the key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` (raw octets; for ECDSA r ‖ s, RFC 7518 section 3.4) is this key's over
    /// `signing_input`. A MAC is compared in constant time, and whole.
    #[must_use]
    pub fn verify(&self, signing_input: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hmac(key) => hmac::verify(key, signing_input, signature).is_ok(),
            Material::Public(key) => key.verify_sig(signing_input, signature).is_ok(),
        }
    }
}

/// Shows the algorithm only.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({})", self.algorithm)
    }
}
