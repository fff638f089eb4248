//! Whatever comes in: no panic, and nothing but refusals.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{
    Algorithm, KeyMaterial, KeySet, Kid, Purpose, Refusal, Rules, Token, TrustedKey, UnixMicros,
    import_jwks, sign_compact,
};
use proptest::prelude::*;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

static HMAC: LazyLock<KeyMaterial> =
    LazyLock::new(|| KeyMaterial::generate(Algorithm::HS256).unwrap());
static ED25519: LazyLock<KeyMaterial> =
    LazyLock::new(|| KeyMaterial::generate(Algorithm::EdDSA).unwrap());
fn keys() -> KeySet {
    let trusted = |kid: &str, material: &KeyMaterial| TrustedKey {
        kid: Kid::new(kid).unwrap(),
        key: material.verifying_key().unwrap(),
        until: None,
    };
    KeySet::new(vec![trusted("h", &HMAC), trusted("e", &ED25519)])
}

thread_local! {
    static KEYS: KeySet = keys();
}

fn sign(material: &KeyMaterial, kid: Option<&str>, payload: &str) -> String {
    let key = material.signing_key().unwrap().unwrap();
    sign_compact(&key, kid.and_then(Kid::new).as_ref(), "JWT", payload).unwrap()
}

fn sound_tokens() -> Vec<String> {
    let payload = r#"{"iss":"i","aud":["a"],"sub":"u","exp":4102444800,"iat":1,"session_version":3,"x":{"y":[1.5e3,"\ud83d\ude00"]}}"#;
    vec![
        sign(&HMAC, Some("h"), payload),
        sign(&HMAC, None, payload),
        sign(&ED25519, Some("e"), payload),
    ]
}

fn rules() -> Rules {
    Rules::new("i".to_owned(), vec!["a".to_owned()])
}

fn accept(text: &str) -> Result<(), Refusal> {
    let token = Token::decode(text)?;
    let _ = (token.issuer(), token.kid(), token.algorithm());
    let verified = KEYS.with(|keys| keys.verify(token, NOW))?;
    verified
        .check(&rules(), Purpose::Access, NOW)
        .map(drop)
        .map_err(|refused| refused.reason)
}

#[test]
fn every_single_character_change_of_a_token_is_refused() {
    for token in sound_tokens() {
        assert_eq!(accept(&token), Ok(()));
        for (at, original) in token.char_indices() {
            for other in ['A', 'B', '-', '.', '=', ' ', '\0', 'é'] {
                if other != original {
                    let (head, tail) = (&token[..at], &token[at + 1..]);
                    assert!(accept(&format!("{head}{other}{tail}")).is_err());
                    assert!(accept(&format!("{head}{tail}")).is_err());
                    assert!(accept(&format!("{head}{other}{original}{tail}")).is_err());
                }
            }
            assert!(accept(&token[..at]).is_err());
        }
    }
}

