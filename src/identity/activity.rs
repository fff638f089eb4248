//! Who is authenticated on which connection: what a backend says of itself, and who reads it.

use std::borrow::Cow;

use jose::{Fingerprint, Refusal, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;
use serde::{Deserialize, Serialize};

use super::credential::Credential;
use crate::api_key::{self, KeyMark};
use crate::attach::UserId;
use crate::error::{Error, Result};
use crate::pg::carrier::Scope;
use crate::pg::slots::{self, Entry};
use crate::pg::{clock, preload};
use crate::settings::{self, WhenEnded};
use crate::staleness;
use crate::token::{Listing, Standing};

/// What is listed of a transaction without an identity, which hides the session's.
pub const NOBODY: &str = "-";

/// A user's id that is longer is cut where the rest does not fit, either.
const CUT: usize = 200;
/// The longest number of microseconds, and a space.
const SINCE: usize = 21;

#[derive(Serialize, Deserialize)]
struct Listed {
    kind: Kind,
    /// Not all of it, perhaps, where `by` is [`By::Cut`].
    user_id: UserId,
    /// When it ends by the clock, in microseconds.
    expires_at: Option<i64>,
    by: By,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Token,
    ApiKey,
}

/// What it can be verified again by.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// A token.
    Token(Standing),
    /// An API key.
    ApiKey(KeyMark),
    /// It is too long to be listed, and the user's id may be, too. This is the SHA-256 of the id.
    Cut(Fingerprint),
}

/// What is listed of a credential that holds now.
pub fn listed(credential: &Credential) -> String {
    if !preload::is_preloaded() {
        return String::new();
    }
    match credential.kept_listing(describe).text.as_str() {
        NOBODY => NOBODY.to_owned(),
        listed => format!("{} {listed}", clock::now().0),
    }
}

/// All but since when, which is the same each time for the same token.
fn describe(credential: &Credential) -> Listing {
    let Some((user_id, expires_at, by)) = credential.user_id().and_then(|user_id| {
        let (expires_at, by) = credential.standing()?;
        Some((user_id, expires_at, by))
    }) else {
        return Listing {
            text: NOBODY.to_owned(),
            is_whole: true,
        };
    };
    let mut listed = Listed {
        kind: match &by {
            By::Token(_) | By::Cut(_) => Kind::Token,
            By::ApiKey(_) => Kind::ApiKey,
        },
        user_id,
        expires_at: expires_at.map(|time| time.0),
        by,
    };
    let text = serde_json::to_string(&listed).unwrap_or_default();
    if text.len() <= slots::LONGEST - SINCE {
        return Listing {
            text,
            is_whole: true,
        };
    }
    listed.by = By::Cut(Fingerprint::of(listed.user_id.as_str()));
    let user_id = listed.user_id.as_str();
    if user_id.len() > CUT {
        let cut = &user_id[..user_id.floor_char_boundary(CUT)];
        listed.user_id = UserId::new(format!("{cut}…"));
    }
    Listing {
        text: serde_json::to_string(&listed).unwrap_or_default(),
        is_whole: false,
    }
}

impl Listed {
    /// Who it is and since when; None where nobody is authenticated.
    fn of(entry: &Entry) -> Option<(i64, Self)> {
        let text = String::from_utf8_lossy(&entry.said.listed);
        let (since, listed) = text.split_once(' ')?;
        Some((since.parse().ok()?, serde_json::from_str(listed).ok()?))
    }

    /// Does the identity hold now, as far as can be told from here?
    fn verify(&self, now: UnixMicros) -> Result<()> {
        match &self.by {
            By::Token(standing) => standing.verify(&self.user_id, now),
            By::ApiKey(mark) => api_key::current()
                .api_keys()
                .and_then(|keys| api_key::verify_again(keys, mark, now))
                .map(|_| ()),
            By::Cut(_) => match self.expires_at {
                Some(end) if end <= now.0 => Err(Refusal::Expired.into()),
                _ => Ok(()),
            },
        }
    }

