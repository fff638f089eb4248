//! Changing the keys of an issuer: rows of `auth.signing_key_store`.

use jose::{AlgorithmName, KeyMaterial, Kid};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;

use crate::error::{self, Error, Result, quoted};
use crate::pg::catalog;
use crate::pg::plan::{Sees, query, text};
use crate::pg::row::only;
use crate::pg::transaction;

/// A parameter that is NULL or a bigint.
fn bigint(value: Option<i64>) -> (pg_sys::Oid, Option<pg_sys::Datum>) {
    (pg_sys::INT8OID, value.into_datum())
}

/// How the table of keys says what a key `k` has.
pub struct Layout {
    /// Was it made or imported with its secret?
    pub signs: &'static str,
    /// Is the secret here?
    pub has_secret: &'static str,
}

const TODAY: Layout = Layout {
    signs: "k.signs",
    has_secret: "EXISTS (SELECT FROM auth.signing_secrets AS s WHERE s.issuer = k.issuer AND s.kid = k.kid)",
};

/// In 0.1.0, until `ALTER EXTENSION auth_ext UPDATE`.
const BEFORE_UPDATE: Layout = Layout {
    signs: "(k.secret IS NOT NULL)",
    has_secret: "(k.secret IS NOT NULL)",
};

/// That of the installed version.
pub fn layout() -> &'static Layout {
    if is_updated() { &TODAY } else { &BEFORE_UPDATE }
}

/// Have secrets a table of their own?
pub fn is_updated() -> bool {
    catalog::has_auth_relation(c"signing_secrets")
}

/// Locks the issuer's row, so that two sessions cannot both find that no key is active yet, and nobody deletes or renames the
/// issuer meanwhile.
pub fn lock(issuer: &str) -> Result<()> {
    let locked = query(
        Sees::Transaction,
        "SELECT FROM auth.issuers WHERE issuer = $1 FOR NO KEY UPDATE",
        &[text(issuer)],
        |_| (),
    );
    if locked.is_empty() {
        return Err(Error::Argument(format!(
            "there is no issuer {} in auth.issuers",
            quoted(issuer)
        )));
    }
    Ok(())
}

/// Makes a key the active one; the former verifies for `overlap` microseconds more.
pub fn activate(issuer: &str, kid: &Kid, overlap: i64) -> Result<()> {
    lock(issuer)?;
    let Layout { signs, has_secret } = layout();
    let can_sign = query(
        Sees::Transaction,
        &format!(
            "SELECT {signs} AND (k.verify_until IS NULL OR k.verify_until > clock_timestamp()), {has_secret}
             FROM auth.signing_key_store AS k WHERE k.issuer = $1 AND k.kid = $2"
        ),
        &[text(issuer), text(kid.as_str())],
        |row| row.required::<bool>(1).then(|| row.required::<bool>(2)),
    );
    match can_sign.first() {
        None => return Err(no_key(kid.as_str())),
        Some(Some(false)) => return Err(Error::NO_SECRET),
        Some(None) => {
            return Err(Error::Argument(format!(
                "the key with kid {} cannot sign: it is retired, or only its public half is here",
                quoted(kid.as_str())
            )));
        }
        Some(Some(true)) => {}
    }
    query(
        Sees::Transaction,
        "UPDATE auth.signing_key_store
         SET active = false,
             verify_until = least(verify_until, clock_timestamp() + $3 * interval '1 microsecond')
         WHERE issuer = $1 AND active AND kid <> $2",
        &[text(issuer), text(kid.as_str()), bigint(Some(overlap))],
        |_| (),
    );
    query(
        Sees::Transaction,
        "UPDATE auth.signing_key_store
         SET active = true, verify_until = CASE WHEN retired THEN verify_until END
         WHERE issuer = $1 AND kid = $2",
        &[text(issuer), text(kid.as_str())],
        |_| (),
    );
    Ok(())
}

/// No key of the issuer has that kid.
pub fn no_key(kid: &str) -> Error {
    Error::Argument(format!("the issuer has no key with kid {}", quoted(kid)))
}

/// The algorithm of the active key, or else of the newest that could sign.
pub fn signing_algorithm(issuer: &str) -> Result<AlgorithmName> {
    let Layout { signs, .. } = layout();
    query(
        Sees::Latest,
        &format!(
            "SELECT k.alg FROM auth.signing_key_store AS k
             WHERE k.issuer = $1 AND {signs}
             ORDER BY k.active DESC, k.created_at DESC LIMIT 1"
        ),
        &[text(issuer)],
        |row| row.required::<String>(1),
    )
    .first()
    .and_then(|alg| alg.parse().ok())
    .ok_or(Error::NO_KEY)
}

