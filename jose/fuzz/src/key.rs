//! Single keys: PEM, JWK or secret.
//!
//! A line with the algorithm, and maybe a PEM's label behind a space. The rest is the key's text; with a label it is base64 that
//! stands in a PEM's armour.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jose::{AlgorithmName, KeyMaterial};

use crate::lines;
use crate::ring::their_key;
use crate::tree::Tree;

pub fn target(text: &str) {
    let Some(([head], rest)) = lines(text) else {
        return;
    };
    let (name, label) = head.split_once(' ').unwrap_or((head, ""));
    let Ok(name) = name.parse::<AlgorithmName>() else {
        return;
    };
    if label.is_empty() {
        key(rest, name);
    } else {
        // Cut to what decodes: a finding of the fuzzer's is then one of the DER, not of base64.
        let bare: Vec<u8> = rest
            .bytes()
            .filter(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/'))
            .collect();
        let whole = &bare[..bare.len() / 4 * 4];
        let Ok(der) = STANDARD.decode(whole) else {
            return;
        };
        key(&pem::encode(&pem::Pem::new(label, der)), name);
    }
}

fn key(text: &str, name: AlgorithmName) {
    let material = match KeyMaterial::import(text, name) {
        Ok(material) => material,
        Err(error) => {
            let shown = format!("{error} {error:?}");
            assert!(text.len() < 12 || !shown.contains(text), "{shown}");
            return;
        }
    };
    assert_eq!(material.algorithm, name);
    if name.is_hmac() {
        is_sound_secret(&material, text);
    } else {
        is_sound_public(&material);
    }
    shows_no_secret(&material);
    signs_what_it_verifies(&material);
}

fn is_sound_secret(material: &KeyMaterial, text: &str) {
    assert!(material.public_jwk.is_none());
    let octets = material.secret.as_ref().expect("a secret").expose();
    let least = match material.algorithm.name() {
        "HS256" => 32,
        "HS384" => 48,
        _ => 64,
    };
    assert!(octets.len() >= least, "a weak secret");
    // What is in braces is a JWK, which may say anything in its kid.
    match Tree::strict_object(text) {
        Some(jwk) if jwk.get("kty").and_then(Tree::text) == Some("oct") => {
            let said = jwk.get("k").and_then(Tree::text).expect("a member");
            assert_eq!(said.trim_end_matches('='), URL_SAFE_NO_PAD.encode(octets));
        }
        _ => {
            assert_eq!(octets, text.as_bytes());
            let is_key = text.contains("-----BEGIN") || text.trim_start().starts_with("ssh-");
            assert!(!is_key, "a key for a secret");
        }
    }
}

/// The stored form says the same when it is read again; what is weak is not in it.
pub fn is_sound_public(material: &KeyMaterial) {
    let jwk = material.public_jwk.as_deref().expect("a public key");
    let read = KeyMaterial::import(jwk, material.algorithm).expect("the stored form");
    assert_eq!(read.public_jwk.as_deref(), Some(jwk));
    assert_eq!(read.default_kid(), material.default_kid());
    assert!(read.secret.is_none());
    let tree = Tree::strict_object(jwk).expect("an object");
    let names: Vec<_> = tree
        .members()
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let octets = |name| {
        URL_SAFE_NO_PAD
            .decode(tree.get(name).and_then(Tree::text).expect("a member"))
            .expect("base64url")
    };
    match (
        material.algorithm.name(),
        tree.get("kty").and_then(Tree::text),
    ) {
        ("EdDSA" | "Ed25519", Some("OKP")) => {
            assert!(names == ["crv", "kty", "x"] && octets("x").len() == 32)
        }
        ("ES256", Some("EC")) => assert!(
            names == ["crv", "kty", "x", "y"] && octets("x").len() == 32 && octets("y").len() == 32
        ),
        ("ES384", Some("EC")) => assert!(
            names == ["crv", "kty", "x", "y"] && octets("x").len() == 48 && octets("y").len() == 48
        ),
        (name, Some("RSA")) if name.starts_with(['R', 'P']) => {
            assert_eq!(names, ["e", "kty", "n"]);
            let (n, e) = (octets("n"), octets("e"));
            assert!(
                (256..=1024).contains(&n.len()) && n[0] >= 0x80 || n.len() > 256,
                "a weak modulus"
            );
            assert!(n[n.len() - 1] & 1 == 1 && e[e.len() - 1] & 1 == 1 && e != [1]);
        }
        other => panic!("{other:?}"),
    }
    let key = material.verifying_key().expect("a key that verifies");
    assert_eq!(key.algorithm(), material.algorithm.algorithm());
    // Under a point of small order a signature of zeros would hold.
    assert!(!key.verify(b"x", &vec![0; 64]) && !key.verify(b"x", &[&[1][..], &[0; 63]].concat()));
}

fn shows_no_secret(material: &KeyMaterial) {
    let Some(secret) = &material.secret else {
        return;
    };
    let shown = format!("{material:?}");
    let kid = material.kid.as_ref().map_or("", |kid| kid.as_str());
    for hidden in [
        URL_SAFE_NO_PAD.encode(secret.expose()),
        String::from_utf8_lossy(secret.expose()).into_owned(),
    ] {
        assert!(kid.contains(&hidden) || !shown.contains(&hidden));
    }
}

pub fn signs_what_it_verifies(material: &KeyMaterial) {
    let Some(signing) = material.signing_key().expect("a consistent key") else {
        assert!(material.secret.is_none());
        return;
    };
    let signature = signing.sign(b"x").expect("a signature");
    let key = material.verifying_key().expect("a key that verifies");
    assert!(key.verify(b"x", &signature) && !key.verify(b"y", &signature));
    let encoded = URL_SAFE_NO_PAD.encode(&signature);
    let theirs = jsonwebtoken::crypto::verify(
        &encoded,
        b"x",
        &their_key(material),
        material.algorithm.algorithm(),
    );
    assert!(
        theirs.expect("a good key"),
        "jsonwebtoken refuses the signature"
    );
}
