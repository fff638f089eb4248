//! The rows of `auth.signing_key_store`, and what can be made of them.

use std::str::FromStr;

use jose::{
    AlgorithmName, BundledKey, KeyMaterial, Kid, Secret, SigningKey, UnixMicros, VerifyingKey,
};
use pgrx::datum::TimestampWithTimeZone;

use super::secrets;
use crate::error::{Error, Result};
use crate::pg::json::JsonText;
use crate::pg::row::Row;
use crate::pg::{catalog, clock, scan};

/// The primary key of `auth.signing_key_store` and of `auth.signing_secrets`.
pub const KEY: [&str; 2] = ["issuer", "kid"];

/// The key that signs for an issuer.
pub struct ActiveKey {
    /// Its kid.
    pub kid: Kid,
    /// Its private half or secret.
    pub key: SigningKey,
    /// It signs while `now` is before this moment.
    pub until: Option<UnixMicros>,
}

/// The key that signs for an issuer, read with its secret.
pub fn read_active_key(issuer: &str) -> Result<Option<ActiveKey>> {
    let active = StoredKey::of(issuer, None, |row| row.required(c"active")).pop();
    let Some(key) = active else {
        return Ok(None);
    };
    let secret = key.secret().ok_or(Error::NO_SECRET)?;
    let signing = key.material(Some(secret))?.signing_key()?;
    Ok(signing.map(|signing| ActiveKey {
        kid: key.kid,
        key: signing,
        until: key.until,
    }))
}

/// The keys of an issuer, or of all, that have not ended and whose secrets are here.
pub fn with_secrets(issuer: Option<&str>) -> Result<Vec<BundledKey>> {
    let mut stored = match issuer {
        Some(issuer) => StoredKey::of(issuer, None, |_| true),
        None => StoredKey::all(),
    };
    let now = clock::now();
    stored.retain(|key| key.is_live(now));
    stored.sort_by(|one, other| (&one.issuer, &one.kid).cmp(&(&other.issuer, &other.kid)));
    let mut keys = Vec::new();
    for key in stored {
        let Some(secret) = key.secret() else {
            continue;
        };
        let mut material = key.material(Some(secret))?;
        material.kid = Some(key.kid);
        keys.push(BundledKey {
            issuer: Some(key.issuer),
            until: key.until.map(UnixMicros::second),
            material,
        });
    }
    Ok(keys)
}

/// A row of `auth.signing_key_store`.
pub struct StoredKey {
    issuer: String,
    /// Its id.
    pub kid: Kid,
    alg: String,
    public_jwk: Option<String>,
    /// What 0.1.0 kept in the row itself.
    secret: Option<Secret>,
    /// It verifies while `now` is before this moment.
    pub until: Option<UnixMicros>,
    /// The installation in which it was added.
    pub origin: Option<String>,
}

impl StoredKey {
    /// Those of every issuer.
    fn all() -> Vec<Self> {
        let rows = scan::rows(catalog::auth_relation(c"signing_key_store"), Self::read);
        rows.into_iter().flatten().collect()
    }

    /// Those of an issuer, or the one of that kid, whose rows are `wanted`.
    pub fn of(issuer: &str, kid: Option<&Kid>, wanted: impl Fn(&Row<'_>) -> bool) -> Vec<Self> {
        let mut columns = vec![("issuer", issuer)];
        columns.extend(kid.map(|kid| ("kid", kid.as_str())));
        let table = catalog::auth_relation(c"signing_key_store");
        scan::rows_by(table, &KEY, &columns, |row| {
            wanted(row).then(|| Self::read(row)).flatten()
        })
        .into_iter()
        .flatten()
        .collect()
    }

    /// None where the kid is not as the table's constraint wants it.
    fn read(row: &Row<'_>) -> Option<Self> {
        Some(Self {
            issuer: row.required(c"issuer"),
            kid: Kid::new(row.required::<String>(c"kid"))?,
            alg: row.required(c"alg"),
            public_jwk: row.get::<JsonText>(c"public_jwk").map(|jwk| jwk.0),
            secret: row.get(c"secret").map(Secret::new),
            until: row
                .get::<TimestampWithTimeZone>(c"verify_until")
                .map(|time| clock::from_pg(time.into_inner())),
            origin: row.get(c"origin"),
        })
    }

    /// Does it verify at that moment?
    pub fn is_live(&self, now: UnixMicros) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// The one algorithm that it is for.
    pub fn algorithm(&self) -> Result<AlgorithmName> {
        AlgorithmName::from_str(&self.alg)
            .map_err(|_| Error::Argument("unknown algorithm in auth.signing_key_store".to_owned()))
    }

    /// The key made ready to verify. A private half stays in its table until something is signed with it; the secret of an
    /// HMAC key is read: None if it is not here.
    pub fn verifying_key(&self) -> Result<Option<VerifyingKey>> {
        let secret = match self.public_jwk {
            Some(_) => None,
            None => match self.secret() {
                None => return Ok(None),
                secret => secret,
            },
        };
        Ok(Some(self.material(secret)?.verifying_key()?))
    }

    fn secret(&self) -> Option<Secret> {
        match &self.secret {
            Some(secret) => Some(Secret::new(secret.expose().to_vec())),
            None => secrets::of(&self.issuer, &self.kid),
        }
    }

    fn material(&self, secret: Option<Secret>) -> Result<KeyMaterial> {
        Ok(KeyMaterial {
            algorithm: self.algorithm()?,
            kid: None,
            public_jwk: self.public_jwk.clone(),
            secret,
        })
    }
}
