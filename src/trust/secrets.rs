//! The private halves and HMAC secrets: rows of `auth.signing_secrets`, written and read without a plan.

use jose::{Kid, Secret};
use pgrx::prelude::*;

use super::stored;
use crate::pg::plan::{Sees, query, text};
use crate::pg::{catalog, heap, scan};

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

/// The secret of a key, if it is here.
pub fn of(issuer: &str, kid: &Kid) -> Option<Secret> {
    let columns = [("issuer", issuer), ("kid", kid.as_str())];
    let table = catalog::auth_relation(c"signing_secrets");
    scan::rows_by(table, &stored::KEY, &columns, |row| {
        Secret::new(row.required(c"secret"))
    })
    .pop()
}
