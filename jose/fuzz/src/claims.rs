//! Claims under rules, behind a signature that holds: access tokens, named ones, logout and security events.
//!
//! Lines: the issuer; the audience, words; the paths of user, version, role and audience claims, words; the required claims; flags; `typ`.
//! The rest is the payload.

use jose::{
    ClaimPath, EVENT_LIFETIME, EventSubject, KeptClaims, Purpose, Refusal, Refused, RequiredClaims,
    Rules, SessionCheck, Token, UnixMicros, Verified, judge_payload, sign_compact,
};

use crate::json::micros;
use crate::lines;
use crate::ring::{NOW, Ring};
use crate::tree::Tree;

const HOUR: i64 = 3_600_000_000;

pub fn target(text: &str) {
    let Some(([issuer, audience, paths, required, flags, typ], payload)) = lines(text) else {
        return;
    };
    let Some(rules) = rules(issuer, audience, paths, required, flags) else {
        return;
    };
    let holder = Ring::get().holder("HS256").expect("a key");
    let judged = judge_payload(payload, typ, &rules);
    let Ok(text) = sign_compact(&holder.signing, None, typ, payload) else {
        assert!(
            Tree::strict_object(payload).is_none() || typ.contains('\0'),
            "it could be signed"
        );
        return;
    };
    let token = Token::decode(&text).expect("what was signed is well-formed");
    let verified = Ring::get()
        .keys
        .verify(token, NOW)
        .expect("its own signature");
    let payload = Tree::strict_object(payload).expect("what was signed is strict");
    let oracle = Oracle {
        rules: &rules,
        required,
        payload: &payload,
    };

    let access = verified.check(&rules, Purpose::Access, NOW);
    match (&judged, &access) {
        (Ok(()), Err(refused)) => assert!(
            matches!(refused.reason, Refusal::Expired | Refusal::NotYetValid),
            "{refused}"
        ),
        (Err(before), after) => assert_eq!(Some(before), after.as_ref().err()),
        (Ok(()), Ok(_)) => {}
    }
    let named = verified.check(&rules, Purpose::Named("sso+jwt"), NOW);
    let event = verified.security_event(&rules, NOW);
    if let Ok(claims) = &access {
        oracle.accepts(claims);
        oracle.accepts_access();
        assert!(event.is_err(), "an access token that is an event, too");
        holds_until_it_expires(&verified, &rules, claims);
        is_kept(&rules, claims);
    }
    if let Ok(claims) = &named {
        oracle.accepts(claims);
        assert!(
            typ.eq_ignore_ascii_case("sso+jwt") || typ.eq_ignore_ascii_case("application/sso+jwt")
        );
        assert!(event.is_err(), "a named token that is an event, too");
    }
    if let Ok(event) = &event {
        oracle.accepts_event(event, typ);
    }
    for refused in [judged.err(), access.err(), named.err(), event.err()]
        .into_iter()
        .flatten()
    {
        oracle.says_nothing_of_the_token(&refused);
    }
}

fn rules(issuer: &str, audience: &str, paths: &str, required: &str, flags: &str) -> Option<Rules> {
    let mut paths = paths.split(' ').map(ClaimPath::parse);
    let mut path = || paths.next().flatten();
    let is = |flag| flags.contains(flag);
    let words = |text: &str| text.split_ascii_whitespace().map(str::to_owned).collect();
    Some(Rules {
        user_claim: path()?,
        version_claim: path()?,
        role_claim: path()?,
        audience_claim: path()?,
        required_claims: RequiredClaims::parse(required)?,
        require_user: !is('u'),
        numeric_subject: is('n'),
        require_session_version: is('v'),
        leeway_micros: if is('l') { HOUR } else { 0 },
        not_before: is('b').then_some(UnixMicros(NOW.0 - HOUR)),
        session_check: if is('i') {
            SessionCheck::IssuedAt
        } else {
            SessionCheck::Version
        },
        security_events: is('e'),
        event_audience: is('a').then(|| vec!["events".to_owned()]),
        ..Rules::new(issuer.to_owned(), words(audience))
    })
}

/// What an accepted payload must say, by serde_json's reading.
struct Oracle<'o> {
    rules: &'o Rules,
    required: &'o str,
    payload: &'o Tree,
}

