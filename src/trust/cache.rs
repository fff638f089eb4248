//! What a backend knows of issuers and keys: read and parsed once, kept until they change.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use jose::{ClaimPath, RequiredClaims, Rules, SessionCheck, Token, TokenTypes};

use pgrx::datum::{Interval, TimestampWithTimeZone};

use super::keys::Keys;
use super::restored::Restored;
use super::stored::{ActiveKey, read_active_key};
use crate::error::{Error, Result, quoted};
use crate::pg::json::JsonText;
use crate::pg::local::process_local;
use crate::pg::probe::Probe;
use crate::pg::row::Row;
use crate::pg::watch::Watched;
use crate::pg::{catalog, clock, scan};

/// What the user claim of an issuer's tokens names.
pub enum UserKey {
    /// The user's id.
    Id,
    /// The value of this column of the users table.
    Column(String),
    /// The account at this provider, as the identities table calls it.
    Provider(String),
}

/// An issuer's rules and keys.
pub struct Issuer {
    /// What its tokens must say.
    pub rules: Rules,
    /// How the user is found whom they name.
    pub user_key: UserKey,
    /// `token_ttl`, in microseconds.
    pub token_ttl: i64,
    /// `refresh_grace`, in microseconds.
    pub refresh_grace: i64,
    /// How long a session lasts at most, in microseconds.
    pub session_lifetime: i64,
    /// How long after its first use a refresh token still gives another pair, in microseconds.
    pub refresh_reuse: i64,
    /// Was a session ever opened under it? If not, the claim `sid` means nothing.
    pub opens_sessions: bool,
    /// The way to a session without a plan.
    pub sessions: Option<Rc<Probe>>,
    /// Was any of its tokens ever revoked? If not, none is looked up.
    pub revokes: bool,
    /// The way to a revocation without a plan.
    pub revocations: Option<Rc<Probe>>,
    /// Has it ended a session by its `sid`? If not, none is looked up.
    pub ends_sessions: bool,
    /// The keys that verify its tokens.
    pub keys: Keys,
    active: OnceCell<Option<Rc<ActiveKey>>>,
}

/// Every issuer.
pub struct Trust {
    issuers: HashMap<String, Rc<Issuer>>,
    /// Those whose names are templates.
    templates: Vec<Rc<Issuer>>,
    default: Option<String>,
    any_issued_at: bool,
}

process_local! {
    static KEPT: Watched<Trust> = Watched::new(false);
}

/// The issuers and keys as committed now (and as changed by this transaction).
pub fn current() -> Rc<Trust> {
    let tables = || {
        vec![
            catalog::auth_relation(c"issuers"),
            catalog::auth_relation(c"signing_key_store"),
            catalog::auth_relation(c"signing_secrets"),
            catalog::auth_relation(c"revoking_issuers"),
            catalog::auth_relation(c"revoked_tokens"),
            catalog::auth_relation(c"user_history"),
            catalog::auth_relation(c"user_floor"),
            catalog::auth_relation(c"session_issuers"),
            catalog::auth_relation(c"sessions"),
        ]
    };
    KEPT.with(|kept| kept.current(tables, |_| Trust::read()))
}

/// To be called before more is read into what [`current`] gave.
pub fn reads_more() {
    KEPT.with(Watched::reads_more);
}

/// Is what [`current`] gave last still so, by the messages that were read since?
pub fn still_holds() -> bool {
    KEPT.with(Watched::was_fresh)
}

impl Trust {
    /// The issuer of a token with an `iss`: by that, or else by the one template that names it.
    pub fn issuer_of(&self, token: &Token<'_>, name: &str) -> Option<&Rc<Issuer>> {
        let exact = self.issuer(name);
        if let Some(issuer) = exact.filter(|issuer| issuer.rules.template.is_none()) {
            return Some(issuer);
        }
        let mut named = self.templates.iter().filter(|issuer| {
            let template = issuer.rules.template.as_ref();
            template.is_some_and(|template| token.is_of(template))
        });
        // The table takes no two; more than one is nobody's.
        named.next().filter(|_| named.next().is_none())
    }

    /// The issuer whose row has this name.
    pub fn issuer(&self, issuer: &str) -> Option<&Rc<Issuer>> {
        self.issuers.get(issuer)
    }

    /// The issuer that a function's argument names; NULL is the default one.
    pub fn named(&self, issuer: Option<&str>) -> Result<&Rc<Issuer>> {
        match issuer {
            Some(name) => self.issuers.get(name).ok_or_else(|| {
                Error::Argument(format!(
                    "there is no issuer {} in auth.issuers",
                    quoted(name)
                ))
            }),
            None => self
                .default
                .as_deref()
                .and_then(|name| self.issuers.get(name))
                .ok_or(if self.is_empty() {
                    Error::NO_ISSUER
                } else {
                    Error::NO_DEFAULT_ISSUER
                }),
        }
    }

    /// Is nobody trusted at all?
    pub fn is_empty(&self) -> bool {
        self.issuers.is_empty()
    }

    /// Does any issuer compare `iat` with the time of a user's last bump?
    pub fn any_issued_at(&self) -> bool {
        self.any_issued_at
    }

