//! What a backend knows of issuers and keys: read and parsed once, kept until they change.

use std::cell::{OnceCell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::str::FromStr;

use jose::{
    Algorithm, KeyMaterial, KeySet, Rules, Secret, SessionCheck, SigningKey, TrustedKey, UnixMicros,
};

use pgrx::datum::{Interval, TimestampWithTimeZone};

use crate::error::{Error, Result, quoted};
use crate::pg::json::JsonText;
use crate::pg::plan::Row;
use crate::pg::probe::Probe;
use crate::pg::{catalog, clock, scan, watch};

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
    static CACHE: RefCell<Option<Rc<Trust>>> = const { RefCell::new(None) };
}

/// The issuers and keys as committed now (and as changed by this transaction).
pub fn current() -> Rc<Trust> {
    watch::TRUST.with(|watch| {
        // A change that arrives while we read makes the watch stale again: then read once more.
        loop {
            if watch.is_fresh()
                && let Some(trust) = CACHE.with_borrow(Clone::clone)
            {
                return trust;
            }
            // Should the reading be cancelled, nothing old must pass for fresh.
            CACHE.set(None);
            watch.begin(vec![
                catalog::auth_relation(c"issuers"),
                catalog::auth_relation(c"signing_key_store"),
                catalog::auth_relation(c"revoking_issuers"),
                catalog::auth_relation(c"revoked_tokens"),
            ]);
            CACHE.set(Some(Rc::new(Trust::read())));
        }
    })
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
                row.get(1).unwrap_or_default()
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
fn read_issuer(row: &Row) -> (Issuer, bool) {
    let text = |column| row.get::<String>(column).unwrap_or_default();
    // The table takes no interval that would be out of range.
    let micros = |column| {
        let interval = row.get::<Interval>(column);
        interval.map_or(0, |interval| clock::micros(&interval).unwrap_or(0))
    };
    let rules = Rules {
        issuer: text(1),
        audience: row.get::<Vec<String>>(2).unwrap_or_default(),
        user_claim: text(3),
        version_claim: text(4),
        require_session_version: row.get(5).unwrap_or(true),
        leeway_micros: micros(6),
        not_before: row
            .get::<TimestampWithTimeZone>(9)
            .map(|time| clock::from_pg(time.into_inner())),
        session_check: match text(10).as_str() {
            "none" => SessionCheck::None,
            "issued_at" => SessionCheck::IssuedAt,
            _ => SessionCheck::Version,
        },
    };
    let issuer = Issuer {
        rules,
        token_ttl: micros(7),
        refresh_grace: micros(8),
        revokes: false,
        revocations: None,
        keys: KeySet::new(Vec::new()),
        active: OnceCell::new(),
    };
    (issuer, row.get(11).unwrap_or(false))
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
    fn read(row: &Row) -> Self {
        let text = |column| row.get::<String>(column).unwrap_or_default();
        Self {
            issuer: text(1),
            kid: text(2),
            alg: text(3),
            public_jwk: row.get::<JsonText>(4).map(|jwk| jwk.0),
            secret: row.get::<Vec<u8>>(5).map(Secret::new),
            active: row.get(6).unwrap_or(false),
            until: row
                .get::<TimestampWithTimeZone>(7)
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
