//! Reading one JWK (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2).

use super::KeyError;
use super::curve::Curve;
use super::private::PrivateKey;
use super::public::{Family, PublicKey};
use crate::json::{Object, Value};
use crate::{AlgorithmName, Kid, base64url};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair};
use zeroize::Zeroizing;

/// A JWK whose members are looked up by name; names are unique.
pub(super) struct Jwk<'t>(Object<'t>);

/// What a key is going to be used for, and so which `key_ops` it needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It verifies only.
    Verify,
    /// It also holds what signs: either operation will do.
    Sign,
}

impl<'t> Jwk<'t> {
    pub(super) fn parse(text: &'t str) -> Result<Self, KeyError> {
        Object::parse(text).map(Self).ok_or(KeyError::JwkSyntax)
    }

    /// `kid`, when there is one (RFC 7517 section 4.5).
    pub(super) fn kid(&self) -> Result<Option<Kid>, KeyError> {
        let Some(kid) = self.0.get("kid") else {
            return Ok(None);
        };
        kid.string()
            .and_then(Kid::new)
            .map(Some)
            .ok_or(KeyError::Kid)
    }

    /// `alg`, when there is one; a value that is no string names no algorithm.
    pub(super) fn algorithm(&self) -> Result<Option<AlgorithmName>, KeyError> {
        let Some(name) = self.0.get("alg") else {
            return Ok(None);
        };
        let algorithm = name.string().and_then(|name| name.parse().ok());
        algorithm.map(Some).ok_or(KeyError::Unsupported)
    }

    /// Refuses a key that is said to be for something else than `algorithm`'s signatures.
    pub(super) fn permits(&self, algorithm: AlgorithmName, wanted: Use) -> Result<(), KeyError> {
        let is = |name, text: &str| {
            self.0
                .get(name)
                .is_none_or(|v| v.string().is_some_and(|v| v == text))
        };
        let named = self.algorithm().map_err(|_| KeyError::AlgorithmMember)?;
        if named.is_some_and(|named| named.algorithm() != algorithm.algorithm()) {
            return Err(KeyError::AlgorithmMember);
        }
        if !is("use", "sig") && !is("use", "jwt-svid") {
            return Err(KeyError::Use);
        }
        let permitted = self.0.get("key_ops").is_none_or(|operations| {
            operations.strings().is_some_and(|operations| {
                operations
                    .iter()
                    .any(|op| op == "verify" || (op == "sign" && wanted == Use::Sign))
            })
        });
        permitted.then_some(()).ok_or(KeyError::Operations)
    }

    /// Whether it says that it is for something else than signatures: for encryption, usually.
    /// `jwt-svid` is SPIFFE's name of the use.
    pub(super) fn is_for_another_use(&self) -> bool {
        self.0
            .get("use")
            .and_then(Value::string)
            .is_some_and(|purpose| purpose != "sig" && purpose != "jwt-svid")
    }

    /// Whether it holds anything that must not be published (RFC 7518 sections 6.2.2, 6.3.2, 6.4).
    pub(super) fn is_private(&self) -> bool {
        ["d", "p", "q", "dp", "dq", "qi", "oth", "k"]
            .iter()
            .any(|name| self.0.get(name).is_some())
    }

    /// Whether `kty` is `oct`: a symmetric key.
    pub(super) fn is_symmetric(&self) -> bool {
        self.is("kty", "oct")
    }

    /// The family that `kty` and `crv` name; `None` for any that is not supported.
    pub(super) fn family(&self) -> Option<Family> {
        if self.is("kty", "RSA") {
            return Some(Family::Rsa);
        }
        if self.is("kty", "OKP") && self.is("crv", "Ed25519") {
            return Some(Family::Ed25519);
        }
        [Curve::P256, Curve::P384]
            .into_iter()
            .find(|curve| self.is("kty", "EC") && self.is("crv", curve.name()))
            .map(Family::Ec)
    }

