//! Sets of keys, as providers publish them.

use jose::{Algorithm, KeyError, KeyMaterial, SkippedMember, import_jwks};
use serde_json::{Value, json};

macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("keys/", $name))
    };
}

const P256: &str = r#"{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const ED25519: &str =
    r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

fn with(jwk: &str, members: &Value) -> String {
    let mut jwk: Value = serde_json::from_str(jwk).unwrap();
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk.to_string()
}

fn set(members: &[Value]) -> Vec<Result<KeyMaterial, SkippedMember>> {
    import_jwks(&json!({"keys": members, "more": 1}).to_string()).unwrap()
}

#[test]
fn a_jwks_gives_its_good_members_and_says_why_it_skips_the_others() {
    let jwk = |text: &str, members: Value| -> Value {
        serde_json::from_str(&with(text, &members)).unwrap()
    };
    let rsa = KeyMaterial::import(file!("rsa.public.pem"), Algorithm::RS256)
        .unwrap()
        .public_jwk
        .unwrap();
    let members = [
        (jwk(P256, json!({"kid": "ec"})), Ok(Algorithm::ES256)),
        (jwk(ED25519, json!({"use": "sig"})), Ok(Algorithm::EdDSA)),
        (jwk(&rsa, json!({})), Ok(Algorithm::RS256)),
        (jwk(&rsa, json!({"alg": "PS384"})), Ok(Algorithm::PS384)),
        (json!(1), Err(KeyError::JwkSyntax)),
        (
            json!({"kty": "oct", "k": "AAAA"}),
            Err(KeyError::SymmetricInJwks),
        ),
        (jwk(P256, json!({"d": "x"})), Err(KeyError::PrivateInJwks)),
        (jwk(&rsa, json!({"oth": []})), Err(KeyError::PrivateInJwks)),
        (
            jwk(P256, json!({"crv": "P-521"})),
            Err(KeyError::Unsupported),
        ),
        (jwk(P256, json!({"kty": "AKP"})), Err(KeyError::Unsupported)),
        (
            jwk(&rsa, json!({"alg": "RSA-OAEP"})),
            Err(KeyError::Unsupported),
        ),
        (jwk(&rsa, json!({"alg": 1})), Err(KeyError::Unsupported)),
        (jwk(&rsa, json!({"alg": "ES256"})), Err(KeyError::KeyType)),
        (jwk(&rsa, json!({"use": "enc"})), Err(KeyError::Use)),
        (
            jwk(&rsa, json!({"key_ops": ["sign"]})),
            Err(KeyError::Operations),
        ),
        (jwk(P256, json!({"x": "AAAA"})), Err(KeyError::JwkMember)),
        (jwk(P256, json!({"kid": 1})), Err(KeyError::Kid)),
        (
            jwk(P256, json!({"kid": "same"})),
            Err(KeyError::DuplicateKid),
        ),
        (
            json!({"kid": "same", "kty": "oct"}),
            Err(KeyError::DuplicateKid),
        ),
    ];
    let documents: Vec<_> = members.iter().map(|(member, _)| member.clone()).collect();
    for (index, (outcome, (member, expected))) in
        set(&documents).into_iter().zip(&members).enumerate()
    {
        let outcome = outcome.map(|material| material.algorithm.algorithm());
        if let Err(skipped) = &outcome {
            assert_eq!(skipped.index, index);
            assert_eq!(skipped.kid.as_deref(), member["kid"].as_str());
        }
        assert_eq!(
            outcome.map_err(|skipped| skipped.why),
            *expected,
            "{member}"
        );
    }
    assert!(set(&[]).is_empty());
}

#[test]
fn what_is_no_jwks_is_an_error() {
    for bad in [
        "",
        "[]",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        P256,
        r#"{"keys":[],"keys":[]}"#,
        r#"{"keys":[}"#,
    ] {
        assert_eq!(import_jwks(bad).err(), Some(KeyError::NotAJwks), "{bad}");
    }
}
