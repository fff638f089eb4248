//! Randomness from the operating system, by way of AWS-LC.

use crate::key::KeyError;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

/// `N` random octets.
///
/// # Errors
/// [`KeyError::Crypto`] when the random generator fails.
pub fn random_octets<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut octets = Zeroizing::new([0; N]);
    rand::fill(octets.as_mut_slice()).map_err(|_| KeyError::Crypto)?;
    Ok(octets)
}

/// A secret of 32 random octets as 43 URL-safe characters, for one-time tokens and hand-offs.
///
/// # Errors
/// [`KeyError::Crypto`] when the random generator fails.
pub fn random_text() -> Result<String, KeyError> {
    Ok(crate::base64url::encode(*random_octets::<32>()?))
}

/// A version 4 UUID (RFC 9562 section 5.4) in lower case, for `jti`.
///
/// # Errors
/// [`KeyError::Crypto`] when the random generator fails.
pub fn random_uuid() -> Result<String, KeyError> {
    let bits = u128::from_be_bytes(*random_octets::<16>()?);
    const VERSION_AND_VARIANT: u128 = 0xf000_c000_0000_0000_0000;
    let bits = (bits & !VERSION_AND_VARIANT) | 0x4000_8000_0000_0000_0000;
    let mut text = String::with_capacity(36);
    for (position, digit) in format!("{bits:032x}").chars().enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        text.push(digit);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_uuid_has_version_4_and_the_rfc_variant() {
        for _ in 0..64 {
            let uuid = super::random_uuid().unwrap();
            let groups: Vec<_> = uuid.split('-').map(str::len).collect();
            assert_eq!(groups, [8, 4, 4, 4, 12]);
            assert_eq!(&uuid[14..15], "4");
            assert!("89ab".contains(&uuid[19..20]), "{uuid}");
            assert!(uuid.bytes().all(|b| b"0123456789abcdef-".contains(&b)));
        }
    }
}
