//! What a store keeps of a key.

use super::jwk::Jwk;
use super::private::PrivateKey;
use super::public::{Family, PublicKey};
use super::secret::least_length;
use super::{KeyError, Secret, SigningKey, VerifyingKey};
use crate::random::{random_octets, random_uuid};
use crate::{AlgorithmName, Kid};

/// A key as it is stored: asymmetric keys as their canonical public JWK (required members only)
/// with the private key as PKCS#8 DER if there is one; HMAC keys as their secret octets, no JWK.
#[derive(Debug)]
pub struct KeyMaterial {
    /// The one algorithm the key is for, by the name it signs under.
    pub algorithm: AlgorithmName,
    /// The id that the imported JWK gave it.
    pub kid: Option<Kid>,
    /// The public key; none for HMAC.
    pub public_jwk: Option<String>,
    /// The HMAC secret, or the private key as PKCS#8 DER; none for keys that only verify.
    pub secret: Option<Secret>,
}

impl KeyMaterial {
    /// Makes a new key: for HMAC as many random octets as the hash has, for RSA 2048 bits.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the cryptographic library fails.
    pub fn generate(alg: impl Into<AlgorithmName>) -> Result<Self, KeyError> {
        let alg = alg.into();
        match Family::of(alg.algorithm()) {
            Some(family) => Self::private(alg, None, &PrivateKey::generate(family)?),
            None => {
                let octets = random_octets::<64>()?;
                let length = least_length(alg.algorithm())?;
                let secret = octets.get(..length).unwrap_or(octets.as_slice());
                Self::symmetric(alg, None, Secret::new(secret.to_vec()))
            }
        }
    }

    pub(super) fn symmetric(
        alg: AlgorithmName,
        kid: Option<Kid>,
        secret: Secret,
    ) -> Result<Self, KeyError> {
        // Proves that it fits the algorithm.
        VerifyingKey::hmac(alg, &secret)?;
        Ok(Self {
            algorithm: alg,
            kid,
            public_jwk: None,
            secret: Some(secret),
        })
    }

    pub(super) fn private(
        alg: AlgorithmName,
        kid: Option<Kid>,
        key: &PrivateKey,
    ) -> Result<Self, KeyError> {
        let mut material = Self::public(alg, kid, &key.public()?)?;
        material.secret = Some(key.to_pkcs8()?);
        Ok(material)
    }

    pub(super) fn public(
        alg: AlgorithmName,
        kid: Option<Kid>,
        key: &PublicKey,
    ) -> Result<Self, KeyError> {
        // Proves that it fits the algorithm.
        VerifyingKey::public(alg, key)?;
        Ok(Self {
            algorithm: alg,
            kid,
            public_jwk: Some(key.to_jwk()?),
            secret: None,
        })
    }

    /// The key made ready to verify.
    ///
    /// # Errors
    /// What is stored is judged anew, as by [`KeyMaterial::import`]; [`KeyError::Incomplete`] when
    /// the part that verifies is missing.
    pub fn verifying_key(&self) -> Result<VerifyingKey, KeyError> {
        if self.algorithm.is_hmac() {
            let secret = self.secret.as_ref().ok_or(KeyError::Incomplete)?;
            return VerifyingKey::hmac(self.algorithm, secret);
        }
        VerifyingKey::public(self.algorithm, &self.public_key()?)
    }

    /// The key made ready to sign; `None` when it can only verify.
    ///
    /// # Errors
    /// What is stored is judged anew, as by [`KeyMaterial::import`]; [`KeyError::Mismatch`] when
    /// the private key is not that of the public JWK.
    pub fn signing_key(&self) -> Result<Option<SigningKey>, KeyError> {
        let Some(secret) = &self.secret else {
            return Ok(None);
        };
        let Some(family) = Family::of(self.algorithm.algorithm()) else {
            return SigningKey::hmac(self.algorithm, secret).map(Some);
        };
        let key = PrivateKey::from_pkcs8(family, secret.expose())?;
        if key.public()? != self.public_key()? {
            return Err(KeyError::Mismatch);
        }
        SigningKey::private(self.algorithm, key, secret).map(Some)
    }

    /// The id of a key that was given none: the RFC 7638 thumbprint (SHA-256, base64url) of the
    /// public key. For HMAC a random UUID: an id is public, and must say nothing of the secret.
    ///
    /// # Errors
    /// As [`KeyMaterial::verifying_key`]; [`KeyError::Crypto`] when the random generator fails.
    pub fn default_kid(&self) -> Result<Kid, KeyError> {
        let kid = if self.algorithm.is_hmac() {
            random_uuid()?
        } else {
            self.public_key()?.thumbprint()?
        };
        kid.try_into()
    }

    fn public_key(&self) -> Result<PublicKey, KeyError> {
        let jwk = self.public_jwk.as_deref().ok_or(KeyError::Incomplete)?;
        Jwk::parse(jwk)?.public()
    }
}
