//! Does a key hold? Its row by the fingerprint, its state, its owner's state.

use jose::{Fingerprint, Refusal, UnixMicros};
use serde::{Deserialize, Serialize};

use super::hash;
use super::table::{ApiKeys, KeyRow};
use crate::accounts;
use crate::error::Result;
use crate::pg::acting;
use crate::pg::transaction;
use crate::settings;
use crate::staleness;

/// How many characters of a key its row keeps in the open.
pub const PREFIX_LENGTH: usize = 8;

/// A key's row with its fingerprint. It was found; whether it holds is the next question.
pub struct Found {
    /// The row.
    pub row: KeyRow,
    /// That of the key.
    pub fingerprint: Fingerprint,
}

/// What a key's row is known by without the key.
#[derive(Clone, Serialize, Deserialize)]
pub struct KeyMark {
    id: String,
    fingerprint: Fingerprint,
    /// That of the bcrypt hash, for a row that was found by it.
    hash: Option<Fingerprint>,
}

impl KeyMark {
    /// As text, without a secret in it.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// From that text.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl Found {
    /// What the row can be found again by.
    pub fn mark(&self) -> KeyMark {
        KeyMark {
            id: self.row.id.clone(),
            fingerprint: self.fingerprint.clone(),
            hash: self.row.hash.as_deref().map(Fingerprint::of),
        }
    }
}

/// Finds a key that holds, and writes its use down where that is possible.
pub fn verify(keys: &ApiKeys, key: &str, now: UnixMicros) -> Result<Found> {
    let mut found = find(keys, key, now)?;
    check(&mut found.row, now)?;
    if transaction::may_note_a_use() && !keys.can_defer_triggers {
        keys.touch(&found.row, &found.fingerprint);
    }
    Ok(found)
}

/// Finds the row of a key that was verified before, and verifies the key again. Nothing is written.
pub fn verify_again(keys: &ApiKeys, mark: &KeyMark, now: UnixMicros) -> Result<Found> {
    let mut row = find_again(keys, mark).ok_or(Refusal::UnknownApiKey)?;
    check(&mut row, now)?;
    Ok(Found {
        row,
        fingerprint: mark.fingerprint.clone(),
    })
}

/// The row that was found before, if it still has the fingerprint, or the hash and no fingerprint.
fn find_again(keys: &ApiKeys, mark: &KeyMark) -> Option<KeyRow> {
    keys.find(&mark.fingerprint)
        .or_else(|| {
            // The hash is read of rows without a fingerprint only.
            let row = keys.find_by_id(&mark.id)?;
            let hash = row.hash.as_deref().map(Fingerprint::of)?;
            (Some(hash) == mark.hash).then_some(row)
        })
        .filter(|row| row.id == mark.id)
}

/// Finds a key: by one index probe, or, for rows without a fingerprint, by its prefix and hash.
pub fn find(keys: &ApiKeys, key: &str, now: UnixMicros) -> Result<Found> {
    staleness::refuse(now)?;
    if key.is_empty() || key.len() > settings::max_token_size() {
        return Err(Refusal::UnknownApiKey.into());
    }
    let fingerprint = Fingerprint::of(key);
    let row = keys
        .find(&fingerprint)
        .or_else(|| find_by_hash(keys, key, &fingerprint))
        // Another session may have filled the fingerprint in between the two.
        .or_else(|| keys.has_hashes().then(|| keys.find(&fingerprint)).flatten())
        .ok_or(Refusal::UnknownApiKey)?;
    Ok(Found { row, fingerprint })
}

fn find_by_hash(keys: &ApiKeys, key: &str, fingerprint: &Fingerprint) -> Option<KeyRow> {
    if key.len() > hash::LONGEST_KEY {
        return None;
    }
    let prefix = key.get(..key.char_indices().nth(PREFIX_LENGTH)?.0)?;
    let mut candidates = keys.candidates(prefix);
    // Each costs a bcrypt, and the functions of the identity are everybody's to call.
    if candidates.len() > 1 && !acting::may_execute("verify_api_key") {
        candidates.truncate(1);
    }
    let row = candidates.into_iter().find(|row| {
        row.hash
            .as_deref()
            .is_some_and(|hash| hash::matches(key, hash))
    })?;
    // bcrypt takes its time. Meanwhile the key may have been rotated or deactivated.
    let fingerprint = fingerprint.clone();
    find_again(keys, &Found { row, fingerprint }.mark())
}

/// Refuses a key that was deactivated or has expired, or whose owner is gone or inactive. Ending the owner's
/// sessions does not end his keys. The row then calls the owner as his own does, and as events of him will.
pub fn check(row: &mut KeyRow, now: UnixMicros) -> Result<()> {
    if !row.active {
        return Err(Refusal::InactiveApiKey.into());
    }
    if row.expires_at.is_some_and(|expires_at| expires_at <= now) {
        return Err(Refusal::ExpiredApiKey.into());
    }
    let attached = accounts::current();
    let users = attached.users()?;
    let owner = (row.user_id.as_ref())
        .and_then(|owner| users.find(owner))
        .ok_or(Refusal::UnknownUser)?;
    row.user_id = Some(owner.id);
    if owner.active {
        Ok(())
    } else {
        Err(Refusal::InactiveUser.into())
    }
}
