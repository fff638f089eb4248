//! Sets of public keys (RFC 7517 section 5), as a provider publishes them.

use super::KeyError;
use super::jwk::{Jwk, Use};
use super::material::KeyMaterial;
use crate::json::{Object, Value};
use std::collections::HashMap;

/// A member of a JWKS that is not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {index} of the JWKS is skipped: {why}")]
pub struct SkippedMember {
    /// Its position in `keys`, from 0.
    pub index: usize,
    /// Its `kid`, if it has a usable one.
    pub kid: Option<String>,
    /// The rule it breaks.
    pub why: KeyError,
}

/// Reads a JWKS: for each member of `keys`, in order, the public key or why it is skipped.
///
/// A member is skipped, so that a provider's new key type does not block the rest
/// (RFC 7517 section 5), when it is no object, symmetric, private, of an unsupported `kty`, `crv`
/// or `alg`, for another `use` or without `verify` in `key_ops`, weak or off its curve, when its
/// `kid` is no string of at most 512 octets, or when it shares its `kid` with another member
/// (then both are). Without `alg`, RSA keys are taken for RS256; the other types have only one.
///
/// # Errors
/// [`KeyError::NotAJwks`] when `json` is not one strict JSON object with an array `keys`.
pub fn import_jwks(json: &str) -> Result<Vec<Result<KeyMaterial, SkippedMember>>, KeyError> {
    let document = Object::parse(json).ok_or(KeyError::NotAJwks)?;
    let members = document
        .get("keys")
        .and_then(Value::elements)
        .ok_or(KeyError::NotAJwks)?;
    let members: Vec<_> = members.into_iter().map(|m| Jwk::parse(m.text())).collect();

    let kids: Vec<_> = members.iter().map(|m| kid_of(m.as_ref().ok())).collect();
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for kid in kids.iter().flatten() {
        let count = uses.entry(kid).or_default();
        *count = count.saturating_add(1);
    }
    let is_shared = |kid: &Option<String>| {
        kid.as_ref()
            .is_some_and(|kid| uses.get(kid.as_str()).is_some_and(|count| *count > 1))
    };

    let imported = members.into_iter().zip(&kids).enumerate();
    Ok(imported
        .map(|(index, (member, kid))| {
            let key = if is_shared(kid) {
                Err(KeyError::DuplicateKid)
            } else {
                member.and_then(|jwk| import_public(&jwk))
            };
            key.map_err(|why| SkippedMember {
                index,
                kid: kid.clone(),
                why,
            })
        })
        .collect())
}

fn kid_of(member: Option<&Jwk<'_>>) -> Option<String> {
    member?.kid().ok().flatten()
}

fn import_public(jwk: &Jwk<'_>) -> Result<KeyMaterial, KeyError> {
    if jwk.is_symmetric() {
        return Err(KeyError::SymmetricInJwks);
    }
    if jwk.is_private() {
        return Err(KeyError::PrivateInJwks);
    }
    let family = jwk.family().ok_or(KeyError::Unsupported)?;
    let algorithm = match jwk.algorithm()? {
        Some(algorithm) => algorithm,
        None => family.default_algorithm().into(),
    };
    jwk.permits(algorithm, Use::Verify)?;
    KeyMaterial::public(algorithm, jwk.kid()?, &jwk.public()?)
}
