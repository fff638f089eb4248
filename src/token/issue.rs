//! Issuing a token: the issuer's rules and the user's row make its claims. Writes nothing.

use jose::{ClaimPath, Refusal, Rules, SessionCheck, SessionVersion, UnixMicros};
use serde_json::{Map, Value, json};

use super::session;
use crate::accounts;
use crate::attach::UserId;
use crate::error::{Error, Result, quoted};
use crate::settings;
use crate::statistics::{self, Count};
use crate::trust::{self, ActiveKey, Issuer, UserKey};

/// What the caller of `issue_jwt` asked for.
pub struct Request<'a> {
    /// Whose token it is.
    pub user_id: &'a UserId,
    /// The version, where the caller has it.
    pub session_version: Option<SessionVersion>,
    /// Lifetime in microseconds; None is the issuer's `token_ttl`.
    pub ttl: Option<i64>,
    /// The hash of the device that the token is bound to.
    pub device_hash: Option<String>,
    /// Further claims: the text of a JSON object.
    pub claims: &'a str,
    /// None is the default issuer.
    pub issuer: Option<&'a str>,
}

const SECOND: i64 = 1_000_000;

/// Makes and signs an access token.
pub fn issue(request: &Request<'_>, now: UnixMicros) -> Result<String> {
    let trust = trust::current();
    let issuer = trust.named(request.issuer)?;
    let subject = subject(issuer, request.user_id, request.session_version)?;
    let token = AccessToken {
        subject: &subject,
        ttl: request.ttl.unwrap_or(issuer.token_ttl),
        device_hash: request.device_hash.as_deref(),
        claims: request.claims,
        of_session: "",
    };
    access_token(issuer, &token, now)
}

/// What an access token is to say.
pub struct AccessToken<'a> {
    /// Whose it is.
    pub subject: &'a Subject,
    /// Lifetime in microseconds.
    pub ttl: i64,
    /// The hash of the device that the token is bound to.
    pub device_hash: Option<&'a str>,
    /// The caller's claims: the text of a JSON object.
    pub claims: &'a str,
    /// `sid` and `auth_time` of a session's token, as members of a JSON object without its braces: then the caller's claims may
    /// hold neither.
    pub of_session: &'a str,
}

/// Whose tenant a token is of, or which account at it is whose, only the provider knows.
pub fn refuse_foreign(issuer: &Issuer) -> Result<()> {
    let why = match (&issuer.rules.template, &issuer.user_key) {
        (Some(_), _) => "whose name is a template",
        (_, UserKey::Provider(_)) => "with an identity_provider",
        _ => return Ok(()),
    };
    Err(Error::Argument(format!(
        "no tokens are issued for an issuer {why}"
    )))
}

/// Makes and signs an access token of a subject that was looked up.
pub fn access_token(issuer: &Issuer, token: &AccessToken<'_>, now: UnixMicros) -> Result<String> {
    let mut reserved = set_by_us(&issuer.rules).to_vec();
    if !token.of_session.is_empty() {
        reserved.extend(["sid", "auth_time"]);
    }
    let claims = extra_claims(&reserved, token.claims)?;
    let comma = if claims.trim().is_empty() || token.of_session.is_empty() {
        ""
    } else {
        ","
    };
    let extra = format!("{}{comma}{claims}", token.of_session);
    let key = issuer.active_key()?;
    let payload = payload(
        issuer,
        token.ttl,
        token.device_hash,
        token.subject,
        &extra,
        now,
    )?;
    let typ = issuer.rules.token_types.to_issue();
    if let Err(refusal) = jose::judge_payload(&payload, typ, &issuer.rules) {
        return Err(Error::Argument(format!(
            "the issuer's row would refuse the token: {refusal}"
        )));
    }
    let token = signed(&key, typ, &payload)?;
    statistics::count(Count::Issued, 1);
    Ok(token)
}

/// Makes and signs a token of another purpose, which its `typ` names, without further claims.
pub fn sign(
    issuer: &Issuer,
    typ: &str,
    subject: &Subject,
    ttl: i64,
    now: UnixMicros,
) -> Result<String> {
    let key = issuer.active_key()?;
    signed(&key, typ, &payload(issuer, ttl, None, subject, "", now)?)
}

fn signed(key: &ActiveKey, typ: &str, payload: &str) -> Result<String> {
    let token = jose::sign_compact(&key.key, Some(&key.kid), typ, payload)?;
    // What we sign must be what we would accept.
    if token.len() > settings::max_token_size() {
        return Err(Error::Argument(
            "the claims are too large for a token".to_owned(),
        ));
    }
    Ok(token)
}

/// Whose a token is to be.
pub struct Subject {
    /// The user.
    pub user_id: UserId,
    /// What the token says in the user claim.
    pub user_claim: String,
    /// None where sessions have none.
    pub session_version: Option<SessionVersion>,
}

