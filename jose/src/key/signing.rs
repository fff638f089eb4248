//! A key ready to sign.

use super::private::PrivateKey;
use super::secret::least_length;
use super::{KeyError, Secret};
use crate::AlgorithmName;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::{
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding,
};
use jsonwebtoken::crypto::JwtSigner;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, EncodingKey};
use std::fmt;

/// A key that signs under one algorithm, and one name of it.
pub struct SigningKey {
    name: AlgorithmName,
    signer: Signer,
}

enum Signer {
    Jwt(Box<dyn JwtSigner>),
    /// jsonwebtoken parses an RSA key anew for every signature, which takes longer than signing.
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
}

impl SigningKey {
    pub(super) fn hmac(name: AlgorithmName, secret: &Secret) -> Result<Self, KeyError> {
        if secret.expose().len() < least_length(name.algorithm())? {
            return Err(KeyError::SecretTooShort);
        }
        Self::jwt(name, &EncodingKey::from_secret(secret.expose()))
    }

    /// `key` must be of `name`'s family, and `pkcs8` what it was read from.
    pub(super) fn private(
        name: AlgorithmName,
        key: PrivateKey,
        pkcs8: &Secret,
    ) -> Result<Self, KeyError> {
        match key {
            PrivateKey::Rsa(pair) => Ok(Self {
                name,
                signer: Signer::Rsa(pair, rsa_encoding(name.algorithm())?),
            }),
            PrivateKey::Ec(..) => Self::jwt(name, &EncodingKey::from_ec_der(pkcs8.expose())),
            PrivateKey::Ed25519(_) => Self::jwt(name, &EncodingKey::from_ed_der(pkcs8.expose())),
        }
    }

    fn jwt(name: AlgorithmName, key: &EncodingKey) -> Result<Self, KeyError> {
        let signer = (DEFAULT_PROVIDER.signer_factory)(&name.algorithm(), key)
            .map_err(|_| KeyError::KeyType)?;
        Ok(Self {
            name,
            signer: Signer::Jwt(signer),
        })
    }

    /// The one algorithm the key signs under, by the name that it was made with.
    #[must_use]
    pub const fn algorithm(&self) -> AlgorithmName {
        self.name
    }

    /// The signature over `signing_input`, as raw octets (for ECDSA r ‖ s, RFC 7518 section 3.4).
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the cryptographic library fails.
    pub fn sign(&self, signing_input: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.signer {
            Signer::Jwt(signer) => signer.try_sign(signing_input).map_err(|_| KeyError::Crypto),
            Signer::Rsa(pair, encoding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(
                    *encoding,
                    &SystemRandom::new(),
                    signing_input,
                    &mut signature,
                )
                .map_err(|_| KeyError::Crypto)?;
                Ok(signature)
            }
        }
    }
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
        write!(f, "SigningKey({})", self.name)
    }
}
