//! The rules for claims that name a time, at their boundaries.

mod common;

use common::*;
use jose::{Purpose, Refusal, Rules, UnixMicros};

#[test]
fn a_token_holds_while_now_is_before_exp_plus_leeway() {
    let lenient = Rules {
        leeway_micros: 5_000_000,
        ..rules()
    };
    assert_eq!(refusal(&rules(), &[], EXP - 1), None);
    assert_eq!(refusal(&rules(), &[], EXP), Some(Refusal::Expired));
    assert_eq!(refusal(&lenient, &[], EXP + 4_999_999), None);
    assert_eq!(
        refusal(&lenient, &[], EXP + 5_000_000),
        Some(Refusal::Expired)
    );
    let fraction = [("exp", "1000.000001")];
    assert_eq!(refusal(&rules(), &fraction, EXP), None);
    assert_eq!(
        refusal(&rules(), &fraction, EXP + 1),
        Some(Refusal::Expired)
    );
    let endless = Rules {
        leeway_micros: i64::MAX,
        ..rules()
    };
    assert_eq!(refusal(&endless, &[], EXP), None);
}

#[test]
fn the_grace_includes_its_last_microsecond() {
    let lenient = Rules {
        leeway_micros: 5_000_000,
        ..rules()
    };
    let token = verified("JWT", &payload(&[]));
    let within = |now, grace| {
        token
            .check_with_grace(&lenient, Purpose::Access, UnixMicros(now), grace)
            .is_ok()
    };
    assert!(within(EXP + 305_000_000, 300_000_000));
    assert!(!within(EXP + 305_000_001, 300_000_000));
    assert!(within(EXP + 4_999_999, -1));
    assert!(!within(EXP + 5_000_000, -1));
}

#[test]
fn a_token_holds_from_nbf_and_iat_less_leeway() {
    let lenient = Rules {
        leeway_micros: 5_000_000,
        ..rules()
    };
    for claim in ["nbf", "iat"] {
        let change = [(claim, "500")];
        assert_eq!(refusal(&rules(), &change, 500_000_000), None, "{claim}");
        assert_eq!(
            refusal(&rules(), &change, 499_999_999),
            Some(Refusal::NotYetValid),
            "{claim}"
        );
        assert_eq!(refusal(&lenient, &change, 495_000_000), None, "{claim}");
        assert_eq!(
            refusal(&lenient, &change, 494_999_999),
            Some(Refusal::NotYetValid),
            "{claim}"
        );
    }
}

#[test]
fn a_date_is_a_number_from_0_to_year_9999() {
    for claim in ["exp", "nbf", "iat"] {
        for bad in [
            "\"1000\"",
            "true",
            "null",
            "[1000]",
            "{}",
            "-1",
            "253402300800",
            "1e400",
            "-0.1",
        ] {
            assert_eq!(
                refusal_now(&[(claim, bad)]),
                Some(Refusal::InvalidClaim),
                "{claim} {bad}"
            );
        }
    }
    for good in [
        "253402300799",
        "253402300799.999999",
        "1e3",
        "1000.5",
        "1E+11",
    ] {
        assert_eq!(refusal_now(&[("exp", good)]), None, "{good}");
    }
    assert_eq!(refusal_now(&[("nbf", "0"), ("iat", "0.0")]), None);
    assert_eq!(refusal_now(&[("exp", "0")]), Some(Refusal::Expired));
}

#[test]
fn the_kill_switch_refuses_earlier_and_undated_tokens_whatever_the_leeway() {
    let killed = Rules {
        not_before: Some(UnixMicros(400_000_000)),
        leeway_micros: 60_000_000,
        ..rules()
    };
    assert_eq!(refusal(&killed, &[("iat", "400")], NOW.0), None);
    assert_eq!(
        refusal(&killed, &[("iat", "399.999999")], NOW.0),
        Some(Refusal::IssuedBeforeCutoff)
    );
    assert_eq!(
        refusal(&killed, &[], NOW.0),
        Some(Refusal::IssuedBeforeCutoff)
    );
}

#[test]
fn expiry_hides_no_other_fault() {
    for (change, expected) in [
        (("aud", r#""x""#), Refusal::WrongAudience),
        (("iss", r#""x""#), Refusal::WrongIssuer),
        (("sub", "1"), Refusal::InvalidClaim),
        (("nbf", "900000"), Refusal::NotYetValid),
    ] {
        assert_eq!(refusal(&rules(), &[change], EXP), Some(expected));
    }
}
