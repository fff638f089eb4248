//! What a signature costs: microseconds a verification and a signing, the fastest of several rounds.
//!
//! `cargo run --release -p jose --example cost`

use jose::{Algorithm, KeyMaterial, KeySet, Kid, Token, TrustedKey, UnixMicros, sign_compact};
use std::time::{Duration, Instant};

const PAYLOAD: &str = r#"{"iss":"https://api.example.com","aud":["example.com"],"sub":"42","exp":4102444800,"iat":1700000000,"jti":"11111111-2222-4333-8444-555555555555","session_version":3,"role":"editor"}"#;

/// The fastest of several rounds: what else the machine does only ever adds.
fn micros(mut call: impl FnMut()) -> f64 {
    (0..12)
        .map(|_| {
            let start = Instant::now();
            let mut calls = 0_u32;
            while start.elapsed() < Duration::from_millis(40) {
                call();
                calls += 1;
            }
            start.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
        })
        .fold(f64::INFINITY, f64::min)
}

fn main() {
    println!("algorithm  decode and verify, µs  sign, µs");
    for name in [
        Algorithm::HS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::RS256,
        Algorithm::PS256,
        Algorithm::EdDSA,
    ] {
        let material = KeyMaterial::generate(name).unwrap();
        let signing = material.signing_key().unwrap().unwrap();
        let text = sign_compact(&signing, Kid::new("k").as_ref(), "JWT", PAYLOAD).unwrap();
        let keys = KeySet::new(vec![TrustedKey {
            kid: Kid::new("k").unwrap(),
            key: material.verifying_key().unwrap(),
            until: None,
        }]);
        let verify = micros(|| {
            let token = Token::decode(&text).unwrap();
            assert!(keys.verify(token, UnixMicros(0)).is_ok());
        });
        let sign = micros(|| {
            assert!(sign_compact(&signing, Kid::new("k").as_ref(), "JWT", PAYLOAD).is_ok());
        });
        println!("{:9}  {verify:21.2}  {sign:8.2}", format!("{name:?}"));
    }
}
