//! Tokens of one issuer, sound but for what a test changes.

#![allow(dead_code)] // Each test file uses its own part.

use jose::{
    Algorithm, KeyMaterial, KeySet, Kid, Purpose, Refusal, Rules, SigningKey, Token, TrustedKey,
    UnixMicros, Verified, sign_compact,
};

struct Issuer {
    signing: SigningKey,
    keys: KeySet,
}

thread_local! {
    static ISSUER: &'static Issuer = Box::leak(Box::new(new_issuer()));
}

fn new_issuer() -> Issuer {
    let material = KeyMaterial::generate(Algorithm::HS256).unwrap();
    Issuer {
        signing: material.signing_key().unwrap().unwrap(),
        keys: KeySet::new(vec![TrustedKey {
            kid: Kid::new("k").unwrap(),
            key: material.verifying_key().unwrap(),
            until: None,
        }]),
    }
}

/// 1000 s in microseconds: the `exp` of the tokens here unless they say otherwise.
pub const EXP: i64 = 1_000_000_000;
pub const NOW: UnixMicros = UnixMicros(500_000_000);

pub fn rules() -> Rules {
    Rules::new("iss".to_owned(), vec!["a".to_owned(), "b".to_owned()])
}

pub fn verified(typ: &str, payload: &str) -> Verified<'static> {
    let issuer = ISSUER.with(|issuer| *issuer);
    let text = sign_compact(&issuer.signing, None, typ, payload).unwrap();
    let token = Token::decode(text.leak()).unwrap();
    issuer.keys.verify(token, NOW).unwrap()
}

/// A sound payload in which the members of `change` replace or join the usual ones; a change to
/// an empty text takes the member away.
pub fn payload(change: &[(&str, &str)]) -> String {
    let mut members = vec![
        ("iss", r#""iss""#),
        ("aud", r#""a""#),
        ("sub", r#""u""#),
        ("exp", "1000"),
    ];
    for (name, value) in change {
        members.retain(|(usual, _)| usual != name);
        if !value.is_empty() {
            members.push((name, value));
        }
    }
    let members: Vec<_> = members
        .iter()
        .map(|(n, v)| format!("\"{n}\":{v}"))
        .collect();
    format!("{{{}}}", members.join(","))
}

pub fn refusal(rules: &Rules, change: &[(&str, &str)], now: i64) -> Option<Refusal> {
    let token = verified("JWT", &payload(change));
    token
        .check(rules, Purpose::Access, UnixMicros(now))
        .err()
        .map(|refused| refused.reason)
}

pub fn refusal_now(change: &[(&str, &str)]) -> Option<Refusal> {
    refusal(&rules(), change, NOW.0)
}
