//! A compact JWE (RFC 7516) under a passphrase: how key bundles travel.
//!
//! One form only: `PBES2-HS512+A256KW` (RFC 7518 section 4.8) with `A256GCM` (section 5.3). What is opened must have it, too.

use std::num::NonZeroU32;

use crate::base64url;
use crate::json::{Object, quote};
use crate::key::KeyError;
use crate::random::random_octets;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2;
use zeroize::Zeroizing;

const ALG: &str = "PBES2-HS512+A256KW";
const ENC: &str = "A256GCM";
/// As many as OWASP asks for; each costs whoever guesses passphrases as much as us.
#[cfg(not(fuzzing))]
const COUNT: u32 = 210_000;
/// A fuzzer would do little else (`cargo fuzz` sets this, and debug assertions, which nothing that is shipped has).
#[cfg(fuzzing)]
const COUNT: u32 = 1;
#[cfg(all(fuzzing, not(debug_assertions)))]
compile_error!("cfg(fuzzing) is for the fuzz targets only");
/// A bundle with more would keep a server busy, one with less was made by somebody careless.
const COUNTS: core::ops::RangeInclusive<u32> = COUNT..=300_000;
const SHORTEST_PASSPHRASE: usize = 12;
const TAG: usize = 16;
const NONCE: usize = 12;
/// A key of 32 octets, wrapped (RFC 3394).
const WRAPPED: usize = 40;

/// Encrypts `plaintext` under `passphrase`. `cty` says what it is.
///
/// # Errors
/// [`KeyError::Passphrase`] for one that is too short, [`KeyError::Crypto`] when the cryptographic library fails.
pub(crate) fn seal(plaintext: &[u8], cty: &str, passphrase: &str) -> Result<String, KeyError> {
    let salt = random_octets::<16>()?;
    let header = format!(
        r#"{{"alg":"{ALG}","enc":"{ENC}","p2s":"{}","p2c":{COUNT},"cty":{}}}"#,
        base64url::encode(*salt),
        quote(cty),
    );
    let header = base64url::encode(header);
    let kek = kek(passphrase, salt.as_slice(), COUNT)?;
    let content_key = random_octets::<32>()?;
    let mut wrapped = [0; WRAPPED];
    kek.wrap(content_key.as_slice(), &mut wrapped)
        .map_err(|_| KeyError::Crypto)?;
    let nonce = random_octets::<NONCE>()?;
    let mut ciphertext = Zeroizing::new(plaintext.to_vec());
    let tag = content(content_key.as_slice())?
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(header.as_bytes()),
            ciphertext.as_mut_slice(),
        )
        .map_err(|_| KeyError::Crypto)?;
    Ok([
        header.as_str(),
        &base64url::encode(wrapped),
        &base64url::encode(*nonce),
        &base64url::encode(ciphertext.as_slice()),
        &base64url::encode(tag),
    ]
    .join("."))
}

/// Decrypts what [`seal`] made, or another library in that form.
///
/// # Errors
/// [`KeyError::Passphrase`] for one that is too short; [`KeyError::Bundle`] for another form, another passphrase or a text that was
/// changed: nobody is told which.
pub(crate) fn open(bundle: &str, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    long_enough(passphrase)?;
    opened(bundle, passphrase).ok_or(KeyError::Bundle)
}

fn opened(bundle: &str, passphrase: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut parts = bundle.split('.');
    let header = parts.next()?;
    let [wrapped, nonce, ciphertext, tag] =
        [parts.next()?, parts.next()?, parts.next()?, parts.next()?].map(base64url::decode);
    if parts.next().is_some() {
        return None;
    }
    let (salt, count) = parameters(header)?;
    let nonce: [u8; NONCE] = nonce?.try_into().ok()?;
    let tag = tag.filter(|tag| tag.len() == TAG)?;
    let wrapped = wrapped.filter(|wrapped| wrapped.len() == WRAPPED)?;
    let kek = kek(passphrase, &salt, count).ok()?;
    let mut content_key = Zeroizing::new([0; 32]);
    kek.unwrap(&wrapped, content_key.as_mut_slice()).ok()?;
    let mut octets = Zeroizing::new(ciphertext?);
    octets.extend_from_slice(&tag);
    let length = content(content_key.as_slice())
        .ok()?
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header.as_bytes()),
            octets.as_mut_slice(),
        )
        .ok()?
        .len();
    octets.truncate(length);
    Some(octets)
}

/// Salt and count of a header in the one form.
fn parameters(header: &str) -> Option<(Vec<u8>, u32)> {
    let header = String::from_utf8(base64url::decode(header)?).ok()?;
    let header = Object::parse(header)?;
    let text = |name| {
        header
            .get(name)
            .and_then(|value| value.string().map(|text| text.into_owned()))
    };
    let is_plain = ["crit", "zip", "b64"]
        .iter()
        .all(|name| header.get(name).is_none());
    if !is_plain || text("alg").as_deref() != Some(ALG) || text("enc").as_deref() != Some(ENC) {
        return None;
    }
    let salt = base64url::decode(&text("p2s")?).filter(|salt| salt.len() >= 8)?;
    let count = header.get("p2c")?.text().parse().ok()?;
    COUNTS.contains(&count).then_some((salt, count))
}

