//! What this crate signs, `jsonwebtoken` verifies; what `jsonwebtoken` signs, this crate verifies.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{
    Algorithm, AlgorithmName, KeyMaterial, KeySet, Kid, Refusal, Token, TrustedKey, UnixMicros,
    sign_compact,
};
use jsonwebtoken as theirs;
use serde_json::{Value, json};

fn their_decoding_key(material: &KeyMaterial) -> theirs::DecodingKey {
    match &material.public_jwk {
        None => theirs::DecodingKey::from_secret(material.secret.as_ref().unwrap().expose()),
        Some(jwk) => {
            let jwk: theirs::jwk::Jwk = serde_json::from_str(jwk).unwrap();
            theirs::DecodingKey::from_jwk(&jwk).unwrap()
        }
    }
}

fn their_encoding_key(material: &KeyMaterial) -> theirs::EncodingKey {
    let secret = material.secret.as_ref().unwrap().expose();
    let pem = || pem::encode(&pem::Pem::new("PRIVATE KEY", secret)).into_bytes();
    match material.algorithm.algorithm() {
        _ if material.algorithm.is_hmac() => theirs::EncodingKey::from_secret(secret),
        Algorithm::ES256 | Algorithm::ES384 => theirs::EncodingKey::from_ec_pem(&pem()).unwrap(),
        Algorithm::EdDSA => theirs::EncodingKey::from_ed_pem(&pem()).unwrap(),
        _ => theirs::EncodingKey::from_rsa_pem(&pem()).unwrap(),
    }
}

fn key_set(material: &KeyMaterial) -> KeySet {
    KeySet::new(vec![TrustedKey {
        kid: Kid::new("k").unwrap(),
        key: material.verifying_key().unwrap(),
        until: None,
    }])
}

fn flip_a_bit_of_the_signature(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    signature[10] ^= 1;
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn both_libraries_accept_each_others_tokens_under_every_algorithm() {
    let claims = json!({"sub": "42", "exp": 4_102_444_800_u64, "n": 1.5, "ü": "\u{1F600}"});
    for algorithm in AlgorithmName::ALL {
        let material = KeyMaterial::generate(algorithm).unwrap();
        let set = key_set(&material);

        let signing = material.signing_key().unwrap().unwrap();
        let ours =
            sign_compact(&signing, Kid::new("k").as_ref(), "JWT", &claims.to_string()).unwrap();
        if algorithm.name() == "Ed25519" {
            continue; // jsonwebtoken does not know the name of RFC 9864.
        }
        let validation = theirs::Validation::new(algorithm.algorithm());
        let decoding = their_decoding_key(&material);
        let read = theirs::decode::<Value>(&ours, &decoding, &validation).unwrap();
        assert_eq!(read.claims, claims, "{algorithm}");
        assert_eq!(read.header.kid.as_deref(), Some("k"), "{algorithm}");

        let header = theirs::Header::new(algorithm.algorithm());
        let other = theirs::encode(&header, &claims, &their_encoding_key(&material)).unwrap();
        let verified = set
            .verify(Token::decode(&other).unwrap(), UnixMicros(0))
            .unwrap();
        let payload: Value = serde_json::from_str(verified.payload_json()).unwrap();
        assert_eq!(payload, claims, "{algorithm}");

        for broken in [ours, other].map(|token| flip_a_bit_of_the_signature(&token)) {
            let refusal = set
                .verify(Token::decode(&broken).unwrap(), UnixMicros(0))
                .err();
            assert_eq!(refusal, Some(Refusal::BadSignature), "{algorithm}");
            assert!(theirs::decode::<Value>(&broken, &decoding, &validation).is_err());
        }
    }
}
