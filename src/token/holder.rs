//! Whose a token was when it became a connection's identity.
//!
//! Its user claim may name somebody else later, or nobody and then the same user again. Neither is whom the client authenticated as.

use serde::{Deserialize, Serialize};

use crate::attach::UserId;

/// A user, and by which link of an account at a provider, if by any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// None for nobody.
    pub user_id: Option<UserId>,
    /// See [`super::session::link`]. Without white space.
    pub link: Option<String>,
}

impl Holder {
    /// As it is carried: the link or `-`, and behind a space the user's id.
    pub fn to_text(&self) -> String {
        let link = self.link.as_deref().unwrap_or("-");
        match &self.user_id {
            Some(user_id) => format!("{link} {}", user_id.as_str()),
            None => link.to_owned(),
        }
    }

    /// From what was carried.
    pub fn from_text(text: &str) -> Self {
        let (link, user_id) = match text.split_once(' ') {
            Some((link, user_id)) => (link, Some(UserId::new(user_id))),
            None => (text, None),
        };
        Self {
            user_id,
            link: (link != "-").then(|| link.to_owned()),
        }
    }
}
