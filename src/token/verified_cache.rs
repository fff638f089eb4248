//! Tokens that this backend has verified before: their signature and claims need not be judged twice.
//!
//! What can change is asked on every call: the clock, the key's end, the revocation, the user's row. Only a proof that
//! nothing was committed since the last answer ([`snapshot::moment`]) stands for the last two.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use jose::{Claims, Kid, Purpose, Refusal, UnixMicros};

use super::holder::Holder;
use super::session::{self, Session};
use super::verify::{self, verify_signature};
use crate::attach::{self, Bindings};
use crate::error::Result;
use crate::pg::json::Jsonb;
use crate::pg::local::process_local;
use crate::pg::snapshot::{self, Moment};
use crate::settings;
use crate::staleness;
use crate::statistics::{self, Count};
use crate::trust::{self, Issuer, Trust, UserKey};

/// An access token whose signature and claims were good, under the issuers and keys of `trust`.
pub struct VerifiedToken {
    trust: Rc<Trust>,
    pub(super) issuer: Rc<Issuer>,
    pub(super) kid: Kid,
    key_until: Option<UnixMicros>,
    /// Its claims, as the rules read them.
    pub claims: Claims<'static>,
    /// Its payload, as it was signed.
    pub payload: Jsonb,
    /// What is listed of it, for the holder with whom that was written.
    pub listing: RefCell<Option<(Holder, Rc<Listing>)>>,
    session: Answer<Rc<Session>>,
    link: Answer<Option<String>>,
}

/// What is listed of a credential.
pub struct Listing {
    /// As it is written into the list.
    pub text: String,
    /// Is all of it there by which others can tell whether it has ended?
    pub is_whole: bool,
}

/// What the tables said, and when.
struct Answer<T>(RefCell<Option<(Moment, Rc<Bindings>, T)>>);

impl<T: Clone> Answer<T> {
    fn none() -> Self {
        Self(RefCell::new(None))
    }

    /// What they said last, if they say the same now and it still `holds`; otherwise what they say now.
    fn current(&self, holds: impl Fn(&T) -> bool, ask: impl Fn() -> Result<T>) -> Result<T> {
        let attached = attach::bindings();
        // The moment comes first: what is read after it is at least as new.
        let moment = snapshot::moment();
        if let Some((then, tables, said)) = &*self.0.borrow()
            && Some(*then) == moment
            && Rc::ptr_eq(tables, &attached)
            && holds(said)
        {
            return Ok(said.clone());
        }
        let said = ask()?;
        self.0
            .replace(moment.map(|moment| (moment, attached, said.clone())));
        Ok(said)
    }
}

process_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

/// Steps 1 and 2, the signature and the claims, unless this backend has seen the token before.
pub fn verify_claims(text: &str, now: UnixMicros) -> Result<Rc<VerifiedToken>> {
    staleness::refuse(now)?;
    if text.len() > settings::max_token_size() {
        return Err(Refusal::TooLarge.into());
    }
    let trust = trust::current();
    let digest = jose::digest(text);
    let seen = CACHE.with_borrow_mut(|cache| cache.under(&trust).get(&digest));
    // One that does not hold any more is judged anew, for its reason.
    let current = seen.filter(|verified| verified.holds_under(&trust, now));
    CACHE.with_borrow_mut(|cache| cache.count(current.is_some()));
    if let Some(verified) = current {
        statistics::count(Count::CacheHit, 1);
        return Ok(verified);
    }
    let signed = verify_signature(text, now)?;
    let claims = signed.verify_claims(Purpose::Access, now)?.into_owned();
    let verified = Rc::new(VerifiedToken {
        trust,
        issuer: Rc::clone(&signed.issuer),
        kid: signed.token.kid().clone(),
        key_until: signed.token.key_until(),
        claims,
        payload: Jsonb::of_members(signed.token.members()).ok_or(Refusal::Malformed)?,
        listing: RefCell::default(),
        session: Answer::none(),
        link: Answer::none(),
    });
    CACHE.with_borrow_mut(|cache| cache.put(digest, Rc::clone(&verified)));
    Ok(verified)
}

impl VerifiedToken {
    /// Would signature and claims be accepted again, under the issuers and keys of now?
    pub fn holds(&self, now: UnixMicros) -> bool {
        self.holds_under(&trust::current(), now)
    }

