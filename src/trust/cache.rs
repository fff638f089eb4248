//! What a backend knows of issuers and keys: read and parsed once, kept until they change.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::str::FromStr;

use jose::{
    Algorithm, KeyMaterial, KeySet, Rules, Secret, SessionCheck, SigningKey, TrustedKey, UnixMicros,
};

use crate::error::{Error, Result, quoted};
use crate::pg::plan::{self, Row, Sees};
use crate::pg::probe::Probe;
use crate::pg::{catalog, clock, watch};

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
pub fn current() -> Result<Rc<Trust>> {
    watch::TRUST.with(|watch| {
        // A change that arrives while we read makes the watch stale again: then read once more.
        loop {
            if watch.is_fresh()
                && let Some(trust) = CACHE.with_borrow(Clone::clone)
            {
                return Ok(trust);
            }
            // Should the reading be cancelled, nothing old must pass for fresh.
            CACHE.set(None);
            watch.begin(vec![
                catalog::auth_relation(c"issuers"),
                catalog::auth_relation(c"signing_key_store"),
                catalog::auth_relation(c"revoking_issuers"),
                catalog::auth_relation(c"revoked_tokens"),
            ]);
            match Trust::read() {
                Ok(trust) => CACHE.set(Some(Rc::new(trust))),
                Err(error) => {
                    watch.end();
                    return Err(error);
                }
            }
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

    fn read() -> Result<Self> {
        let mut keys = read_keys()?;
        let mut trust = Self {
            issuers: HashMap::new(),
            default: None,
            any_issued_at: false,
        };
        let issuers = plan::query(Sees::Latest, ISSUERS, &[], read_issuer);
        let revoked = catalog::auth_relation(c"revoked_tokens");
        let revocations = issuers
            .iter()
            .any(|(issuer, _)| issuer.revokes)
            .then(|| Probe::new(revoked, &["issuer", "jti"], &[]))
            .flatten()
            .map(Rc::new);
        for (mut issuer, is_default) in issuers {
            issuer.revocations.clone_from(&revocations);
            let name = issuer.rules.issuer.clone();
            issuer.keys = KeySet::new(keys.remove(&name).unwrap_or_default());
            trust.any_issued_at |= issuer.rules.session_check == SessionCheck::IssuedAt;
            if is_default {
                trust.default = Some(name.clone());
            }
            trust.issuers.insert(name, Rc::new(issuer));
        }
        Ok(trust)
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

const ISSUERS: &str = "
    SELECT issuer, audience, user_claim, version_claim, require_session_version,
           (extract(epoch FROM leeway) * 1000000)::bigint,
           (extract(epoch FROM token_ttl) * 1000000)::bigint,
           (extract(epoch FROM refresh_grace) * 1000000)::bigint,
           not_before, session_check, is_default,
           EXISTS (SELECT FROM auth.revoking_issuers AS r WHERE r.issuer = i.issuer)
    FROM auth.issuers AS i";

fn read_issuer(row: &Row) -> (Issuer, bool) {
    let text = |column| row.get::<String>(column).unwrap_or_default();
    let rules = Rules {
        issuer: text(1),
        audience: row.get::<Vec<String>>(2).unwrap_or_default(),
        user_claim: text(3),
        version_claim: text(4),
        require_session_version: row.get(5).unwrap_or(true),
        leeway_micros: row.get(6).unwrap_or(0),
        not_before: row
            .get::<pgrx::datum::TimestampWithTimeZone>(9)
            .map(|time| clock::from_pg(time.into_inner())),
        session_check: match text(10).as_str() {
            "none" => SessionCheck::None,
            "issued_at" => SessionCheck::IssuedAt,
            _ => SessionCheck::Version,
        },
    };
    let issuer = Issuer {
        rules,
        token_ttl: row.get(7).unwrap_or(0),
        refresh_grace: row.get(8).unwrap_or(0),
        revokes: row.get(12).unwrap_or(true),
        revocations: None,
        keys: KeySet::new(Vec::new()),
        active: OnceCell::new(),
    };
    (issuer, row.get(11).unwrap_or(false))
}

/// Only what verifies: a private half stays in its table until something is signed with it.
const KEYS: &str = "
    SELECT issuer, kid, alg, public_jwk::text, CASE WHEN public_jwk IS NULL THEN secret END, verify_until
    FROM auth.signing_key_store
    WHERE verify_until IS NULL OR verify_until > clock_timestamp()";

fn read_keys() -> Result<HashMap<String, Vec<TrustedKey>>> {
    let mut keys: HashMap<String, Vec<TrustedKey>> = HashMap::new();
    for (issuer, key) in plan::query(Sees::Latest, KEYS, &[], |row| {
        let issuer = row.get::<String>(1).unwrap_or_default();
        (
            issuer,
            read_key(row).and_then(|(kid, material, until)| {
                Ok(TrustedKey {
                    kid,
                    key: material.verifying_key()?,
                    until,
                })
            }),
        )
    }) {
        // A stored key that no longer parses (a restore of tampered data, say) verifies nothing, and
        // does not keep the others from it.
        match key {
            Ok(key) => keys.entry(issuer).or_default().push(key),
            Err(_) => crate::error::warn(format!(
                "a key of issuer {} cannot be read and is left out",
                quoted(&issuer)
            )),
        }
    }
    Ok(keys)
}

const ACTIVE_KEY: &str = "
    SELECT NULL, kid, alg, public_jwk::text, secret, verify_until
    FROM auth.signing_key_store
    WHERE issuer = $1 AND active";

fn read_active_key(issuer: &str) -> Result<Option<ActiveKey>> {
    plan::query(Sees::Latest, ACTIVE_KEY, &[plan::text(issuer)], read_key)
        .pop()
        .transpose()?
        .and_then(|(kid, material, until)| {
            material.signing_key().transpose().map(|key| {
                Ok(ActiveKey {
                    kid,
                    key: key?,
                    until,
                })
            })
        })
        .transpose()
}

/// Columns 2 to 6 of both queries: kid, alg, public JWK, secret, end.
fn read_key(row: &Row) -> Result<(String, KeyMaterial, Option<UnixMicros>)> {
    let alg = row.get::<String>(3).unwrap_or_default();
    let material = KeyMaterial {
        algorithm: Algorithm::from_str(&alg).map_err(|_| {
            Error::Argument("unknown algorithm in auth.signing_key_store".to_owned())
        })?,
        kid: None,
        public_jwk: row.get(4),
        secret: row.get::<Vec<u8>>(5).map(Secret::new),
    };
    let until = row
        .get::<pgrx::datum::TimestampWithTimeZone>(6)
        .map(|time| clock::from_pg(time.into_inner()));
    Ok((row.get(2).unwrap_or_default(), material, until))
}
