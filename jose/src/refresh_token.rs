//! Refresh tokens of sessions: opaque to everybody else, 32 octets as 43 URL-safe characters.
//!
//! | octets | |
//! |---|---|
//! | 16 | the family, the same in every token of one session |
//! | 12 | random, another in each token |
//! | 4 | a checksum over both |
//!
//! The family finds the session of a token that was used long ago, so that no used token has to be stored for ever. The
//! checksum tells a token that was damaged on its way, which is nobody's, from one that was used before, which is a theft. It is
//! no secret: whoever can compute it for a family has held a token of that family.

use sha2::{Digest, Sha256};

use crate::key::KeyError;
use crate::{base64url, random_octets};

const FAMILY: usize = 16;
const CHECKED: usize = 28;
const LENGTH: usize = 32;

/// A refresh token. Neither printed nor compared: only its hashes leave it.
pub struct RefreshToken([u8; LENGTH]);

impl RefreshToken {
    /// The first token of a new session.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the random generator fails.
    pub fn first() -> Result<Self, KeyError> {
        Self::of_family(*random_octets::<FAMILY>()?)
    }

    /// Another token of the same session.
    ///
    /// # Errors
    /// [`KeyError::Crypto`] when the random generator fails.
    pub fn next(&self) -> Result<Self, KeyError> {
        let mut family = [0; FAMILY];
        family.copy_from_slice(self.family());
        Self::of_family(family)
    }

    fn of_family(family: [u8; FAMILY]) -> Result<Self, KeyError> {
        let mut octets = [0; LENGTH];
        octets[..FAMILY].copy_from_slice(&family);
        octets[FAMILY..CHECKED].copy_from_slice(&*random_octets::<{ CHECKED - FAMILY }>()?);
        let checksum = checksum(&octets);
        octets[CHECKED..].copy_from_slice(&checksum);
        Ok(Self(octets))
    }

    /// Reads the text of a token; `None` for text that is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let octets: [u8; LENGTH] = base64url::decode(text)?.try_into().ok()?;
        (octets.get(CHECKED..)? == checksum(&octets)).then_some(Self(octets))
    }

    /// The token as the client gets it: 43 characters.
    #[must_use]
    pub fn to_text(&self) -> String {
        base64url::encode(self.0)
    }

    fn family(&self) -> &[u8] {
        self.0.get(..FAMILY).unwrap_or_default()
    }

    /// The SHA-256 of the family, by which a session is found.
    #[must_use]
    pub fn family_hash(&self) -> [u8; 32] {
        Sha256::digest(self.family()).into()
    }

    /// The SHA-256 of the token's octets, base64url, by which a session knows it.
    #[must_use]
    pub fn hash(&self) -> String {
        base64url::encode(Sha256::digest(self.0))
    }
}

impl Drop for RefreshToken {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

fn checksum(octets: &[u8; LENGTH]) -> [u8; LENGTH - CHECKED] {
    let digest = Sha256::digest(octets.get(..CHECKED).unwrap_or_default());
    let mut checksum = [0; LENGTH - CHECKED];
    for (to, from) in checksum.iter_mut().zip(digest) {
        *to = from;
    }
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_token_is_43_characters_and_is_read_back() {
        let token = RefreshToken::first().unwrap();
        let text = token.to_text();
        assert_eq!(text.len(), 43);
        let read = RefreshToken::parse(&text).unwrap();
        assert_eq!(read.hash(), token.hash());
        assert_eq!(read.family_hash(), token.family_hash());
    }

    #[test]
    fn the_next_token_is_another_of_the_same_family() {
        let first = RefreshToken::first().unwrap();
        let next = first.next().unwrap();
        assert_eq!(first.family_hash(), next.family_hash());
        assert_ne!(first.hash(), next.hash());
        let families: HashSet<_> = (0..100)
            .map(|_| RefreshToken::first().unwrap().family_hash())
            .collect();
        assert_eq!(families.len(), 100);
    }

    #[test]
    fn a_token_with_any_other_character_is_none() {
        let text = RefreshToken::first().unwrap().to_text();
        for at in 0..text.len() {
            for other in ["A", "z", "_", "=", " "] {
                let mut damaged = text.clone();
                damaged.replace_range(at..=at, other);
                assert_eq!(
                    RefreshToken::parse(&damaged).is_some(),
                    damaged == text,
                    "{at}"
                );
            }
        }
        for none in ["", "x", &text[..42], &format!("{text}A"), &"A".repeat(43)] {
            assert!(RefreshToken::parse(none).is_none());
        }
    }
}