impl Oracle<'_> {
    fn accepts(&self, claims: &jose::Claims<'_>) {
        self.accepts_issuer();
        let (rules, payload) = (self.rules, self.payload);
        let named = at(payload, rules.audience_claim.as_str());
        if rules.audience.is_empty() {
            assert!(
                named.is_none_or(|aud| aud.is_word("null") || is_empty_list(aud)),
                "an audience of others"
            );
        } else {
            assert!(
                named.is_some_and(|aud| names_one_of(aud, &rules.audience)),
                "another audience"
            );
        }
        let user = at(payload, rules.user_claim.as_str());
        assert_eq!(claims.user.is_some(), user.is_some());
        assert!(claims.user.is_some() || !rules.require_user);
        match (user, &claims.user) {
            (Some(Tree::Text(said)), Some(user)) => assert_eq!(said, user),
            (Some(Tree::Number(said)), Some(user)) => {
                assert_eq!(said, user);
                assert!(rules.numeric_subject || rules.user_claim.name() != Some("sub"));
            }
            (None, None) => {}
            other => panic!("{other:?}"),
        }
        assert!(claims.user.as_deref() != Some(""));
        let version = at(payload, rules.version_claim.as_str());
        match (version, claims.session_version) {
            (Some(Tree::Number(said)), Some(version)) => {
                assert_eq!(said.parse(), Ok(version.get()))
            }
            (None, None) => {}
            other => panic!("{other:?}"),
        }
        assert!(
            claims
                .session_version
                .is_none_or(|version| version.get() >= 0)
        );
        let moment = |name| {
            payload.get(name).map(|value| match value {
                Tree::Number(text) => micros(text).expect("a moment"),
                other => panic!("{name}: {other:?}"),
            })
        };
        let (exp, iat, nbf) = (moment("exp").expect("exp"), moment("iat"), moment("nbf"));
        assert_eq!(
            (claims.expires_at.0, claims.issued_at.map(|at| at.0)),
            (exp, iat)
        );
        assert!(NOW.0 < exp + rules.leeway_micros, "expired");
        assert!(
            iat.max(nbf)
                .is_none_or(|start| start <= NOW.0 + rules.leeway_micros),
            "not yet valid"
        );
        assert!(
            rules
                .not_before
                .is_none_or(|cutoff| iat.is_some_and(|iat| iat >= cutoff.0)),
            "before the cutoff"
        );
        assert_eq!(
            claims.token_id.as_deref(),
            payload.get("jti").and_then(Tree::text)
        );
        assert_eq!(
            claims.role.is_some(),
            at(payload, rules.role_claim.as_str()).is_some()
        );
    }

    fn accepts_access(&self) {
        assert!(self.payload.get("events").is_none());
        assert!(
            !self
                .payload
                .get("sso")
                .is_some_and(|sso| sso.is_word("true"))
        );
        for (path, accepted) in Tree::read(self.required).expect("rules").members() {
            let claim = at(self.payload, path).expect("a required claim");
            assert!(
                share_one(accepted, claim),
                "a required claim of another value"
            );
        }
    }

    fn accepts_issuer(&self) {
        let issuer = &self.rules.issuer;
        let said = self
            .payload
            .get("iss")
            .map(|iss| iss.text().expect("a string"));
        let wanted = match issuer
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'))
        {
            Some((claim, _)) if self.rules.template.is_some() => {
                let value = self
                    .payload
                    .get(claim)
                    .and_then(Tree::text)
                    .expect("the template's claim");
                assert!(!value.contains('/'), "a way into another part of the URL");
                issuer.replace(&format!("{{{claim}}}"), value)
            }
            _ => issuer.clone(),
        };
        assert_eq!(said, (!wanted.is_empty()).then_some(wanted.as_str()));
    }

    fn accepts_event(&self, event: &jose::SecurityEvent<'_>, typ: &str) {
        assert!(self.rules.security_events);
        self.accepts_issuer();
        assert!(!event.token_id.is_empty() && !event.name.is_empty());
        assert_eq!(
            self.payload.get("jti").and_then(Tree::text),
            Some(event.token_id.as_ref())
        );
        let accepted = self
            .rules
            .event_audience
            .as_ref()
            .unwrap_or(&self.rules.audience);
        assert!(
            self.payload
                .get("aud")
                .is_some_and(|aud| names_one_of(aud, accepted)),
            "another audience"
        );
        let Some(Tree::Number(iat)) = self.payload.get("iat") else {
            panic!("no iat")
        };
        let iat = micros(iat).expect("a moment");
        let leeway = self.rules.leeway_micros;
        assert!(
            iat <= NOW.0 + leeway && NOW.0 <= iat + EVENT_LIFETIME + leeway,
            "not of today"
        );
        let Some(Tree::Object(events)) = self.payload.get("events") else {
            panic!("no events")
        };
        assert!(
            events
                .iter()
                .all(|(_, event)| matches!(event, Tree::Object(_)))
        );
        let is_set = typ.to_ascii_lowercase().trim_start_matches("application/") == "secevent+jwt";
        if let EventSubject::Session(session) = &event.subject {
            assert!(!is_set);
            assert_eq!(
                self.payload.get("sid").and_then(Tree::text),
                Some(session.as_ref())
            );
        }
        assert!(
            is_set || self.payload.get("nonce").is_none(),
            "an ID token for a logout token"
        );
    }

    /// Only the explanation, and a name that the rules or the RFC know.
    fn says_nothing_of_the_token(&self, refused: &Refused) {
        let rules = self.rules;
        let shown = refused.to_string();
        assert_eq!(shown, format!("{refused:?}"));
        let rest = shown
            .strip_prefix(refused.reason.explanation())
            .expect("the explanation");
        let required = Tree::read(self.required).expect("rules");
        let known = [
            &rules.user_claim,
            &rules.version_claim,
            &rules.role_claim,
            &rules.audience_claim,
        ];
        let known = (known.iter().map(|path| path.as_str()))
            .chain(required.members().iter().map(|(name, _)| name.as_str()))
            .chain([
                "iss",
                "aud",
                "exp",
                "nbf",
                "iat",
                "jti",
                "sid",
                "sub",
                "sub_id",
                "device_hash",
                "events",
                "nonce",
            ]);
        let mut known = known.map(|name| format!(": {name}"));
        assert!(
            rest.is_empty() || known.any(|known| known == rest),
            "{shown}"
        );
    }
}