    /// Whose token it is now.
    pub fn holder(&self, now: UnixMicros) -> Result<Holder> {
        let (link, session) = self.verify_link(now)?;
        Ok(Holder {
            user_id: session.user_id.clone(),
            link,
        })
    }

    /// Is it still that holder's, now?
    pub fn is_held_by(&self, holder: &Holder, now: UnixMicros) -> Result<bool> {
        let (link, session) = self.verify_link(now)?;
        Ok(session.user_id == holder.user_id && link == holder.link)
    }

    /// The link comes first: what changes of it meanwhile must be found out later.
    fn verify_link(&self, now: UnixMicros) -> Result<(Option<String>, Rc<Session>)> {
        let link = match &self.issuer.user_key {
            UserKey::Provider(_) => {
                (self.link).current(|_| true, || session::link(&self.issuer, &self.claims))?
            }
            UserKey::Id | UserKey::Column(_) => None,
        };
        Ok((link, self.verify_session(now)?))
    }

    /// The session that it is of; None where it is of none kept here.
    pub fn session_id(&self) -> Option<String> {
        let kept = self.issuer.opens_sessions;
        let id = self.claims.session_id.as_ref().ok()?.as_deref();
        id.filter(|_| kept).map(str::to_owned)
    }

    /// How far the issuer's clock may be off, in microseconds.
    pub fn leeway(&self) -> i64 {
        self.issuer.rules.leeway_micros
    }

    fn holds_under(&self, trust: &Rc<Trust>, now: UnixMicros) -> bool {
        Rc::ptr_eq(&self.trust, trust)
            && self.key_until.is_none_or(|until| now < until)
            && self.claims.in_time(&self.issuer.rules, now).is_ok()
    }

    /// Step 3: the session, as committed now.
    pub fn verify_session(&self, now: UnixMicros) -> Result<Rc<Session>> {
        self.session.current(
            |session| session.until.is_none_or(|until| now < until),
            || verify::verify_session(&self.issuer, &self.claims, now).map(Rc::new),
        )
    }
}

/// At most `auth_ext.verified_cache_size` tokens, by their SHA-256. Those that were not asked for while half as many
/// others were go first.
#[derive(Default)]
struct Cache {
    trust: Option<Rc<Trust>>,
    young: HashMap<[u8; 32], Rc<VerifiedToken>>,
    old: HashMap<[u8; 32], Rc<VerifiedToken>>,
    hits: i64,
    misses: i64,
}

/// How this backend's cache has done.
pub struct CacheStatistics {
    /// Tokens in it.
    pub tokens: i64,
    /// Verifications that needed no signature to be checked.
    pub hits: i64,
    /// Those that did, refused ones among them.
    pub misses: i64,
}

/// The numbers of this backend, since it began.
pub fn cache_statistics() -> CacheStatistics {
    CACHE.with_borrow(|cache| CacheStatistics {
        tokens: i64::try_from(cache.young.len() + cache.old.len()).unwrap_or(i64::MAX),
        hits: cache.hits,
        misses: cache.misses,
    })
}

impl Cache {
    /// Forgets what was verified under other issuers and keys; and everything, where nothing is to be kept.
    fn under(&mut self, trust: &Rc<Trust>) -> &mut Self {
        let off = settings::verified_cache_size() == 0;
        if off
            || !self
                .trust
                .as_ref()
                .is_some_and(|same| Rc::ptr_eq(same, trust))
        {
            self.trust = Some(Rc::clone(trust));
            self.young.clear();
            self.old.clear();
        }
        self
    }

    fn count(&mut self, hit: bool) {
        let counter = if hit {
            &mut self.hits
        } else {
            &mut self.misses
        };
        *counter = counter.saturating_add(1);
    }

    fn get(&mut self, digest: &[u8; 32]) -> Option<Rc<VerifiedToken>> {
        if let Some(verified) = self.young.get(digest) {
            return Some(Rc::clone(verified));
        }
        let verified = self.old.remove(digest)?;
        self.put(*digest, Rc::clone(&verified));
        Some(verified)
    }

    fn put(&mut self, digest: [u8; 32], verified: Rc<VerifiedToken>) {
        let half = settings::verified_cache_size() / 2;
        if half == 0 {
            self.young.clear();
            self.old.clear();
            return;
        }
        if self.young.len() >= half {
            self.old = core::mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}
