//! 556 vectors collected from Wycheproof, the RFCs, the JOSE cookbook and other libraries' tests.
//!
//! They are not part of the repository: `AUTH_EXT_VECTORS` names the file, or it stands at
//! `../shared/vectors/public-jws.jsonl` beside the repository. Without it the test is ignored; one
//! that is named and cannot be read fails.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{
    Algorithm, AlgorithmName, KeyError, KeyMaterial, KeySet, Refusal, Token, TrustedKey,
    UnixMicros, import_jwks,
};
use libtest_mimic::{Arguments, Trial};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Vectors whose key is fine by itself: the fault is in a set around it, which the vector's one
/// JWK does not show. A set that mixes symmetric with public keys, or repeats a `kid`, is refused
/// by `import_jwks` (see tests/jwks.rs); here the `oct` member must be, in any set.
const ABOUT_A_SET: [&str; 3] = ["wp-jwk-001", "wp-jwk-004", "wp-crypto-047"];

struct Vector {
    id: String,
    layer: String,
    algorithm: String,
    key: String,
    token: String,
    is_valid: bool,
}

fn main() {
    let beside =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors/public-jws.jsonl");
    let named = std::env::var_os("AUTH_EXT_VECTORS").map(PathBuf::from);
    let is_there = named.is_some() || beside.exists();
    let path = named.unwrap_or(beside);
    let name = "published_vectors_come_out_as_published_or_stricter";
    let trial = Trial::test(name, move || {
        let text = std::fs::read_to_string(&path)?;
        judge(&text.lines().map(parse).collect::<Vec<_>>());
        Ok(())
    });
    let trial = trial.with_ignored_flag(!is_there);
    libtest_mimic::run(&Arguments::from_args(), vec![trial]).exit();
}

fn parse(line: &str) -> Vector {
    let value: Value = serde_json::from_str(line).unwrap();
    let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
    Vector {
        id: text("id"),
        layer: text("layer"),
        algorithm: text("alg"),
        key: value["key"].to_string(),
        token: text("token"),
        is_valid: text("expect") == "valid",
    }
}

impl Vector {
    /// The key, under the algorithm that its own `alg` names (a confusion vector's token names
    /// another), or the token's.
    fn import(&self) -> Option<Result<KeyMaterial, KeyError>> {
        let jwk: Value = serde_json::from_str(&self.key).unwrap();
        let name = jwk["alg"].as_str().unwrap_or(&self.algorithm);
        let name: AlgorithmName = name.parse().ok()?;
        Some(KeyMaterial::import(&self.key, name))
    }

    fn verify(&self, material: &KeyMaterial) -> Result<(), Refusal> {
        let set = KeySet::new(vec![TrustedKey {
            kid: material.kid.clone().unwrap_or_default(),
            key: material.verifying_key().unwrap(),
            until: None,
        }]);
        set.verify(Token::decode(&self.token)?, UnixMicros(0))
            .map(drop)
    }

    /// The signature alone, whatever the payload is.
    fn raw_signature_holds(&self, material: &KeyMaterial) -> bool {
        let (input, signature) = self.token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        material
            .verifying_key()
            .unwrap()
            .verify(input.as_bytes(), &signature)
    }

    fn payload(&self) -> Vec<u8> {
        let payload = self.token.split('.').nth(1).unwrap();
        URL_SAFE_NO_PAD.decode(payload).unwrap()
    }
}

fn judge(vectors: &[Vector]) {
    assert_eq!(vectors.len(), 556);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for vector in vectors {
        let class = match (vector.layer.as_str(), vector.is_valid) {
            ("key", _) => judge_key(vector),
            (_, true) => judge_valid(vector),
            (_, false) => judge_invalid(vector),
        };
        *counts.entry(class).or_default() += 1;
    }
    println!("{counts:#?}");
    assert_eq!(counts.values().sum::<usize>(), 556);
    assert_eq!(counts.get("valid: verified"), Some(&28));
    assert_eq!(counts.get("key: refused"), Some(&23));
}