fn long_enough(passphrase: &str) -> Result<(), KeyError> {
    if passphrase.chars().count() < SHORTEST_PASSPHRASE {
        return Err(KeyError::Passphrase);
    }
    Ok(())
}

/// The key that wraps the content's key (RFC 7518 section 4.8.1.1).
fn kek(passphrase: &str, salt: &[u8], count: u32) -> Result<AesKek, KeyError> {
    long_enough(passphrase)?;
    let count = NonZeroU32::new(count).ok_or(KeyError::Bundle)?;
    let salt = [ALG.as_bytes(), &[0], salt].concat();
    let mut key = Zeroizing::new([0; 32]);
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        count,
        &salt,
        passphrase.as_bytes(),
        key.as_mut_slice(),
    );
    AesKek::new(&AES_256, key.as_slice()).map_err(|_| KeyError::Crypto)
}

fn content(key: &[u8]) -> Result<LessSafeKey, KeyError> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| KeyError::Crypto)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSPHRASE: &str = "correct horse battery";

    #[test]
    fn what_was_sealed_opens_under_its_passphrase_only() {
        let sealed = seal(b"content", "jwk-set+json", PASSPHRASE).unwrap();
        assert_eq!(open(&sealed, PASSPHRASE).unwrap().as_slice(), b"content");
        assert_eq!(
            open(&sealed, "correct horse batterz"),
            Err(KeyError::Bundle)
        );
        assert_eq!(open(&sealed, "short"), Err(KeyError::Passphrase));
        assert_eq!(seal(b"", "x", "elevenchars"), Err(KeyError::Passphrase));
        let again = seal(b"content", "jwk-set+json", PASSPHRASE).unwrap();
        assert_ne!(sealed, again, "salt, key and nonce are new each time");
    }

    #[test]
    fn a_bundle_of_another_library_opens() {
        // By jwcrypto 1.5.
        let sealed = concat!(
            "eyJhbGciOiAiUEJFUzItSFM1MTIrQTI1NktXIiwgImVuYyI6ICJBMjU2R0NNIiwgImN0eSI6ICJqd2stc2V0K2pzb2",
            "4iLCAicDJjIjogMjEwMDAwLCAicDJzIjogIkFBRUNBd1FGQmdjSUNRb0xEQTBPRHcifQ.rrLSVccMP419xAMdqSanD",
            "nOHZvYCH1d5VjJ9U6xz-JuIaTG46NKcsg.upfAAUF-yygtrEkP.eun1y0AQtRtK0Y9otupp6Ju9WPHP2MDlUd2ymFX",
            "ngc2zDmTNUmPWS2vMQHU3cQn4vUyXW-avBBmSuxGPh5TlEnrCiUVknyI4TIcnJlFTRTgWtfWBtg1oCCeCG_NJVT91M",
            "kBWod-yF8txLpiHawVuD4i0--4.JnhM4m6EyACBn95Vm-Pyrg",
        );
        let keys = crate::open_keys(sealed, PASSPHRASE).unwrap();
        assert_eq!(keys[0].material.kid, crate::Kid::new("of-jwcrypto"));
        let secret = keys[0].material.secret.as_ref().unwrap();
        assert_eq!(secret.expose(), (0..32).collect::<Vec<u8>>());
    }

    #[test]
    fn a_bundle_that_was_changed_anywhere_does_not_open() {
        let sealed = seal(b"content", "jwk-set+json", PASSPHRASE).unwrap();
        let parts: Vec<&str> = sealed.split('.').collect();
        assert_eq!(parts.len(), 5);
        for turn in 0..parts.len() {
            let mut changed: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            let part = &mut changed[turn];
            let first = if part.starts_with('A') { "B" } else { "A" };
            part.replace_range(..1, first);
            assert_eq!(
                open(&changed.join("."), PASSPHRASE),
                Err(KeyError::Bundle),
                "{turn}"
            );
        }
        for text in [
            "",
            "....",
            "a.b.c.d.e",
            "a.b.c",
            &format!("{sealed}.x"),
            &format!(" {sealed}"),
        ] {
            assert_eq!(open(text, PASSPHRASE), Err(KeyError::Bundle));
        }
    }

    #[test]
    fn only_the_one_form_is_opened_and_no_count_beyond_its_bounds() {
        let salt = base64url::encode([7; 16]);
        let header = |alg: &str, enc: &str, count: &str, more: &str| {
            let text =
                format!(r#"{{"alg":"{alg}","enc":"{enc}","p2s":"{salt}","p2c":{count}{more}}}"#);
            parameters(&base64url::encode(text)).is_some()
        };
        assert!(header(ALG, ENC, "210000", ""));
        assert!(header(ALG, ENC, "300000", r#","cty":"jwk-set+json""#));
        for count in [
            "209999",
            "300001",
            "4000000000",
            "-1",
            "1e6",
            "\"210000\"",
            "null",
        ] {
            assert!(!header(ALG, ENC, count, ""), "{count}");
        }
        assert!(!header("PBES2-HS256+A128KW", ENC, "210000", ""));
        assert!(!header("dir", ENC, "210000", ""));
        assert!(!header(ALG, "A128CBC-HS256", "210000", ""));
        assert!(!header(ALG, ENC, "210000", r#","zip":"DEF""#));
        assert!(!header(ALG, ENC, "210000", r#","crit":["exp"]"#));
    }
}
