//! bcrypt (Provos and Mazières, 1999), by which services knew API keys before there was a fingerprint. It takes up to a second, so
//! it is computed in steps: between them the caller may stop it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::alphabet::BCRYPT;
use base64::engine::GeneralPurpose;
use base64::engine::general_purpose::NO_PAD;
use blowfish::Blowfish;
use zeroize::Zeroizing;

use crate::key::KeyError;
use crate::random::random_octets;

/// bcrypt reads no more octets of a text than this.
pub const BCRYPT_LONGEST: usize = 72;
/// A hash of a higher cost is not tried: each step of the cost doubles the time.
pub const BCRYPT_MAX_COST: u32 = 14;
const MIN_COST: u32 = 4;
/// How many rounds are between two pauses: a few milliseconds.
const ROUNDS: u32 = 32;

const BASE64: GeneralPurpose = GeneralPurpose::new(&BCRYPT, NO_PAD);
const SALT: usize = 16;
const DIGEST: usize = 23;

/// A new hash of `text`, of which bcrypt reads the first 72 octets. `pause` is called every few milliseconds; it may unwind.
///
/// # Errors
/// [`KeyError::Crypto`] when the random generator fails.
pub fn bcrypt_hash(text: &str, cost: u32, pause: impl FnMut()) -> Result<String, KeyError> {
    let cost = cost.clamp(MIN_COST, BCRYPT_MAX_COST);
    let salt = random_octets::<SALT>()?;
    let digest = digest(text, cost, &salt, pause);
    let encode = |octets: &[u8]| BASE64.encode(octets);
    Ok(format!(
        "$2b${cost:02}${}{}",
        encode(salt.as_slice()),
        encode(&digest)
    ))
}

/// Is `hash` a bcrypt hash of `text`? One that is malformed, or of a cost over [`BCRYPT_MAX_COST`], is not, and nothing is
/// computed. `pause` is called every few milliseconds; it may unwind.
#[must_use]
pub fn bcrypt_matches(text: &str, hash: &str, pause: impl FnMut()) -> bool {
    let Some((cost, salt, expected)) = parse(hash) else {
        return false;
    };
    verify_slices_are_equal(&digest(text, cost, &salt, pause), &expected).is_ok()
}

fn parse(hash: &str) -> Option<(u32, [u8; SALT], [u8; DIGEST])> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|version| hash.strip_prefix(version))?;
    let (cost, encoded) = rest.split_once('$')?;
    let is_cost = cost.len() == 2 && cost.bytes().all(|octet| octet.is_ascii_digit());
    let cost = cost.parse().ok().filter(|_| is_cost)?;
    if !(MIN_COST..=BCRYPT_MAX_COST).contains(&cost) {
        return None;
    }
    let (salt, digest) = encoded.split_at_checked(22)?;
    let salt = BASE64.decode(salt).ok()?.try_into().ok()?;
    let digest = BASE64.decode(digest).ok()?.try_into().ok()?;
    Some((cost, salt, digest))
}

