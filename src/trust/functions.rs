//! The SQL functions of trust. Declared in `sql/functions.sql`.

use std::str::FromStr;

use jose::{AlgorithmName, KeyMaterial, Kid};
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::prelude::*;

use super::{add, bundle, current, fetch, store};
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::clock;
use crate::pg::json::JsonText;

/// The issuer that an argument names, by name.
fn named(issuer: Option<&str>) -> Result<String> {
    Ok(current().named(issuer)?.rules.issuer.clone())
}

fn required<T>(argument: Option<T>, name: &str) -> Result<T> {
    argument.ok_or_else(|| Error::Argument(format!("{name} must not be NULL")))
}

fn algorithm(alg: Option<&str>) -> Result<AlgorithmName> {
    AlgorithmName::from_str(required(alg, "alg")?).map_err(|_| {
        Error::Argument(
            "alg must be one of HS256/384/512, RS256/384/512, PS256/384/512, ES256, ES384, EdDSA, Ed25519"
                .to_owned(),
        )
    })
}

#[pg_extern(sql = false)]
fn create_signing_key(issuer: Option<&str>, alg: Option<&str>, kid: Option<&str>) -> String {
    sql(|| {
        let alg = algorithm(alg)?;
        add::add(&named(issuer)?, kid, &KeyMaterial::generate(alg)?).map(Kid::into_string)
    })
}

#[pg_extern(sql = false)]
fn import_signing_key(
    key: Option<&str>,
    alg: Option<&str>,
    issuer: Option<&str>,
    kid: Option<&str>,
) -> String {
    sql(|| {
        let alg = algorithm(alg)?;
        let material = KeyMaterial::import(required(key, "key")?, alg)?;
        add::import(&named(issuer)?, kid, &material).map(Kid::into_string)
    })
}

#[pg_extern(sql = false)]
fn import_jwks(jwks: Option<JsonText>, issuer: Option<&str>) -> SetOfIterator<'static, String> {
    let kids = sql(|| store::import_jwks(&named(issuer)?, &required(jwks, "jwks")?.0));
    SetOfIterator::new(kids.into_iter().map(Kid::into_string))
}

#[pg_extern(sql = false)]
fn refresh_jwks(issuer: Option<&str>, jwks: Option<JsonText>) -> SetOfIterator<'static, String> {
    let kids = sql(|| {
        let name = named(Some(required(issuer, "issuer")?))?;
        fetch::refresh_jwks(&name, &required(jwks, "jwks")?.0)
    });
    SetOfIterator::new(kids.into_iter().map(Kid::into_string))
}

#[pg_extern(sql = false)]
fn jwks_sources() -> TableIterator<
    'static,
    (
        name!(issuer, String),
        name!(jwks_uri, String),
        name!(fetched_at, Option<TimestampWithTimeZone>),
        name!(keys, i64),
    ),
> {
    TableIterator::new(sql(|| Ok(fetch::sources())))
}

#[pg_extern(sql = false)]
fn activate_signing_key(kid: Option<&str>, issuer: Option<&str>, overlap: Option<Interval>) {
    sql(|| {
        let (name, kid) = (named(issuer)?, required(kid, "kid")?);
        let overlap = overlap_micros(issuer, overlap)?;
        let kid = Kid::new(kid).ok_or_else(|| store::no_key(kid))?;
        store::activate(&name, &kid, overlap)
    })
}

#[pg_extern(sql = false)]
fn rotate_signing_key(issuer: Option<&str>, overlap: Option<Interval>) -> String {
    sql(|| {
        let name = named(issuer)?;
        let overlap = overlap_micros(issuer, overlap)?;
        let kid = add::add(
            &name,
            None,
            &KeyMaterial::generate(store::signing_algorithm(&name)?)?,
        )?;
        store::activate(&name, &kid, overlap)?;
        Ok(kid.into_string())
    })
}

/// Default: as long as a token signed a moment ago can still be verified or refreshed.
fn overlap_micros(issuer: Option<&str>, overlap: Option<Interval>) -> Result<i64> {
    match overlap {
        Some(interval) => {
            let overlap = clock::micros(&interval)?;
            if overlap < 0 {
                return Err(Error::Argument("overlap must not be negative".to_owned()));
            }
            Ok(overlap)
        }
        None => {
            let trust = current();
            let issuer = trust.named(issuer)?;
            Ok(issuer.token_ttl.saturating_add(issuer.refresh_grace))
        }
    }
}

#[pg_extern(sql = false)]
fn retire_signing_key(
    kid: Option<&str>,
    issuer: Option<&str>,
    at: Option<TimestampWithTimeZone>,
) -> bool {
    sql(|| {
        let name = named(issuer)?;
        let (kid, at) = (required(kid, "kid")?, required(at, "at")?);
        Kid::new(kid).map_or(Ok(false), |kid| store::retire(&name, &kid, at))
    })
}

#[pg_extern(sql = false)]
fn export_keys(passphrase: Option<&str>, issuer: Option<&str>) -> String {
    sql(|| {
        let issuer = issuer.map(|name| named(Some(name))).transpose()?;
        bundle::export(required(passphrase, "passphrase")?, issuer.as_deref())
    })
}

#[pg_extern(sql = false)]
fn import_keys(bundle: Option<&str>, passphrase: Option<&str>) -> SetOfIterator<'static, String> {
    let kids = sql(|| {
        bundle::import(
            required(bundle, "bundle")?,
            required(passphrase, "passphrase")?,
        )
    });
    SetOfIterator::new(kids.into_iter().map(Kid::into_string))
}

#[pg_extern(sql = false)]
fn jwks(issuer: Option<&str>) -> JsonText {
    sql(|| Ok(JsonText(store::jwks(&named(issuer)?))))
}
