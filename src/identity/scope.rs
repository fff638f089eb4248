//! The identity of the running statement.

use std::cell::RefCell;
use std::rc::Rc;

use pgrx::prelude::*;

use super::activity;
use super::credential::Credential;
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::boundary;
use crate::pg::carrier::{self, Scope};
use crate::pg::clock;
use crate::pg::hooks::{self, Statement};
use crate::pg::local::process_local;
use crate::pg::transaction;
use crate::relay;
use crate::settings::{self, WhenEnded};

/// Hides the session's identity for a transaction that has none.
const NOBODY: &str = "nobody";

/// What is known of the carried value, and when it was asked for last.
#[derive(Default)]
struct Memo {
    generation: u64,
    credential: Option<Rc<Credential>>,
    /// The statement that asked last, and whether the credential held.
    asked: Option<(Statement, bool)>,
}

process_local! {
    static MEMO: RefCell<Memo> = RefCell::default();
}

/// Parses a function's `scope` argument.
pub fn parse(scope: Option<&str>) -> Result<Scope> {
    match scope {
        Some("transaction") => Ok(Scope::Transaction),
        Some("session") => Ok(Scope::Session),
        _ => Err(Error::Argument(
            "scope must be 'transaction' or 'session'".to_owned(),
        )),
    }
}

/// Makes a credential that was just verified the identity.
pub fn enter(scope: Scope, credential: Credential) {
    carrier::set(scope, &activity::listed(&credential), &credential.to_text());
    if settings::when_ended() == WhenEnded::hang_up {
        relay::want();
    }
    // A session's is hidden while the transaction has one of its own.
    let hidden = scope == Scope::Session && !carrier::get(Scope::Transaction).is_empty();
    if !hidden {
        MEMO.replace(Memo {
            generation: carrier::generation(),
            credential: Some(Rc::new(credential)),
            asked: None,
        });
    }
}

/// Warns a caller whose identity is over at once, since the statement is the whole transaction.
pub fn warn_if_lost(scope: Scope) {
    if scope == Scope::Transaction && transaction::ends_with_the_statement() {
        boundary::warn(
            PgSqlErrorCode::ERRCODE_NO_ACTIVE_SQL_TRANSACTION,
            "an identity of scope transaction ends with this statement, outside of a transaction block",
            "Call it after BEGIN, or with scope => 'session'.",
        );
    }
}

/// Nobody is authenticated: for the rest of the transaction, or in the session either.
pub fn enter_nobody_in(scope: Scope) {
    match scope {
        Scope::Transaction => enter_nobody(),
        Scope::Session => leave(),
    }
}

/// Nobody is authenticated for the rest of the transaction.
pub fn enter_nobody() {
    carrier::set(Scope::Transaction, activity::NOBODY, NOBODY);
}

/// Ends both identities.
pub fn leave() {
    for scope in [Scope::Transaction, Scope::Session] {
        if !carrier::get(scope).is_empty() {
            carrier::set(scope, "", "");
        }
    }
}

/// What DISCARD ALL does to the session's identity. (It is refused inside of a transaction.)
pub fn on_discard_all() {
    leave();
}

/// The identity, if it held when this statement began; it is asked once a statement.
pub fn identity() -> Result<Option<Rc<Credential>>> {
    let generation = carrier::generation();
    let known = MEMO.with_borrow(|memo| {
        (memo.generation == generation).then(|| (memo.credential.clone(), memo.asked))
    });
    let statement = hooks::statement();
    let credential = match known {
        Some((credential, Some((asked, holds)))) if asked == statement => {
            return Ok(credential.filter(|_| holds));
        }
        Some((credential, _)) => credential,
        None => carried().map(Rc::new),
    };
    let holds = match &credential {
        Some(credential) => match credential.verify_again(clock::now()) {
            Ok(()) => true,
            // Where nothing is set up any more, nothing would be verified either.
            Err(Error::Refused(_) | Error::NotSetUp(..)) => false,
            Err(error) => return Err(error),
        },
        None => false,
    };
    MEMO.replace(Memo {
        generation,
        credential: credential.clone(),
        // Our own queries were statements, too.
        asked: Some((hooks::statement(), holds)),
    });
    Ok(credential.filter(|_| holds))
}

/// The credential that PostgreSQL carries: in a parallel worker, or after a rollback.
fn carried() -> Option<Credential> {
    let transaction = carrier::get(Scope::Transaction);
    match transaction.as_str() {
        "" => Credential::from_text(&carrier::get(Scope::Session)),
        text => Credential::from_text(text),
    }
}

/// Who is authenticated, for rooms that act for the user.
pub struct Whose {
    /// The user.
    pub user_id: UserId,
    /// The session that the token is of, if it is of one.
    pub session_id: Option<String>,
}

/// Who is authenticated now; None for nobody.
pub fn whose() -> Result<Option<Whose>> {
    Ok(identity()?.and_then(|credential| {
        Some(Whose {
            user_id: credential.user_id()?,
            session_id: credential.session_id(),
        })
    }))
}
