//! Things that can be done once: single sign-on, one-time tokens; and the removal of what is over.

pub mod one_time;
mod prune;
mod sso;
