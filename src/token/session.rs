//! Step 3 of verification: does the user's row, as committed at this moment, still hold the session?

use jose::{Claims, Refusal, Rules, SessionCheck, UnixMicros};

use crate::accounts::{self, Account, Users};
use crate::error::Result;

/// What the users row said.
#[derive(Default)]
pub struct Session {
    /// The user's id, as the id column prints it; None where no row is read.
    pub user_id: Option<String>,
    /// The version now; None where no row is read.
    pub current_version: Option<i64>,
    /// When the login that the token is of is over by the clock; None where it is of none.
    pub until: Option<UnixMicros>,
}

/// Verifies the session of a token whose claims hold: the user's row, as committed now, still has it. That the token was not
/// revoked, and that its login is open, is asked by [`super::verify::verify_session`].
pub fn verify(rules: &Rules, claims: &Claims<'_>) -> Result<Session> {
    if rules.session_check == SessionCheck::None {
        return Ok(Session::default());
    }
    let Some(user) = claims.user.as_deref() else {
        return Ok(Session::default());
    };
    let account = verify_user(rules, user, claims.session_version, claims.issued_at)?;
    Ok(Session {
        user_id: Some(account.id),
        current_version: Some(account.session_version),
        until: None,
    })
}

/// The user's row, if it still has a session that began with this version at this moment.
pub fn verify_user(
    rules: &Rules,
    user: &str,
    version: Option<i64>,
    issued_at: Option<UnixMicros>,
) -> Result<Account> {
    let attached = accounts::current();
    let users = attached.users()?;
    let account = users.find(user).ok_or(Refusal::UnknownUser)?;
    if !account.active {
        return Err(Refusal::InactiveUser.into());
    }
    let holds = match rules.session_check {
        SessionCheck::None => true,
        SessionCheck::Version if version.unwrap_or(0) == account.session_version => true,
        SessionCheck::Version => return Err(Refusal::SessionVersionMismatch.into()),
        SessionCheck::IssuedAt => is_after_last_bump(issued_at, users, &account),
    };
    if holds {
        Ok(account)
    } else {
        Err(Refusal::IssuedBeforeCutoff.into())
    }
}

/// A session must have begun later than the second in which the user's sessions were last ended.
fn is_after_last_bump(issued_at: Option<UnixMicros>, users: &Users, account: &Account) -> bool {
    const SECOND: i64 = 1_000_000;
    let second = |time: UnixMicros| time.0.div_euclid(SECOND);
    issued_at.is_some_and(|issued_at| {
        accounts::bumped_at(users, &account.id)
            .is_none_or(|bumped_at| second(issued_at) > second(bumped_at))
    })
}
