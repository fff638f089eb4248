//! Short texts: two templates of issuers and an `iss`; a claim's path; a refresh token.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jose::{ClaimPath, IssuerTemplate, RefreshToken};
use sha2::{Digest, Sha256};

use crate::lines;

pub fn target(text: &str) {
    if let Some(([one, other], issuer)) = lines(text) {
        templates(one, other, issuer);
    }
    path(text);
    refresh_token(text);
}

fn templates(one: &str, other: &str, issuer: &str) {
    let Some(first) = template(one, issuer) else {
        return;
    };
    let Some(second) = template(other, issuer) else {
        return;
    };
    assert_eq!(first.overlaps(&second), second.overlaps(&first));
    assert!(first.overlaps(&first));
    if first.can_name(issuer) && second.can_name(issuer) {
        assert!(first.overlaps(&second), "{issuer} is of both");
    }
}

fn template(text: &str, issuer: &str) -> Option<IssuerTemplate> {
    let template = IssuerTemplate::parse(text)?;
    let (prefix, rest) = text.split_once('{').expect("a brace");
    let (claim, suffix) = rest.split_once('}').expect("a brace");
    assert!(!claim.is_empty() && claim != "iss");
    assert!(template.can_name(&format!("{prefix}a-Z_0.9{suffix}")));
    assert!(
        !template.can_name(&format!("{prefix}{suffix}")) || prefix.is_empty() && suffix.is_empty()
    );
    if template.can_name(issuer) {
        let place = &issuer[prefix.len()..issuer.len() - suffix.len()];
        assert_eq!(format!("{prefix}{place}{suffix}"), issuer);
        assert!(!place.is_empty() && !place.contains(['/', '?', '#', '@', ':', '%']));
    }
    Some(template)
}

/// Its steps, written as a pointer, are the same path.
fn path(text: &str) {
    let Some(path) = ClaimPath::parse(text) else {
        assert!(
            text.is_empty() || text.starts_with('/') && text.contains('~'),
            "{text}"
        );
        return;
    };
    assert_eq!(path.as_str(), text);
    let pointer: String = path
        .steps()
        .iter()
        .map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")))
        .collect();
    let read = ClaimPath::parse(&pointer).expect("a pointer");
    assert_eq!(read.steps(), path.steps());
    assert_eq!((read.first(), read.name()), (path.first(), path.name()));
    assert!(!text.starts_with('/') || pointer == text);
}

/// A text of 38 characters gets the checksum that makes it a token.
fn refresh_token(text: &str) {
    let mut texts = vec![text.to_owned()];
    if let Ok(octets) = URL_SAFE_NO_PAD.decode(text)
        && octets.len() == 28
    {
        let checksum = Sha256::digest(&octets);
        let whole = URL_SAFE_NO_PAD.encode([&octets[..], &checksum[..4]].concat());
        assert!(RefreshToken::parse(&whole).is_some(), "a good token");
        texts.push(whole);
    }
    for token in texts
        .iter()
        .filter_map(|text| Some((text, RefreshToken::parse(text)?)))
    {
        let (text, token) = token;
        assert_eq!(token.to_text(), *text);
        let next = token.next().expect("another one");
        assert_eq!(next.family_hash(), token.family_hash());
        assert_ne!(next.hash(), token.hash());
        assert_ne!(token.hash(), *text);
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged.replace_range(at..=at, if &text[at..=at] == "A" { "E" } else { "A" });
            assert!(RefreshToken::parse(&damaged).is_none(), "{at}");
        }
    }
}