    /// The public key, under its rules.
    pub(super) fn public(&self) -> Result<PublicKey, KeyError> {
        match self.family().ok_or(KeyError::KeyType)? {
            Family::Rsa => PublicKey::rsa(&self.octets("n")?, &self.octets("e")?),
            Family::Ec(curve) => PublicKey::ec(curve, self.point(curve)?),
            Family::Ed25519 => PublicKey::ed25519(&self.fixed("x", 32)?),
        }
    }

    /// The private key, if there is one; its halves match.
    pub(super) fn private(&self) -> Result<Option<PrivateKey>, KeyError> {
        if !self.is_private() {
            return Ok(None);
        }
        let key = match self.family().ok_or(KeyError::KeyType)? {
            Family::Rsa => PrivateKey::Rsa(self.rsa_pair()?),
            Family::Ec(curve) => {
                let d = self.fixed("d", curve.field_len())?;
                let point = self.point(curve)?;
                EcdsaKeyPair::from_private_key_and_public_key(curve.signing(), &d, &point)
                    .map(|pair| PrivateKey::Ec(curve, pair))
                    .map_err(|_| KeyError::Mismatch)?
            }
            Family::Ed25519 => {
                let (d, x) = (self.fixed("d", 32)?, self.fixed("x", 32)?);
                Ed25519KeyPair::from_seed_and_public_key(&d, &x)
                    .map(PrivateKey::Ed25519)
                    .map_err(|_| KeyError::Mismatch)?
            }
        };
        Ok(Some(key))
    }

    /// The secret of a symmetric key (RFC 7518 section 6.4.1).
    pub(super) fn secret(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.octets("k")
    }

    /// All of an RSA key (RFC 7518 section 6.3.2): two primes, with the CRT members that the RFC
    /// recommends and AWS-LC needs.
    fn rsa_pair(&self) -> Result<RsaKeyPair, KeyError> {
        if self.0.get("oth").is_some() {
            return Err(KeyError::InvalidPrivateKey);
        }
        let (n, e) = (self.octets("n")?, self.octets("e")?);
        RsaKeyPair::from_components(&KeyPairComponents {
            public_key: PublicKeyComponents {
                n: super::rsa::minimal(&n),
                e: super::rsa::minimal(&e),
            },
            d: self.octets("d")?.as_slice(),
            p: self.octets("p")?.as_slice(),
            q: self.octets("q")?.as_slice(),
            dP: self.octets("dp")?.as_slice(),
            dQ: self.octets("dq")?.as_slice(),
            qInv: self.octets("qi")?.as_slice(),
        })
        .map_err(|_| KeyError::InvalidPrivateKey)
    }

    /// The uncompressed point (RFC 7518 section 6.2.1). Coordinates should have their full length,
    /// but there are libraries that leave out leading zeros.
    fn point(&self, curve: Curve) -> Result<Vec<u8>, KeyError> {
        let mut point = vec![4];
        for name in ["x", "y"] {
            let coordinate = self.octets(name)?;
            let zeros = curve.field_len().checked_sub(coordinate.len());
            let zeros = zeros.filter(|_| !coordinate.is_empty());
            point.resize(
                point
                    .len()
                    .saturating_add(zeros.ok_or(KeyError::JwkMember(name))?),
                0,
            );
            point.extend_from_slice(&coordinate);
        }
        Ok(point)
    }

    fn fixed(&self, name: &'static str, length: usize) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let octets = self.octets(name)?;
        if octets.len() == length {
            Ok(octets)
        } else {
            Err(KeyError::JwkMember(name))
        }
    }

    /// The octets of a member. RFC 7515 section 2 leaves the padding out; some libraries do not.
    fn octets(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        self.0
            .get(name)
            .and_then(Value::string)
            .and_then(|text| base64url::decode_padded(&text))
            .map(Zeroizing::new)
            .ok_or(KeyError::JwkMember(name))
    }

    fn is(&self, name: &str, text: &str) -> bool {
        self.0
            .get(name)
            .and_then(Value::string)
            .is_some_and(|value| value == text)
    }
}
