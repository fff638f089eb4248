//! Taking an old token for a new one.

use jose::{Purpose, Refusal, UnixMicros};

use super::issue::{self, AccessToken, Subject};
use super::revocation::Revocation;
use super::verify::{Signed, verify_signature};
use crate::error::{Error, Result};

/// Why the old token is revoked.
const REASON: &str = "session_refresh";

/// A new token for one that is valid, or expired no longer than the issuer's `refresh_grace` ago. Everything
/// else about it must hold; the old one is revoked in the same transaction, by one caller only.
pub fn refresh(text: &str, device_hash: Option<String>, now: UnixMicros) -> Result<String> {
    let signed = verify_signature(text, now)?;
    let Signed { token, issuer } = &signed;
    let claims =
        token.check_with_grace(&issuer.rules, Purpose::Access, now, issuer.refresh_grace)?;
    let jti = (claims.token_id.as_deref()).ok_or_else(|| Refusal::MissingClaim.of("jti"))?;
    claims.on_device(device_hash.as_deref())?;
    let session = signed.verify_session(&claims, now)?;

    let rules = &issuer.rules;
    let nested = [
        &rules.audience_claim,
        &rules.user_claim,
        &rules.version_claim,
    ]
    .iter()
    .any(|path| path.name().is_none());
    issue::refuse_foreign(issuer)?;
    if nested {
        return Err(Error::Argument(
            "tokens of an issuer with a nested audience, user or version claim cannot be refreshed"
                .to_owned(),
        ));
    }
    let set = issue::set_by_us(rules);
    let others = jose::without_members(token.payload_json(), &set).ok_or(Refusal::Malformed)?;
    let missing = || Refusal::MissingClaim.of(rules.user_claim.as_str());
    let user_id = session.user_id.as_ref().ok_or_else(missing)?;
    // What was verified, not what the row says by now: whoever ends the old token meanwhile ends this one, too.
    let subject = Subject {
        user_id: user_id.clone(),
        user_claim: claims.user.as_deref().ok_or_else(missing)?.to_owned(),
        session_version: session.current_version.or(claims.session_version),
    };
    // No longer than the login that it is of.
    let ttl = session
        .until
        .map(|until| issuer.token_ttl.min(until.0.saturating_sub(now.0)));
    let fresh = issue::access_token(
        issuer,
        &AccessToken {
            subject: &subject,
            ttl: ttl.unwrap_or(issuer.token_ttl),
            device_hash: device_hash.as_deref().or(claims.device_hash.as_deref()),
            claims: &others,
            of_session: "",
        },
        now,
    )?;
    let old = Revocation {
        issuer,
        claims: &claims,
        jti,
        user_id: Some(user_id),
        reason: REASON,
    };
    if old.write_and_tell() {
        Ok(fresh)
    } else {
        Err(Refusal::Revoked.into())
    }
}
