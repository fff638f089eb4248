//! Which user is meant.

use serde::{Deserialize, Serialize};

/// The id of a user: what the id column of the users table prints of it.
///
/// A text becomes one at three places: where a row is read, where an argument of SQL arrives, and where the user claim of a token is
/// resolved to a user. Until then the claim is a text, since it may name an account or a value of another column. An id that came
/// with no row is in the caller's spelling: `accounts::Users::find` takes every spelling, and its answer has the column's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// The id that a column prints, or a caller says.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, owned.
    pub fn into_string(self) -> String {
        self.0
    }
}
