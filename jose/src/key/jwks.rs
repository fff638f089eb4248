//! Sets of public keys (RFC 7517 section 5), as a provider publishes them.

use super::KeyError;
use super::jwk::{Jwk, Use};
use super::material::KeyMaterial;
use crate::json::{Object, Value, quote};
use crate::{Algorithm, Kid};
use std::collections::HashMap;

/// A member of a JWKS that is not taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("member {index} of the JWKS, {}, is skipped: {why}", shown(self.kid.as_ref()))]
pub struct SkippedMember {
    /// Its position in `keys`, from 0.
    pub index: usize,
    /// Its `kid`, if it has a usable one.
    pub kid: Option<Kid>,
    /// The rule it breaks.
    pub why: KeyError,
}

/// Reads a JWKS: for each member of `keys`, in order, the public key or why it is skipped.
///
/// Members for another `use` than signatures are left out without a word. A member is skipped, so
/// that a provider's new key type does not block the rest (RFC 7517 section 5), when it is no
/// object, symmetric, private, of an unsupported `kty`, `crv` or `alg`, without `verify` in
/// `key_ops`, weak or off its curve, when its `kid` is no string of at most 512 octets, or when
/// another usable key has its `kid` (then both are). A usable key that is there twice counts once.
/// Without `alg`, RSA keys are taken for RS256; the other types have only one.
///
/// # Errors
/// [`KeyError::NotAJwks`] when `json` is not one strict JSON object with an array `keys`;
/// [`KeyError::NothingUsable`] when there are members and none gives a key.
pub fn import_jwks(json: &str) -> Result<Vec<Result<KeyMaterial, SkippedMember>>, KeyError> {
    let document = Object::parse(json).ok_or(KeyError::NotAJwks)?;
    let members = document
        .get("keys")
        .and_then(Value::elements)
        .ok_or(KeyError::NotAJwks)?;
    let is_empty = members.is_empty();
    let mut read = Vec::new();
    for (index, member) in members.into_iter().enumerate() {
        let jwk = Jwk::parse(member.text());
        if jwk.as_ref().is_ok_and(Jwk::is_for_another_use) {
            continue;
        }
        let kid = kid_of(jwk.as_ref().ok());
        read.push(
            jwk.and_then(|jwk| import_public(&jwk))
                .map(|key| (index, key))
                .map_err(|why| SkippedMember { index, kid, why }),
        );
    }

    // The distinct usable keys under each kid.
    let mut distinct: HashMap<Option<Kid>, Vec<(Algorithm, Option<String>)>> = HashMap::new();
    read.retain(|member| {
        let Ok((_, key)) = member else {
            return true;
        };
        let same = distinct.entry(key.kid.clone()).or_default();
        let identity = (key.algorithm.algorithm(), key.public_jwk.clone());
        let is_new = !same.contains(&identity);
        if is_new {
            same.push(identity);
        }
        is_new
    });
    let is_shared =
        |kid: &Option<Kid>| kid.is_some() && distinct.get(kid).is_some_and(|keys| keys.len() > 1);
    let imported: Vec<_> = read
        .into_iter()
        .map(|member| {
            let (index, key) = member?;
            if is_shared(&key.kid) {
                let (kid, why) = (key.kid, KeyError::DuplicateKid);
                return Err(SkippedMember { index, kid, why });
            }
            Ok(key)
        })
        .collect();
    if is_empty || imported.iter().any(Result::is_ok) {
        Ok(imported)
    } else {
        Err(KeyError::NothingUsable)
    }
}

fn shown(kid: Option<&Kid>) -> String {
    kid.map_or_else(
        || "without a usable kid".to_owned(),
        |kid| format!("kid {}", quote(kid.as_str())),
    )
}

fn kid_of(member: Option<&Jwk<'_>>) -> Option<Kid> {
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
