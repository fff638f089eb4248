//! Step 1b: the signature, by the key that the header's `kid` names.

use crate::verified::Verified;
use crate::{Algorithm, Kid, Refusal, Token, UnixMicros, VerifyingKey};

/// A key that an issuer's tokens may be signed with.
#[derive(Debug)]
pub struct TrustedKey {
    /// Its id, unique within the issuer.
    pub kid: Kid,
    /// The key itself.
    pub key: VerifyingKey,
    /// It verifies while `now` is before this moment; `None`: until it is removed.
    pub until: Option<UnixMicros>,
}

impl TrustedKey {
    /// Does it verify at that moment?
    #[must_use]
    pub fn is_live(&self, now: UnixMicros) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The keys of one issuer.
#[derive(Debug, Default)]
pub struct KeySet(Vec<TrustedKey>);

impl KeySet {
    /// A set of these keys. Their ids should be unique; of two alike, the first live one counts.
    #[must_use]
    pub fn new(keys: Vec<TrustedKey>) -> Self {
        Self(keys)
    }

    /// The keys, in the order they were given, lapsed ones included.
    #[must_use]
    pub fn keys(&self) -> &[TrustedKey] {
        &self.0
    }

    /// Checks `token`'s signature (RFC 7515 section 5.2) at the moment `now`.
    ///
    /// A `kid` picks the one key that may have signed; without it, every live key of the header's
    /// algorithm is tried. A key verifies under its own algorithm only (RFC 8725 section 3.1).
    ///
    /// # Errors
    /// - [`Refusal::UnsupportedAlgorithm`]: as [`Token::algorithm`];
    /// - [`Refusal::UnknownKey`]: `kid` names no live key, or no key lives at all;
    /// - [`Refusal::AlgorithmMismatch`]: the named key, or every live one, has another algorithm;
    /// - [`Refusal::BadSignature`]: no candidate's signature holds.
    pub fn verify<'t>(&self, token: Token<'t>, now: UnixMicros) -> Result<Verified<'t>, Refusal> {
        let algorithm = token.algorithm()?;
        let signer = self
            .candidates(token.kid(), algorithm, now)?
            .into_iter()
            .find(|trusted| {
                let input = token.signing_input.as_bytes();
                trusted.key.verify(input, &token.signature)
            })
            .ok_or(Refusal::BadSignature)?;
        Ok(Verified::new(token.content, signer))
    }

    /// The live keys that may have signed: never empty, all of that algorithm.
    fn candidates(
        &self,
        kid: Option<&Kid>,
        algorithm: Algorithm,
        now: UnixMicros,
    ) -> Result<Vec<&TrustedKey>, Refusal> {
        let mut candidates: Vec<_> = self.0.iter().filter(|k| k.is_live(now)).collect();
        if let Some(kid) = kid {
            candidates.retain(|trusted| trusted.kid == *kid);
            candidates.truncate(1);
        }
        if candidates.is_empty() {
            return Err(Refusal::UnknownKey);
        }
        candidates.retain(|trusted| trusted.key.algorithm() == algorithm);
        if candidates.is_empty() {
            return Err(Refusal::AlgorithmMismatch);
        }
        Ok(candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KeyMaterial, sign_compact};

    const NOW: UnixMicros = UnixMicros(1_000);

    fn trusted(material: &KeyMaterial, kid: &str, until: Option<i64>) -> TrustedKey {
        TrustedKey {
            kid: Kid::new(kid).unwrap(),
            key: material.verifying_key().unwrap(),
            until: until.map(UnixMicros),
        }
    }

    fn signed(material: &KeyMaterial, kid: Option<&str>) -> String {
        let key = material.signing_key().unwrap().unwrap();
        sign_compact(&key, kid.and_then(Kid::new).as_ref(), "JWT", "{}").unwrap()
    }

    fn outcome(set: &KeySet, text: &str) -> Result<String, Refusal> {
        let verified = set.verify(Token::decode(text).unwrap(), NOW)?;
        Ok(verified.kid().as_str().to_owned())
    }

    #[test]
    fn a_kid_picks_the_one_key_that_may_have_signed() {
        let [first, second] = [Algorithm::HS256; 2].map(|a| KeyMaterial::generate(a).unwrap());
        let other = KeyMaterial::generate(Algorithm::EdDSA).unwrap();
        let set = KeySet::new(vec![
            trusted(&first, "1", None),
            trusted(&second, "2", None),
            trusted(&other, "3", None),
            trusted(&first, "lapsed", Some(1_000)),
            trusted(&first, "lapsing", Some(1_001)),
        ]);
        assert_eq!(
            outcome(&set, &signed(&first, Some("1"))),
            Ok("1".to_owned())
        );
        assert_eq!(
            outcome(&set, &signed(&first, Some("lapsing"))),
            Ok("lapsing".to_owned())
        );
        assert_eq!(
            outcome(&set, &signed(&first, Some("2"))),
            Err(Refusal::BadSignature)
        );
        assert_eq!(
            outcome(&set, &signed(&first, Some("3"))),
            Err(Refusal::AlgorithmMismatch)
        );
        assert_eq!(
            outcome(&set, &signed(&first, Some("4"))),
            Err(Refusal::UnknownKey)
        );
        assert_eq!(
            outcome(&set, &signed(&first, Some("lapsed"))),
            Err(Refusal::UnknownKey)
        );
    }

    #[test]
    fn without_a_kid_every_live_key_of_the_algorithm_is_tried() {
        let [first, second] = [Algorithm::HS256; 2].map(|a| KeyMaterial::generate(a).unwrap());
        let other = KeyMaterial::generate(Algorithm::HS384).unwrap();
        let both = KeySet::new(vec![
            trusted(&first, "1", None),
            trusted(&second, "2", None),
        ]);
        assert_eq!(outcome(&both, &signed(&second, None)), Ok("2".to_owned()));
        assert_eq!(
            outcome(&both, &signed(&other, None)),
            Err(Refusal::AlgorithmMismatch)
        );

        let lapsed = KeySet::new(vec![
            trusted(&first, "1", Some(1_000)),
            trusted(&second, "2", None),
        ]);
        assert_eq!(
            outcome(&lapsed, &signed(&first, None)),
            Err(Refusal::BadSignature)
        );
        let none_live = KeySet::new(vec![trusted(&first, "1", Some(0))]);
        assert_eq!(
            outcome(&none_live, &signed(&first, None)),
            Err(Refusal::UnknownKey)
        );
    }
}
