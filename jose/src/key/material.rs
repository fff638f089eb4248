//! What a store keeps of a key, and the only way in.

use super::jwk::{Jwk, Use};
use super::pem::{self, PemKey};
use super::private::PrivateKey;
use super::public::{Family, PublicKey};
use super::secret::least_length;
use super::{KeyError, Secret, SigningKey, VerifyingKey, confusion};
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

    /// Reads a key for `alg`.
    ///
    /// - HMAC: a JWK of type `oct`, or any other text, whose UTF-8 octets then are the secret. At
    ///   least as long as the hash (RFC 7518 section 3.2). A text that is an asymmetric key (PEM
    ///   or OpenSSH, or base64 DER) is refused, and so is one in braces that is no `oct` JWK:
    ///   signing with a public key as the secret is how key confusion begins.
    /// - Otherwise: one PEM block (`PRIVATE KEY`, `RSA PRIVATE KEY`, `EC PRIVATE KEY`,
    ///   `PUBLIC KEY`, `RSA PUBLIC KEY`) or a JWK, public or private, of the algorithm's type.
    ///   RSA keys have 2048 to 8192 bits; points lie on their curve; private and public halves
    ///   belong together. A JWK's `alg`, `use` and `key_ops`, if there, must permit the use.
    ///
    /// # Errors
    /// The [`KeyError`] that names the broken rule.
    pub fn import(text: &str, alg: impl Into<AlgorithmName>) -> Result<Self, KeyError> {
        let alg = alg.into();
        match Family::of(alg.algorithm()) {
            Some(family) => Self::import_asymmetric(text, alg, family),
            None => Self::import_secret(text, alg),
        }
    }

    fn import_secret(text: &str, alg: AlgorithmName) -> Result<Self, KeyError> {
        let trimmed = text.trim();
        if !(trimmed.starts_with('{') && trimmed.ends_with('}')) {
            if confusion::is_key(text) {
                return Err(KeyError::KeyAsSecret);
            }
            return Self::symmetric(alg, None, Secret::new(text.as_bytes().to_vec()));
        }
        let jwk = Jwk::parse(text)?;
        if !jwk.is_symmetric() {
            return Err(KeyError::KeyType);
        }
        jwk.permits(alg, Use::Sign)?;
        let secret = Secret::new(jwk.secret()?.to_vec());
        Self::symmetric(alg, jwk.kid()?, secret)
    }

    fn import_asymmetric(text: &str, alg: AlgorithmName, family: Family) -> Result<Self, KeyError> {
        // A JWK may say what a PEM begins with: in a kid, or in base64url.
        if !text.trim_start().starts_with('{') {
            if !text.contains(pem::BEGIN) {
                return Err(KeyError::Unrecognised);
            }
            return match pem::read(text, family)? {
                PemKey::Public(key) => Self::public(alg, None, &key),
                PemKey::Private(key) => Self::private(alg, None, &key),
            };
        }
        let jwk = Jwk::parse(text)?;
        if jwk.family() != Some(family) {
            return Err(KeyError::KeyType);
        }
        let kid = jwk.kid()?;
        let wanted = if jwk.is_private() {
            Use::Sign
        } else {
            Use::Verify
        };
        jwk.permits(alg, wanted)?;
        let public = jwk.public()?;
        match jwk.private()? {
            Some(key) => Self::private(alg, kid, &key),
            None => Self::public(alg, kid, &public),
        }
    }

    fn symmetric(alg: AlgorithmName, kid: Option<Kid>, secret: Secret) -> Result<Self, KeyError> {
        // Proves that it fits the algorithm.
        VerifyingKey::hmac(alg, &secret)?;
        Ok(Self {
            algorithm: alg,
            kid,
            public_jwk: None,
            secret: Some(secret),
        })
    }

    fn private(alg: AlgorithmName, kid: Option<Kid>, key: &PrivateKey) -> Result<Self, KeyError> {
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
