//! The pipeline: signature → claims → session. Each step needs what the one before it made.

use std::rc::Rc;

use jose::{Claims, Purpose, Refusal, Refused, Token, UnixMicros, Verified};

use super::login;
use super::revocation;
use super::session::{self, Session};
use crate::error::{Error, Result};
use crate::settings;
use crate::trust::{self, Issuer, Trust};

/// A token whose signature holds, with the issuer that made it. Nothing is said yet about its claims.
pub struct Signed<'t> {
    /// The verified token.
    pub token: Verified<'t>,
    /// Whose rules apply to it.
    pub issuer: Rc<Issuer>,
}

/// Takes the text of a token apart, if it is not too large.
pub fn parse(text: &str) -> Result<Token<'_>> {
    if text.len() > settings::max_token_size() {
        return Err(Refusal::TooLarge.into());
    }
    Ok(Token::decode(text)?)
}

/// Step 1: the signature. `iss` picks the issuer, `kid` its key.
pub fn verify_signature(text: &str, now: UnixMicros) -> Result<Signed<'_>> {
    let token = parse(text)?;
    let trust = trust::current();
    if trust.is_empty() {
        return Err(Error::NO_ISSUER);
    }
    let issuer = Rc::clone(issuer_of(&token, &trust)?);
    let token = issuer.keys.verify(token, now)?;
    Ok(Signed { token, issuer })
}

/// The issuer of a token. A token without `iss` is of the issuer whose name is empty; an `iss` never names that one.
fn issuer_of<'t>(token: &Token<'_>, trust: &'t Trust) -> Result<&'t Rc<Issuer>> {
    match token.issuer() {
        Err(missing) if missing.reason == Refusal::MissingClaim => {
            Ok(trust.issuer("").ok_or(missing)?)
        }
        Ok(name) if !name.is_empty() => {
            Ok(trust.issuer_of(token, &name).ok_or_else(wrong_issuer)?)
        }
        Ok(_) => Err(wrong_issuer().into()),
        Err(refused) => Err(refused.into()),
    }
}

fn wrong_issuer() -> Refused {
    Refusal::WrongIssuer.of("iss")
}

impl Signed<'_> {
    /// Step 2: the claims, by the issuer's rules and the clock. No table is read.
    pub fn verify_claims(&self, purpose: Purpose, now: UnixMicros) -> Result<Claims<'_>> {
        Ok(self.token.check(&self.issuer.rules, purpose, now)?)
    }

    /// Step 3: the session, as committed now.
    pub fn verify_session(&self, claims: &Claims<'_>, now: UnixMicros) -> Result<Session> {
        verify_session(&self.issuer, claims, now)
    }
}

/// Step 3 of a token whose claims hold: it was not revoked, the user's row still has its session, and the login that it is of is
/// open. Each is asked by itself.
pub fn verify_session(issuer: &Issuer, claims: &Claims<'_>, now: UnixMicros) -> Result<Session> {
    revocation::refuse_revoked(issuer, claims)?;
    revocation::refuse_ended_session(issuer, claims)?;
    let mut session = session::verify(issuer, claims)?;
    // Nobody has no sessions.
    if let Some(user_id) = &session.user_id {
        session.until = login::refuse_ended(issuer, claims, user_id, session.current_version, now)?;
    }
    Ok(session)
}