/// The user and version of a token that is to be issued. The users table is not read where the user claim is the id and the version
/// is given or not checked.
pub fn subject(
    issuer: &Issuer,
    user_id: &UserId,
    session_version: Option<SessionVersion>,
) -> Result<Subject> {
    refuse_foreign(issuer)?;
    if user_id.as_str().is_empty() {
        return Err(Refusal::UnknownUser.into());
    }
    if session_version.is_some_and(|version| version.get() < 0) {
        return Err(Error::Argument(
            "session_version must not be negative".to_owned(),
        ));
    }
    let says_id = matches!(issuer.user_key, UserKey::Id);
    let has_none = issuer.rules.session_check == SessionCheck::None;
    if says_id && (session_version.is_some() || has_none) {
        return Ok(Subject {
            user_id: user_id.clone(),
            user_claim: user_id.as_str().to_owned(),
            session_version,
        });
    }
    let attached = accounts::current();
    let (account, user_claim) = session::named(issuer, attached.users()?, user_id)?;
    if !account.active {
        return Err(Refusal::InactiveUser.into());
    }
    Ok(Subject {
        user_id: account.id,
        user_claim,
        session_version: session_version.or(Some(account.session_version)),
    })
}

/// The claims that nobody else sets. `sso` is none of ours, but marks tokens that grant no access.
pub fn set_by_us(rules: &Rules) -> [&str; 11] {
    [
        "iss",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "device_hash",
        "sso",
        rules.audience_claim.first(),
        rules.user_claim.first(),
        rules.version_claim.first(),
    ]
}

/// The caller's claims without their braces, after a check that they hold none of ours.
fn extra_claims<'c>(reserved: &[&str], claims: &'c str) -> Result<&'c str> {
    let not_an_object = || Error::Argument("claims must be a JSON object".to_owned());
    let members = jose::member_names(claims).ok_or_else(not_an_object)?;
    if let Some(taken) = reserved
        .iter()
        .find(|reserved| members.iter().any(|name| name == *reserved))
    {
        return Err(Error::Argument(format!(
            "claims must not hold \"{taken}\": the function sets it"
        )));
    }
    claims
        .trim()
        .strip_prefix('{')
        .and_then(|inner| inner.strip_suffix('}'))
        .ok_or_else(not_an_object)
}

/// The payload's JSON text. The caller's claims are spliced in as text, so that numbers of any size survive.
fn payload(
    issuer: &Issuer,
    ttl: i64,
    device_hash: Option<&str>,
    subject: &Subject,
    extra: &str,
    now: UnixMicros,
) -> Result<String> {
    let rules = &issuer.rules;
    let issued_at = issued_at(rules, now);
    let expires_at = now
        .0
        .checked_add(ttl)
        .map(|micros| UnixMicros(micros).second())
        .filter(|seconds| (0..=LAST_SECOND).contains(seconds))
        .ok_or_else(|| Error::Argument("ttl is out of range".to_owned()))?;

    let mut claims = Map::new();
    if !rules.issuer.is_empty() {
        claims.insert("iss".to_owned(), json!(rules.issuer));
    }
    if !rules.audience.is_empty() {
        put(&mut claims, &rules.audience_claim, json!(rules.audience))?;
    }
    put(&mut claims, &rules.user_claim, json!(subject.user_claim))?;
    if let Some(version) = subject.session_version {
        put(&mut claims, &rules.version_claim, json!(version))?;
    }
    claims.insert("iat".to_owned(), issued_at);
    claims.insert("exp".to_owned(), json!(expires_at));
    claims.insert("jti".to_owned(), json!(jose::random_uuid()?));
    if let Some(device_hash) = device_hash {
        claims.insert("device_hash".to_owned(), json!(device_hash));
    }
    let own = Value::Object(claims).to_string();
    let own = own.strip_suffix('}').unwrap_or(&own);
    let comma = if extra.trim().is_empty() { "" } else { "," };
    Ok(format!("{own}{comma}{extra}}}"))
}

/// Puts a claim where its path leads, with the objects on the way.
fn put(claims: &mut Map<String, Value>, path: &ClaimPath, value: Value) -> Result<()> {
    let cannot = || {
        Error::Argument(format!(
            "a token cannot be issued with the claim {}: it is in an array, or in another claim's place",
            quoted(path.as_str())
        ))
    };
    let Some((last, parents)) = path.steps().split_last() else {
        return Err(cannot());
    };
    let mut at = claims;
    for step in parents {
        let member = at.entry(step).or_insert_with(|| json!({}));
        at = member.as_object_mut().ok_or_else(cannot)?;
    }
    let is_index = |step: &String| step.bytes().all(|b| b.is_ascii_digit());
    if path.steps().iter().skip(1).any(is_index) || at.contains_key(last) {
        return Err(cannot());
    }
    at.insert(last.clone(), value);
    Ok(())
}

/// The last second of year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// Whole seconds, as other libraries write them. Only in the second of a kill switch the fraction is written, too: the token of a
/// user who logs in right after the switch must not be older than it.
fn issued_at(rules: &Rules, now: UnixMicros) -> Value {
    let seconds = now.second();
    match rules.not_before {
        Some(cutoff) if cutoff <= now && cutoff.second() == seconds && cutoff.0 % SECOND != 0 => {
            let micros = now.0.rem_euclid(SECOND);
            // Parsed from text, as a sum of floats would not be exact.
            serde_json::from_str(&format!("{seconds}.{micros:06}"))
                .unwrap_or_else(|_| json!(seconds))
        }
        _ => json!(seconds),
    }
}
