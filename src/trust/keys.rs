//! The keys that verify an issuer's tokens. Each is read when a token first names it, so that a backend of a database with a
//! thousand keys reads the few that it meets.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use jose::{Algorithm, KeySet, Kid, Token, TrustedKey, UnixMicros, Verified};

use super::cache;
use super::restored::Restored;
use super::stored::StoredKey;
use crate::error::{Error, Result, quoted};
use crate::pg::clock;

/// The keys of one issuer, as a backend has met them. What was read holds as long as the [`Trust`](super::Trust) that it is part
/// of: a change of any key makes all backends begin anew.
pub struct Keys {
    issuer: String,
    restored: Rc<Restored>,
    by_kid: RefCell<HashMap<Kid, Rc<Known>>>,
    all: OnceCell<Rc<Known>>,
}

/// Some keys of one issuer.
#[derive(Default)]
struct Known {
    /// Those that verify.
    usable: KeySet,
    /// Those that would, but for what a restore has left out.
    held: Vec<HeldKey>,
}

/// A key that verifies nothing until the administrator has done something about it.
struct HeldKey {
    algorithm: Algorithm,
    why: Error,
}

impl Keys {
    /// Those of an issuer. Nothing is read yet.
    pub fn of(issuer: &str, restored: &Rc<Restored>) -> Self {
        Self {
            issuer: issuer.to_owned(),
            restored: Rc::clone(restored),
            by_kid: RefCell::default(),
            all: OnceCell::new(),
        }
    }

    /// The token, if one of these keys has signed it. 55000 where that cannot be told, since a restore has left out what
    /// the key needs.
    pub fn verify<'t>(&self, token: Token<'t>, now: UnixMicros) -> Result<Verified<'t>> {
        let known = match token.kid() {
            Some(kid) => self.named(kid),
            None => Rc::clone(self.all.get_or_init(|| Rc::new(self.read(None)))),
        };
        if known.held.is_empty() {
            return Ok(known.usable.verify(token, now)?);
        }
        let algorithm = token.algorithm()?;
        known.usable.verify(token, now).map_err(|refusal| {
            let may_have_signed = |held: &&HeldKey| held.algorithm == algorithm;
            known
                .held
                .iter()
                .find(may_have_signed)
                .map_or(refusal.into(), |held| held.why.clone())
        })
    }

    /// Does a key of that id verify now?
    pub fn is_live(&self, kid: &Kid, now: UnixMicros) -> bool {
        let known = self.named(kid);
        known.usable.keys().iter().any(|key| key.is_live(now))
    }

    /// The key of that id, or none. What is not there is not remembered: a stranger chooses what is asked for.
    fn named(&self, kid: &Kid) -> Rc<Known> {
        if let Some(known) = self.by_kid.borrow().get(kid) {
            return Rc::clone(known);
        }
        let known = Rc::new(self.read(Some(kid)));
        if !known.is_empty() {
            self.by_kid
                .borrow_mut()
                .insert(kid.clone(), Rc::clone(&known));
        }
        known
    }

    fn read(&self, kid: Option<&Kid>) -> Known {
        cache::reads_more();
        let now = clock::now();
        let mut usable = Vec::new();
        let mut held = Vec::new();
        for key in StoredKey::of(&self.issuer, kid, |_| true) {
            if !key.is_live(now) {
                continue;
            }
            match self.judge(key) {
                Ok(Ok(key)) => usable.push(key),
                Ok(Err(key)) => held.push(key),
                // A stored key that no longer parses (a restore of tampered data, say) verifies nothing, and
                // does not keep the others from it.
                Err(_) => crate::error::warn(format!(
                    "a key of issuer {} cannot be read and is left out",
                    quoted(&self.issuer)
                )),
            }
        }
        Known {
            usable: KeySet::new(usable),
            held,
        }
    }

    fn judge(&self, key: StoredKey) -> Result<Result<TrustedKey, HeldKey>> {
        let algorithm = key.algorithm()?.algorithm();
        let why = match key.verifying_key()? {
            None => Error::NO_SECRET,
            Some(_) if !self.restored.is_complete(key.origin.as_deref()) => Error::PARTLY_RESTORED,
            Some(verifying) => {
                return Ok(Ok(TrustedKey {
                    kid: key.kid,
                    key: verifying,
                    until: key.until,
                }));
            }
        };
        Ok(Err(HeldKey { algorithm, why }))
    }
}

impl Known {
    fn is_empty(&self) -> bool {
        self.usable.keys().is_empty() && self.held.is_empty()
    }
}
