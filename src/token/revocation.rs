//! Single tokens that ended before their time, by issuer and `jti`.

use std::borrow::Cow;

use jose::{Claims, Refusal};
use pgrx::prelude::*;

use crate::error::Result;
use crate::invalidation::{self, Event};
use crate::pg::acting::ActingAs;
use crate::pg::local::process_local;
use crate::pg::plan::{OurPlan, Sees, query, text};
use crate::pg::probe::Looked;
use crate::pg::{catalog, clock};
use crate::trust::{self, Issuer};

process_local! {
    static FIND: OurPlan = OurPlan::new(
        "SELECT true FROM auth.revoked_tokens AS r
         WHERE r.issuer OPERATOR(pg_catalog.=) $1 AND r.jti OPERATOR(pg_catalog.=) $2",
        &[pg_sys::TEXTOID, pg_sys::TEXTOID],
    );
}

/// The `jti` as the table keeps it: an index cannot hold one of any length.
fn key(jti: &str) -> Cow<'_, str> {
    if jti.len() <= 1024 {
        jti.into()
    } else {
        format!("sha256:{}", jose::fingerprint(jti)).into()
    }
}

/// Refuses a token that was revoked, as committed at this moment. One index probe at most, and none for an
/// issuer of which no token was ever revoked.
pub fn refuse_revoked(issuer: &Issuer, claims: &Claims<'_>) -> Result<()> {
    let Some(jti) = claims.token_id.as_deref().filter(|_| issuer.revokes) else {
        return Ok(());
    };
    let name = claims.issuer_name(&issuer.rules).into_datum();
    let jti = key(jti).as_ref().into_datum();
    let looked = match (&issuer.revocations, name, jti) {
        (Some(probe), Some(name), Some(jti)) => {
            probe.look(&[name, jti], trust::still_holds, |_| ())
        }
        _ => Looked::Changed,
    };
    let revoked = match looked {
        Looked::Row(()) => true,
        Looked::Nothing => false,
        Looked::Changed => {
            let _acting = ActingAs::reader(catalog::extension_owner());
            let found = FIND.with(|find| find.run(Sees::Latest, &[name, jti], 1, |_| ()));
            !found.is_empty()
        }
    };
    if revoked {
        Err(Refusal::Revoked.into())
    } else {
        Ok(())
    }
}

/// Revokes a token, reported as that user's, until it could neither be verified nor refreshed. False when it was revoked before: of
/// concurrent callers exactly one gets true.
pub fn revoke(
    issuer: &Issuer,
    claims: &Claims<'_>,
    user_id: &str,
    jti: &str,
    reason: &str,
) -> bool {
    let last = claims
        .expires_at
        .0
        .saturating_add(issuer.rules.leeway_micros)
        .saturating_add(issuer.refresh_grace);
    // A second more, as a token may be refreshed up to and including that moment.
    let keep_until = clock::to_timestamptz(jose::UnixMicros(last.saturating_add(1_000_000)));
    let added = query(
        Sees::Transaction,
        "INSERT INTO auth.revoked_tokens (issuer, jti, user_id, reason, keep_until)
         VALUES ($1, $2, $3, $4, coalesce($5, 'infinity'))
         ON CONFLICT DO NOTHING RETURNING true",
        &[
            text(claims.issuer_name(&issuer.rules)),
            text(key(jti).as_ref()),
            text(user_id),
            text(reason),
            (pg_sys::TIMESTAMPTZOID, keep_until.into_datum()),
        ],
        |_| (),
    );
    !added.is_empty()
}

/// The same, and tells the listeners.
pub fn revoke_and_tell(
    issuer: &Issuer,
    claims: &Claims<'_>,
    user_id: &str,
    jti: &str,
    reason: &str,
) -> bool {
    let revoked = revoke(issuer, claims, user_id, jti, reason);
    if revoked {
        invalidation::record(Event::Token {
            jti: jti.to_owned(),
            user_id: user_id.to_owned(),
            exp: claims.expires_at.0.div_euclid(1_000_000),
        });
    }
    revoked
}
