//! Binding the application's identities table.

use core::ffi::CStr;

use pgrx::prelude::*;

use super::binding::current;
use super::table::AccountIndex;
use super::unlinked;
use crate::attach::{self, Attachment, Claim, ID_TYPE_NAMES, ID_TYPES, Trigger, detach};
use crate::error::{Error, Result};
use crate::pg::boundary::sql;
use crate::pg::names::name_argument;

#[pg_extern(sql = false)]
fn attach_identities(
    identities: Option<pg_sys::Oid>,
    user_column: Option<&CStr>,
    provider_column: Option<&CStr>,
    subject_column: Option<&CStr>,
) {
    let user = name_argument(user_column);
    let (provider, subject) = (
        name_argument(provider_column),
        name_argument(subject_column),
    );
    sql(move || {
        let relation =
            identities.ok_or_else(|| Error::Argument("identities must not be NULL".to_owned()))?;
        let claim = Claim::new("identities", relation)?;
        claim.attach(&attachment(&claim, user, provider, subject)?)?;
        current().identities().map(|_| ())
    });
}

fn attachment(
    claim: &Claim,
    user: Option<String>,
    provider: Option<String>,
    subject: Option<String>,
) -> Result<Attachment> {
    let named = |name: Option<String>, task: &str, customary: &str| {
        claim.named(name, task).unwrap_or(customary.to_owned())
    };
    let user = named(user, "user_column", "user_id");
    let provider = named(provider, "provider_column", "provider");
    let subject = named(subject, "subject_column", "subject");
    let relation = claim.relation();
    for name in [&user, &provider, &subject] {
        let column = attach::require_column(relation, name, ID_TYPES, ID_TYPE_NAMES)?;
        if !column.deterministic {
            return Err(Error::Argument(format!(
                "column \"{name}\" has a collation that takes different values for the same one"
            )));
        }
    }
    attach::require_distinct(&[Some(&user), Some(&provider), Some(&subject)])?;
    if AccountIndex::find(relation, &provider, &subject).is_none() {
        return Err(Error::Argument(format!(
            "no unique index is on the columns \"{provider}\" and \"{subject}\" alone: an account could be two users'"
        )));
    }
    Ok(Attachment {
        missing: Vec::new(),
        triggers: triggers(&user, &provider, &subject),
        columns: vec![
            ("user_column", Some(user)),
            ("provider_column", Some(provider)),
            ("subject_column", Some(subject)),
        ],
        bump_on: Vec::new(),
    })
}

fn triggers(user: &str, provider: &str, subject: &str) -> Vec<Trigger> {
    const AFTER_ROW: &str = "auth.identities_after_row";
    let changes: Vec<String> = [user, provider, subject].map(attach::changes).to_vec();
    vec![
        Trigger::new(
            "5_updated",
            "AFTER UPDATE",
            Some(changes.join(" OR ")),
            AFTER_ROW,
        ),
        Trigger::new("7_deleted", "AFTER DELETE", None, AFTER_ROW),
        Trigger::new(
            "8_truncate",
            "AFTER TRUNCATE",
            None,
            "auth.identities_after_truncate",
        ),
    ]
}

#[pg_extern(sql = false)]
fn detach_identities() {
    sql(|| {
        if detach("identities")? {
            // What happens to the table from here on leaves no mark.
            unlinked::mark_all();
        }
        Ok(())
    });
}
