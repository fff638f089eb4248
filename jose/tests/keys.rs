//! Keys as JWK or secret text, and what is stored of them.

mod samples;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{Algorithm, AlgorithmName, KeyError, KeyMaterial, Kid};
use samples::{ED25519, P256, file, why, with};
use serde_json::{Value, json};

#[test]
fn a_private_jwk_has_halves_that_match() {
    // RFC 8037 appendix A.1, and RFC 7515 appendix A.3.
    let ed = with(
        ED25519,
        &json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A", "kid": "ed"}),
    );
    let ec = with(
        P256,
        &json!({"d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}),
    );
    let imported = KeyMaterial::import(&ed, Algorithm::EdDSA).unwrap();
    assert_eq!(imported.kid, Kid::new("ed"));
    assert_eq!(imported.public_jwk.as_deref(), Some(ED25519));
    assert!(imported.signing_key().unwrap().is_some());
    let imported = KeyMaterial::import(&ec, Algorithm::ES256).unwrap();
    assert_eq!(imported.public_jwk.as_deref(), Some(P256));
    assert!(imported.signing_key().unwrap().is_some());

    let other = "AWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
    assert_eq!(
        why(&with(&ed, &json!({"d": other})), Algorithm::EdDSA),
        KeyError::Mismatch
    );
    assert_eq!(
        why(&with(&ec, &json!({"d": other})), Algorithm::ES256),
        KeyError::Mismatch
    );
    for bad in [
        "",
        "AA",
        "AWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2B",
        "AWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A==",
    ] {
        assert_eq!(
            why(&with(&ec, &json!({"d": bad})), Algorithm::ES256),
            KeyError::JwkMember("d")
        );
    }
    assert_eq!(
        why(
            &with(&ec, &json!({"d": URL_SAFE_NO_PAD.encode([0; 32])})),
            Algorithm::ES256
        ),
        KeyError::Mismatch
    );
}

#[test]
fn a_stored_private_key_must_be_that_of_the_stored_jwk() {
    let mut material = KeyMaterial::generate(Algorithm::ES256).unwrap();
    material.public_jwk = Some(P256.to_owned());
    assert_eq!(material.signing_key().err(), Some(KeyError::Mismatch));
    material.public_jwk = None;
    assert_eq!(material.verifying_key().err(), Some(KeyError::Incomplete));
}

#[test]
fn an_hmac_secret_is_as_long_as_its_hash() {
    for (alg, length) in [
        (Algorithm::HS256, 32),
        (Algorithm::HS384, 48),
        (Algorithm::HS512, 64),
    ] {
        let text = |length| "s".repeat(length);
        let jwk =
            |length| json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(text(length))}).to_string();
        assert_eq!(why(&text(length - 1), alg), KeyError::SecretTooShort);
        assert_eq!(why(&jwk(length - 1), alg), KeyError::SecretTooShort);
        for given in [text(length), jwk(length)] {
            let material = KeyMaterial::import(&given, alg).unwrap();
            assert_eq!(
                material.secret.as_ref().unwrap().expose(),
                text(length).as_bytes()
            );
            assert_eq!(material.public_jwk, None);
            assert_ne!(material.default_kid(), material.default_kid());
        }
        assert_eq!(
            KeyMaterial::generate(alg)
                .unwrap()
                .secret
                .unwrap()
                .expose()
                .len(),
            length
        );
    }
    let blanks = format!(" {}\n", "s".repeat(32));
    let material = KeyMaterial::import(&blanks, Algorithm::HS256).unwrap();
    assert_eq!(material.secret.unwrap().expose(), blanks.as_bytes());
}

#[test]
fn an_asymmetric_key_is_never_an_hmac_secret() {
    for key in [
        file!("rsa.public.pem"),
        file!("certificate.pem"),
        file!("p256.sec1.pem"),
        "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 x@y",
    ] {
        assert_eq!(why(key, Algorithm::HS256), KeyError::KeyAsSecret);
    }
    let body: String = file!("rsa.public.pem")
        .lines()
        .filter(|l| !l.starts_with('-'))
        .collect();
    assert_eq!(why(&body, Algorithm::HS256), KeyError::KeyAsSecret);
    assert_eq!(why(P256, Algorithm::HS256), KeyError::KeyType);
    assert_eq!(
        why(&format!(" \n{P256} "), Algorithm::HS256),
        KeyError::KeyType
    );
    assert_eq!(
        why(
            &P256.replacen('{', "{\"kty\":\"oct\",", 1),
            Algorithm::HS256
        ),
        KeyError::JwkSyntax
    );
    let set = format!(r#"{{"keys":[{P256}]}}"#);
    assert_eq!(why(&set, Algorithm::HS256), KeyError::KeyType);
    let oct = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode([7; 32])}).to_string();
    assert_eq!(why(&oct, Algorithm::ES256), KeyError::KeyType);
    assert_eq!(
        why(&with(&oct, &json!({"alg": "HS512"})), Algorithm::HS256),
        KeyError::AlgorithmMember
    );
    assert_eq!(
        why(&with(&oct, &json!({"use": "enc"})), Algorithm::HS256),
        KeyError::Use
    );
}