/// A valid vector verifies, unless one of our stricter rules must refuse it, for that very reason.
fn judge_valid(vector: &Vector) -> &'static str {
    let id = &vector.id;
    if vector.algorithm == "ES512" {
        assert!(
            vector.import().is_none(),
            "{id}: ES512 is no supported algorithm"
        );
        return "valid, stricter: ES512 is not supported";
    }
    let material = match vector.import().unwrap() {
        Ok(material) => material,
        Err(error) => {
            assert_eq!(error, KeyError::SecretTooShort, "{id}");
            return "valid, stricter: HMAC secret shorter than its hash";
        }
    };
    let payload = vector.payload();
    assert!(vector.raw_signature_holds(&material), "{id}");
    if serde_json::from_slice::<BTreeMap<String, Value>>(&payload).is_err() {
        assert_eq!(vector.verify(&material), Err(Refusal::Malformed), "{id}");
        return if payload.is_empty() {
            "valid, stricter: empty payload (raw signature verified)"
        } else {
            "valid, stricter: payload is no JSON object (raw signature verified)"
        };
    }
    assert_eq!(vector.verify(&material), Ok(()), "{id}");
    "valid: verified"
}

fn judge_invalid(vector: &Vector) -> &'static str {
    let id = &vector.id;
    if vector.key == "null" {
        let token = Token::decode(&vector.token).unwrap();
        let refusal = KeySet::default().verify(token, UnixMicros(0)).err();
        assert_eq!(refusal, Some(Refusal::UnknownKey), "{id}");
        return "invalid: no key";
    }
    let material = match vector.import() {
        Some(Ok(material)) => material,
        // The 6-octet secrets; the token itself is then judged by its structure.
        Some(Err(KeyError::SecretTooShort)) => {
            if let Ok(token) = Token::decode(&vector.token) {
                let refusal = token.algorithm().err();
                assert_eq!(refusal, Some(Refusal::UnsupportedAlgorithm), "{id}");
            }
            return "invalid: refused by structure, and the secret is too short";
        }
        other => panic!("{id}: {other:?}"),
    };
    let refusal = vector.verify(&material).expect_err(id);
    // Where the structure is sound and the payload an object, the signature itself must be refused.
    match refusal {
        Refusal::Malformed => {
            if let Some((input, signature)) = vector.token.rsplit_once('.')
                && let Ok(signature) = URL_SAFE_NO_PAD.decode(signature)
                && is_about_the_signature(vector)
            {
                let key = material.verifying_key().unwrap();
                assert!(!key.verify(input.as_bytes(), &signature), "{id}");
                return "invalid: bad raw signature under a payload that is no object";
            }
            "invalid: malformed"
        }
        Refusal::BadSignature => "invalid: bad signature",
        Refusal::UnsupportedAlgorithm => "invalid: unsupported algorithm",
        Refusal::AlgorithmMismatch => "invalid: algorithm mismatch",
        Refusal::UnknownKey => "invalid: unknown key",
        other => panic!("{id}: {other:?}"),
    }
}

/// Three canonical segments and a readable header for this key's algorithm: nothing but the payload
/// keeps the token from being well-formed.
fn is_about_the_signature(vector: &Vector) -> bool {
    let segments: Vec<_> = vector.token.split('.').collect();
    let [header, payload, signature] = segments[..] else {
        return false;
    };
    let with_object = format!("{header}.e30.{signature}");
    let named: Option<Algorithm> = vector.algorithm.parse().ok();
    let readable = Token::decode(&with_object)
        .is_ok_and(|token| named.is_some() && token.algorithm().ok() == named);
    // A token whose MAC was made over a non-canonical spelling is refused for the spelling.
    readable && URL_SAFE_NO_PAD.decode(payload).is_ok()
}

fn judge_key(vector: &Vector) -> &'static str {
    let id = &vector.id;
    if ABOUT_A_SET.contains(&id.as_str()) {
        assert!(vector.import().unwrap().is_ok(), "{id}");
        let sound =
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let set = format!(r#"{{"keys":[{},{sound}]}}"#, vector.key);
        let skipped = import_jwks(&set).unwrap().remove(0).unwrap_err();
        assert_eq!(skipped.why, KeyError::SymmetricInJwks, "{id}");
        return "key: about a set, where the symmetric member is skipped";
    }
    let algorithm: AlgorithmName = vector.algorithm.parse().unwrap();
    assert!(KeyMaterial::import(&vector.key, algorithm).is_err(), "{id}");
    "key: refused"
}
