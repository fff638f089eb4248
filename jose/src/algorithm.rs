//! The signature algorithms that are supported, by their registered names.

use std::fmt;
use std::str::FromStr;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

/// A name under which a key signs and verifies, as it stands in `alg` (RFC 7518 section 3.1, RFC 8037
/// section 3.1, RFC 9864 section 2.2).
///
/// [`Algorithm::EdDSA`] has two names: `EdDSA`, and `Ed25519` of RFC 9864.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlgorithmName {
    text: &'static str,
    algorithm: Algorithm,
}

/// The text is no supported algorithm's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the algorithm is not supported")]
pub struct UnknownAlgorithm;

impl AlgorithmName {
    /// Every supported name; an algorithm's usual one comes first.
    pub const ALL: [Self; 13] = [
        Self::new("HS256", Algorithm::HS256),
        Self::new("HS384", Algorithm::HS384),
        Self::new("HS512", Algorithm::HS512),
        Self::new("RS256", Algorithm::RS256),
        Self::new("RS384", Algorithm::RS384),
        Self::new("RS512", Algorithm::RS512),
        Self::new("PS256", Algorithm::PS256),
        Self::new("PS384", Algorithm::PS384),
        Self::new("PS512", Algorithm::PS512),
        Self::new("ES256", Algorithm::ES256),
        Self::new("ES384", Algorithm::ES384),
        Self::new("EdDSA", Algorithm::EdDSA),
        Self::new("Ed25519", Algorithm::EdDSA),
    ];

    const fn new(text: &'static str, algorithm: Algorithm) -> Self {
        Self { text, algorithm }
    }

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.text
    }

    /// The algorithm that it names.
    #[must_use]
    pub const fn algorithm(self) -> Algorithm {
        self.algorithm
    }

    /// Whether the same secret signs and verifies.
    #[must_use]
    pub fn is_hmac(self) -> bool {
        self.algorithm.family() == AlgorithmFamily::Hmac
    }
}

/// The algorithm's usual name.
impl From<Algorithm> for AlgorithmName {
    fn from(algorithm: Algorithm) -> Self {
        // `Algorithm` is non-exhaustive: an algorithm that jsonwebtoken adds has no name and fits no key here.
        Self::ALL
            .into_iter()
            .find(|name| name.algorithm == algorithm)
            .unwrap_or(Self::new("", algorithm))
    }
}

impl fmt::Display for AlgorithmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for AlgorithmName {
    type Err = UnknownAlgorithm;

    /// Exact and case-sensitive (RFC 7515 section 4.1.1).
    fn from_str(name: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|known| known.text == name)
            .ok_or(UnknownAlgorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_exactly() {
        for name in AlgorithmName::ALL {
            assert_eq!(name.name().parse(), Ok(name));
        }
        for wrong in [
            "none", "hs256", "HS256 ", "", "ES512", "ES256K", "RSA1_5", "Ed448", "ed25519",
        ] {
            assert_eq!(
                wrong.parse::<AlgorithmName>(),
                Err(UnknownAlgorithm),
                "{wrong}"
            );
        }
    }

    #[test]
    fn the_names_are_those_of_jsonwebtoken_and_ed25519() {
        for name in AlgorithmName::ALL {
            if name.name() == "Ed25519" {
                assert_eq!(AlgorithmName::from(name.algorithm()).name(), "EdDSA");
            } else {
                assert_eq!(name.name().parse::<Algorithm>().unwrap(), name.algorithm());
                assert_eq!(AlgorithmName::from(name.algorithm()), name);
            }
        }
    }
}
