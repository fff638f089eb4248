//! Private keys as JWKs (RFC 7517, RFC 7518 section 6, RFC 8037): how a bundle holds them.

use super::curve::Curve;
use super::material::KeyMaterial;
use super::private::PrivateKey;
use super::public::Family;
use super::{KeyError, Secret};
use crate::json::{Object, Value, quote};
use crate::jwe;
use crate::{AlgorithmName, base64url};
use aws_lc_rs::encoding::{AsBigEndian, Curve25519SeedBin, EcPrivateKeyBin};
use zeroize::Zeroizing;

/// A key in a bundle.
#[derive(Debug)]
pub struct BundledKey {
    /// Whose it is: the member `iss`; none in a set of somebody else's making.
    pub issuer: Option<String>,
    /// The seconds of the Unix epoch at which it ends: the member `exp`.
    pub until: Option<i64>,
    /// The key, with its kid and its secret.
    pub material: KeyMaterial,
}

/// The keys with their secrets as a JWK Set in a compact JWE under `passphrase`.
///
/// # Errors
/// [`KeyError::Incomplete`] for a key without its kid, issuer or secret; [`KeyError::Passphrase`]; what is stored is judged anew, as by
/// [`KeyMaterial::import`].
pub fn seal_keys(keys: &[BundledKey], passphrase: &str) -> Result<String, KeyError> {
    let mut set = Zeroizing::new(String::from("{\"keys\":["));
    for (n, key) in keys.iter().enumerate() {
        if n > 0 {
            set.push(',');
        }
        set.push_str(&key.private_jwk()?);
    }
    set.push_str("]}");
    jwe::seal(set.as_bytes(), "jwk-set+json", passphrase)
}

/// The keys of what [`seal_keys`] made, or another library. One that cannot be used spoils all.
///
/// # Errors
/// [`KeyError::Passphrase`], [`KeyError::Bundle`], [`KeyError::NotAJwks`], or what is wrong with a member.
pub fn open_keys(bundle: &str, passphrase: &str) -> Result<Vec<BundledKey>, KeyError> {
    let content = jwe::open(bundle, passphrase)?;
    read_set(str::from_utf8(&content).map_err(|_| KeyError::NotAJwks)?)
}

impl BundledKey {
    fn private_jwk(&self) -> Result<Zeroizing<String>, KeyError> {
        let (Some(secret), Some(kid), Some(issuer)) =
            (&self.material.secret, &self.material.kid, &self.issuer)
        else {
            return Err(KeyError::Incomplete);
        };
        let key = match Family::of(self.material.algorithm.algorithm()) {
            None => member("{\"kty\":\"oct\",\"k\":", secret.expose()),
            Some(family) => {
                let public = self.material.public_jwk.as_deref();
                let public = public.and_then(|jwk| jwk.strip_suffix('}'));
                let public = public.ok_or(KeyError::Incomplete)?;
                Zeroizing::new(format!("{public}{}", *private_members(family, secret)?))
            }
        };
        let until = self
            .until
            .map_or_else(String::new, |until| format!(r#","exp":{until}"#));
        Ok(Zeroizing::new(format!(
            r#"{},"kid":{},"alg":"{}","use":"sig","iss":{}{until}}}"#,
            *key,
            quote(kid.as_str()),
            self.material.algorithm.name(),
            quote(issuer),
        )))
    }
}

fn read_set(json: &str) -> Result<Vec<BundledKey>, KeyError> {
    let document = Object::parse(json).ok_or(KeyError::NotAJwks)?;
    let members = document
        .get("keys")
        .and_then(Value::elements)
        .ok_or(KeyError::NotAJwks)?;
    members.into_iter().map(read).collect()
}

fn read(member: Value<'_>) -> Result<BundledKey, KeyError> {
    let jwk = Object::parse(member.text()).ok_or(KeyError::JwkSyntax)?;
    let text = |name: &'static str| match jwk.get(name) {
        None => Ok(None),
        Some(value) => value
            .string()
            .map(|text| Some(text.into_owned()))
            .ok_or(KeyError::JwkMember(name)),
    };
    let algorithm: AlgorithmName = text("alg")?
        .and_then(|alg| alg.parse().ok())
        .ok_or(KeyError::Unsupported)?;
    let material = KeyMaterial::import(member.text(), algorithm)?;
    if material.secret.is_none() {
        return Err(KeyError::Incomplete);
    }
    let until = match jwk.get("exp") {
        None => None,
        Some(until) => Some(
            until
                .text()
                .parse()
                .map_err(|_| KeyError::JwkMember("exp"))?,
        ),
    };
    Ok(BundledKey {
        issuer: text("iss")?,
        until,
        material,
    })
}

/// What follows the public members in the JWK of a private key.
fn private_members(family: Family, secret: &Secret) -> Result<Zeroizing<String>, KeyError> {
    match PrivateKey::from_pkcs8(family, secret.expose())? {
        PrivateKey::Ec(curve, pair) => {
            let octets: EcPrivateKeyBin<'_> = pair
                .private_key()
                .as_be_bytes()
                .map_err(|_| KeyError::Crypto)?;
            Ok(member(",\"d\":", &padded(octets.as_ref(), curve)))
        }
        PrivateKey::Ed25519(pair) => {
            let seed = pair.seed().map_err(|_| KeyError::Crypto)?;
            let octets: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| KeyError::Crypto)?;
            Ok(member(",\"d\":", octets.as_ref()))
        }
        PrivateKey::Rsa(_) => rsa_members(secret.expose()),
    }
}