#[test]
fn a_jwk_is_for_signatures_of_its_algorithm() {
    let es256 = |members: Value| KeyMaterial::import(&with(P256, &members), Algorithm::ES256).err();
    for good in [
        json!({}),
        json!({"alg": "ES256", "use": "sig", "key_ops": ["verify"], "x5c": 1}),
        json!({"key_ops": ["sign", "verify"]}),
    ] {
        assert_eq!(es256(good), None);
    }
    for (members, error) in [
        (json!({"alg": "ES384"}), KeyError::AlgorithmMember),
        (json!({"alg": null}), KeyError::AlgorithmMember),
        (json!({"use": "enc"}), KeyError::Use),
        (json!({"use": 1}), KeyError::Use),
        (json!({"key_ops": []}), KeyError::Operations),
        (json!({"key_ops": "verify"}), KeyError::Operations),
        (json!({"key_ops": ["sign"]}), KeyError::Operations),
        (json!({"kid": 1}), KeyError::Kid),
        (json!({"kid": "k".repeat(513)}), KeyError::Kid),
        (json!({"kty": "RSA"}), KeyError::KeyType),
        (json!({"crv": "P-384"}), KeyError::KeyType),
        (json!({"crv": "p-256"}), KeyError::KeyType),
        (json!({"x": 1}), KeyError::JwkMember("x")),
        (json!({"x": "AAAA"}), KeyError::Point),
        (
            json!({"y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a1"}),
            KeyError::JwkMember("y"),
        ),
        (
            json!({"y": "y_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}),
            KeyError::Point,
        ),
    ] {
        assert_eq!(es256(members.clone()), Some(error), "{members}");
    }
    let twice = P256.replacen('{', r#"{"kid":"a","\u006bid":"b","#, 1);
    assert_eq!(why(&twice, Algorithm::ES256), KeyError::JwkSyntax);
    assert!(
        KeyMaterial::import(
            &with(P256, &json!({"kid": "k".repeat(512)})),
            Algorithm::ES256
        )
        .is_ok()
    );
}

/// Found by fuzzing: every character of the words is one of base64url, and a kid may say anything.
#[test]
fn a_jwk_that_says_begin_is_no_pem() {
    let material = KeyMaterial::generate(Algorithm::ES256).unwrap();
    let mut jwk: Value = serde_json::from_str(material.public_jwk.as_deref().unwrap()).unwrap();
    jwk["kid"] = "-----BEGIN PUBLIC KEY-----".into();
    let imported = KeyMaterial::import(&jwk.to_string(), Algorithm::ES256).unwrap();
    assert_eq!(imported.public_jwk, material.public_jwk);
    assert_eq!(imported.kid, Kid::new("-----BEGIN PUBLIC KEY-----"));
}

#[test]
fn an_rsa_jwk_is_stored_in_minimal_form_and_a_weak_one_refused() {
    let jwk = KeyMaterial::import(file!("rsa.public.pem"), Algorithm::RS256)
        .unwrap()
        .public_jwk
        .unwrap();
    let value: Value = serde_json::from_str(&jwk).unwrap();
    let mut padded = vec![0];
    padded.extend(
        URL_SAFE_NO_PAD
            .decode(value["n"].as_str().unwrap())
            .unwrap(),
    );
    let padded = with(
        &jwk,
        &json!({"n": URL_SAFE_NO_PAD.encode(padded), "e": "AAEAAQ"}),
    );
    let imported = KeyMaterial::import(&padded, Algorithm::PS256).unwrap();
    assert_eq!(imported.public_jwk.as_deref(), Some(jwk.as_str()));
    assert_eq!(
        why(file!("roca.jwk.json"), Algorithm::RS256),
        KeyError::Roca
    );
    assert_eq!(
        why(&with(&jwk, &json!({"e": "AQ"})), Algorithm::RS256),
        KeyError::RsaExponent
    );
}

#[test]
fn a_generated_key_survives_storage() {
    for alg in AlgorithmName::ALL {
        let made = KeyMaterial::generate(alg).unwrap();
        let signature = made.signing_key().unwrap().unwrap().sign(b"x").unwrap();
        let stored = KeyMaterial {
            algorithm: alg,
            kid: None,
            public_jwk: made.public_jwk.clone(),
            secret: made
                .secret
                .as_ref()
                .map(|s| jose::Secret::new(s.expose().to_vec())),
        };
        assert!(
            stored.verifying_key().unwrap().verify(b"x", &signature),
            "{alg}"
        );
        assert_eq!(stored.signing_key().unwrap().unwrap().algorithm(), alg);
        assert_eq!(made.public_jwk.is_some(), !alg.is_hmac());
        assert!(!format!("{made:?}").contains("PrivateKey"));
    }
}

/// What becomes the secret counts: whoever has the public key would sign with it.
#[test]
fn a_public_key_is_no_secret_in_a_jwk_either() {
    for key in [
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPL1I9oiq+B8crkmuV4YViiUnhdLjCp3hvy1bNGuGfNL",
    ] {
        assert_eq!(why(key, Algorithm::HS256), KeyError::KeyAsSecret);
        let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(key)}).to_string();
        assert_eq!(why(&jwk, Algorithm::HS256), KeyError::KeyAsSecret);
    }
}

/// The same, of a secret. What is in braces is a JWK of type oct, or refused.
#[test]
fn a_secret_in_a_jwk_that_says_begin_is_no_pem() {
    let jwk =
        r#"{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8","kid":"-----BEGIN"}"#;
    assert!(KeyMaterial::import(jwk, Algorithm::HS256).is_ok());
    let braced = "{-----BEGIN PUBLIC KEY-----}";
    assert_eq!(why(braced, Algorithm::HS256), KeyError::JwkSyntax);
}
