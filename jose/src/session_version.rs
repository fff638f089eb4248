//! Which of a user's sessions are meant.

use serde::{Deserialize, Serialize};

/// The version of a user's sessions: a token holds while it carries that of the user's row. A token or row that says no version has
/// the first one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SessionVersion(i64);

impl SessionVersion {
    /// The version that a column or an argument says.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}
