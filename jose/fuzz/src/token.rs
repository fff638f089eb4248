//! Tokens: as they come, and with a signature that holds over a header and payload of the fuzzer's.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{Algorithm, AlgorithmName, Kid, Refusal, Token};
use serde_json::value::RawValue;

use crate::lines;
use crate::ring::{Holder, NOW, Ring};
use crate::tree::Tree;

/// The text of a token.
pub fn raw(text: &str) {
    let _ = judge(text);
}

/// A line with the name of the key, a line with the header; the rest is the payload.
pub fn signed(text: &str) {
    let Some(([name, header], payload)) = lines(text) else {
        return;
    };
    let Some(holder) = Ring::get().holder(name) else {
        return;
    };
    let input = [header, payload]
        .map(|part| URL_SAFE_NO_PAD.encode(part))
        .join(".");
    let signature = holder.signing.sign(input.as_bytes()).expect("a good key");
    let answer = judge(&format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)));
    assert_eq!(answer, expected(holder, header, payload));
}

/// What is to come of it, by serde_json's reading.
fn expected(holder: &Holder, header: &str, payload: &str) -> Result<(), Refusal> {
    let header = Tree::strict_object(header)
        .filter(Tree::is_unique_throughout)
        .ok_or(Refusal::Malformed)?;
    Tree::strict_object(payload).ok_or(Refusal::Malformed)?;
    let string = |name| {
        header
            .get(name)
            .map(|value| value.text().ok_or(Refusal::Malformed))
            .transpose()
    };
    let (alg, kid, cty) = (
        string("alg")?.ok_or(Refusal::Malformed)?,
        string("kid")?,
        string("cty")?,
    );
    string("typ")?;
    let cty = cty.unwrap_or_default().to_ascii_lowercase();
    if ["crit", "zip", "enc"]
        .iter()
        .any(|name| header.get(name).is_some())
        || header.get("b64").is_some_and(|b64| !b64.is_word("true"))
        || cty.strip_prefix("application/").unwrap_or(&cty) == "jwt"
        || kid.is_some_and(|kid| kid.len() > Kid::MAX_BYTES)
    {
        return Err(Refusal::Malformed);
    }
    let alg = algorithm(alg).ok_or(Refusal::UnsupportedAlgorithm)?;
    let named = kid
        .map(|kid| Ring::get().holder(kid).ok_or(Refusal::UnknownKey))
        .transpose()?;
    if named.is_some_and(|named| named.name.algorithm() != alg) {
        return Err(Refusal::AlgorithmMismatch);
    }
    if holder.name.algorithm() == alg {
        Ok(())
    } else {
        Err(Refusal::BadSignature)
    }
}

fn algorithm(name: &str) -> Option<Algorithm> {
    name.parse().ok().map(AlgorithmName::algorithm)
}

/// Decodes and verifies, and compares each step with what must be so.
fn judge(text: &str) -> Result<(), Refusal> {
    let token =
        Token::decode(text).inspect_err(|refusal| assert_eq!(*refusal, Refusal::Malformed))?;
    let (header, payload) = is_well_formed(text, &token);
    let (kid, signature) = (
        token.kid().cloned(),
        text.rsplit_once('.').expect("three segments").1,
    );
    let input = &text[..text.len() - signature.len() - 1];
    let said = token.algorithm();
    assert_eq!(
        said.ok(),
        header.get("alg").and_then(Tree::text).and_then(algorithm)
    );

    let their_answer = |holder: &Holder| {
        jsonwebtoken::crypto::verify(
            signature,
            input.as_bytes(),
            &holder.theirs,
            holder.name.algorithm(),
        )
        .unwrap_or(false)
    };
    match Ring::get().keys.verify(token, NOW) {
        Ok(verified) => {
            let holder = Ring::get()
                .holder(verified.kid().as_str())
                .expect("a key of the ring");
            assert_eq!(
                Ok(holder.name.algorithm()),
                said,
                "the key is of another algorithm"
            );
            assert!(
                kid.is_none_or(|kid| kid == *verified.kid()),
                "another key than the named one"
            );
            assert!(their_answer(holder), "jsonwebtoken refuses the signature");
            assert_eq!(verified.payload_json(), payload);
            assert!(!format!("{verified:?}").contains(&payload) || payload.len() < 12);
            if has_plain_header(&header) && has_plain_claims(&payload) {
                is_accepted_whole(text, holder, &payload);
            }
            another_signature_is_refused(input, signature);
            Ok(())
        }
        Err(refusal) => {
            if refusal == Refusal::BadSignature {
                let candidates = (Ring::get().holders.iter()).filter(|holder| {
                    Ok(holder.name.algorithm()) == said
                        && kid.as_ref().is_none_or(|kid| *kid == holder.kid)
                });
                assert!(
                    !candidates.into_iter().any(their_answer),
                    "jsonwebtoken accepts the signature"
                );
            }
            Err(refusal)
        }
    }
}