/// RFC 7518 section 6.2.2.1: as long as the curve's order.
fn padded(octets: &[u8], curve: Curve) -> Zeroizing<Vec<u8>> {
    let missing = curve.field_len().saturating_sub(octets.len());
    let mut padded = Zeroizing::new(vec![0; missing]);
    padded.extend_from_slice(octets);
    padded
}

/// The private numbers of an RSA key, out of its PKCS#8 (RFC 5208 section 5) and PKCS#1 (RFC 8017 appendix A.1.2) form.
fn rsa_members(pkcs8: &[u8]) -> Result<Zeroizing<String>, KeyError> {
    let numbers = rsa_numbers(pkcs8).ok_or(KeyError::InvalidPrivateKey)?;
    // Version, modulus and public exponent come first.
    let names = ["d", "p", "q", "dp", "dq", "qi"];
    let mut members = Zeroizing::new(String::new());
    for (name, number) in names.iter().zip(numbers.iter().skip(3)) {
        members.push_str(&member(&format!(",\"{name}\":"), number));
    }
    Ok(members)
}

fn rsa_numbers(pkcs8: &[u8]) -> Option<Vec<&[u8]>> {
    const INTEGER: u8 = 2;
    const OCTETS: u8 = 4;
    const SEQUENCE: u8 = 0x30;
    let (info, _) = element(pkcs8, SEQUENCE)?;
    let (_version, rest) = element(info, INTEGER)?;
    let (_algorithm, rest) = element(rest, SEQUENCE)?;
    let (key, _attributes) = element(rest, OCTETS)?;
    let (mut rest, _) = element(key, SEQUENCE)?;
    let mut numbers = Vec::with_capacity(9);
    for _ in 0..9 {
        let (number, after) = element(rest, INTEGER)?;
        numbers.push(super::rsa::minimal(number));
        rest = after;
    }
    Some(numbers)
}

/// The content of the DER element at the front, which must have that tag, and what follows it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*length) {
        short @ ..128 => (short, rest),
        long => {
            let (octets, rest) = rest.split_at_checked(long.checked_sub(128)?)?;
            let length = octets.iter().try_fold(0_usize, |length, octet| {
                length.checked_mul(256)?.checked_add(usize::from(*octet))
            })?;
            (length, rest)
        }
    };
    (*first == tag)
        .then(|| rest.split_at_checked(length))
        .flatten()
}

fn member(name: &str, octets: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(base64url::encode(octets));
    Zeroizing::new(format!("{name}\"{}\"", *encoded))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Algorithm, Kid};

    #[test]
    fn a_key_of_every_algorithm_comes_back_from_its_private_jwk() {
        for alg in [
            Algorithm::HS256,
            Algorithm::HS512,
            Algorithm::RS256,
            Algorithm::PS384,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
        ] {
            let mut key = BundledKey {
                issuer: Some("https://i".to_owned()),
                until: Some(17),
                material: KeyMaterial::generate(alg).unwrap(),
            };
            key.material.kid = Kid::new("k\"1");
            let set = format!(r#"{{"keys":[{}]}}"#, *key.private_jwk().unwrap());
            let [back] = <[BundledKey; 1]>::try_from(read_set(&set).unwrap()).unwrap();
            let key = key.material;
            assert_eq!(back.issuer.as_deref(), Some("https://i"));
            assert_eq!(back.until, Some(17));
            assert_eq!(back.material.kid, Kid::new("k\"1"));
            assert_eq!(back.material.public_jwk, key.public_jwk);
            let octets = |key: &KeyMaterial| key.secret.as_ref().unwrap().expose().to_vec();
            assert_eq!(octets(&back.material), octets(&key), "{alg:?}");
        }
    }

    #[test]
    fn a_set_with_a_public_key_or_no_algorithm_is_no_bundle() {
        let key = KeyMaterial::generate(Algorithm::EdDSA).unwrap();
        let public = key.public_jwk.clone().unwrap();
        let with_alg = public.replacen('{', r#"{"alg":"EdDSA","#, 1);
        for (member, why) in [
            (with_alg.as_str(), KeyError::Incomplete),
            (public.as_str(), KeyError::Unsupported),
            ("1", KeyError::JwkSyntax),
        ] {
            let set = format!(r#"{{"keys":[{member}]}}"#);
            assert_eq!(read_set(&set).unwrap_err(), why);
        }
        assert_eq!(read_set("[]").unwrap_err(), KeyError::NotAJwks);
    }
}
