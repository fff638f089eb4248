//! A private key of any family, with its public half.

use super::curve::Curve;
use super::public::{Family, PublicKey};
use super::{KeyError, Secret};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, KeyPair};

/// A consistent key pair.
pub(super) enum PrivateKey {
    Rsa(RsaKeyPair),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    /// A new key; RSA keys have 2048 bits.
    pub(super) fn generate(family: Family) -> Result<Self, KeyError> {
        match family {
            Family::Rsa => RsaKeyPair::generate(KeySize::Rsa2048).map(Self::Rsa),
            Family::Ec(curve) => {
                EcdsaKeyPair::generate(curve.signing()).map(|pair| Self::Ec(curve, pair))
            }
            Family::Ed25519 => Ed25519KeyPair::generate().map(Self::Ed25519),
        }
        .map_err(|_| KeyError::Crypto)
    }

    /// Reads an unencrypted PKCS#8 `PrivateKeyInfo` (RFC 5208). AWS-LC checks that the numbers fit
    /// each other, and a public key inside the private one.
    pub(super) fn from_pkcs8(family: Family, der: &[u8]) -> Result<Self, KeyError> {
        match family {
            Family::Rsa => RsaKeyPair::from_pkcs8(der).map(Self::Rsa),
            Family::Ec(curve) => {
                EcdsaKeyPair::from_pkcs8(curve.signing(), der).map(|pair| Self::Ec(curve, pair))
            }
            Family::Ed25519 => Ed25519KeyPair::from_pkcs8(der).map(Self::Ed25519),
        }
        .map_err(|_| KeyError::InvalidPrivateKey)
    }

    /// The key as PKCS#8 version 1, which is what a store keeps.
    pub(super) fn to_pkcs8(&self) -> Result<Secret, KeyError> {
        let octets = match self {
            Self::Rsa(pair) => {
                let der: Result<Pkcs8V1Der<'_>, _> = pair.as_der();
                der.map(|der| der.as_ref().to_vec())
            }
            Self::Ec(_, pair) => pair.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
            Self::Ed25519(pair) => pair.to_pkcs8v1().map(|der| der.as_ref().to_vec()),
        };
        octets.map(Secret::new).map_err(|_| KeyError::Crypto)
    }

    /// The public half, under the rules for public keys.
    pub(super) fn public(&self) -> Result<PublicKey, KeyError> {
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                PublicKey::rsa(
                    public.modulus().big_endian_without_leading_zero(),
                    public.exponent().big_endian_without_leading_zero(),
                )
            }
            Self::Ec(curve, pair) => PublicKey::ec(*curve, pair.public_key().as_ref().to_vec()),
            Self::Ed25519(pair) => PublicKey::ed25519(pair.public_key().as_ref()),
        }
    }
}
