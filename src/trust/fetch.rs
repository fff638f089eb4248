//! Key sets that somebody fetches and brings: of which issuers, and in what way.

use jose::Kid;
use pgrx::datum::TimestampWithTimeZone;

use super::store;
use crate::error::{Error, Result, quoted};
use crate::pg::plan::{Sees, query, text};

/// An issuer whose JWKS is published at a URL: its name, the URL, when the JWKS was last brought, and how many keys verify now.
type Source = (String, String, Option<TimestampWithTimeZone>, i64);

/// What there is to fetch.
pub fn sources() -> Vec<Source> {
    query(
        Sees::Latest,
        "SELECT i.issuer, i.jwks_uri, f.fetched_at,
                (SELECT count(*) FROM auth.signing_keys AS k WHERE k.issuer = i.issuer AND k.status <> 'retired')
         FROM auth.issuers AS i LEFT JOIN auth.jwks_fetches AS f ON f.issuer = i.issuer
         WHERE i.jwks_uri IS NOT NULL ORDER BY i.issuer",
        &[],
        |row| {
            (
                row.required(1),
                row.required(2),
                row.get(3),
                row.required(4),
            )
        },
    )
}

/// Takes a JWKS that was fetched, as [`store::import_jwks`] does, and notes when. The fetcher is trusted with the keys of providers
/// only: an issuer whose tokens are signed here is no provider.
pub fn refresh_jwks(issuer: &str, jwks: &str) -> Result<Vec<Kid>> {
    // From here to the end of the transaction nobody changes the row or adds a key. What others did before is judged as it is
    // committed, also in an old snapshot.
    store::lock(issuer)?;
    let judged = query(
        Sees::Latest,
        "SELECT i.jwks_uri IS NOT NULL,
                EXISTS (SELECT FROM auth.signing_key_store AS k WHERE k.issuer = i.issuer AND k.signs)
         FROM auth.issuers AS i WHERE i.issuer = $1",
        &[text(issuer)],
        |row| (row.required::<bool>(1), row.required::<bool>(2)),
    );
    match judged.first() {
        Some((true, false)) => {}
        Some((true, true)) => {
            return Err(Error::Argument(format!(
                "the issuer {} has a key that was made or imported to sign: refresh_jwks does not touch its keys",
                quoted(issuer)
            )));
        }
        Some((false, _)) | None => {
            return Err(Error::Argument(format!(
                "the issuer {} has no jwks_uri",
                quoted(issuer)
            )));
        }
    }
    let kids = store::import_jwks(issuer, jwks)?;
    query(
        Sees::Transaction,
        "INSERT INTO auth.jwks_fetches AS f (issuer, fetched_at) VALUES ($1, clock_timestamp())
         ON CONFLICT (issuer) DO UPDATE SET fetched_at = excluded.fetched_at",
        &[text(issuer)],
        |_| (),
    );
    Ok(kids)
}