/// One spelling only, strict JSON, and nothing of it in what is printed. Gives the header and the payload.
fn is_well_formed(text: &str, token: &Token<'_>) -> (Tree, String) {
    let segments: Vec<_> = text.split('.').collect();
    assert_eq!(segments.len(), 3);
    let octets = [0, 1, 2].map(|n| URL_SAFE_NO_PAD.decode(segments[n]).expect("base64url"));
    for (octets, segment) in octets.iter().zip(&segments) {
        assert_eq!(
            URL_SAFE_NO_PAD.encode(octets),
            *segment,
            "a second spelling"
        );
        assert!(!octets.is_empty());
    }
    assert_eq!(token.header_json().as_bytes(), octets[0]);
    assert_eq!(token.payload_json().as_bytes(), octets[1]);
    let header = Tree::strict_object(token.header_json()).expect("a strict header");
    assert!(header.is_unique_throughout());
    let payload = Tree::strict_object(token.payload_json()).expect("a strict payload");
    assert_eq!(
        token.issuer().ok().as_deref(),
        payload.get("iss").and_then(Tree::text)
    );
    let shown = format!("{token:?}");
    assert!(
        segments
            .iter()
            .all(|segment| segment.len() < 12 || !shown.contains(segment)),
        "{shown}"
    );
    (header, token.payload_json().to_owned())
}

/// jsonwebtoken reads other members into types of its own, and knows no `Ed25519`.
fn has_plain_header(header: &Tree) -> bool {
    header
        .members()
        .iter()
        .all(|(name, _)| ["alg", "typ", "kid", "cty"].contains(&name.as_str()))
        && header.get("alg").and_then(Tree::text) != Some("Ed25519")
}

/// jsonwebtoken reads these claims before it gives the payload to us, and fails at some values of another type.
fn has_plain_claims(payload: &str) -> bool {
    let payload = Tree::strict_object(payload).expect("a strict payload");
    let is = |name, right: fn(&Tree) -> bool| payload.get(name).is_none_or(right);
    let is_text = |tree: &Tree| tree.text().is_some();
    let is_number = |tree: &Tree| matches!(tree, Tree::Number(_));
    is("exp", is_number)
        && is("nbf", is_number)
        && is("iss", is_text)
        && is("sub", is_text)
        && is("aud", is_text)
}

fn is_accepted_whole(text: &str, holder: &Holder, payload: &str) {
    let mut validation = jsonwebtoken::Validation::new(holder.name.algorithm());
    validation.required_spec_claims.clear();
    (validation.validate_exp, validation.validate_aud) = (false, false);
    let read = jsonwebtoken::decode::<Box<RawValue>>(text, &holder.theirs, &validation)
        .expect("jsonwebtoken refuses it");
    assert_eq!(
        read.claims.get(),
        payload.trim_matches([' ', '\t', '\r', '\n'])
    );
}

/// The first, the middle and the last octet changed, one missing, one more.
fn another_signature_is_refused(input: &str, signature: &str) {
    let octets = URL_SAFE_NO_PAD.decode(signature).expect("base64url");
    let mut others = vec![
        octets[..octets.len() - 1].to_vec(),
        [octets.as_slice(), &[0]].concat(),
    ];
    for at in [0, octets.len() / 2, octets.len() - 1] {
        let mut other = octets.clone();
        other[at] ^= 0x40;
        others.push(other);
    }
    for other in others.iter().filter(|other| !other.is_empty()) {
        let text = format!("{input}.{}", URL_SAFE_NO_PAD.encode(other));
        let token = Token::decode(&text).expect("well-formed");
        assert_eq!(
            Ring::get().keys.verify(token, NOW).err(),
            Some(Refusal::BadSignature)
        );
    }
}
