//! The private halves and HMAC secrets: rows of `auth.signing_secrets`, written and read without a plan.

use jose::{Kid, Secret};
use pgrx::prelude::*;

use super::stored;
use crate::error::Error;
use crate::pg::plan::{Sees, query, text};
use crate::pg::{boundary, catalog, heap, scan};

const COLUMNS: [heap::Known; 3] = [
    (c"issuer", pg_sys::TEXTOID),
    (c"kid", pg_sys::TEXTOID),
    (c"secret", pg_sys::BYTEAOID),
];

/// Keeps the secret of a key. The issuer's row is locked by the caller.
pub fn put(issuer: &str, kid: &Kid, secret: &Secret) {
    // Of a key whose row was deleted without its triggers.
    query(
        Sees::Transaction,
        "DELETE FROM auth.signing_secrets WHERE issuer = $1 AND kid = $2",
        &[text(issuer), text(kid.as_str())],
        |_| (),
    );
    let row = [
        issuer.into_datum(),
        kid.as_str().into_datum(),
        secret.expose().into_datum(),
    ];
    if !heap::insert(catalog::auth_relation(c"signing_secrets"), &COLUMNS, [row]) {
        // With a plan, or by a trigger, others might see it.
        boundary::raise(Error::Internal(
            "auth.signing_secrets has been altered".to_owned(),
        ));
    }
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
