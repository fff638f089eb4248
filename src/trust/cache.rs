//! What a backend knows of issuers and keys: read and parsed once, kept until they change.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::str::FromStr;

use jose::{
    Algorithm, KeyMaterial, KeySet, Rules, Secret, SessionCheck, SigningKey, TrustedKey, UnixMicros,
};

use pgrx::datum::{Interval, TimestampWithTimeZone};

use crate::error::{Error, Result, quoted};
use crate::pg::json::JsonText;
use crate::pg::probe::Probe;
use crate::pg::row::Row;
use crate::pg::watch::Watched;
use crate::pg::{catalog, clock, scan};

/// An issuer's rules and keys.
pub struct Issuer {
    /// What its tokens must say.
    pub rules: Rules,
    /// `token_ttl`, in microseconds.
    pub token_ttl: i64,
    /// `refresh_grace`, in microseconds.
    pub refresh_grace: i64,
    /// Was any of its tokens ever revoked? If not, none is looked up.
    pub revokes: bool,
    /// The way to a revocation without a plan.
    pub revocations: Option<Rc<Probe>>,
    /// The keys that verify its tokens.
    pub keys: KeySet,
    active: OnceCell<Option<Rc<ActiveKey>>>,
}

/// The key that signs for an issuer.
pub struct ActiveKey {
    /// Its kid.
    pub kid: String,
    /// Its private half or secret.
    pub key: SigningKey,
    until: Option<UnixMicros>,
}

/// Every issuer.
pub struct Trust {
    issuers: HashMap<String, Rc<Issuer>>,
    default: Option<String>,
    any_issued_at: bool,
}

thread_local! {
    static KEPT: Watched<Trust> = Watched::new(false);
}

/// The issuers and keys as committed now (and as changed by this transaction).
pub fn current() -> Rc<Trust> {
    let tables = || {
        vec![
            catalog::auth_relation(c"issuers"),
            catalog::auth_relation(c"signing_key_store"),
            catalog::auth_relation(c"revoking_issuers"),
            catalog::auth_relation(c"revoked_tokens"),
        ]
    };
    KEPT.with(|kept| kept.current(tables, |_| Trust::read()))
}

/// Is what [`current`] gave last still so, by the messages that were read since?
pub fn still_holds() -> bool {
    KEPT.with(Watched::was_fresh)
}

impl Trust {
    /// The issuer of a token, by its `iss`.
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
                .ok_or(Error::NO_ISSUER),
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
        let mut keys = read_keys();
        let mut trust = Self {
            issuers: HashMap::new(),
            default: None,
            any_issued_at: false,
        };
        let revoking: HashSet<String> =
            scan::rows(catalog::auth_relation(c"revoking_issuers"), |row| {
                row.required(c"issuer")
            })
            .into_iter()
            .collect();
        let revoked = catalog::auth_relation(c"revoked_tokens");
        let revocations = (!revoking.is_empty())
            .then(|| {
                let keys = ["issuer", "jti"];
                Probe::new(revoked, &catalog::unique_index(revoked, &keys)?, &keys, &[])
            })
            .flatten()
            .map(Rc::new);
        for (mut issuer, is_default) in scan::rows(catalog::auth_relation(c"issuers"), read_issuer)
        {
            let name = issuer.rules.issuer.clone();
            issuer.revokes = revoking.contains(&name);
            issuer.revocations.clone_from(&revocations);
            issuer.keys = KeySet::new(keys.remove(&name).unwrap_or_default());
            trust.any_issued_at |= issuer.rules.session_check == SessionCheck::IssuedAt;
            if is_default {
                trust.default = Some(name.clone());
            }
            trust.issuers.insert(name, Rc::new(issuer));
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

/// A row of `auth.issuers`.
fn read_issuer(row: &Row<'_>) -> (Issuer, bool) {
    // The table takes no interval that would be out of range.
    let micros = |column| clock::micros(&row.required::<Interval>(column)).unwrap_or(0);
    let rules = Rules {
        issuer: row.required(c"issuer"),
        audience: row.required(c"audience"),
        user_claim: row.required(c"user_claim"),
        version_claim: row.required(c"version_claim"),
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
    };
    let issuer = Issuer {
        rules,
        token_ttl: micros(c"token_ttl"),
        refresh_grace: micros(c"refresh_grace"),
        revokes: false,
        revocations: None,
        keys: KeySet::new(Vec::new()),
        active: OnceCell::new(),
    };
    (issuer, row.required(c"is_default"))
}

/// The keys that verify, by issuer. A private half stays in its table until something is signed with it.
fn read_keys() -> HashMap<String, Vec<TrustedKey>> {
    let mut keys: HashMap<String, Vec<TrustedKey>> = HashMap::new();
    let now = clock::now();
    let stored = scan::rows(catalog::auth_relation(c"signing_key_store"), |row| {
        let mut key = StoredKey::read(row);
        let live = key.until.is_none_or(|until| now < until);
        live.then(|| {
            let verifying = key.material(false).and_then(|key| Ok(key.verifying_key()?));
            (key, verifying)
        })
    });
    for (key, verifying) in stored.into_iter().flatten() {
        // A stored key that no longer parses (a restore of tampered data, say) verifies nothing, and
        // does not keep the others from it.
        match verifying {
            Ok(verifying) => keys.entry(key.issuer).or_default().push(TrustedKey {
                kid: key.kid,
                key: verifying,
                until: key.until,
            }),
            Err(_) => crate::error::warn(format!(
                "a key of issuer {} cannot be read and is left out",
                quoted(&key.issuer)
            )),
        }
    }
    keys
}

/// The key that signs for an issuer, read with its secret.
fn read_active_key(issuer: &str) -> Result<Option<ActiveKey>> {
    let stored = scan::rows(catalog::auth_relation(c"signing_key_store"), |row| {
        let key = StoredKey::read(row);
        (key.active && key.issuer == issuer).then_some(key)
    });
    let Some(mut key) = stored.into_iter().flatten().next() else {
        return Ok(None);
    };
    let signing = key.material(true)?.signing_key()?;
    Ok(signing.map(|signing| ActiveKey {
        kid: key.kid,
        key: signing,
        until: key.until,
    }))
}

/// A row of `auth.signing_key_store`.
struct StoredKey {
    issuer: String,
    kid: String,
    alg: String,
    public_jwk: Option<String>,
    secret: Option<Secret>,
    active: bool,
    until: Option<UnixMicros>,
}

impl StoredKey {
    fn read(row: &Row<'_>) -> Self {
        Self {
            issuer: row.required(c"issuer"),
            kid: row.required(c"kid"),
            alg: row.required(c"alg"),
            public_jwk: row.get::<JsonText>(c"public_jwk").map(|jwk| jwk.0),
            secret: row.get::<Vec<u8>>(c"secret").map(Secret::new),
            active: row.required(c"active"),
            until: row
                .get::<TimestampWithTimeZone>(c"verify_until")
                .map(|time| clock::from_pg(time.into_inner())),
        }
    }

    /// Takes out what the key is made of: to verify, the secret is needed of an HMAC key only.
    fn material(&mut self, to_sign: bool) -> Result<KeyMaterial> {
        let needed = to_sign || self.public_jwk.is_none();
        Ok(KeyMaterial {
            algorithm: Algorithm::from_str(&self.alg).map_err(|_| {
                Error::Argument("unknown algorithm in auth.signing_key_store".to_owned())
            })?,
            kid: None,
            public_jwk: self.public_jwk.take(),
            secret: self.secret.take().filter(|_| needed),
        })
    }
}