    fn read() -> Self {
        let mut trust = Self {
            issuers: HashMap::new(),
            templates: Vec::new(),
            default: None,
            any_issued_at: false,
        };
        let revoking: HashSet<String> =
            scan::rows(catalog::auth_relation(c"revoking_issuers"), |row| {
                row.required(c"issuer")
            })
            .into_iter()
            .collect();
        let opening: HashSet<String> =
            scan::rows(catalog::auth_relation(c"session_issuers"), |row| {
                row.required(c"issuer")
            })
            .into_iter()
            .collect();
        let restored = Rc::new(Restored::read([&revoking, &opening]));
        let table = catalog::auth_relation(c"sessions");
        let sessions = (!opening.is_empty())
            .then(|| {
                let index = catalog::unique_index(table, &["session_id"])?;
                let columns = [
                    "issuer",
                    "user_id",
                    "expires_at",
                    "ended_at",
                    "session_version",
                    "created_at",
                ];
                Probe::new(table, &index, &["session_id"], &columns)
            })
            .flatten()
            .map(Rc::new);
        let revoked = catalog::auth_relation(c"revoked_tokens");
        let revocations = (!revoking.is_empty())
            .then(|| {
                let keys = ["issuer", "jti"];
                Probe::new(revoked, &catalog::unique_index(revoked, &keys)?, &keys, &[])
            })
            .flatten()
            .map(Rc::new);
        let rows = scan::rows(catalog::auth_relation(c"issuers"), |row| {
            read_issuer(row, &restored)
        });
        for (mut issuer, is_default) in rows.into_iter().flatten() {
            let name = issuer.rules.issuer.clone();
            issuer.revokes = match &issuer.rules.template {
                Some(template) => revoking.iter().any(|revoking| template.can_name(revoking)),
                None => revoking.contains(&name),
            };
            issuer.ends_sessions = revoking.contains(&ended_sessions_of(&name));
            issuer.revocations.clone_from(&revocations);
            issuer.opens_sessions = opening.contains(&name);
            issuer.sessions.clone_from(&sessions);
            trust.any_issued_at |= issuer.rules.session_check == SessionCheck::IssuedAt;
            if is_default {
                trust.default = Some(name.clone());
            }
            let issuer = Rc::new(issuer);
            if issuer.rules.template.is_some() {
                trust.templates.push(Rc::clone(&issuer));
            }
            trust.issuers.insert(name, issuer);
        }
        trust
    }
}

impl Issuer {
    /// The key that signs now; 55000 when there is none.
    pub fn active_key(&self) -> Result<Rc<ActiveKey>> {
        if self.active.get().is_none() {
            let key = read_active_key(&self.rules.issuer)?.map(Rc::new);
            let _ = self.active.set(key);
        }
        self.active
            .get()
            .and_then(Option::as_ref)
            .filter(|active| active.until.is_none_or(|until| clock::now() < until))
            .cloned()
            .ok_or(Error::NO_KEY)
    }
}

/// What the column `issuer` of `auth.revoked_tokens` says where the column `jti` is a `sid` that the issuer has ended.
pub fn ended_sessions_of(issuer: &str) -> String {
    format!("auth_ext:sid {issuer}")
}

/// A row of `auth.issuers`. None, and so nobody's issuer, where a claim is named as the table's constraints do not allow it.
fn read_issuer(row: &Row<'_>, restored: &Rc<Restored>) -> Option<(Issuer, bool)> {
    // The table takes no interval that would be out of range.
    let micros = |column| {
        let interval = row.get::<Interval>(column);
        interval.map_or(0, |interval| clock::micros(&interval).unwrap_or(0))
    };
    let path = |column, usual: &str| {
        let claim = row.get::<String>(column);
        ClaimPath::parse(claim.as_deref().unwrap_or(usual))
    };
    let required = row.get::<JsonText>(c"required_claims");
    let rules = Rules {
        audience_claim: path(c"audience_claim", "aud")?,
        user_claim: path(c"user_claim", "sub")?,
        version_claim: path(c"version_claim", "session_version")?,
        role_claim: path(c"role_claim", "role")?,
        required_claims: RequiredClaims::parse(required.as_ref().map_or("{}", |json| &json.0))?,
        token_types: row
            .get::<Vec<String>>(c"token_types")
            .map_or_else(TokenTypes::default, |types| TokenTypes::new(&types)),
        require_user: row.get(c"require_user").unwrap_or(true),
        numeric_subject: row.get(c"numeric_subject").unwrap_or(false),
        require_session_version: row.required(c"require_session_version"),
        leeway_micros: micros(c"leeway"),
        not_before: row
            .get::<TimestampWithTimeZone>(c"not_before")
            .map(|time| clock::from_pg(time.into_inner())),
        session_check: match row.required::<String>(c"session_check").as_str() {
            "none" => SessionCheck::None,
            "issued_at" => SessionCheck::IssuedAt,
            _ => SessionCheck::Version,
        },
        security_events: row.get(c"security_events").unwrap_or(false),
        event_audience: row.get(c"event_audience"),
        ..Rules::new(row.required(c"issuer"), row.required(c"audience"))
    };
    let column = row.get(c"user_column").map(UserKey::Column);
    let provider = row.get(c"identity_provider").map(UserKey::Provider);
    let user_key = column.or(provider).unwrap_or(UserKey::Id);
    let issuer = Issuer {
        keys: Keys::of(&rules.issuer, restored),
        rules,
        user_key,
        token_ttl: micros(c"token_ttl"),
        refresh_grace: micros(c"refresh_grace"),
        session_lifetime: micros(c"session_lifetime"),
        refresh_reuse: micros(c"refresh_reuse"),
        opens_sessions: false,
        sessions: None,
        revokes: false,
        revocations: None,
        ends_sessions: false,
        active: OnceCell::new(),
    };
    Some((issuer, row.required(c"is_default")))
}
