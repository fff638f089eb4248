//! Step 3 of verification: does the user's row, as committed at this moment, still hold the session?

use jose::{Claims, Refusal, Rules, SessionCheck};

use crate::accounts::{self, Account, Users};
use crate::error::Result;

/// What the users row said.
#[derive(Default)]
pub struct Session {
    /// The user's id, as the id column prints it; None where no row is read.
    pub user_id: Option<String>,
    /// The version now; None where no row is read.
    pub current_version: Option<i64>,
}

/// Verifies the session of a token whose claims hold.
pub fn verify(rules: &Rules, claims: &Claims<'_>) -> Result<Session> {
    if rules.session_check == SessionCheck::None {
        return Ok(Session::default());
    }
    let attached = accounts::current();
    let users = attached.users()?;
    let account = users.find(&claims.user).ok_or(Refusal::UnknownUser)?;
    holds(rules, claims, users, &account)?;
    Ok(Session {
        user_id: Some(account.id),
        current_version: Some(account.session_version),
    })
}

fn holds(
    rules: &Rules,
    claims: &Claims<'_>,
    users: &Users,
    account: &Account,
) -> Result<(), Refusal> {
    if !account.active {
        return Err(Refusal::InactiveUser);
    }
    match rules.session_check {
        SessionCheck::None => Ok(()),
        SessionCheck::Version if claims.session_version.unwrap_or(0) == account.session_version => {
            Ok(())
        }
        SessionCheck::Version => Err(Refusal::SessionVersionMismatch),
        SessionCheck::IssuedAt => issued_after_last_bump(claims, users, account),
    }
}

/// The token's `iat` must be later than the second in which the sessions were last ended.
fn issued_after_last_bump(
    claims: &Claims<'_>,
    users: &Users,
    account: &Account,
) -> Result<(), Refusal> {
    const SECOND: i64 = 1_000_000;
    let issued_at = claims.issued_at.ok_or(Refusal::IssuedBeforeCutoff)?;
    match accounts::bumped_at(users, &account.id) {
        Some(bumped_at) if issued_at.0.div_euclid(SECOND) <= bumped_at.0.div_euclid(SECOND) => {
            Err(Refusal::IssuedBeforeCutoff)
        }
        _ => Ok(()),
    }
}
