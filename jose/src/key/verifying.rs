//! A key ready to verify: its verifier is made once, and used many times.

use super::KeyError;
use super::public::{Family, PublicKey};
use super::secret::{Secret, least_length};
use crate::AlgorithmName;
use jsonwebtoken::crypto::JwtVerifier;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};
use std::fmt;

/// A key that verifies signatures of one algorithm.
pub struct VerifyingKey(Box<dyn JwtVerifier>);

impl VerifyingKey {
    pub(super) fn hmac(name: AlgorithmName, secret: &Secret) -> Result<Self, KeyError> {
        if secret.expose().len() < least_length(name.algorithm())? {
            return Err(KeyError::SecretTooShort);
        }
        Self::new(name, &DecodingKey::from_secret(secret.expose()))
    }

    pub(super) fn public(name: AlgorithmName, key: &PublicKey) -> Result<Self, KeyError> {
        if Family::of(name.algorithm()) != Some(key.family()) {
            return Err(KeyError::KeyType);
        }
        Self::new(name, &key.decoding_key())
    }

    /// jsonwebtoken judges nothing but the family of `key`: its rules have been enforced.
    fn new(name: AlgorithmName, key: &DecodingKey) -> Result<Self, KeyError> {
        (DEFAULT_PROVIDER.verifier_factory)(&name.algorithm(), key)
            .map(Self)
            .map_err(|_| KeyError::KeyType)
    }

    /// The one algorithm the key verifies.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    /// Whether `signature` (raw octets; for ECDSA r ‖ s, RFC 7518 section 3.4) is this key's over
    /// `signing_input`. A MAC is compared in constant time, and whole.
    #[must_use]
    pub fn verify(&self, signing_input: &[u8], signature: &Vec<u8>) -> bool {
        self.0.verify(signing_input, signature).is_ok()
    }
}

/// Shows the algorithm only.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyingKey({:?})", self.algorithm())
    }
}
