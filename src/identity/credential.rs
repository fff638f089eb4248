//! What somebody authenticated with, and whether it still holds.

use std::cell::RefCell;
use std::rc::Rc;

use jose::{Refusal, UnixMicros};
use serde_json::json;

use super::activity::{self, By};
use crate::api_key::{self, Found, KeyMark};
use crate::attach::{self, Bindings, UserId};
use crate::error::Result;
use crate::pg::clock;
use crate::pg::json::Jsonb;
use crate::pg::snapshot::{self, Moment};
use crate::staleness;
use crate::token::{self, Holder, Listing, Standing, VerifiedToken};

/// A token or an API key.
pub enum Credential {
    /// A token: its text, since what it was verified with may change, and whose it was when it became the identity.
    Token {
        text: String,
        holder: Holder,
        verified: RefCell<Option<Rc<VerifiedToken>>>,
    },
    /// An API key: what it is verified by, never the key itself.
    Key {
        mark: KeyMark,
        last: RefCell<Option<Key>>,
    },
}

/// What the tables said of an API key.
#[derive(Clone)]
pub struct Key {
    user_id: UserId,
    claims: Jsonb,
    expires_at: Option<UnixMicros>,
    proof: Option<(Moment, Rc<Bindings>)>,
}

impl Credential {
    /// Verifies a token in full.
    pub fn of_token(text: &str, now: UnixMicros) -> Result<Self> {
        let verified = token::verify_claims(text, now)?;
        let holder = verified.holder(now)?;
        let token = Self::Token {
            text: text.to_owned(),
            holder,
            verified: RefCell::new(Some(verified)),
        };
        activity::must_fit(&token)?;
        Ok(token)
    }

    /// Takes an API key that was found and holds.
    pub fn of_key(found: &Found) -> Result<Self> {
        let key = Self::Key {
            mark: found.mark(),
            last: RefCell::new(Some(Key::read(found, None)?)),
        };
        activity::must_fit(&key)?;
        Ok(key)
    }

    /// As it is carried.
    pub fn to_text(&self) -> String {
        match self {
            // A token has no white space.
            Self::Token { text, holder, .. } => format!("token {text} {}", holder.to_text()),
            Self::Key { mark, .. } => format!("key {}", mark.to_text()),
        }
    }

