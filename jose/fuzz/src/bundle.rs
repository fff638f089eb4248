//! Bundles of keys: a text that begins with a brace is encrypted first; any other is opened as it is.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use aws_lc_rs::pbkdf2;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{BundledKey, KeyError, open_keys, seal_keys};
use std::num::NonZeroU32;

use crate::key::signs_what_it_verifies;
use crate::tree::Tree;

const PASSPHRASE: &str = "correct horse battery";
/// As few as jose takes.
const COUNT: u32 = if cfg!(fuzzing) { 1 } else { 210_000 };

pub fn target(text: &str) {
    if text.trim_start().starts_with('{') {
        content(text);
    } else if let Ok(keys) = open_keys(text, PASSPHRASE) {
        assert_eq!(text.split('.').count(), 5);
        are_sound(&keys);
    }
}

fn content(text: &str) {
    let sealed = sealed(text);
    match open_keys(&sealed, PASSPHRASE) {
        Ok(keys) => {
            let document = Tree::strict_object(text).expect("a strict object");
            let Some(Tree::List(members)) = document.get("keys") else {
                panic!("no array keys");
            };
            assert_eq!(members.len(), keys.len(), "all or none");
            for (member, key) in members.iter().zip(&keys) {
                let string = |name| member.get(name).and_then(Tree::text);
                assert_eq!(string("alg"), Some(key.material.algorithm.name()));
                assert_eq!(
                    string("kid"),
                    key.material.kid.as_ref().map(|kid| kid.as_str())
                );
                assert_eq!(string("iss"), key.issuer.as_deref());
            }
            are_sound(&keys);
        }
        Err(error) => assert!(
            !matches!(error, KeyError::Bundle | KeyError::Passphrase),
            "it was sealed well: {error}"
        ),
    }
    let last = if sealed.ends_with('A') { 'Q' } else { 'A' };
    let changed = format!("{}{last}", &sealed[..sealed.len() - 1]);
    assert_eq!(
        open_keys(&changed, PASSPHRASE).err(),
        Some(KeyError::Bundle)
    );
    assert_eq!(
        open_keys(&sealed, "correct horse batterz").err(),
        Some(KeyError::Bundle)
    );
}

/// Every key signs, and sealing them anew changes nothing.
fn are_sound(keys: &[BundledKey]) {
    for key in keys {
        assert!(key.material.secret.is_some());
        signs_what_it_verifies(&key.material);
    }
    let is_whole = keys
        .iter()
        .all(|key| key.issuer.is_some() && key.material.kid.is_some());
    let sealed = match seal_keys(keys, PASSPHRASE) {
        Ok(sealed) => sealed,
        Err(error) => {
            assert!(error == KeyError::Incomplete && !is_whole, "{error}");
            return;
        }
    };
    let again = open_keys(&sealed, PASSPHRASE).expect("what was sealed");
    assert_eq!(again.len(), keys.len());
    for (again, key) in again.iter().zip(keys) {
        assert_eq!((&again.issuer, again.until), (&key.issuer, key.until));
        let (again, key) = (&again.material, &key.material);
        assert_eq!((again.algorithm, &again.kid), (key.algorithm, &key.kid));
        assert_eq!(again.public_jwk, key.public_jwk);
        assert!(
            again
                .secret
                .as_ref()
                .zip(key.secret.as_ref())
                .is_some_and(|(a, b)| a.is(b))
        );
    }
}

/// As another library would: RFC 7518 sections 4.8 and 5.3, with a fixed salt, key and nonce.
fn sealed(content: &str) -> String {
    let (salt, key, nonce) = ([1; 16], [2; 32], [3; 12]);
    let alg = "PBES2-HS512+A256KW";
    let header = format!(
        r#"{{"alg":"{alg}","enc":"A256GCM","p2s":"{}","p2c":{COUNT}}}"#,
        URL_SAFE_NO_PAD.encode(salt)
    );
    let header = URL_SAFE_NO_PAD.encode(header);
    let mut kek = [0; 32];
    let count = NonZeroU32::new(COUNT).expect("some rounds");
    let salt = [alg.as_bytes(), &[0], &salt].concat();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        count,
        &salt,
        PASSPHRASE.as_bytes(),
        &mut kek,
    );
    let mut wrapped = [0; 40];
    AesKek::new(&AES_256, &kek)
        .expect("a key")
        .wrap(&key, &mut wrapped)
        .expect("a wrapped key");
    let mut octets = content.as_bytes().to_vec();
    let tag = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("a key"))
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header.as_bytes()),
            &mut octets,
        )
        .expect("a tag");
    let parts =
        [&wrapped[..], &nonce, &octets, tag.as_ref()].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!("{header}.{}", parts.join("."))
}
