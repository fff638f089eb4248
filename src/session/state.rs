//! What a session's row holds, and whether the session could be refreshed.

use jose::{Refusal, SessionCheck, SessionVersion, UnixMicros};
use pgrx::datum::TimestampWithTimeZone;
use serde::{Deserialize, Serialize};

use crate::attach::UserId;
use crate::error::Result;
use crate::pg::clock;
use crate::pg::json::JsonText;
use crate::pg::row::Row;
use crate::token::{self, Subject};
use crate::trust::Issuer;

/// The columns of [`Session::read`], in its order.
pub const COLUMNS: &str = "s.session_id, s.issuer, s.user_id, s.session_version, s.refresh_tokens, s.device_hash, s.claims,
    s.created_at, s.expires_at, s.ended_at, s.label, s.device, s.last_used_at";

/// A session.
pub struct Session {
    /// The claim `sid` of its access tokens.
    pub id: String,
    /// The issuer of its access tokens.
    pub issuer: String,
    /// Whose it is.
    pub user_id: UserId,
    /// The user's version when it was opened.
    pub version: Option<SessionVersion>,
    /// The tokens that give another pair.
    pub tokens: RefreshTokens,
    /// What it is bound to.
    pub device_hash: Option<String>,
    /// Further claims of its access tokens: the text of a JSON object.
    pub claims: String,
    /// When it was opened.
    pub created_at: UnixMicros,
    /// When it is over at the latest.
    pub expires_at: UnixMicros,
    /// Was it ended before?
    pub ended: bool,
    /// The application's name for it.
    pub label: Option<String>,
    /// The device that it was opened or bound with.
    pub device: Option<JsonText>,
    /// When it was opened or refreshed last.
    pub last_used_at: TimestampWithTimeZone,
}

impl Session {
    /// A row of [`COLUMNS`].
    pub fn read(row: &Row<'_>) -> Self {
        let time = |column: i32| {
            clock::from_pg(row.required::<TimestampWithTimeZone>(column).into_inner())
        };
        Self {
            id: row.required(1),
            issuer: row.required(2),
            user_id: UserId::new(row.required::<String>(3)),
            version: row.get(4).map(SessionVersion::new),
            tokens: RefreshTokens::parse(&row.required::<JsonText>(5).0),
            device_hash: row.get(6),
            claims: row.required::<JsonText>(7).0,
            created_at: time(8),
            expires_at: time(9),
            ended: row.get::<TimestampWithTimeZone>(10).is_some(),
            label: row.get(11),
            device: row.get(12),
            last_used_at: row.required(13),
        }
    }

    /// Could it be refreshed now, as far as the session, its issuer and its user are concerned? Its issuer; the argument is None
    /// where that one's row is gone.
    pub fn verify<'i>(&self, issuer: Option<&'i Issuer>, now: UnixMicros) -> Result<&'i Issuer> {
        let issuer = issuer.ok_or(Refusal::UnknownSession)?;
        if self.ended {
            return Err(Refusal::SessionEnded.into());
        }
        if self.expires_at <= now {
            return Err(Refusal::Expired.into());
        }
        if issuer.rules.cuts_off(Some(self.created_at)) {
            return Err(Refusal::IssuedBeforeCutoff.into());
        }
        token::verify_login(issuer, &self.user_id, self.version, self.created_at)?;
        Ok(issuer)
    }

    /// Whose its next access token is, by the version that was verified: where the user is bumped meanwhile, that token ends, too.
    pub fn subject(&self, issuer: &Issuer) -> Result<Subject> {
        let version = match issuer.rules.session_check {
            SessionCheck::Version => Some(self.version.unwrap_or_default()),
            SessionCheck::IssuedAt => self.version,
            SessionCheck::None => None,
        };
        token::subject(issuer, &self.user_id, version)
    }
}

/// The refresh tokens of a session that give another pair, each by its hash: those that were not used yet, and those whose first
/// use is so recent that another tab may come with them. Every other token of the session's family was used before.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub struct RefreshTokens(Vec<(String, Option<i64>)>);

/// Tabs that refresh at once are few. Beyond that the oldest go, as if they had been used.
const MOST: usize = 256;

impl RefreshTokens {
    /// The first token of a new session.
    pub fn first(hash: String) -> Self {
        Self(vec![(hash, None)])
    }

    /// What the table holds. Text that is none of ours holds no token.
    fn parse(json: &str) -> Self {
        serde_json::from_str(json).unwrap_or(Self(Vec::new()))
    }

    /// As the table holds it.
    pub fn to_json(&self) -> JsonText {
        // Strings and numbers only: this cannot fail.
        JsonText(serde_json::to_string(self).unwrap_or_else(|_| "[]".to_owned()))
    }

    /// Does the token of this hash give another pair now, `reuse` microseconds after its first use at the latest? (The hash is
    /// of 256 random bits: comparing it tells nothing.)
    pub fn accept(&self, hash: &str, now: UnixMicros, reuse: i64) -> bool {
        self.0.iter().any(|(known, used)| {
            known == hash && used.is_none_or(|used| now.0.saturating_sub(used) <= reuse)
        })
    }

    /// Notes a use of the token of this hash, and that `next` was given for it. What can give no pair any more is forgotten.
    pub fn advance(&mut self, hash: &str, next: String, now: UnixMicros, reuse: i64) {
        for (known, used) in &mut self.0 {
            if known == hash {
                used.get_or_insert(now.0);
            }
        }
        self.0
            .retain(|(_, used)| used.is_none_or(|used| now.0.saturating_sub(used) <= reuse));
        self.0.push((next, None));
        let over = self.0.len().saturating_sub(MOST);
        self.0.drain(..over);
    }
}
