//! Keys in files and as JWK, and why one is refused.

#![allow(dead_code)] // Each test file uses its own part.

use jose::{Algorithm, KeyError, KeyMaterial};
use serde_json::Value;

/// The text of a file in `keys/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!("keys/", $name))
    };
}
pub(crate) use file;

pub const P256: &str = r#"{"crv":"P-256","kty":"EC","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
pub const ED25519: &str =
    r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

/// Why a key is refused.
pub fn why(text: &str, alg: Algorithm) -> KeyError {
    KeyMaterial::import(text, alg).expect_err("this key must be refused")
}

/// The JWK with these members beside or in place of its own.
pub fn with(jwk: &str, members: &Value) -> String {
    let mut jwk: Value = serde_json::from_str(jwk).unwrap();
    for (name, value) in members.as_object().unwrap() {
        jwk[name] = value.clone();
    }
    jwk.to_string()
}
