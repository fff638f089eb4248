//! The rows of `auth.signing_key_store`, and which of them can be used.

use std::collections::{HashMap, HashSet};
use std::str::FromStr;

use jose::{
    Algorithm, AlgorithmName, BundledKey, KeyMaterial, Kid, Secret, SigningKey, TrustedKey,
    UnixMicros,
};
use pgrx::datum::TimestampWithTimeZone;

use super::restored::Restored;
use super::secrets::{self, KeyName};
use crate::error::{Error, Result, quoted};
use crate::pg::json::JsonText;
use crate::pg::row::Row;
use crate::pg::{catalog, clock, scan};

/// The key that signs for an issuer.
pub struct ActiveKey {
    /// Its kid.
    pub kid: Kid,
    /// Its private half or secret.
    pub key: SigningKey,
    /// It signs while `now` is before this moment.
    pub until: Option<UnixMicros>,
}

/// The keys of one issuer, for verifying.
#[derive(Default)]
pub struct IssuerKeys {
    /// Those that verify.
    pub usable: Vec<TrustedKey>,
    /// Those that would, but for what a restore has left out.
    pub held: Vec<HeldKey>,
}

/// A key that verifies nothing until the administrator has done something about it.
pub struct HeldKey {
    kid: Kid,
    algorithm: Algorithm,
    why: Error,
}

impl HeldKey {
    /// Why a token that no other key has verified can't be judged, if this key may have signed it.
    pub fn may_have_signed(&self, kid: Option<&Kid>, algorithm: Algorithm) -> Option<Error> {
        let named = kid.is_none_or(|kid| *kid == self.kid);
        (named && algorithm == self.algorithm).then(|| self.why.clone())
    }
}

/// The keys that verify, by issuer. A private half stays in its table until something is signed with it.
pub fn read_keys(restored: &Restored) -> HashMap<String, IssuerKeys> {
    let now = clock::now();
    let mut stored = StoredKey::read_all();
    stored.retain(|key| key.until.is_none_or(|until| now < until));
    let wanted: HashSet<KeyName> = stored
        .iter()
        .filter(|key| key.public_jwk.is_none())
        .map(StoredKey::name)
        .collect();
    let mut found = secrets::read(&wanted);
    let mut keys: HashMap<String, IssuerKeys> = HashMap::new();
    for mut key in stored {
        if key.secret.is_none() {
            key.secret = found.remove(&key.name());
        }
        // A stored key that no longer parses (a restore of tampered data, say) verifies nothing, and
        // does not keep the others from it.
        let Ok(algorithm) = AlgorithmName::from_str(&key.alg).map(AlgorithmName::algorithm) else {
            left_out(&key.issuer);
            continue;
        };
        let issuer = keys.entry(key.issuer.clone()).or_default();
        let why = if key.public_jwk.is_none() && key.secret.is_none() {
            Some(Error::NO_SECRET)
        } else if !restored.is_complete(key.origin.as_deref()) {
            Some(Error::PARTLY_RESTORED)
        } else {
            None
        };
        if let Some(why) = why {
            issuer.held.push(HeldKey {
                kid: key.kid,
                algorithm,
                why,
            });
            continue;
        }
        match key.material(false).and_then(|key| Ok(key.verifying_key()?)) {
            Ok(verifying) => issuer.usable.push(TrustedKey {
                kid: key.kid,
                key: verifying,
                until: key.until,
            }),
            Err(_) => left_out(&key.issuer),
        }
    }
    keys
}

fn left_out(issuer: &str) {
    crate::error::warn(format!(
        "a key of issuer {} cannot be read and is left out",
        quoted(issuer)
    ));
}

/// The key that signs for an issuer, read with its secret.
pub fn read_active_key(issuer: &str) -> Result<Option<ActiveKey>> {
    let active = |key: &StoredKey| key.active && key.issuer == issuer;
    let Some(mut key) = StoredKey::read_all().into_iter().find(active) else {
        return Ok(None);
    };
    if key.secret.is_none() {
        key.secret = secrets::read(&HashSet::from([key.name()])).remove(&key.name());
    }
    if key.secret.is_none() {
        return Err(Error::NO_SECRET);
    }
    let signing = key.material(true)?.signing_key()?;
    Ok(signing.map(|signing| ActiveKey {
        kid: key.kid,
        key: signing,
        until: key.until,
    }))
}

/// The keys of an issuer, or of all, that have not ended and whose secrets are here.
pub fn with_secrets(issuer: Option<&str>) -> Result<Vec<BundledKey>> {
    let now = clock::now();
    let mut stored = StoredKey::read_all();
    stored.retain(|key| {
        issuer.is_none_or(|issuer| key.issuer == issuer)
            && key.until.is_none_or(|until| now < until)
    });
    stored.sort_by_cached_key(StoredKey::name);
    let mut secrets = secrets::read(&stored.iter().map(StoredKey::name).collect());
    let mut keys = Vec::new();
    for mut key in stored {
        let Some(secret) = secrets.remove(&key.name()) else {
            continue;
        };
        key.secret = Some(secret);
        let mut material = key.material(true)?;
        material.kid = Some(key.kid);
        keys.push(BundledKey {
            issuer: Some(key.issuer),
            until: key.until.map(|until| until.0.div_euclid(1_000_000)),
            material,
        });
    }
    Ok(keys)
}

/// A row of `auth.signing_key_store`.
struct StoredKey {
    issuer: String,
    kid: Kid,
    alg: String,
    public_jwk: Option<String>,
    /// What 0.1.0 kept in the row itself.
    secret: Option<Secret>,
    active: bool,
    until: Option<UnixMicros>,
    origin: Option<String>,
}

impl StoredKey {
    fn read_all() -> Vec<Self> {
        let rows = scan::rows(catalog::auth_relation(c"signing_key_store"), Self::read);
        rows.into_iter().flatten().collect()
    }

    /// None where the kid is not as the table's constraint wants it.
    fn read(row: &Row<'_>) -> Option<Self> {
        Some(Self {
            issuer: row.required(c"issuer"),
            kid: Kid::new(row.required::<String>(c"kid"))?,
            alg: row.required(c"alg"),
            public_jwk: row.get::<JsonText>(c"public_jwk").map(|jwk| jwk.0),
            secret: row.get::<Vec<u8>>(c"secret").map(Secret::new),
            active: row.required(c"active"),
            until: row
                .get::<TimestampWithTimeZone>(c"verify_until")
                .map(|time| clock::from_pg(time.into_inner())),
            origin: row.get(c"origin"),
        })
    }

    fn name(&self) -> KeyName {
        (self.issuer.clone(), self.kid.clone())
    }

    /// Takes out what the key is made of: to verify, the secret is needed of an HMAC key only.
    fn material(&mut self, to_sign: bool) -> Result<KeyMaterial> {
        let needed = to_sign || self.public_jwk.is_none();
        Ok(KeyMaterial {
            algorithm: AlgorithmName::from_str(&self.alg).map_err(|_| {
                Error::Argument("unknown algorithm in auth.signing_key_store".to_owned())
            })?,
            kid: None,
            public_jwk: self.public_jwk.take(),
            secret: self.secret.take().filter(|_| needed),
        })
    }
}