/// JSON-like text: punctuation and fragments in any order, so that most of it is nearly valid.
fn nearly_json() -> impl Strategy<Value = String> {
    let fragment = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u0000",
        "\\ud800",
        "\\udc00",
        "\"a\"",
        "\"exp\"",
        "\"aud\"",
        "\"sub\"",
        "\"alg\"",
        "\"HS256\"",
        "\"kid\"",
        "1",
        "-",
        "0",
        ".",
        "e",
        "1e400",
        "1e200000",
        "true",
        "null",
        " ",
        "\n",
        "\u{0}",
        "é",
        "\u{10ffff}",
    ]);
    prop::collection::vec(fragment, 0..24)
        .prop_map(|fragments| format!("{{{}}}", fragments.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_malformed(text in any::<String>()) {
        prop_assert_eq!(accept(&text), Err(Refusal::Malformed));
    }

    #[test]
    fn random_octets_in_segments_are_refused(header: Vec<u8>, payload: Vec<u8>, signature: Vec<u8>) {
        let segments = [header, payload, signature].map(|s| URL_SAFE_NO_PAD.encode(s));
        prop_assert_eq!(accept(&segments.join(".")), Err(Refusal::Malformed));
    }

    #[test]
    fn a_payload_that_is_decoded_is_valid_json_and_unaltered(payload in nearly_json()) {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
        let text = format!("{header}.{}.AAAA", URL_SAFE_NO_PAD.encode(&payload));
        if let Ok(token) = Token::decode(&text) {
            prop_assert_eq!(token.payload_json(), payload.as_str());
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&payload).is_ok());
        }
    }

    #[test]
    fn signed_claims_of_any_shape_are_judged_without_a_panic(payload in nearly_json()) {
        let key = HMAC.signing_key().unwrap().unwrap();
        if let Ok(text) = sign_compact(&key, None, "JWT", &payload) {
            prop_assert!(accept(&text).is_err());
        }
    }

    #[test]
    fn a_header_of_any_shape_is_refused(header in nearly_json()) {
        let text = format!("{}.e30.AAAA", URL_SAFE_NO_PAD.encode(header));
        prop_assert!(accept(&text).is_err());
    }

    #[test]
    fn keys_of_any_shape_are_refused_without_a_panic(text in any::<String>(), json in nearly_json()) {
        for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
            let pem = format!("-----BEGIN PRIVATE KEY-----\n{text}\n-----END PRIVATE KEY-----");
            for text in [&text, &json, &pem] {
                prop_assert!(KeyMaterial::import(text, algorithm).is_err());
            }
        }
        prop_assert!(import_jwks(&text).is_err());
        let _ = import_jwks(&format!(r#"{{"keys":[{json}]}}"#));
    }

    #[test]
    fn a_private_key_with_changed_octets_is_refused_or_consistent(at in 0_usize..138, to: u8) {
        let material = KeyMaterial::generate(Algorithm::ES256).unwrap();
        let mut der = material.secret.unwrap().expose().to_vec();
        if let Some(octet) = der.get_mut(at) {
            *octet = to;
        }
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", der));
        if let Ok(changed) = KeyMaterial::import(&text, Algorithm::ES256) {
            let signature = changed.signing_key().unwrap().unwrap().sign(b"x").unwrap();
            prop_assert!(changed.verifying_key().unwrap().verify(b"x", &signature));
        }
    }
}

/// 4 MB of what is slow to judge when it is judged carelessly. The bound is generous, for debug
/// builds on a busy machine: what is quadratic takes hours.
#[test]
fn a_huge_token_is_judged_in_bounded_time() {
    const SIZE: usize = 3_000_000;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let object = |unit: &str| format!("{{\"a\":[{}0]}}", unit.repeat(SIZE / unit.len()));
    let names: String = (0..SIZE / 12).map(|i| format!("\"{i:07}\":1,")).collect();
    let jsons = [
        object("0,"),
        object("\"\\u0041\","),
        object("{},"),
        object("[[[[[[[[[[]]]]]]]]]],"),
        format!("{{{names}\"z\":0}}"),
        "{\"a\":".repeat(SIZE / 5),
        "[".repeat(SIZE),
        format!("{{\"a\":{}}}", "9".repeat(SIZE)),
        format!("{{\"a\":\"{}\"}}", "\\".repeat(SIZE)),
        format!("{{\"exp\":1e{}}}", "0".repeat(SIZE)),
    ];
    for json in &jsons {
        let encoded = URL_SAFE_NO_PAD.encode(json);
        for text in [
            format!("{header}.{encoded}.AAAA"),
            format!("{encoded}.e30.AAAA"),
        ] {
            let start = Instant::now();
            assert!(accept(&text).is_err());

            assert!(start.elapsed() < Duration::from_secs(30), "{}", &json[..40]);
        }
    }
    let start = Instant::now();
    assert!(accept(&".".repeat(SIZE)).is_err());
    assert!(start.elapsed() < Duration::from_secs(30));
}
