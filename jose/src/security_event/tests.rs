use super::*;
use crate::token::Content;

const NOW: i64 = 1_800_000_000;

fn rules() -> Rules {
    Rules {
        security_events: true,
        ..Rules::new("https://idp".to_owned(), vec!["app".to_owned()])
    }
}

/// Name and subject, or the code of the refusal, of a payload of `iss`, `aud`, `iat`, `jti` and these members.
fn told_by(rules: &Rules, typ: &str, base: &str, members: &str) -> String {
    let payload = format!("{{{base}{members}}}");
    let content = Content::of_payload(&payload, typ).unwrap();
    let token = Verified::of_content(content);
    match token.security_event(rules, UnixMicros(NOW * 1_000_000)) {
        Err(refused) => refused.reason.code().to_owned(),
        Ok(event) => match event.subject {
            EventSubject::User(user) => format!("{} of {user}", event.name),
            EventSubject::Session(sid) => format!("{} of session {sid}", event.name),
            EventSubject::Nobody => format!("{} of nobody", event.name),
        },
    }
}

const BASE: &str = r#""iss":"https://idp","aud":"app","iat":1799999999,"jti":"j","#;
const LOGOUT_EVENT: &str = r#""events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#;

fn told(typ: &str, members: &str) -> String {
    told_by(&rules(), typ, BASE, members)
}

fn logout(members: &str) -> String {
    told("logout+jwt", &format!("{LOGOUT_EVENT}{members}"))
}

