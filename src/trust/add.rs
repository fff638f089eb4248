//! New keys in `auth.signing_key_store`, and secrets that come back to theirs.

use jose::{KeyMaterial, Kid, Secret, UnixMicros};
use pgrx::prelude::*;

use super::secrets;
use super::store::{Layout, is_updated, layout, lock};
use crate::error::{Error, Result, quoted};
use crate::invalidation::{self, Event};
use crate::pg::plan::{Sees, query, text};
use crate::pg::{catalog, clock, watch};

/// A private RSA key of 8192 bits has less; a row of `auth.signing_secrets` has to fit in a page.
const LONGEST_SECRET: usize = 5_000;

/// Adds a key that was made here. The first that can sign becomes the active one.
pub fn add(issuer: &str, kid: Option<&str>, material: &KeyMaterial) -> Result<Kid> {
    let kid = kid_of(kid, material)?;
    judge(material)?;
    lock(issuer)?;
    if insert_first(issuer, &kid, material) {
        Ok(kid)
    } else {
        Err(taken(&kid))
    }
}

/// The same for one that is imported. A key that is here without its secret gets that back, and stays what it is.
pub fn import(issuer: &str, kid: Option<&str>, material: &KeyMaterial) -> Result<Kid> {
    let kid = kid_of(kid, material)?;
    judge(material)?;
    lock(issuer)?;
    if insert_first(issuer, &kid, material) {
        return Ok(kid);
    }
    match (there(issuer, &kid, material), &material.secret) {
        (There::WithoutSecret, Some(secret)) => {
            give_back(issuer, &kid, secret);
            Ok(kid)
        }
        _ => Err(taken(&kid)),
    }
}

fn taken(kid: &Kid) -> Error {
    Error::Argument(format!(
        "the issuer has a key with kid {} already",
        quoted(kid.as_str())
    ))
}

/// The kid of a key: as it was named, or as its JWK names it, or by default.
pub fn kid_of(kid: Option<&str>, material: &KeyMaterial) -> Result<Kid> {
    let kid = match (kid, &material.kid) {
        (Some(kid), _) => Kid::new(kid),
        (None, Some(kid)) => Some(kid.clone()),
        (None, None) => Some(material.default_kid()?),
    };
    kid.filter(|kid| !kid.as_str().is_empty())
        .ok_or_else(|| Error::Argument("a kid has 1 to 512 bytes".to_owned()))
}

/// Inserts a key with its secret, and makes it the active one where there is none; false when its kid is taken.
fn insert_first(issuer: &str, kid: &Kid, material: &KeyMaterial) -> bool {
    let inserted = insert(issuer, kid, material);
    if inserted && let Some(secret) = &material.secret {
        if is_updated() {
            secrets::put(issuer, kid, secret);
        }
        activate_first(issuer, kid);
    }
    inserted
}

/// Takes in a key of a bundle: as one that verifies, until `until`, or its secret, where the key is here. False for a key that is not
/// here and has ended.
pub fn add_secret(
    issuer: &str,
    kid: &Kid,
    material: &KeyMaterial,
    until: Option<UnixMicros>,
) -> Result<bool> {
    let secret = material.secret.as_ref().ok_or(Error::NO_SECRET)?;
    if !is_updated() {
        return Err(Error::NOT_UPDATED);
    }
    judge(material)?;
    lock(issuer)?;
    match there(issuer, kid, material) {
        There::Nothing if until.is_some_and(|until| until <= clock::now()) => return Ok(false),
        There::Nothing => {
            insert(issuer, kid, material);
            secrets::put(issuer, kid, secret);
            if let Some(until) = until {
                end_at(issuer, kid, until);
            }
        }
        There::WithoutSecret => give_back(issuer, kid, secret),
        There::Whole => {}
        There::Another => {
            return Err(Error::Argument(format!(
                "the issuer {} has another key with kid {}",
                quoted(issuer),
                quoted(kid.as_str())
            )));
        }
    }
    Ok(true)
}

/// Refuses a key before anything is written.
fn judge(material: &KeyMaterial) -> Result<()> {
    let octets = material.secret.as_ref().map_or(0, |s| s.expose().len());
    if octets > LONGEST_SECRET {
        return Err(Error::Argument(format!(
            "a secret has at most {LONGEST_SECRET} bytes"
        )));
    }
    material.verifying_key()?;
    material.signing_key()?;
    Ok(())
}

