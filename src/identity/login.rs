//! A token that a connection was opened with (PostgreSQL 18's `oauth` in pg_hba.conf).

use super::credential::Credential;
use super::scope;
use crate::attach::UserId;
use crate::error::Error;
use crate::pg::carrier::Scope;
use crate::pg::connecting::Decides;
use crate::pg::oauth::Login;
use crate::pg::{catalog, clock};
use crate::statistics;

/// Verifies the token as `auth.authenticate` does, decides whether it may have the role, and makes it the session's identity.
/// Returns the user's id, or why the login is refused: a reason code or what the administrator has to know, and nothing of the
/// token.
pub fn admit(login: &Login) -> Result<Option<String>, String> {
    if catalog::our_schema().is_none() {
        return Err(Error::NO_EXTENSION.into_reason());
    }
    let verified = Credential::of_token(&login.token, clock::now());
    let credential = statistics::token(verified).map_err(Error::into_reason)?;
    let user = credential.user_id().map(UserId::into_string);
    // It is going to be logged.
    if (user.as_deref()).is_some_and(|user| user.is_empty() || user.contains(char::is_control)) {
        return Err("the user's id is none that can be a system user's name".to_owned());
    }
    let may = match (login.decides, &user) {
        (Decides::Token, _) => credential.roles().contains(&login.role),
        (map, Some(user)) => map.allows(user, &login.role),
        (Decides::Map(_), None) => false,
    };
    if !may {
        return Err(match login.decides {
            Decides::Token => "the token's role claim does not name the role",
            Decides::Map(_) => "the ident map does not give the user the role",
        }
        .to_owned());
    }
    scope::enter(Scope::Session, credential);
    Ok(user)
}
