//! Where a key is read, whatever its form: what is not good enough to be stored is refused here.

use super::jwk::{Jwk, Use};
use super::pem::{self, PemKey};
use super::public::Family;
use super::{KeyError, KeyMaterial, Secret, confusion};
use crate::AlgorithmName;

impl KeyMaterial {
    /// Reads a key for `alg`.
    ///
    /// - HMAC: a JWK of type `oct`, or any other text, whose UTF-8 octets then are the secret. At
    ///   least as long as the hash (RFC 7518 section 3.2). A secret that is an asymmetric key (PEM
    ///   or OpenSSH, or base64 DER) is refused, and so is a text in braces that is no `oct` JWK:
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
        let (kid, secret) = if trimmed.starts_with('{') && trimmed.ends_with('}') {
            let jwk = Jwk::parse(text)?;
            if !jwk.is_symmetric() {
                return Err(KeyError::KeyType);
            }
            jwk.permits(alg, Use::Sign)?;
            (jwk.kid()?, Secret::new(jwk.secret()?.to_vec()))
        } else {
            (None, Secret::new(text.as_bytes().to_vec()))
        };
        // What becomes the secret counts, and not the form that it comes in.
        if str::from_utf8(secret.expose()).is_ok_and(confusion::is_key) {
            return Err(KeyError::KeyAsSecret);
        }
        Self::symmetric(alg, kid, secret)
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
}