fn digest(text: &str, cost: u32, salt: &[u8; SALT], mut pause: impl FnMut()) -> [u8; DIGEST] {
    // The text with the NUL that ends it, as far as bcrypt reads.
    let mut key = Zeroizing::new(Vec::with_capacity(BCRYPT_LONGEST + 1));
    key.extend(text.bytes().take(BCRYPT_LONGEST).chain([0]));
    key.truncate(BCRYPT_LONGEST);

    let mut state = Blowfish::bc_init_state();
    state.salted_expand_key(salt, &key);
    for round in 0..1_u32 << cost {
        if round % ROUNDS == 0 {
            pause();
        }
        state.bc_expand_key(&key);
        state.bc_expand_key(salt);
    }
    let mut octets = [0; 24];
    // "OrpheanBeholderScryDoubt", in three blocks.
    let blocks: [[u32; 2]; 3] = [
        [0x4f72_7068, 0x6561_6e42],
        [0x6568_6f6c, 0x6465_7253],
        [0x6372_7944, 0x6f75_6274],
    ];
    for (block, to) in blocks.into_iter().zip(octets.chunks_exact_mut(8)) {
        let [left, right] = (0..64).fold(block, |block, _| state.bc_encrypt(block));
        for (octet, to) in left
            .to_be_bytes()
            .into_iter()
            .chain(right.to_be_bytes())
            .zip(to)
        {
            *to = octet;
        }
    }
    let mut digest = [0; DIGEST];
    digest.copy_from_slice(octets.split_at(DIGEST).0);
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// jBCrypt's own test vectors.
    const VECTORS: [(&str, &str); 8] = [
        (
            "",
            "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.",
        ),
        (
            "",
            "$2a$08$HqWuK6/Ng6sg9gQzbLrgb.Tl.ZHfXLhvt/SgVyWhQqgqcZ7ZuUtye",
        ),
        (
            "a",
            "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe",
        ),
        (
            "a",
            "$2a$08$cfcvVd2aQ8CMvoMpP2EBfeodLEkkFJ9umNEfPD18.hUF62qqlC/V.",
        ),
        (
            "abc",
            "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i",
        ),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "$2a$06$.rCVZVOThsIa97pEDOxvGuRRgzG64bvtJ0938xuqzv18d3ZpQhstC",
        ),
        (
            "abcdefghijklmnopqrstuvwxyz",
            "$2a$08$aTsUwsyowQuzRrDqFflhgekJ8d9/7Z3GV3UcgvzQW3J5zMyrTvlz.",
        ),
        (
            "~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
            "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO",
        ),
    ];

    #[test]
    fn the_published_vectors_match_and_no_other_text_does() {
        for (text, hash) in VECTORS {
            assert!(bcrypt_matches(text, hash, || ()), "{hash}");
            assert!(!bcrypt_matches(&format!("{text}x"), hash, || ()), "{hash}");
        }
    }

    #[test]
    fn a_new_hash_matches_its_text_alone_and_is_salted() {
        let hashes = [(); 2].map(|()| bcrypt_hash("key", 4, || ()).unwrap());
        assert_ne!(hashes[0], hashes[1]);
        for hash in &hashes {
            assert!(hash.starts_with("$2b$04$") && hash.len() == 60, "{hash}");
            assert!(bcrypt_matches("key", hash, || ()));
            assert!(!bcrypt_matches("kez", hash, || ()));
        }
    }

    #[test]
    fn of_a_text_the_first_72_octets_count() {
        let text = "0123456789".repeat(8);
        let hash = bcrypt_hash(&text, 4, || ()).unwrap();
        assert!(bcrypt_matches(&text[..72], &hash, || ()));
        assert!(!bcrypt_matches(&text[..71], &hash, || ()));
    }

    #[test]
    fn a_malformed_or_expensive_hash_is_refused_before_anything_is_computed() {
        let tail = &VECTORS[0].1[7..];
        for hash in [
            String::new(),
            "$".to_owned(),
            "$2b$06$".to_owned(),
            format!("$2b$15${tail}"),
            format!("$2b$31${tail}"),
            format!("$2b$03${tail}"),
            format!("$2b$6${tail}"),
            format!("$2b$+6${tail}"),
            format!("$2x$06${tail}"),
            format!("$3b$06${tail}"),
            format!("$2b$06${tail}."),
            format!("$2b$06${}", &tail[1..]),
            format!("$2b$06$é{}", &tail[2..]),
        ] {
            let pause = || panic!("computed for {hash}");
            assert!(!bcrypt_matches("", &hash, pause), "{hash}");
        }
    }

    #[test]
    fn a_caller_can_stop_it_at_every_pause() {
        let mut pauses = 0;
        assert!(bcrypt_matches("a", VECTORS[3].1, || pauses += 1));
        assert_eq!(pauses, 256 / ROUNDS);
        let stopped = std::panic::catch_unwind(|| {
            let mut left = 2;
            bcrypt_matches("a", VECTORS[3].1, || {
                left -= 1;
                assert!(left > 0, "stop");
            })
        });
        assert!(stopped.is_err());
    }
}
