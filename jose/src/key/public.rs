//! A public key: its rules, its canonical JWK, and its thumbprint.

use super::curve::{Curve, admit_ed25519};
use super::{KeyError, rsa};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{Jwk, ThumbprintHash};
use jsonwebtoken::{Algorithm, DecodingKey};
use std::collections::BTreeMap;

/// The kind of asymmetric key that an algorithm takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    Ec(Curve),
    Ed25519,
}

impl Family {
    /// The family of `algorithm`; `None` for HMAC.
    pub(super) const fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::Ec(Curve::P256)),
            Algorithm::ES384 => Some(Self::Ec(Curve::P384)),
            Algorithm::EdDSA => Some(Self::Ed25519),
            _ => None,
        }
    }

    /// What a key without an `alg` is used for.
    pub(super) const fn default_algorithm(self) -> Algorithm {
        match self {
            Self::Rsa => Algorithm::RS256,
            Self::Ec(Curve::P256) => Algorithm::ES256,
            Self::Ec(Curve::P384) => Algorithm::ES384,
            Self::Ed25519 => Algorithm::EdDSA,
        }
    }
}

/// A public key that has passed its rules.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// Big-endian, without leading zeros.
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    /// An uncompressed SEC 1 point.
    Ec { curve: Curve, point: Vec<u8> },
    /// The encoding of RFC 8032 section 5.1.2.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// An RSA key; leading zeros are cut off.
    pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, KeyError> {
        let (modulus, exponent) = (rsa::minimal(modulus), rsa::minimal(exponent));
        rsa::admit(modulus, exponent)?;
        // Proves that AWS-LC takes it, whatever the padding and the hash will be.
        RsaPublicKeyComponents {
            n: modulus,
            e: exponent,
        }
        .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
        .map_err(|_| KeyError::InvalidPublicKey)?;
        Ok(Self::Rsa {
            modulus: modulus.to_vec(),
            exponent: exponent.to_vec(),
        })
    }

    /// A key on a NIST curve, from its uncompressed point.
    pub(super) fn ec(curve: Curve, point: Vec<u8>) -> Result<Self, KeyError> {
        curve.admit(&point)?;
        Ok(Self::Ec { curve, point })
    }

    /// An Ed25519 key.
    pub(super) fn ed25519(octets: &[u8]) -> Result<Self, KeyError> {
        admit_ed25519(octets).map(Self::Ed25519)
    }

    pub(super) const fn family(&self) -> Family {
        match self {
            Self::Rsa { .. } => Family::Rsa,
            Self::Ec { curve, .. } => Family::Ec(*curve),
            Self::Ed25519(_) => Family::Ed25519,
        }
    }

    /// The key as jsonwebtoken takes it.
    pub(super) fn decoding_key(&self) -> DecodingKey {
        match self {
            Self::Rsa { modulus, exponent } => {
                DecodingKey::from_rsa_raw_components(modulus, exponent)
            }
            Self::Ec { point, .. } => DecodingKey::from_ec_der(point),
            Self::Ed25519(octets) => DecodingKey::from_ed_der(octets),
        }
    }

    /// The JWK with the required members only, in the form that RFC 7638 section 3 hashes: names
    /// in lexicographic order, no white space.
    pub(super) fn to_jwk(&self) -> Result<String, KeyError> {
        let members = serde_json::to_value(self.jwk()?.algorithm)
            .and_then(serde_json::from_value::<BTreeMap<String, serde_json::Value>>);
        members
            .and_then(|members| serde_json::to_string(&members))
            .map_err(|_| KeyError::InvalidPublicKey)
    }

    /// The RFC 7638 thumbprint: base64url of SHA-256.
    pub(super) fn thumbprint(&self) -> Result<String, KeyError> {
        // Without a provider of its choice, jsonwebtoken panics as soon as another crate of the
        // program asks it for a second one.
        let _ = DEFAULT_PROVIDER.install_default();
        self.jwk()?
            .thumbprint(ThumbprintHash::SHA256)
            .map_err(|_| KeyError::InvalidPublicKey)
    }

    fn jwk(&self) -> Result<Jwk, KeyError> {
        Jwk::from_decoding_key(&self.decoding_key(), None).map_err(|_| KeyError::InvalidPublicKey)
    }
}
