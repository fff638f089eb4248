//! Reading a PEM (RFC 7468, and the older labels of RFC 8017 and RFC 5915).

use super::KeyError;
use super::curve::Curve;
use super::private::PrivateKey;
use super::public::{Family, PublicKey};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, PublicKey as RsaPublicKey};
use aws_lc_rs::signature::{EcdsaKeyPair, ParsedPublicKey};
use zeroize::Zeroizing;

pub(super) const BEGIN: &str = "-----BEGIN";

/// What a PEM holds.
pub(super) enum PemKey {
    Public(PublicKey),
    Private(PrivateKey),
}

/// Reads the one key in `text`, which must be of `family`.
pub(super) fn read(text: &str, family: Family) -> Result<PemKey, KeyError> {
    if text.contains("\\n") {
        return Err(KeyError::PemLineEnds);
    }
    if text.contains("-----BEGIN EC PARAMETERS-----") {
        return Err(KeyError::PemParameters);
    }
    if text.matches(BEGIN).count() > 1 {
        return Err(KeyError::SeveralPemBlocks);
    }
    let block = ::pem::parse(text).map_err(|_| KeyError::PemSyntax)?;
    let label = block.tag().to_owned();
    let is_encrypted = label == "ENCRYPTED PRIVATE KEY"
        || block
            .headers()
            .get("Proc-Type")
            .is_some_and(|p| p.contains("ENCRYPTED"));
    let der = Zeroizing::new(block.into_contents());
    if is_encrypted {
        return Err(KeyError::EncryptedPem);
    }
    match (label.as_str(), family) {
        ("PRIVATE KEY", _) => PrivateKey::from_pkcs8(family, &der).map(PemKey::Private),
        ("RSA PRIVATE KEY", Family::Rsa) => RsaKeyPair::from_der(&der)
            .map(|pair| PemKey::Private(PrivateKey::Rsa(pair)))
            .map_err(|_| KeyError::InvalidPrivateKey),
        ("EC PRIVATE KEY", Family::Ec(curve)) => {
            EcdsaKeyPair::from_private_key_der(curve.signing(), &der)
                .map(|pair| PemKey::Private(PrivateKey::Ec(curve, pair)))
                .map_err(|_| KeyError::InvalidPrivateKey)
        }
        ("PUBLIC KEY", Family::Ec(curve)) => ec_public(curve, &der).map(PemKey::Public),
        ("PUBLIC KEY", Family::Ed25519) => ed25519_public(&der).map(PemKey::Public),
        ("PUBLIC KEY" | "RSA PUBLIC KEY", Family::Rsa) => rsa_public(&der).map(PemKey::Public),
        ("RSA PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PUBLIC KEY", _) => Err(KeyError::KeyType),
        ("CERTIFICATE", _) => Err(KeyError::Certificate),
        _ => Err(KeyError::PemLabel),
    }
}

fn rsa_public(der: &[u8]) -> Result<PublicKey, KeyError> {
    let key = RsaPublicKey::from_der(der).map_err(|_| KeyError::InvalidPublicKey)?;
    PublicKey::rsa(
        key.modulus().big_endian_without_leading_zero(),
        key.exponent().big_endian_without_leading_zero(),
    )
}

/// A SubjectPublicKeyInfo (RFC 5480 section 2). AWS-LC reads it and writes it anew; the
/// uncompressed point is then its end.
fn ec_public(curve: Curve, der: &[u8]) -> Result<PublicKey, KeyError> {
    let key =
        ParsedPublicKey::new(curve.verification(), der).map_err(|_| KeyError::InvalidPublicKey)?;
    let der: PublicKeyX509Der<'_> = key.as_der().map_err(|_| KeyError::InvalidPublicKey)?;
    let length = curve.field_len().saturating_mul(2).saturating_add(1);
    let start = der.as_ref().len().checked_sub(length);
    let point = start.and_then(|start| der.as_ref().get(start..));
    PublicKey::ec(curve, point.ok_or(KeyError::InvalidPublicKey)?.to_vec())
}

/// A SubjectPublicKeyInfo of RFC 8410 section 4, which has one DER encoding only.
fn ed25519_public(der: &[u8]) -> Result<PublicKey, KeyError> {
    const HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0];
    let octets = der.strip_prefix(&HEAD).ok_or(KeyError::InvalidPublicKey)?;
    PublicKey::ed25519(octets)
}