/// To the last microsecond, and not beyond; a grace begins where it ends.
fn holds_until_it_expires(verified: &Verified<'_>, rules: &Rules, claims: &jose::Claims<'_>) {
    let end = claims.expires_at.0 + rules.leeway_micros;
    let reason = |now| {
        verified
            .check(rules, Purpose::Access, UnixMicros(now))
            .err()
            .map(|refused| refused.reason)
    };
    assert_eq!(reason(end - 1), None);
    assert_eq!(reason(end), Some(Refusal::Expired));
    let graced = |now| {
        verified
            .check_with_grace(rules, Purpose::Access, UnixMicros(now), HOUR)
            .is_ok()
    };
    assert!(graced(end) && graced(end + HOUR) && !graced(end + HOUR + 1));
}

/// What was kept of it says the same.
fn is_kept(rules: &Rules, claims: &jose::Claims<'_>) {
    let text = serde_json::to_string(&claims.keep()).expect("it can be kept");
    let kept: KeptClaims = serde_json::from_str(&text).expect("it can be read");
    let mut same = claims.clone().into_owned();
    (same.role, same.device_hash) = (None, None);
    same.session_id = Ok(same.session_id.ok().flatten());
    assert_eq!(kept.claims(), same);
    assert_eq!(kept.claims().in_time(rules, NOW), Ok(()));
}

/// RFC 6901 where the text begins with `/`, otherwise a name.
fn at<'t>(payload: &'t Tree, path: &str) -> Option<&'t Tree> {
    let Some(pointer) = path.strip_prefix('/') else {
        return payload.get(path);
    };
    pointer.split('/').try_fold(payload, |tree, step| {
        let step = step.replace("~1", "/").replace("~0", "~");
        match tree {
            Tree::List(elements) => step
                .parse::<usize>()
                .ok()
                .filter(|n| n.to_string() == step)
                .and_then(|n| elements.get(n)),
            other => other.get(&step),
        }
    })
}

fn is_empty_list(tree: &Tree) -> bool {
    matches!(tree, Tree::List(elements) if elements.is_empty())
}

fn names_one_of(tree: &Tree, accepted: &[String]) -> bool {
    let is = |tree: &Tree| {
        tree.text()
            .is_some_and(|text| accepted.iter().any(|known| known == text))
    };
    match tree {
        Tree::List(elements) => {
            elements.iter().all(|element| element.text().is_some()) && elements.iter().any(is)
        }
        one => is(one),
    }
}

/// A list stands for each of its elements.
pub fn share_one(a: &Tree, b: &Tree) -> bool {
    let each = |tree: &Tree| match tree {
        Tree::List(elements) => elements.clone(),
        one => vec![one.clone()],
    };
    each(a).iter().any(|a| each(b).iter().any(|b| a.equals(b)))
}
