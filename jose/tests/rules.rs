//! What an issuer's row may ask of its tokens.

mod common;

use common::*;
use jose::{ClaimPath, Purpose, Refusal, RequiredClaims, Rules, SessionVersion, TokenTypes};

fn path(text: &str) -> ClaimPath {
    ClaimPath::parse(text).unwrap()
}

fn required(json: &str) -> Rules {
    Rules {
        required_claims: RequiredClaims::parse(json).unwrap(),
        ..rules()
    }
}

fn outcome(rules: &Rules, change: &[(&str, &str)]) -> Option<Refusal> {
    refusal(rules, change, NOW.0)
}

#[test]
fn a_required_claim_is_there_and_has_one_of_the_values() {
    let one = required(r#"{"token_type":"access"}"#);
    assert_eq!(outcome(&one, &[("token_type", r#""access""#)]), None);
    assert_eq!(outcome(&one, &[("token_type", r#"["x","access"]"#)]), None);
    for wrong in [
        r#""refresh""#,
        r#""Access""#,
        "null",
        "[]",
        r#"{"access":1}"#,
        "1",
    ] {
        let refused = outcome(&one, &[("token_type", wrong)]);
        assert_eq!(refused, Some(Refusal::InvalidClaim), "{wrong}");
    }
    assert_eq!(outcome(&one, &[]), Some(Refusal::MissingClaim));

    let several = required(r#"{"acr":[1,{"a":[2]}]}"#);
    for right in ["1", "1.0", "10e-1", r#"{"a":[2.0]}"#, r#"[0,1]"#] {
        assert_eq!(outcome(&several, &[("acr", right)]), None, "{right}");
    }
    for wrong in [r#""1""#, "2", r#"{"a":2}"#, "[[1]]", "true"] {
        assert_eq!(
            outcome(&several, &[("acr", wrong)]),
            Some(Refusal::InvalidClaim),
            "{wrong}"
        );
    }
    let nothing = required(r#"{"acr":[]}"#);
    assert_eq!(
        outcome(&nothing, &[("acr", "[]")]),
        Some(Refusal::InvalidClaim)
    );
    let null = required(r#"{"acr":null}"#);
    assert_eq!(outcome(&null, &[("acr", "null")]), None);
    assert_eq!(outcome(&null, &[]), Some(Refusal::MissingClaim));
}

#[test]
fn every_required_claim_must_hold_and_pointers_lead_to_them() {
    let both = required(r#"{"a":1,"/b/c":"x"}"#);
    assert_eq!(outcome(&both, &[("a", "1"), ("b", r#"{"c":"x"}"#)]), None);
    assert_eq!(outcome(&both, &[("a", "1")]), Some(Refusal::MissingClaim));
    assert_eq!(
        outcome(&both, &[("b", r#"{"c":"x"}"#)]),
        Some(Refusal::MissingClaim)
    );
    assert_eq!(
        outcome(&both, &[("a", "1"), ("b", r#"{"c":"x","c":"x"}"#)]),
        Some(Refusal::Malformed)
    );
    for bad in [
        "[]",
        "1",
        "",
        r#"{"":1}"#,
        r#"{"/~":1}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        assert!(RequiredClaims::parse(bad).is_none(), "{bad}");
    }
}

#[test]
fn required_claims_are_for_access_tokens_only() {
    let token = verified("sso+jwt", &payload(&[]));
    let rules = required(r#"{"a":1}"#);
    assert!(token.check(&rules, Purpose::Named("sso+jwt"), NOW).is_ok());
}

#[test]
fn another_claim_can_be_the_audience() {
    let by_client = Rules {
        audience_claim: path("client_id"),
        ..rules()
    };
    assert_eq!(outcome(&by_client, &[("client_id", r#""a""#)]), None);
    assert_eq!(
        outcome(&by_client, &[("client_id", r#"["x","b"]"#), ("aud", "1")]),
        None
    );
    assert_eq!(
        outcome(&by_client, &[("client_id", r#""x""#)]),
        Some(Refusal::WrongAudience)
    );
    assert_eq!(outcome(&by_client, &[]), Some(Refusal::MissingClaim));
    assert_eq!(
        outcome(&by_client, &[("client_id", "1")]),
        Some(Refusal::InvalidClaim)
    );
}

#[test]
fn without_an_audience_an_absent_null_or_empty_one_passes() {
    let none = Rules {
        audience: Vec::new(),
        ..rules()
    };
    for right in ["", "null", "[]"] {
        assert_eq!(outcome(&none, &[("aud", right)]), None, "{right}");
    }
    assert_eq!(
        outcome(&none, &[("aud", r#""a""#)]),
        Some(Refusal::WrongAudience)
    );
    assert_eq!(
        outcome(&none, &[("aud", r#"["a"]"#)]),
        Some(Refusal::WrongAudience)
    );
    assert_eq!(
        outcome(&none, &[("aud", "[1]")]),
        Some(Refusal::InvalidClaim)
    );
    // With one, they don't.
    assert_eq!(
        outcome(&rules(), &[("aud", "null")]),
        Some(Refusal::InvalidClaim)
    );
    assert_eq!(
        outcome(&rules(), &[("aud", "[]")]),
        Some(Refusal::WrongAudience)
    );
}

#[test]
fn an_issuer_without_a_name_has_tokens_without_iss() {
    let nameless = Rules {
        issuer: String::new(),
        ..rules()
    };
    assert_eq!(outcome(&nameless, &[("iss", "")]), None);
    assert_eq!(
        outcome(&nameless, &[("iss", r#""""#)]),
        Some(Refusal::WrongIssuer)
    );
    assert_eq!(outcome(&nameless, &[]), Some(Refusal::WrongIssuer));
    assert_eq!(
        outcome(&rules(), &[("iss", "")]),
        Some(Refusal::MissingClaim)
    );
}

#[test]
fn a_numeric_subject_passes_where_the_row_says_so() {
    let numeric = Rules {
        numeric_subject: true,
        ..rules()
    };
    assert_eq!(outcome(&numeric, &[("sub", "42")]), None);
    assert_eq!(outcome(&numeric, &[("sub", r#""42""#)]), None);
    for wrong in ["42.0", "4e1", "null", "true", "[42]", r#""""#] {
        assert_eq!(
            outcome(&numeric, &[("sub", wrong)]),
            Some(Refusal::InvalidClaim),
            "{wrong}"
        );
    }
    assert_eq!(
        outcome(&rules(), &[("sub", "42")]),
        Some(Refusal::InvalidClaim)
    );
    let pointed = Rules {
        user_claim: path("/sub"),
        ..rules()
    };
    assert_eq!(
        outcome(&pointed, &[("sub", "42")]),
        Some(Refusal::InvalidClaim)
    );
}

#[test]
fn user_version_and_role_can_be_nested() {
    let nested = Rules {
        user_claim: path("/app/user"),
        version_claim: path("/app/v"),
        role_claim: path("/realm_access/roles"),
        ..rules()
    };
    let change = [
        ("app", r#"{"user":7,"v":3}"#),
        ("realm_access", r#"{"roles":["a","b"]}"#),
    ];
    let token = verified("JWT", &payload(&change));
    let claims = token.check(&nested, Purpose::Access, NOW).unwrap();
    assert_eq!(
        (claims.user.as_deref().unwrap(), claims.session_version),
        ("7", Some(SessionVersion::new(3)))
    );
    assert_eq!(claims.role.as_deref(), Some(r#"["a","b"]"#));
    assert_eq!(outcome(&nested, &[]), Some(Refusal::MissingClaim));
    let twice = [("app", r#"{"user":7,"user":8}"#)];
    assert_eq!(outcome(&nested, &twice), Some(Refusal::Malformed));
}

#[test]
fn the_typ_is_one_of_the_rows() {
    let accepts = |types: &[&str], typ: &str| {
        let types: Vec<_> = types.iter().map(|typ| (*typ).to_owned()).collect();
        let rules = Rules {
            token_types: TokenTypes::new(&types),
            ..rules()
        };
        let token = verified(typ, &payload(&[]));
        match token.check(&rules, Purpose::Access, NOW) {
            Ok(_) => true,
            Err(refusal) => {
                assert_eq!(refusal.reason, Refusal::WrongPurpose);
                false
            }
        }
    };
    // An empty `typ` signs a token without one.
    for typ in ["jose", "JOSE", "application/Jose"] {
        assert!(accepts(&["application/JOSE"], typ), "{typ}");
    }
    for typ in ["", "JWT", "at+jwt", "jos"] {
        assert!(!accepts(&["JOSE"], typ), "{typ}");
    }
    assert!(accepts(&[""], ""));
    assert!(!accepts(&[""], "JWT"));
    let default = TokenTypes::default();
    assert_eq!(default.to_issue(), "JWT");
    let only = |typ: &str| TokenTypes::new(&[typ.to_owned()]).to_issue().to_owned();
    assert_eq!(
        [only("AT+JWT"), only(""), only("Jose")],
        ["at+jwt", "", "jose"]
    );
}

#[test]
fn a_security_event_token_is_no_access_token() {
    for events in [r#"{"https://x":{}}"#, "null", "1"] {
        assert_eq!(
            outcome(&rules(), &[("events", events)]),
            Some(Refusal::WrongPurpose)
        );
    }
}
