//! The elliptic curves, and which octets are a point on them.

use super::KeyError;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm,
    ParsedPublicKey,
};
use curve25519_dalek::edwards::CompressedEdwardsY;

/// A NIST curve, bound to its one JWS algorithm (RFC 7518 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
}

impl Curve {
    /// The curve's name in a JWK's `crv` (RFC 7518 section 6.2.1.1).
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
        }
    }

    /// The length of a coordinate and of a private key, in octets.
    pub(super) const fn field_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    pub(super) const fn verification(self) -> &'static EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ECDSA_P384_SHA384_FIXED,
        }
    }

    pub(super) const fn signing(self) -> &'static EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ECDSA_P384_SHA384_FIXED_SIGNING,
        }
    }

    /// Accepts an uncompressed SEC 1 point (0x04, x, y) that lies on the curve.
    pub(super) fn admit(self, point: &[u8]) -> Result<(), KeyError> {
        let uncompressed = point.first() == Some(&4);
        let length = self.field_len().saturating_mul(2).saturating_add(1);
        if !uncompressed || point.len() != length {
            return Err(KeyError::Point);
        }
        ParsedPublicKey::new(self.verification(), point)
            .map(drop)
            .map_err(|_| KeyError::Point)
    }
}

/// Accepts the octets of an Ed25519 public key: the canonical encoding of a point on the curve, in
/// the prime-order group. AWS-LC takes any 32 octets (RFC 8032 leaves the rest to the caller), and
/// under a small-order key a fixed signature verifies every message.
pub(super) fn admit_ed25519(octets: &[u8]) -> Result<[u8; 32], KeyError> {
    let encoded = CompressedEdwardsY::from_slice(octets).map_err(|_| KeyError::Point)?;
    let point = encoded.decompress().ok_or(KeyError::Point)?;
    if point.compress() != encoded || point.is_small_order() || !point.is_torsion_free() {
        return Err(KeyError::Point);
    }
    Ok(encoded.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_of_p256_and_p384_is_on_its_curve() {
        let octets = |hex: &str| -> Vec<u8> {
            let digits: String = hex.split_whitespace().collect();
            (0..digits.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
                .collect()
        };
        // The generators (SEC 2, 2.4.2 and 2.5.1).
        let p256 = octets(
            "04 6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296
                4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5",
        );
        let p384 = octets(
            "04 aa87ca22be8b05378eb1c71ef320ad746e1d3b628ba79b9859f741e082542a385502f25dbf55296c3a545e3872760ab7
                3617de4a96262c6f5d9e98bf9292dc29f8f41dbd289a147ce9da3113b5f0b8c00a60b1ce1d7e819d7a431d7c90ea0e5f",
        );
        for (curve, good) in [(Curve::P256, p256), (Curve::P384, p384)] {
            assert_eq!(curve.admit(&good), Ok(()));
            for at in [1, good.len() / 2, good.len() - 1] {
                let mut off = good.clone();
                off[at] ^= 1;
                assert_eq!(curve.admit(&off), Err(KeyError::Point), "octet {at}");
            }
            let mut compressed = good[..=good.len() / 2].to_vec();
            compressed[0] = 3;
            for bad in [
                &[][..],
                &[0],
                &good[1..],
                &compressed,
                &vec![0xff; good.len()],
            ] {
                assert_eq!(curve.admit(bad), Err(KeyError::Point));
            }
        }
    }

    #[test]
    fn an_ed25519_key_is_a_canonical_point_of_prime_order() {
        let good = crate::base64url::decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert!(admit_ed25519(&good).is_ok());

        let mut small_orders: Vec<[u8; 32]> = curve25519_dalek::constants::EIGHT_TORSION
            .iter()
            .map(|point| point.compress().to_bytes())
            .collect();
        // y = p + 1 (= 1), y = p (= 0), and -0 for x: other spellings of small-order points.
        let mut p = [0xff; 32];
        (p[0], p[31]) = (0xed, 0x7f);
        small_orders.push(p);
        p[0] = 0xee;
        small_orders.push(p);
        let mut one = [0; 32];
        (one[0], one[31]) = (1, 0x80);
        small_orders.push(one);
        for bad in small_orders {
            assert_eq!(admit_ed25519(&bad), Err(KeyError::Point), "{bad:02x?}");
        }

        // y = p + k: second spellings of points of any order.
        for (k, top) in (2..=18).flat_map(|k| [(k, 0x7f), (k, 0xff)]) {
            let mut octets = [0xff; 32];
            (octets[0], octets[31]) = (0xed + k, top);
            assert_eq!(admit_ed25519(&octets), Err(KeyError::Point), "p + {k}");
        }

        // y = 2 is on no point of the curve.
        let mut off = [0; 32];
        off[0] = 2;
        assert_eq!(admit_ed25519(&off), Err(KeyError::Point));
        let mixed = CompressedEdwardsY::from_slice(&good)
            .unwrap()
            .decompress()
            .unwrap()
            + curve25519_dalek::constants::EIGHT_TORSION[1];
        assert_eq!(
            admit_ed25519(mixed.compress().as_bytes()),
            Err(KeyError::Point)
        );
        assert_eq!(admit_ed25519(&good[1..]), Err(KeyError::Point));
    }
}