    /// From what was carried; None for nobody.
    pub fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ')? {
            ("token", carried) => {
                let (text, holder) = carried.split_once(' ')?;
                Some(Self::Token {
                    text: text.to_owned(),
                    holder: Holder::from_text(holder),
                    verified: RefCell::default(),
                })
            }
            ("key", mark) => Some(Self::Key {
                mark: KeyMark::from_text(mark)?,
                last: RefCell::default(),
            }),
            _ => None,
        }
    }

    /// Would it be verified again, now?
    pub fn verify_again(&self, now: UnixMicros) -> Result<()> {
        staleness::refuse(now)?;
        match self {
            Self::Token {
                text,
                holder,
                verified,
            } => {
                let last = verified.borrow().clone();
                let current = match last {
                    Some(last) if last.holds(now) => last,
                    _ => {
                        let fresh = token::verify_claims(text, now)?;
                        verified.replace(Some(Rc::clone(&fresh)));
                        fresh
                    }
                };
                if !current.is_held_by(holder, now)? {
                    return Err(Refusal::UnknownUser.into());
                }
                Ok(())
            }
            Self::Key { mark, last } => {
                let attached = attach::bindings();
                let moment = snapshot::moment();
                let holds_still = last.borrow().as_ref().is_some_and(|key| {
                    key.expires_at.is_none_or(|end| now < end)
                        && key.proof.as_ref().is_some_and(|(then, tables)| {
                            Some(*then) == moment && Rc::ptr_eq(tables, &attached)
                        })
                });
                if !holds_still {
                    let found = api_key::verify_again(api_key::current().api_keys()?, mark, now)?;
                    let proof = moment.map(|moment| (moment, Rc::clone(&attached)));
                    last.replace(Some(Key::read(&found, proof)?));
                }
                Ok(())
            }
        }
    }

    /// Whose it is.
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::Token { holder, .. } => holder.user_id.clone(),
            Self::Key { last, .. } => last.borrow().as_ref().map(|key| key.user_id.clone()),
        }
    }

    /// What `describe` says of it, kept with a token that was verified before.
    pub fn kept_listing(&self, describe: fn(&Self) -> Listing) -> Rc<Listing> {
        let Self::Token {
            verified, holder, ..
        } = self
        else {
            return Rc::new(describe(self));
        };
        let verified = verified.borrow();
        let Some(token) = verified.as_ref() else {
            return Rc::new(describe(self));
        };
        let kept = token.listing.borrow().clone();
        match kept {
            Some((of, listing)) if of == *holder => listing,
            _ => {
                let listing = Rc::new(describe(self));
                token
                    .listing
                    .replace(Some((holder.clone(), Rc::clone(&listing))));
                listing
            }
        }
    }

    /// By what others can verify it again, and when it ends by the clock.
    pub fn standing(&self) -> Option<(Option<UnixMicros>, By)> {
        match self {
            Self::Token {
                verified, holder, ..
            } => {
                let token = Standing::of(verified.borrow().as_ref()?, holder.link.as_deref());
                Some((Some(token.claims().expires_at), By::Token(token)))
            }
            Self::Key { mark, last } => {
                let ends = last.borrow().as_ref()?.expires_at;
                Some((ends, By::ApiKey(mark.clone())))
            }
        }
    }

    /// The session that a token is of; None for an API key.
    pub fn session_id(&self) -> Option<String> {
        match self {
            Self::Token { verified, .. } => verified.borrow().as_ref()?.session_id(),
            Self::Key { .. } => None,
        }
    }

    /// The claim that says the token's role or roles, as text; of an array None. An API key has none.
    pub fn role(&self) -> Option<String> {
        let json = self.role_json()?;
        match serde_json::from_str::<Option<String>>(&json) {
            Ok(role) => role,
            Err(_) => Some(json).filter(|json| !json.starts_with('[')),
        }
    }

    /// The same claim, a text or an array of texts; anything else is no role.
    pub fn roles(&self) -> Vec<String> {
        let Some(json) = self.role_json() else {
            return Vec::new();
        };
        match serde_json::from_str::<String>(&json) {
            Ok(role) => vec![role],
            Err(_) => serde_json::from_str(&json).unwrap_or_default(),
        }
    }

    /// The issuer's role claim, as the token has it.
    fn role_json(&self) -> Option<String> {
        let Self::Token { verified, .. } = self else {
            return None;
        };
        let verified = verified.borrow();
        verified.as_ref()?.claims.role.as_deref().map(str::to_owned)
    }

    /// Is the claim `name` of the token a NumericDate that is `max_age` microseconds ago at most, and no further in the future
    /// than the issuer's leeway?
    pub fn is_recent(&self, name: &str, max_age: i64, now: UnixMicros) -> bool {
        let Self::Token { verified, .. } = self else {
            return false;
        };
        verified.borrow().as_ref().is_some_and(|verified| {
            let time = verified.payload.json_of(name);
            let time = time.and_then(|json| UnixMicros::parse_numeric_date(&json));
            time.is_some_and(|time| {
                let age = now.0.saturating_sub(time.0);
                age <= max_age && age >= verified.leeway().saturating_neg()
            })
        })
    }

    /// The token's claims, or the API key's row as `verify_api_key` gives it.
    pub fn claims(&self) -> Option<Jsonb> {
        match self {
            Self::Token { verified, .. } => verified
                .borrow()
                .as_ref()
                .map(|verified| verified.payload.clone()),
            Self::Key { last, .. } => last.borrow().as_ref().map(|key| key.claims.clone()),
        }
    }
}

impl Key {
    fn read(found: &Found, proof: Option<(Moment, Rc<Bindings>)>) -> Result<Self> {
        let Found { row, fingerprint } = found;
        let expires_at = row.expires_at.and_then(clock::to_timestamptz);
        let claims = json!({
            "id": row.id,
            "user_id": row.user_id,
            "session_version": row.session_version,
            "fingerprint": fingerprint,
            "expires_at": expires_at.map(|time| time.to_string()),
        });
        Ok(Self {
            user_id: row.user_id.clone().ok_or(Refusal::UnknownUser)?,
            claims: Jsonb::parse(&claims.to_string()).ok_or(Refusal::UnknownApiKey)?,
            expires_at: row.expires_at,
            proof,
        })
    }
}
