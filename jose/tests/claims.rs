//! The rules for claims: who, from whom, for whom and for what.

mod common;

use common::*;
use jose::{Purpose, Refusal, Rules, SessionCheck, SessionVersion, UnixMicros};

#[test]
fn a_sound_token_gives_its_claims() {
    let change = [
        ("session_version", "7"),
        ("iat", "499.5"),
        ("jti", r#""j""#),
        ("device_hash", r#""d\u0041""#),
        ("big", "1e400"),
    ];
    let token = verified("at+jwt", &payload(&change));
    let claims = token.check(&rules(), Purpose::Access, NOW).unwrap();
    assert_eq!(claims.user.as_deref(), Some("u"));
    assert_eq!(claims.session_version, Some(SessionVersion::new(7)));
    assert_eq!(claims.issued_at, Some(UnixMicros(499_500_000)));
    assert_eq!(claims.starts_at, Some(UnixMicros(499_500_000)));
    assert_eq!(claims.expires_at, UnixMicros(EXP));
    assert_eq!(claims.token_id.as_deref(), Some("j"));
    assert_eq!(claims.device_hash.as_deref(), Some("dA"));
    assert_eq!(claims.role, None);
    assert_eq!(claims.issuer, None);
    assert_eq!(claims.session_id, Ok(None));
    assert_eq!(token.kid().as_str(), "k");
    assert_eq!(token.payload_json(), payload(&change));
}

#[test]
fn required_claims_are_missing_when_absent_and_invalid_when_null() {
    for claim in ["iss", "aud", "sub", "exp"] {
        assert_eq!(
            refusal_now(&[(claim, "")]),
            Some(Refusal::MissingClaim),
            "{claim}"
        );
        assert_eq!(
            refusal_now(&[(claim, "null")]),
            Some(Refusal::InvalidClaim),
            "{claim}"
        );
    }
    for claim in ["session_version", "jti", "device_hash"] {
        assert_eq!(
            refusal_now(&[(claim, "null")]),
            Some(Refusal::InvalidClaim),
            "{claim}"
        );
    }
    assert_eq!(refusal_now(&[("jti", "1")]), Some(Refusal::InvalidClaim));
    assert_eq!(
        refusal_now(&[("device_hash", "[]")]),
        Some(Refusal::InvalidClaim)
    );
}

#[test]
fn iss_is_compared_exactly() {
    for wrong in [r#""ISS""#, r#""iss/""#, r#""""#, r#"" iss""#] {
        assert_eq!(
            refusal_now(&[("iss", wrong)]),
            Some(Refusal::WrongIssuer),
            "{wrong}"
        );
    }
    assert_eq!(refusal_now(&[("iss", r#""\u0069ss""#)]), None);
    assert_eq!(
        refusal_now(&[("iss", r#"["iss"]"#)]),
        Some(Refusal::InvalidClaim)
    );
}

#[test]
fn aud_overlaps_with_the_issuers_audience() {
    for good in [r#""b""#, r#"["x","b"]"#, r#"["a","a"]"#] {
        assert_eq!(refusal_now(&[("aud", good)]), None, "{good}");
    }
    for wrong in [r#""x""#, "[]", r#"["x"]"#, r#""A""#, r#""""#] {
        assert_eq!(
            refusal_now(&[("aud", wrong)]),
            Some(Refusal::WrongAudience),
            "{wrong}"
        );
    }
    for bad in ["1", "{}", "[1]", r#"["a",1]"#, r#"["a",["b"]]"#, "true"] {
        assert_eq!(
            refusal_now(&[("aud", bad)]),
            Some(Refusal::InvalidClaim),
            "{bad}"
        );
    }
    let without = Rules {
        audience: Vec::new(),
        ..rules()
    };
    assert_eq!(refusal(&without, &[("aud", "")], NOW.0), None);
    assert_eq!(refusal(&without, &[], NOW.0), Some(Refusal::WrongAudience));
    assert_eq!(refusal(&without, &[("aud", "[]")], NOW.0), None);
}

#[test]
fn the_user_is_a_non_empty_string_or_an_integer_outside_of_sub() {
    let by_id = Rules {
        user_claim: jose::ClaimPath::parse("user_id").unwrap(),
        ..rules()
    };
    let user = |rules: &Rules, name: &str, value: &str| {
        let token = verified("JWT", &payload(&[("sub", ""), (name, value)]));
        let claims = token.check(rules, Purpose::Access, NOW);
        claims
            .map(|claims| claims.user.unwrap().into_owned())
            .map_err(|refused| refused.reason)
    };
    let invalid = Err(Refusal::InvalidClaim);
    assert_eq!(user(&rules(), "sub", r#""\u0031""#), Ok("1".to_owned()));
    assert_eq!(user(&rules(), "sub", "42"), invalid);
    assert_eq!(user(&by_id, "user_id", "42"), Ok("42".to_owned()));
    assert_eq!(user(&by_id, "user_id", "-42"), Ok("-42".to_owned()));
    assert_eq!(user(&by_id, "user_id", r#""u""#), Ok("u".to_owned()));
    assert_eq!(user(&by_id, "sub", r#""u""#), Err(Refusal::MissingClaim));
    for bad in [r#""""#, "42.0", "4e1", "-0", "true", "null", "[42]", "{}"] {
        assert_eq!(user(&by_id, "user_id", bad), invalid, "{bad}");
    }
}

#[test]
fn the_version_is_an_integer_from_0_to_2_to_the_63_less_1() {
    let version = |value: &str| {
        let token = verified("JWT", &payload(&[("session_version", value)]));
        let claims = token.check(&rules(), Purpose::Access, NOW);
        claims
            .map(|claims| claims.session_version)
            .map_err(|refused| refused.reason)
    };
    assert_eq!(version(""), Ok(None));
    assert_eq!(version("0"), Ok(Some(SessionVersion::new(0))));
    assert_eq!(
        version("9223372036854775807"),
        Ok(Some(SessionVersion::new(i64::MAX)))
    );
    for bad in [
        "9223372036854775808",
        "-1",
        "-0",
        "1.0",
        "1e0",
        "\"1\"",
        "null",
        "true",
        "[1]",
        "1e400",
    ] {
        assert_eq!(version(bad), Err(Refusal::InvalidClaim), "{bad}");
    }
}

#[test]
fn a_missing_version_is_refused_only_where_it_is_required() {
    let strict = Rules {
        require_session_version: true,
        ..rules()
    };
    assert_eq!(
        refusal(&strict, &[], NOW.0),
        Some(Refusal::SessionVersionMissing)
    );
    assert_eq!(refusal(&strict, &[("session_version", "0")], NOW.0), None);
    for session_check in [SessionCheck::IssuedAt, SessionCheck::None] {
        let other = Rules {
            session_check,
            ..strict.clone()
        };
        assert_eq!(refusal(&other, &[], NOW.0), None);
    }
}

#[test]
fn a_typ_names_the_purpose_in_any_case_and_with_or_without_its_prefix() {
    let outcome = |typ: &str, change: &[(&str, &str)], purpose| {
        verified(typ, &payload(change))
            .check(&rules(), purpose, NOW)
            .err()
            .map(|refused| refused.reason)
    };
    for typ in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "Application/JWT",
    ] {
        assert_eq!(outcome(typ, &[], Purpose::Access), None, "{typ}");
        assert_eq!(
            outcome(typ, &[], Purpose::Named("sso+jwt")),
            Some(Refusal::WrongPurpose)
        );
    }
    for typ in [
        "sso+jwt",
        "JWTs",
        "application/",
        "text/jwt",
        "application/application/jwt",
        "é",
    ] {
        assert_eq!(
            outcome(typ, &[], Purpose::Access),
            Some(Refusal::WrongPurpose),
            "{typ}"
        );
    }
    for typ in ["sso+jwt", "SSO+JWT", "application/sso+jwt"] {
        assert_eq!(
            outcome(typ, &[("sso", "true")], Purpose::Named("sso+jwt")),
            None,
            "{typ}"
        );
    }
    assert_eq!(
        outcome("JWT", &[("sso", "true")], Purpose::Access),
        Some(Refusal::WrongPurpose)
    );
    assert_eq!(outcome("JWT", &[("sso", "false")], Purpose::Access), None);
}

#[test]
fn single_claims_can_be_read_from_a_token_that_the_check_refuses() {
    let token = verified(
        "JWT",
        &payload(&[
            ("iss", r#""x""#),
            ("jti", "1"),
            ("iat", "5"),
            ("session_version", "3"),
        ]),
    );
    assert!(token.check(&rules(), Purpose::Access, NOW).is_err());
    assert_eq!(token.user(&rules()).unwrap().unwrap(), "u");
    assert_eq!(
        token.session_version(&rules()),
        Ok(Some(SessionVersion::new(3)))
    );
    assert_eq!(token.expires_at(), Ok(Some(UnixMicros(EXP))));
    assert_eq!(token.issued_at(), Ok(Some(UnixMicros(5_000_000))));
    assert_eq!(token.not_before(), Ok(None));
    assert_eq!(token.token_id().unwrap_err().reason, Refusal::InvalidClaim);
    assert_eq!(token.device_hash(), Ok(None));
}

#[test]
fn a_refusal_names_the_claim_as_the_rules_do_and_never_its_value() {
    let nested = Rules {
        user_claim: jose::ClaimPath::parse("/who/id").unwrap(),
        audience_claim: jose::ClaimPath::parse("azp").unwrap(),
        required_claims: jose::RequiredClaims::parse(r#"{"/a/b": "secret", "plan": "gold"}"#)
            .unwrap(),
        ..rules()
    };
    let message = |rules: &Rules, change: &[(&str, &str)], now: i64| {
        let token = verified("JWT", &payload(change));
        let refused = token.check(rules, Purpose::Access, UnixMicros(now));
        refused.unwrap_err().to_string()
    };
    let good = [
        ("azp", r#""a""#),
        ("who", r#"{"id":"u"}"#),
        ("a", r#"{"b":"secret"}"#),
        ("plan", r#""gold""#),
    ];
    let without = |name: &str| -> Vec<(&str, &str)> {
        good.into_iter().filter(|(n, _)| *n != name).collect()
    };
    let mut wrong = without("azp");
    wrong.push(("azp", r#""other""#));
    for (rules, change, name) in [
        (&nested, without("who"), "/who/id"),
        (&nested, without("azp"), "azp"),
        (&nested, wrong, "azp"),
        (&nested, without("a"), "/a/b"),
        (&nested, without("plan"), "plan"),
        (&rules(), vec![("exp", "\"x\"")], "exp"),
        (&rules(), vec![("exp", "1")], "exp"),
        (&rules(), vec![("nbf", "900000")], "nbf"),
        (&rules(), vec![("iat", "900000")], "iat"),
        (&rules(), vec![("iat", "900000"), ("nbf", "5")], "iat"),
        (&rules(), vec![("jti", "7")], "jti"),
        (&rules(), vec![("iss", r#""x""#)], "iss"),
        (&rules(), vec![("aud", r#""x""#)], "aud"),
        (&rules(), vec![("sub", "7")], "sub"),
        (&rules(), vec![("device_hash", "7")], "device_hash"),
    ] {
        let message = message(rules, &change, NOW.0);
        assert!(message.ends_with(&format!(": {name}")), "{message} {name}");
    }
}
