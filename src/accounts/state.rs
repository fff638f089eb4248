//! What the triggers read of a users row.

use super::users::Users;
use crate::attach::UserId;
use crate::pg::trigger_row::TriggerRow;

/// What of a users row matters to a session.
pub struct State {
    /// The user.
    pub id: UserId,
    /// The version.
    pub version: i64,
    /// May this user have sessions?
    pub active: bool,
}

impl State {
    /// None for a row without an id.
    pub fn read(users: &Users, row: &TriggerRow<'_>) -> Option<Self> {
        Some(Self {
            id: UserId::new(row.text(row.column(&users.id_column)?)?),
            version: row.bigint(row.column(&users.version_column)?).unwrap_or(0),
            active: match &users.active_column {
                Some(column) => row.boolean(row.column(column)?).unwrap_or(false),
                None => true,
            },
        })
    }

    /// The lowest that ends the sessions.
    pub fn next_version(&self) -> i64 {
        self.version.saturating_add(1)
    }
}
