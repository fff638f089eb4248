//! Keys with their secrets, out and in, under a passphrase.

use jose::{BundledKey, Kid, UnixMicros};

use super::{add, current, stored};
use crate::error::{Error, Result};

const SECOND: i64 = 1_000_000;

/// The keys of an issuer, or of all, that have not ended and whose secrets are here.
pub fn export(passphrase: &str, issuer: Option<&str>) -> Result<String> {
    let keys = stored::with_secrets(issuer)?;
    if keys.is_empty() {
        return Err(Error::NotSetUp(
            "no key is here with its secret",
            "SELECT auth.create_signing_key();",
        ));
    }
    Ok(jose::seal_keys(&keys, passphrase)?)
}

/// Takes the keys of a bundle in, all or none: the kids that have their secret now.
pub fn import(bundle: &str, passphrase: &str) -> Result<Vec<Kid>> {
    let mut kids = Vec::new();
    for key in jose::open_keys(bundle, passphrase)? {
        kids.extend(take_in(key)?);
    }
    Ok(kids)
}

/// None for a key that has ended meanwhile and is not here.
fn take_in(key: BundledKey) -> Result<Option<Kid>> {
    let BundledKey {
        issuer,
        until,
        material,
    } = key;
    let trust = current();
    let issuer = match &issuer {
        Some(name) => trust.issuer(name).ok_or(Error::NotSetUp(
            "an issuer of the bundle is not here",
            "INSERT INTO auth.issuers first, or export the keys of one issuer: auth.export_keys(passphrase, issuer).",
        ))?,
        None => trust.named(None)?,
    };
    let kid = add::kid_of(None, &material)?;
    let until = until.map(|until| UnixMicros(until.saturating_mul(SECOND)));
    let added = add::add_secret(&issuer.rules.issuer, &kid, &material, until)?;
    Ok(added.then_some(kid))
}
