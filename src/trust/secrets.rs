//! The private halves and HMAC secrets: rows of `auth.signing_secrets`, written and read without a plan.

use std::collections::{HashMap, HashSet};

use jose::{Kid, Secret};
use pgrx::prelude::*;

use crate::pg::plan::{Sees, query, text};
use crate::pg::{catalog, heap, scan};

/// An issuer's name and a kid.
pub type KeyName = (String, Kid);

/// Keeps the secret of a key. The issuer's row is locked by the caller.
pub fn put(issuer: &str, kid: &Kid, secret: &Secret) {
    // Of a key whose row was deleted without its triggers.
    query(
        Sees::Transaction,
        "DELETE FROM auth.signing_secrets WHERE issuer = $1 AND kid = $2",
        &[text(issuer), text(kid.as_str())],
        |_| (),
    );
    heap::insert(
        catalog::auth_relation(c"signing_secrets"),
        &[
            issuer.into_datum(),
            kid.as_str().into_datum(),
            secret.expose().into_datum(),
        ],
    );
}

/// The secrets of the keys in `wanted`, those that are here.
pub fn read(wanted: &HashSet<KeyName>) -> HashMap<KeyName, Secret> {
    if wanted.is_empty() {
        return HashMap::new();
    }
    scan::rows(catalog::auth_relation(c"signing_secrets"), |row| {
        let kid = Kid::new(row.required::<String>(c"kid"))?;
        let name = (row.required(c"issuer"), kid);
        let secret = wanted
            .contains(&name)
            .then(|| row.get::<Vec<u8>>(c"secret"))??;
        Some((name, Secret::new(secret)))
    })
    .into_iter()
    .flatten()
    .collect()
}
