//! Key sets: which keys they have, and whether one may take another's place.

use std::collections::BTreeSet;

use jose::{Kid, import_jwks};
use serde_json::Value;

use crate::failure::Failure;

/// The keys of a set that auth_ext can use, each by its RFC 7638 thumbprint: the same key under another kid or algorithm is the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(BTreeSet<Kid>);

impl KeySet {
    /// Reads a document as the database will, which keeps the last of members that are there twice.
    pub fn read(document: &str) -> Result<Self, Failure> {
        let document: Value = serde_json::from_str(document)
            .map_err(|_| Failure::new("what the server sent is no JSON"))?;
        let members =
            import_jwks(&document.to_string()).map_err(|error| Failure::new(error.to_string()))?;
        let keys = members.into_iter().flatten();
        Ok(Self(
            keys.filter_map(|key| key.default_kid().ok()).collect(),
        ))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many keys are here that the other has not.
    pub fn beside(&self, other: &Self) -> usize {
        self.0.difference(&other.0).count()
    }

    /// May this set take the place of the present one? It must have a key, and one of those that are there, if any are: so that
    /// neither a mistake of the provider's nor somebody else's answer ends every token at once.
    pub fn may_replace(&self, present: &Self) -> Result<(), Failure> {
        if self.0.is_empty() {
            Err(Failure::new("the set has no key"))
        } else if !present.0.is_empty() && self.0.is_disjoint(&present.0) {
            Err(Failure::new(
                "the set has none of the present keys (if that is right: --once --replace ISSUER)",
            ))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const ONE: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"one","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    const ONE_RENAMED: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"uno","alg":"EdDSA","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="}"#;
    const OTHER: &str = r#"{"kty":"EC","crv":"P-256","kid":"one","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    const FOR_ENCRYPTION: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"enc","use":"enc","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    fn set(members: &[&str]) -> KeySet {
        KeySet::read(&format!(r#"{{"keys":[{}]}}"#, members.join(","))).unwrap()
    }

    #[test]
    fn a_set_that_shares_a_key_may_replace_another() {
        let (present, next) = (set(&[ONE]), set(&[ONE_RENAMED, OTHER]));
        assert_eq!((next.len(), next.beside(&present)), (2, 1));
        assert_eq!(next.may_replace(&present), Ok(()));
        assert_eq!(present.may_replace(&next), Ok(()));
    }

    #[test]
    fn the_first_set_may_be_any() {
        assert_eq!(set(&[OTHER]).may_replace(&KeySet::default()), Ok(()));
    }

    #[test]
    fn a_set_without_a_common_key_may_not() {
        // The same kid is not the same key.
        assert!(set(&[OTHER]).may_replace(&set(&[ONE])).is_err());
    }

    #[test]
    fn a_set_without_a_key_never_may() {
        assert!(set(&[]).may_replace(&set(&[ONE])).is_err());
        assert!(set(&[]).may_replace(&KeySet::default()).is_err());
    }

    #[test]
    fn what_is_no_set_is_refused() {
        let for_encryption = format!(r#"{{"keys":[{FOR_ENCRYPTION}]}}"#);
        let weak = r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
        let secret = r#"{"keys":[{"kty":"oct","k":"c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ"}]}"#;
        for document in [
            "",
            "<html></html>",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":["#,
            &for_encryption,
            weak,
            secret,
        ] {
            assert!(KeySet::read(document).is_err(), "{document}");
        }
    }

    #[test]
    fn of_members_that_are_there_twice_the_last_counts_as_in_the_database() {
        let document = format!(r#"{{"keys":[{ONE}],"keys":[]}}"#);
        assert_eq!(KeySet::read(&document), Ok(KeySet::default()));
    }
}