/// Ends a key at `at`, for good: no JWKS brings it back. False when there is none or it had ended before that. 40001 where it was
/// added after the transaction's snapshot.
pub fn retire(issuer: &str, kid: &Kid, at: TimestampWithTimeZone) -> Result<bool> {
    lock(issuer)?;
    let retired = query(
        Sees::Transaction,
        "UPDATE auth.signing_key_store
         SET verify_until = least(verify_until, $3), retired = true,
             active = active AND $3 > clock_timestamp()
         FROM (SELECT verify_until AS until FROM auth.signing_key_store WHERE issuer = $1 AND kid = $2) AS former
         WHERE issuer = $1 AND kid = $2
         RETURNING former.until IS NULL OR former.until > $3",
        &[
            text(issuer),
            text(kid.as_str()),
            (pg_sys::TIMESTAMPTZOID, at.into_datum()),
        ],
        |row| row.required::<bool>(1),
    );
    transaction::refuse_if_missed(|| {
        let sql = "SELECT FROM auth.signing_key_store WHERE issuer = $1 AND kid = $2";
        let key = [text(issuer), text(kid.as_str())];
        retired.is_empty() && !query(Sees::Latest, sql, &key, |_| ()).is_empty()
    })?;
    Ok(retired == [true])
}

/// Makes the members of a JWKS the issuer's keys from a JWKS, and answers their kids. 40001 where another import has added a key
/// after the transaction's snapshot.
pub fn import_jwks(issuer: &str, jwks: &str) -> Result<Vec<Kid>> {
    let members = jose::import_jwks(jwks)?;
    lock(issuer)?;
    let mut kids = Vec::new();
    for member in members {
        match member {
            Ok(material) => kids.extend(upsert(issuer, &material)?),
            Err(skipped) => error::warn(skipped.to_string()),
        }
    }
    let names: Vec<&str> = kids.iter().map(Kid::as_str).collect();
    let arguments = [text(issuer), (pg_sys::TEXTARRAYOID, names.into_datum())];
    let withdrawn = "issuer = $1 AND from_jwks AND kid <> ALL ($2)
        AND (verify_until IS NULL OR verify_until > clock_timestamp())";
    query(
        Sees::Transaction,
        &format!(
            "UPDATE auth.signing_key_store SET verify_until = clock_timestamp() WHERE {withdrawn}"
        ),
        &arguments,
        |_| (),
    );
    transaction::refuse_if_missed(|| {
        let left = format!("SELECT FROM auth.signing_key_store WHERE {withdrawn} LIMIT 1");
        !query(Sees::Latest, &left, &arguments, |_| ()).is_empty()
    })?;
    Ok(kids)
}

/// Inserts or updates one key of a JWKS. What the administrator made, imported or retired here keeps its
/// kid: a provider's document changes none of it.
fn upsert(issuer: &str, material: &KeyMaterial) -> Result<Option<Kid>> {
    let kid = match &material.kid {
        Some(kid) => kid.clone(),
        None => material.default_kid()?,
    };
    let (origin, here) = if is_updated() {
        (
            ", origin",
            ", (SELECT i.origin FROM auth.installation AS i)",
        )
    } else {
        ("", "")
    };
    query(
        Sees::Transaction,
        &format!(
            "INSERT INTO auth.signing_key_store AS k (issuer, kid, alg, public_jwk, from_jwks{origin})
             VALUES ($1, $2, $3, $4::jsonb, true{here})
             ON CONFLICT (issuer, kid) DO UPDATE
                 SET alg = excluded.alg, public_jwk = excluded.public_jwk, verify_until = NULL
                 WHERE k.from_jwks AND NOT k.retired
                   AND (k.alg, k.public_jwk, k.verify_until)
                       IS DISTINCT FROM (excluded.alg, excluded.public_jwk, NULL::timestamptz)"
        ),
        &[
            text(issuer),
            text(kid.as_str()),
            text(material.algorithm.name()),
            text(material.public_jwk.as_deref()),
        ],
        |_| (),
    );
    let is_the_members = query(
        Sees::Transaction,
        "SELECT from_jwks AND NOT retired FROM auth.signing_key_store WHERE issuer = $1 AND kid = $2",
        &[text(issuer), text(kid.as_str())],
        |row| row.required::<bool>(1),
    );
    if is_the_members != [true] {
        error::warn(format!(
            "the key with kid {} is skipped: that kid was retired, or is another key's",
            quoted(kid.as_str())
        ));
        return Ok(None);
    }
    Ok(Some(kid))
}

/// The public keys of an issuer that verify now, as a JWKS.
pub fn jwks(issuer: &str) -> String {
    only(query(
        Sees::Latest,
        "SELECT jsonb_build_object('keys', coalesce(
             jsonb_agg(public_jwk ORDER BY created_at, kid), '[]'))::text
         FROM auth.signing_keys
         WHERE issuer = $1 AND status <> 'retired' AND public_jwk IS NOT NULL",
        &[text(issuer)],
        |row| row.required::<String>(1),
    ))
}
