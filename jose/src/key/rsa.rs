//! Which RSA public keys are strong enough.

use super::KeyError;

const MIN_BITS: usize = 2048;
/// Verification gets slower with the square of the length.
const MAX_BITS: usize = 8192;
/// AWS-LC verifies with no larger exponent (`RSA_check_key`, rsa.c).
const MAX_EXPONENT_BITS: usize = 33;

/// Accepts a modulus and an exponent, big-endian without leading zeros: the modulus odd and of
/// 2048 to 8192 bits, the exponent odd, at least 3 and at most 33 bits, and not a ROCA key.
pub(super) fn admit(modulus: &[u8], exponent: &[u8]) -> Result<(), KeyError> {
    if !is_odd(modulus) || !(MIN_BITS..=MAX_BITS).contains(&bit_length(modulus)) {
        return Err(KeyError::RsaModulus);
    }
    if !is_odd(exponent) || !(2..=MAX_EXPONENT_BITS).contains(&bit_length(exponent)) {
        return Err(KeyError::RsaExponent);
    }
    if has_roca_fingerprint(modulus) {
        return Err(KeyError::Roca);
    }
    Ok(())
}

/// `octets` without leading zeros: the minimal form that a JWK has (RFC 7518 section 2).
pub(super) fn minimal(octets: &[u8]) -> &[u8] {
    let zeros = octets.iter().take_while(|b| **b == 0).count();
    octets.get(zeros..).unwrap_or_default()
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|b| b & 1 == 1)
}

fn bit_length(number: &[u8]) -> usize {
    let unused = number.first().map_or(0, |b| b.leading_zeros());
    let unused = usize::try_from(unused).unwrap_or(0);
    number.len().saturating_mul(8).saturating_sub(unused)
}

/// The odd primes up to 167: a ROCA modulus is, modulo each of them, a power of 65537 (Nemec et
/// al., "The Return of Coppersmith's Attack", CCS 2017, section 3.2). An honest modulus passes
/// for one with a probability below 2^-27.
const PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97,
    101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    PRIMES.iter().all(|prime| {
        let rest = modulus
            .iter()
            .fold(0, |rest, octet| (rest * 256 + u32::from(*octet)) % prime);
        is_power_of_65537(rest, *prime)
    })
}

/// Whether `number` is in the group that 65537 generates modulo `prime`.
fn is_power_of_65537(number: u32, prime: u32) -> bool {
    let mut power = 1;
    loop {
        if power == number {
            return true;
        }
        power = power * (65_537 % prime) % prime;
        if power == 1 {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modulus(bits: usize) -> Vec<u8> {
        let mut octets = vec![0xff; bits.div_ceil(8)];
        if !bits.is_multiple_of(8) {
            octets[0] = 0xff >> (8 - bits % 8);
        }
        octets
    }

    #[test]
    fn a_modulus_has_2048_to_8192_bits_and_is_odd() {
        assert_eq!(admit(&modulus(2048), &[3]), Ok(()));
        assert_eq!(admit(&modulus(8192), &[3]), Ok(()));
        assert_eq!(admit(&modulus(2047), &[3]), Err(KeyError::RsaModulus));
        assert_eq!(admit(&modulus(8193), &[3]), Err(KeyError::RsaModulus));
        let mut even = modulus(2048);
        even[255] = 0xfe;
        assert_eq!(admit(&even, &[3]), Err(KeyError::RsaModulus));
        assert_eq!(admit(&[], &[3]), Err(KeyError::RsaModulus));
    }

    #[test]
    fn an_exponent_is_odd_and_from_3_to_33_bits() {
        for good in [&[3][..], &[1, 0, 1], &[1, 0, 0, 0, 1]] {
            assert_eq!(admit(&modulus(2048), good), Ok(()), "{good:?}");
        }
        for bad in [&[][..], &[1], &[2], &[1, 0, 0], &[3, 0, 0, 0, 1]] {
            assert_eq!(
                admit(&modulus(2048), bad),
                Err(KeyError::RsaExponent),
                "{bad:?}"
            );
        }
    }
}