#[test]
fn a_logout_token_names_a_user_or_a_session() {
    for typ in ["", "JWT", "logout+jwt", "application/LOGOUT+jwt"] {
        let members = format!(r#"{LOGOUT_EVENT},"sub":"u""#);
        assert_eq!(told(typ, &members), "backchannel-logout of u", "{typ}");
    }
    assert_eq!(logout(r#","sid":"s""#), "backchannel-logout of session s");
    assert_eq!(logout(r#","sub":"u","sid":"s""#), "backchannel-logout of u");
    assert_eq!(logout(""), "missing_claim");
    assert_eq!(logout(r#","sid":7"#), "invalid_claim");
    assert_eq!(logout(r#","sub":"""#), "invalid_claim");
    assert_eq!(logout(r#","sub":"u","nonce":"n""#), "invalid_claim");
    assert_eq!(logout(r#","sub":"u","nonce":null"#), "invalid_claim");
}

#[test]
fn each_known_event_has_its_name_and_any_other_ends_nothing() {
    for (uri, name) in ENDING {
        let members = format!(r#""sub":"u","events":{{"{uri}":{{"reason":"x"}}}}"#);
        assert_eq!(told("secevent+jwt", &members), format!("{name} of u"));
        // Its own type only.
        assert_eq!(told("JWT", &members), format!("{uri} of nobody"));
    }
    let other = r#""sub":"u","events":{"urn:x":{},"urn:y":{}}"#;
    assert_eq!(told("secevent+jwt", other), "urn:x of nobody");
    let (uri, _) = LOGOUT;
    let members = format!(r#""sub":"u",{LOGOUT_EVENT}"#);
    assert_eq!(told("secevent+jwt", &members), format!("{uri} of nobody"));
    let (uri, name) = ENDING[0];
    let two = format!(r#""sub":"u","events":{{"urn:x":{{}},"{uri}":{{}}}}"#);
    assert_eq!(told("secevent+jwt", &two), format!("{name} of u"));
}

#[test]
fn what_has_no_events_or_another_type_is_for_another_purpose() {
    assert_eq!(
        told("JWT", r#""sub":"u","exp":1900000000"#),
        "wrong_purpose"
    );
    assert_eq!(told("JWT", r#""sub":"u","nonce":"n""#), "wrong_purpose");
    for typ in ["at+jwt", "sso+jwt", "X"] {
        let members = format!(r#"{LOGOUT_EVENT},"sub":"u""#);
        assert_eq!(told(typ, &members), "wrong_purpose", "{typ}");
    }
    for events in [
        "{}",
        "[]",
        "null",
        "7",
        r#""x""#,
        r#"{"urn:x":null}"#,
        r#"{"urn:x":[]}"#,
        r#"{"urn:x":{},"urn:x":{}}"#,
    ] {
        for typ in ["JWT", "logout+jwt", "secevent+jwt"] {
            let members = format!(r#""sub":"u","events":{events}"#);
            assert_eq!(told(typ, &members), "invalid_claim", "{typ} {events}");
        }
    }
}

#[test]
fn sub_id_names_the_user_of_the_tokens_issuer_and_does_not_contradict_sub() {
    let event = |members: &str| {
        let (uri, _) = ENDING[0];
        told(
            "secevent+jwt",
            &format!(r#""events":{{"{uri}":{{}}}},{members}"#),
        )
    };
    let of = |iss: &str, sub: &str| {
        format!(r#""sub_id":{{"format":"iss_sub","iss":"{iss}","sub":"{sub}"}}"#)
    };
    assert_eq!(event(&of("https://idp", "u")), "session-revoked of u");
    assert_eq!(
        event(&of("https://other", "u")),
        "session-revoked of nobody"
    );
    let both = |iss, sub| event(&format!(r#"{},"sub":"u""#, of(iss, sub)));
    assert_eq!(both("https://idp", "u"), "session-revoked of u");
    assert_eq!(both("https://idp", "v"), "invalid_claim");
    assert_eq!(both("https://other", "u"), "invalid_claim");
    let email = r#""sub_id":{"format":"email","email":"a@b"}"#;
    assert_eq!(event(email), "session-revoked of nobody");
    for bad in [
        r#""sub_id":"u""#,
        r#""sub_id":{}"#,
        r#""sub_id":{"format":"iss_sub","sub":"u"}"#,
        r#""sub_id":{"format":"iss_sub","iss":"https://idp","sub":7}"#,
        r#""sub_id":{"format":"iss_sub","iss":"https://idp","sub":""}"#,
    ] {
        assert_eq!(event(bad), "invalid_claim", "{bad}");
    }
}

#[test]
fn another_user_claim_names_the_user_and_sub_does_not() {
    let rules = Rules {
        user_claim: crate::ClaimPath::parse("uid").unwrap(),
        ..rules()
    };
    let told = |members: &str| {
        told_by(
            &rules,
            "logout+jwt",
            BASE,
            &format!("{LOGOUT_EVENT}{members}"),
        )
    };
    assert_eq!(told(r#","uid":7,"sub":"u""#), "backchannel-logout of 7");
    assert_eq!(told(r#","sub":"u""#), "missing_claim");
}

#[test]
fn issuer_audience_time_and_id_are_judged() {
    let said = |rules: &Rules, base: &str| {
        told_by(
            rules,
            "logout+jwt",
            base,
            &format!(r#"{LOGOUT_EVENT},"sub":"u""#),
        )
    };
    let good = "backchannel-logout of u";
    for (base, expected) in [
        (
            r#""iss":"https://idp","aud":["x","app"],"iat":1799913600,"jti":"j","#,
            good,
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1799913599,"jti":"j","#,
            "expired",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000001,"jti":"j","#,
            "not_yet_valid",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000000,"nbf":1800000001,"jti":"j","#,
            "not_yet_valid",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000000,"exp":1800000000,"jti":"j","#,
            "expired",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000000,"exp":1800000001,"jti":"j","#,
            good,
        ),
        (
            r#""iss":"https://idp","aud":"app","jti":"j","#,
            "missing_claim",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":"1800000000","jti":"j","#,
            "invalid_claim",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000000,"#,
            "missing_claim",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000000,"jti":"","#,
            "invalid_claim",
        ),
        (
            r#""iss":"https://idp","aud":"app","iat":1800000000,"jti":7,"#,
            "invalid_claim",
        ),
        (
            r#""iss":"https://idp","iat":1800000000,"jti":"j","#,
            "missing_claim",
        ),
        (
            r#""iss":"https://idp","aud":"x","iat":1800000000,"jti":"j","#,
            "wrong_audience",
        ),
        (
            r#""iss":"https://idp","aud":[],"iat":1800000000,"jti":"j","#,
            "wrong_audience",
        ),
        (
            r#""iss":"https://idp","aud":7,"iat":1800000000,"jti":"j","#,
            "invalid_claim",
        ),
        (
            r#""iss":"https://other","aud":"app","iat":1800000000,"jti":"j","#,
            "wrong_issuer",
        ),
        (
            r#""aud":"app","iat":1800000000,"jti":"j","#,
            "missing_claim",
        ),
    ] {
        assert_eq!(said(&rules(), base), expected, "{base}");
    }
    let with = |change: fn(&mut Rules)| {
        let mut rules = rules();
        change(&mut rules);
        said(&rules, BASE)
    };
    assert_eq!(with(|rules| rules.security_events = false), "wrong_issuer");
    assert_eq!(with(|rules| rules.audience.clear()), "wrong_audience");
    let other = |rules: &mut Rules| rules.event_audience = Some(vec!["client".to_owned()]);
    assert_eq!(with(other), "wrong_audience");
    let ours = |rules: &mut Rules| {
        rules.audience.clear();
        rules.event_audience = Some(vec!["app".to_owned()]);
    };
    assert_eq!(with(ours), good);
    let cutoff = |rules: &mut Rules| rules.not_before = Some(UnixMicros(NOW * 1_000_000));
    assert_eq!(with(cutoff), "issued_before_cutoff");
}
