//! Sets of keys, as providers publish them.

mod samples;

use jose::{Algorithm, KeyError, KeyMaterial, Kid, SkippedMember, import_jwks};
use samples::{ED25519, P256, file, with};
use serde_json::{Value, json};

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
        (jwk(&rsa, json!({"use": 1})), Err(KeyError::Use)),
        (
            jwk(&rsa, json!({"key_ops": ["sign"]})),
            Err(KeyError::Operations),
        ),
        (jwk(P256, json!({"x": 1})), Err(KeyError::JwkMember("x"))),
        (jwk(P256, json!({"x": "AAAA"})), Err(KeyError::Point)),
        (jwk(P256, json!({"kid": 1})), Err(KeyError::Kid)),
        (
            jwk(P256, json!({"kid": "same"})),
            Err(KeyError::DuplicateKid),
        ),
        (
            jwk(ED25519, json!({"kid": "same"})),
            Err(KeyError::DuplicateKid),
        ),
        (
            json!({"kid": "same", "kty": "oct"}),
            Err(KeyError::SymmetricInJwks),
        ),
    ];
    let documents: Vec<_> = members.iter().map(|(member, _)| member.clone()).collect();
    let outcomes = set(&documents);
    assert_eq!(outcomes.len(), members.len());
    for (index, (outcome, (member, expected))) in outcomes.into_iter().zip(&members).enumerate() {
        let outcome = outcome.map(|material| material.algorithm.algorithm());
        if let Err(skipped) = &outcome {
            assert_eq!(skipped.index, index);
            assert_eq!(
                skipped.kid.as_ref().map(Kid::as_str),
                member["kid"].as_str()
            );
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

fn member(text: &str, members: Value) -> Value {
    serde_json::from_str(&with(text, &members)).unwrap()
}

fn kids(members: &[Value]) -> Vec<Option<String>> {
    let usable = set(members)
        .into_iter()
        .map(|member| member.unwrap().kid.map(Kid::into_string));
    usable.collect()
}

#[test]
fn what_is_not_for_signatures_is_left_out_without_a_word() {
    let members = [
        member(P256, json!({"kid": "k", "use": "enc"})),
        json!({"kid": "k", "use": "enc", "kty": "RSA", "n": "AQAB", "e": "AQAB"}),
        member(ED25519, json!({"kid": "k", "use": "sig"})),
        member(P256, json!({"kid": "s", "use": "jwt-svid"})),
    ];
    assert_eq!(kids(&members), [Some("k".to_owned()), Some("s".to_owned())]);
}

#[test]
fn a_key_that_is_there_twice_counts_once() {
    let named = member(ED25519, json!({"kid": "k"}));
    let again = member(ED25519, json!({"kid": "k", "alg": "Ed25519", "use": "sig"}));
    assert_eq!(kids(&[named.clone(), again]), [Some("k".to_owned())]);
    let other = member(ED25519, json!({"kid": "l"}));
    assert_eq!(
        kids(&[named, other]),
        [Some("k".to_owned()), Some("l".to_owned())]
    );
    let bare = member(ED25519, json!({}));
    assert_eq!(kids(&[bare.clone(), bare]), [None]);
}

#[test]
fn different_usable_keys_under_one_kid_are_both_skipped() {
    let other = member(P256, json!({}));
    let members = [
        member(P256, json!({"kid": "k"})),
        member(ED25519, json!({"kid": "k"})),
        other,
    ];
    let outcomes = set(&members);
    for (index, outcome) in outcomes[..2].iter().enumerate() {
        let skipped = outcome.as_ref().unwrap_err();
        assert_eq!(
            (skipped.index, skipped.why),
            (index, KeyError::DuplicateKid)
        );
        assert_eq!(skipped.kid, Kid::new("k"));
    }
    assert!(outcomes[2].is_ok());
}

#[test]
fn a_message_names_the_kid_and_the_member() {
    let members = [
        member(P256, json!({"kid": "a\"b", "x": 1})),
        member(ED25519, json!({"kid": "k"})),
    ];
    let message = set(&members).remove(0).unwrap_err().to_string();
    assert!(
        message.starts_with("member 0 of the JWKS, kid \"a\\\"b\", is skipped: "),
        "{message}"
    );
    assert!(message.contains("\"x\""), "{message}");
}

#[test]
fn a_document_of_which_nothing_is_usable_is_an_error() {
    for members in [
        json!([1]),
        json!([member(P256, json!({"use": "enc"}))]),
        json!([member(P256, json!({"crv": "P-521"}))]),
        json!([
            member(P256, json!({"kid": "k"})),
            member(ED25519, json!({"kid": "k"}))
        ]),
    ] {
        let document = json!({"keys": members}).to_string();
        assert_eq!(
            import_jwks(&document).err(),
            Some(KeyError::NothingUsable),
            "{document}"
        );
    }
    assert!(import_jwks(r#"{"keys":[]}"#).unwrap().is_empty());
}

#[test]
fn padding_and_coordinates_without_leading_zeros_are_read() {
    let short = r#"{"kty":"EC","crv":"P-256","x":"rQ0ckE91GPBI7Dzo9uwB2vxYo6t1d-6p65Io7lOtBg","y":"gcgZs5_SoqsqtrivKUA1E8GprQlWTcQtzly7nY_HcIo"}"#;
    let key = KeyMaterial::import(short, Algorithm::ES256).unwrap();
    assert!(
        key.public_jwk
            .unwrap()
            .contains(r#""x":"AK0NHJBPdRjwSOw86PbsAdr8WKOrdXfuqeuSKO5TrQY""#)
    );
    let padded = short.replace("HcIo\"", "HcIo=\"");
    assert!(KeyMaterial::import(&padded, Algorithm::ES256).is_ok());
}
