//! Sets of public keys: what is taken over is public, sound, and the same when it is read again.

use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{KeyMaterial, import_jwks};
use sha2::{Digest, Sha256};

use crate::key::is_sound_public;
use crate::tree::Tree;

pub fn target(text: &str) {
    let Ok(imported) = import_jwks(text) else {
        return;
    };
    let document = Tree::strict_object(text).expect("a strict object");
    let Some(Tree::List(members)) = document.get("keys") else {
        panic!("no array keys");
    };
    assert!(imported.len() <= members.len());
    assert!(
        members.is_empty() || imported.iter().any(Result::is_ok),
        "nothing usable"
    );
    for skipped in imported.iter().filter_map(|member| member.as_ref().err()) {
        assert!(skipped.index < members.len());
        says_nothing_private(
            &members[skipped.index],
            &skipped.to_string(),
            skipped.kid.is_some(),
        );
    }
    let keys: Vec<&KeyMaterial> = imported.iter().flatten().collect();
    let mut kids = HashSet::new();
    for key in &keys {
        assert!(key.secret.is_none() && !key.algorithm.is_hmac());
        assert!(
            key.kid.is_none() || kids.insert(&key.kid),
            "two keys of one kid"
        );
        is_sound_public(key);
        has_its_thumbprint(key);
    }
    again_it_is_the_same(&keys);
}

/// A skipped member may hold a private key: of it, only the kid is named.
fn says_nothing_private(member: &Tree, shown: &str, has_kid: bool) {
    for name in ["d", "p", "q", "dp", "dq", "qi", "k"] {
        if let Some(octets) = member.get(name).and_then(Tree::text) {
            assert!(
                has_kid || octets.len() < 12 || !shown.contains(octets),
                "{shown}"
            );
        }
    }
}

/// RFC 7638 section 3: SHA-256 over the canonical form, which is what is stored.
fn has_its_thumbprint(key: &KeyMaterial) {
    let jwk = key.public_jwk.as_deref().expect("a public key");
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(jwk));
    assert_eq!(key.default_kid().expect("a kid").as_str(), thumbprint);
}

/// As `auth.jwks` gives keys to others.
fn again_it_is_the_same(keys: &[&KeyMaterial]) {
    let members: Vec<_> = (keys.iter())
        .map(|key| {
            let jwk = key
                .public_jwk
                .as_deref()
                .expect("a public key")
                .trim_end_matches('}');
            let kid = key
                .kid
                .as_ref()
                .map(|kid| format!(",\"kid\":{}", serde_json::Value::from(kid.as_str())));
            format!(
                "{jwk}{},\"alg\":\"{}\",\"use\":\"sig\"}}",
                kid.unwrap_or_default(),
                key.algorithm
            )
        })
        .collect();
    let read = import_jwks(&format!("{{\"keys\":[{}]}}", members.join(","))).expect("a JWKS");
    assert_eq!(read.len(), keys.len());
    for (read, key) in read.iter().zip(keys) {
        let read = read.as_ref().expect("a good key");
        assert_eq!(read.algorithm, key.algorithm);
        assert_eq!((&read.kid, &read.public_jwk), (&key.kid, &key.public_jwk));
    }
}
