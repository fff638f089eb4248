//! A public key: its rules, its canonical JWK, and its thumbprint.

use super::curve::{Curve, admit_ed25519};
use super::{KeyError, rsa};
use crate::{Algorithm, base64url};
use aws_lc_rs::signature::{
    ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents,
};
use sha2::{Digest, Sha256};

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
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => None,
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::Ec(Curve::P256)),
            Algorithm::ES384 => Some(Self::Ec(Curve::P384)),
            Algorithm::EdDSA => Some(Self::Ed25519),
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

    /// The JWK with the required members only, in the form that RFC 7638 section 3 hashes: names
    /// in lexicographic order, no white space.
    pub(super) fn to_jwk(&self) -> String {
        match self {
            Self::Rsa { modulus, exponent } => format!(
                r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#,
                base64url::encode(exponent),
                base64url::encode(modulus)
            ),
            Self::Ec { curve, point } => {
                let coordinates = point.get(1..).unwrap_or_default();
                let (x, y) = coordinates
                    .split_at_checked(curve.field_len())
                    .unwrap_or_default();
                format!(
                    r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                    curve.name(),
                    base64url::encode(x),
                    base64url::encode(y)
                )
            }
            Self::Ed25519(octets) => format!(
                r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
                base64url::encode(octets)
            ),
        }
    }

    /// The RFC 7638 thumbprint: base64url of SHA-256.
    pub(super) fn thumbprint(&self) -> String {
        base64url::encode(Sha256::digest(self.to_jwk()))
    }

    /// The key parsed for verifying under `algorithm`.
    pub(super) fn parse(&self, algorithm: Algorithm) -> Result<ParsedPublicKey, KeyError> {
        if Family::of(algorithm) != Some(self.family()) {
            return Err(KeyError::KeyType);
        }
        match self {
            Self::Rsa { modulus, exponent } => RsaPublicKeyComponents {
                n: modulus,
                e: exponent,
            }
            .to_parsed_public_key(rsa_parameters(algorithm)?),
            Self::Ec { curve, point } => ParsedPublicKey::new(curve.verification(), point),
            Self::Ed25519(octets) => ParsedPublicKey::new(&ED25519, octets),
        }
        .map_err(|_| KeyError::InvalidPublicKey)
    }
}

/// PSS parameters here imply a salt as long as the hash (RFC 7518 section 3.5).
const fn rsa_parameters(algorithm: Algorithm) -> Result<&'static RsaParameters, KeyError> {
    Ok(match algorithm {
        Algorithm::RS256 => &RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &RSA_PSS_2048_8192_SHA512,
        _ => return Err(KeyError::KeyType),
    })
}
