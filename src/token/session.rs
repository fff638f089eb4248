//! Step 3 of verification: does the user's row, as committed at this moment, still hold the session?

use jose::{Claims, Refusal, Rules, SessionCheck, SessionVersion, UnixMicros};

use crate::accounts::{self, Account, Users, identities};
use crate::attach::UserId;
use crate::error::Result;
use crate::trust::{Issuer, UserKey};

/// Whose session it is, and what the users row said.
#[derive(Default)]
pub struct Session {
    /// The user: whom the row names, or the user claim itself where no row is read. None for nobody.
    pub user_id: Option<UserId>,
    /// The version now; None where no row is read.
    pub current_version: Option<SessionVersion>,
    /// When the login that the token is of is over by the clock; None where it is of none.
    pub until: Option<UnixMicros>,
}

/// Verifies the session of a token whose claims hold: the user's row, as committed now, still has it. That the token was not
/// revoked, and that its login is open, is asked by [`super::verify::verify_session`].
pub fn verify(issuer: &Issuer, claims: &Claims<'_>) -> Result<Session> {
    let Some(user) = claims.user.as_deref() else {
        return Ok(Session::default());
    };
    if issuer.rules.session_check == SessionCheck::None {
        return Ok(Session {
            user_id: Some(UserId::new(user)),
            ..Session::default()
        });
    }
    let attached = accounts::current();
    let users = attached.users()?;
    let account = account_of(issuer, users, user)?.ok_or(Refusal::UnknownUser)?;
    let (version, issued_at) = (claims.session_version, claims.issued_at);
    refuse_over(&issuer.rules, users, &account, version, issued_at)?;
    Ok(Session {
        user_id: Some(account.id),
        current_version: Some(account.session_version),
        until: None,
    })
}

/// The user whom the user claim of the issuer's tokens names.
fn account_of(issuer: &Issuer, users: &Users, claim: &str) -> Result<Option<Account>> {
    match &issuer.user_key {
        UserKey::Id => Ok(users.find_claimed(claim)),
        UserKey::Column(column) => users.find_by(column, claim),
        UserKey::Provider(provider) => {
            let attached = identities::current();
            let identities = attached.identities()?;
            let account = identities.account(provider, claim);
            let user = account.and_then(|account| identities.user_of(&account));
            Ok(user.and_then(|user| users.find(&user)))
        }
    }
}

/// The user whom a user claim of the issuer's tokens names now, if there is one and the issuer's tokens are of users here.
pub fn known_user(issuer: &Issuer, claim: &str) -> Result<Option<UserId>> {
    if issuer.rules.session_check == SessionCheck::None {
        return Ok(None);
    }
    let attached = accounts::current();
    let account = account_of(issuer, attached.users()?, claim)?;
    Ok(account.map(|account| account.id))
}

/// A name for the present link of the token's account to its user, which no earlier link had. None where the user claim names no
/// account.
pub fn link(issuer: &Issuer, claims: &Claims<'_>) -> Result<Option<String>> {
    let (UserKey::Provider(provider), Some(claim)) = (&issuer.user_key, &claims.user) else {
        return Ok(None);
    };
    let attached = identities::current();
    let identities = attached.identities()?;
    let account = identities.account(provider, claim);
    Ok(account.map(|account| identities.link(&account)))
}

/// The user who is reported of a refused token. One who was unknown when the token was refused is not looked up again.
pub fn refused_user(issuer: &Issuer, claim: Option<&str>, why: Refusal) -> Option<UserId> {
    let says_id = matches!(issuer.user_key, UserKey::Id);
    let known = says_id || why != Refusal::UnknownUser;
    claim
        .filter(|_| known)
        .and_then(|claim| reported_user(issuer, Some(claim)))
}

/// Who is reported as the user of a token, whether or not it holds: where its user claim is no id, the user whom it names now.
pub fn reported_user(issuer: &Issuer, claim: Option<&str>) -> Option<UserId> {
    let claim = claim?;
    match &issuer.user_key {
        UserKey::Id => Some(UserId::new(claim)),
        UserKey::Column(_) | UserKey::Provider(_) => {
            let attached = accounts::current();
            let found = account_of(issuer, attached.users().ok()?, claim);
            found.ok().flatten().map(|account| account.id)
        }
    }
}

/// The user's row, and what the issuer's tokens say in their user claim.
pub fn named(issuer: &Issuer, users: &Users, user_id: &UserId) -> Result<(Account, String)> {
    let unknown = Refusal::UnknownUser;
    match &issuer.user_key {
        UserKey::Id => {
            let account = users.find(user_id).ok_or(unknown)?;
            let claim = account.id.as_str().to_owned();
            Ok((account, claim))
        }
        UserKey::Column(column) => {
            let (account, value) = users.find_with(user_id, column)?.ok_or(unknown)?;
            Ok((account, value.ok_or(unknown)?))
        }
        // Its tokens are the provider's: none is issued here, and no login begins.
        UserKey::Provider(_) => Err(unknown.into()),
    }
}

/// Refuses a login whose user, as the row is now, has no session any more that began with this version at this moment.
pub fn verify_login(
    issuer: &Issuer,
    user_id: &UserId,
    version: Option<SessionVersion>,
    began_at: UnixMicros,
) -> Result<()> {
    if issuer.rules.session_check == SessionCheck::None {
        return Ok(());
    }
    let attached = accounts::current();
    let users = attached.users()?;
    let (account, _) = named(issuer, users, user_id)?;
    refuse_over(&issuer.rules, users, &account, version, Some(began_at))?;
    // The time alone does not tell of a bump whose commit took long.
    if version.is_some_and(|version| version != account.session_version) {
        return Err(Refusal::IssuedBeforeCutoff.into());
    }
    Ok(())
}

fn refuse_over(
    rules: &Rules,
    users: &Users,
    account: &Account,
    version: Option<SessionVersion>,
    issued_at: Option<UnixMicros>,
) -> Result<()> {
    if !account.active {
        return Err(Refusal::InactiveUser.into());
    }
    match rules.session_check {
        SessionCheck::None => Ok(()),
        SessionCheck::Version if version.unwrap_or_default() == account.session_version => Ok(()),
        SessionCheck::Version => Err(Refusal::SessionVersionMismatch.into()),
        SessionCheck::IssuedAt if is_after_last_bump(issued_at, users, account) => Ok(()),
        SessionCheck::IssuedAt => Err(Refusal::IssuedBeforeCutoff.into()),
    }
}

/// A session must have begun later than the second in which the user's sessions were last ended.
fn is_after_last_bump(issued_at: Option<UnixMicros>, users: &Users, account: &Account) -> bool {
    issued_at.is_some_and(|issued_at| {
        accounts::bumped_at(users, &account.id)
            .is_none_or(|bumped_at| issued_at.second() > bumped_at.second())
    })
}