    fn is_of(&self, user_id: &UserId) -> bool {
        match &self.by {
            By::Cut(hash) => *hash == Fingerprint::of(user_id.as_str()),
            _ => self.user_id == *user_id,
        }
    }
}

/// A row of `auth.activity`.
pub struct Active {
    pub pid: i32,
    pub user_id: String,
    pub issuer: Option<String>,
    pub kind: &'static str,
    pub scope: &'static str,
    pub token_id: Option<String>,
    pub session_id: Option<String>,
    pub since: Option<TimestampWithTimeZone>,
    pub expires_at: Option<TimestampWithTimeZone>,
}

fn entries() -> Result<Vec<(Entry, i64, Listed)>> {
    if !preload::is_preloaded() {
        return Err(Error::NOT_PRELOADED);
    }
    let now = clock::now();
    let mut found = Vec::new();
    for entry in slots::entries() {
        let Some((since, listed)) = Listed::of(&entry) else {
            continue;
        };
        match listed.verify(now) {
            Ok(()) => found.push((entry, since, listed)),
            // As where the identity is asked for.
            Err(Error::Refused(_) | Error::NotSetUp(..)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Who is authenticated on which connection of this database.
pub fn active() -> Result<Vec<Active>> {
    let entries = entries()?;
    // Hidden where they are asked for; `end_connections` ends them all the same.
    if staleness::refuse(clock::now()).is_err() {
        return Ok(Vec::new());
    }
    let row = |(entry, since, listed): (Entry, i64, Listed)| {
        let (issuer, token_id, session_id) = match listed.by {
            By::Token(token) => {
                let claims = token.claims();
                (
                    Some(token.issuer()),
                    claims.token_id.map(Cow::into_owned),
                    claims.session_id.ok().flatten().map(Cow::into_owned),
                )
            }
            By::ApiKey(_) | By::Cut(_) => (None, None, None),
        };
        Active {
            pid: entry.pid,
            user_id: listed.user_id.into_string(),
            issuer,
            kind: match listed.kind {
                Kind::Token => "token",
                Kind::ApiKey => "api_key",
            },
            scope: match entry.said.scope {
                Scope::Transaction => "transaction",
                Scope::Session => "session",
            },
            token_id,
            session_id,
            since: clock::to_timestamptz(UnixMicros(since)),
            expires_at: (listed.expires_at).and_then(|end| clock::to_timestamptz(UnixMicros(end))),
        }
    };
    Ok(entries.into_iter().map(row).collect())
}

/// Refuses what is too long to be listed, where others must be able to tell that it has ended.
pub fn must_fit(credential: &Credential) -> Result<()> {
    let is_watched = settings::when_ended() == WhenEnded::hang_up;
    if is_watched && !credential.kept_listing(describe).is_whole {
        return Err(Refusal::TooLarge.into());
    }
    Ok(())
}

/// The identities of this database that have ended, on connections that are to end with theirs.
pub fn ended() -> Vec<Entry> {
    let now = clock::now();
    let has_ended = |listed: &Listed| match (&listed.by, listed.verify(now)) {
        // The setting came after it.
        (By::Cut(_), _) | (_, Err(Error::Refused(_))) => true,
        // An identity that cannot be verified (a table is not attached, say) has not ended: it is only hidden.
        (_, Ok(()) | Err(_)) => false,
    };
    (slots::entries().into_iter())
        .filter(|entry| entry.hangs_up)
        .filter(|entry| Listed::of(entry).is_some_and(|(_, listed)| has_ended(&listed)))
        .collect()
}

/// Terminates the connections on which the user is authenticated; how many.
pub fn end_connections(user_id: &UserId) -> Result<i64> {
    let ended = (entries()?.iter())
        .filter(|(entry, _, listed)| listed.is_of(user_id) && slots::terminate(entry))
        .count();
    Ok(i64::try_from(ended).unwrap_or(i64::MAX))
}