fn give_back(issuer: &str, kid: &Kid, secret: &Secret) {
    secrets::put(issuer, kid, secret);
    watch::announce(catalog::auth_relation(c"signing_key_store"));
    invalidation::record(Event::Issuer {
        issuer: issuer.to_owned(),
    });
}

/// Inserts a key that is not the active one; false when its kid is taken.
fn insert(issuer: &str, kid: &Kid, material: &KeyMaterial) -> bool {
    query(
        Sees::Transaction,
        "UPDATE auth.signing_key_store SET active = false
         WHERE issuer = $1 AND active AND verify_until <= clock_timestamp()",
        &[text(issuer)],
        |_| (),
    );
    let key = [
        text(issuer),
        text(kid.as_str()),
        text(material.algorithm.name()),
        text(material.public_jwk.as_deref()),
    ];
    let secret = &material.secret;
    let (sql, last) = if is_updated() {
        (
            "INSERT INTO auth.signing_key_store (issuer, kid, alg, public_jwk, signs, origin)
             SELECT $1, $2, $3, $4::jsonb, $5, i.origin FROM auth.installation AS i
             ON CONFLICT DO NOTHING RETURNING true",
            (pg_sys::BOOLOID, secret.is_some().into_datum()),
        )
    } else {
        (
            "INSERT INTO auth.signing_key_store (issuer, kid, alg, public_jwk, secret)
             VALUES ($1, $2, $3, $4::jsonb, $5) ON CONFLICT DO NOTHING RETURNING true",
            (
                pg_sys::BYTEAOID,
                secret
                    .as_ref()
                    .and_then(|secret| secret.expose().into_datum()),
            ),
        )
    };
    let arguments: Vec<_> = key.into_iter().chain([last]).collect();
    !query(Sees::Transaction, sql, &arguments, |_| ()).is_empty()
}

/// Makes the key the active one if the issuer has none.
fn activate_first(issuer: &str, kid: &Kid) {
    query(
        Sees::Transaction,
        "UPDATE auth.signing_key_store SET active = true
         WHERE issuer = $1 AND kid = $2
           AND NOT EXISTS (SELECT FROM auth.signing_key_store WHERE issuer = $1 AND active)",
        &[text(issuer), text(kid.as_str())],
        |_| (),
    );
}

fn end_at(issuer: &str, kid: &Kid, until: UnixMicros) {
    query(
        Sees::Transaction,
        "UPDATE auth.signing_key_store SET verify_until = $3 WHERE issuer = $1 AND kid = $2",
        &[
            text(issuer),
            text(kid.as_str()),
            (
                pg_sys::TIMESTAMPTZOID,
                clock::to_timestamptz(until).into_datum(),
            ),
        ],
        |_| (),
    );
}

/// What is here under a kid.
enum There {
    Nothing,
    /// The same key.
    Whole,
    /// The same key, whose secret a restore has left out. An HMAC key has nothing that would tell it from another of its algorithm.
    WithoutSecret,
    Another,
}

fn there(issuer: &str, kid: &Kid, material: &KeyMaterial) -> There {
    let Layout { signs, has_secret } = layout();
    let found = query(
        Sees::Transaction,
        &format!(
            "SELECT {signs} AND k.public_jwk IS NOT DISTINCT FROM $3::jsonb AND k.alg = $4, {has_secret}
             FROM auth.signing_key_store AS k WHERE k.issuer = $1 AND k.kid = $2"
        ),
        &[
            text(issuer),
            text(kid.as_str()),
            text(material.public_jwk.as_deref()),
            text(material.algorithm.name()),
        ],
        |row| (row.get(1) == Some(true), row.required::<bool>(2)),
    );
    match found.first() {
        None => There::Nothing,
        Some((false, _)) => There::Another,
        Some((true, false)) => There::WithoutSecret,
        Some((true, true)) if has_that_secret(issuer, kid, material) => There::Whole,
        Some((true, true)) => There::Another,
    }
}

/// A private half belongs to its public one; the secret of HMAC has to be compared.
fn has_that_secret(issuer: &str, kid: &Kid, material: &KeyMaterial) -> bool {
    match (secrets::of(issuer, kid), &material.secret) {
        (Some(here), Some(secret)) => material.public_jwk.is_some() || here.is(secret),
        _ => false,
    }
}
