//! A key ready to sign.

use super::KeyError;
use super::private::PrivateKey;
use crate::Algorithm;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding,
};
use std::fmt;

/// A key that signs under one algorithm.
pub struct SigningKey {
    algorithm: Algorithm,
    material: Material,
}

enum Material {
    /// Boxed: its prepared states are far larger than a pointer to a parsed key.
    Hmac(Box<hmac::Key>),
    Private(PrivateKey),
}

impl SigningKey {
    pub(super) fn hmac(algorithm: Algorithm, key: hmac::Key) -> Self {
        Self {
            algorithm,
            material: Material::Hmac(Box::new(key)),
        }
    }

    /// `key` must be of `algorithm`'s family.
    pub(super) const fn private(algorithm: Algorithm, key: PrivateKey) -> Self {
        Self {
            algorithm,
            material: Material::Private(key),
        }
    }

    /// The one algorithm the key signs under.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The signature over `signing_input`, as raw octets (for ECDSA r ‖ s, RFC 7518 section 3.4).
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the cryptographic library fails.
    pub fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, KeyError> {
        let random = SystemRandom::new();
        match &self.material {
            Material::Hmac(key) => Ok(hmac::sign(key, signing_input).as_ref().to_vec()),
            Material::Private(PrivateKey::Rsa(pair)) => {
                sign_rsa(pair, rsa_encoding(self.algorithm)?, signing_input)
            }
            Material::Private(PrivateKey::Ec(_, pair)) => pair
                .sign(&random, signing_input)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Crypto),
            Material::Private(PrivateKey::Ed25519(pair)) => pair
                .try_sign(signing_input)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Crypto),
        }
    }
}

fn sign_rsa(
    pair: &RsaKeyPair,
    encoding: &'static dyn RsaEncoding,
    signing_input: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        encoding,
        &SystemRandom::new(),
        signing_input,
        &mut signature,
    )
    .map_err(|_| KeyError::Crypto)?;
    Ok(signature)
}

fn rsa_encoding(algorithm: Algorithm) -> Result<&'static dyn RsaEncoding, KeyError> {
    Ok(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        _ => return Err(KeyError::KeyType),
    })
}

/// Shows the algorithm only.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.algorithm)
    }
}
