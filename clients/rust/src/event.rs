//! What a payload of the channel `auth_invalidation`, or a row of the log, is about.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;

use serde_json::Value;

/// Whom or what an event is about, and what a cached answer is tied to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A user, by the id as the database prints it.
    User(String),
    /// An API key, by its fingerprint.
    ApiKey(String),
    /// A single token, by its `jti`.
    Token(String),
    /// A session, by its `sid`.
    Session(String),
    /// An issuer: its row, its keys, its kill switch.
    Issuer(String),
}

impl Subject {
    /// An issuer whose name is a pattern: what its event is about, names alone do not say.
    pub(crate) fn is_template(&self) -> bool {
        matches!(self, Self::Issuer(issuer) if issuer.contains('{'))
    }

    fn parts(&self) -> (u8, &str) {
        match self {
            Self::User(id) => (0, id),
            Self::ApiKey(id) => (1, id),
            Self::Token(id) => (2, id),
            Self::Session(id) => (3, id),
            Self::Issuer(id) => (4, id),
        }
    }
}

/// A subject's place in an index. Two subjects that share one are evicted together: that costs a question to the
/// database, no more. The hash is keyed, so that nobody can aim at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Topic(pub u64);

/// Makes topics of subjects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topics(RandomState);

impl Topics {
    pub fn of(&self, subject: &Subject) -> Topic {
        Topic(self.0.hash_one(subject.parts()))
    }
}

/// An event, as far as a cache has to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something about one subject, and the least session version that a user has from now on.
    About {
        subject: Subject,
        floor: i64,
        reason: Option<String>,
    },
    /// Everything may have changed: a `flush`, or something that this crate does not understand.
    Flush,
}

impl Event {
    /// What a payload says. Any role may send on the channel: whatever is not understood is a flush.
    pub fn parse(payload: &str) -> Self {
        serde_json::from_str(payload)
            .ok()
            .and_then(|value| Self::read(&value))
            .unwrap_or(Self::Flush)
    }

    fn read(event: &Value) -> Option<Self> {
        let text = |name: &str| event.get(name)?.as_str().map(str::to_owned);
        let id = |name: &str| text(name).filter(|id| !id.is_empty());
        if event.get("v")?.as_i64()? != 1 {
            return None;
        }
        let subject = match event.get("kind")?.as_str()? {
            "user" => Subject::User(id("id")?),
            "api_key" => Subject::ApiKey(id("fingerprint")?),
            "token" => Subject::Token(id("jti")?),
            "session" => Subject::Session(id("sid")?),
            "issuer" => Subject::Issuer(id("issuer")?),
            _ => return None,
        };
        let floor = match event.get("session_version") {
            None => 0,
            Some(version) => version.as_i64().filter(|version| *version >= 0)?,
        };
        Some(Self::About {
            subject,
            floor,
            reason: text("reason"),
        })
    }
}

/// What ended, or may have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// An event about the subject, with the reason that it gave: `logout_everywhere`, `deactivated`, `logout`, ….
    /// A hint: any database role can send one. Verify again before you act on more than a connection.
    Event(Option<String>),
    /// Too much changed at once, or while the listener was away. Verify again.
    Flush,
    /// The listener has been stale for longer than `max_staleness`. Verify again.
    Stale,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Event(Some(reason)) => f.write_str(reason),
            Self::Event(None) => f.write_str("changed"),
            Self::Flush => f.write_str("flush"),
            Self::Stale => f.write_str("stale"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(subject: Subject, floor: i64, reason: Option<&str>) -> Event {
        let reason = reason.map(str::to_owned);
        Event::About {
            subject,
            floor,
            reason,
        }
    }

    #[test]
    fn an_event_is_about_what_its_kind_names() {
        let table = [
            (
                r#"{"v":1,"kind":"user","id":"42","session_version":7,"reason":"logout_everywhere"}"#,
                about(Subject::User("42".into()), 7, Some("logout_everywhere")),
            ),
            (
                r#"{"v":1,"kind":"api_key","fingerprint":"b97e","user_id":"42","reason":"deactivated"}"#,
                about(Subject::ApiKey("b97e".into()), 0, Some("deactivated")),
            ),
            (
                r#"{"v":1,"kind":"token","jti":"1111","user_id":"42","exp":1735689600}"#,
                about(Subject::Token("1111".into()), 0, None),
            ),
            (
                r#"{"v":1,"kind":"issuer","issuer":"https://api.example.com"}"#,
                about(Subject::Issuer("https://api.example.com".into()), 0, None),
            ),
            (
                r#"{"v":1,"kind":"session","sid":"6f1c","user_id":null,"reason":"logout"}"#,
                about(Subject::Session("6f1c".into()), 0, Some("logout")),
            ),
            (r#"{"v":1,"kind":"flush"}"#, Event::Flush),
        ];
        for (payload, event) in table {
            assert_eq!(Event::parse(payload), event, "{payload}");
        }
    }

    #[test]
    fn what_is_not_understood_is_a_flush() {
        for payload in [
            "",
            "not JSON",
            "[[[[",
            "null",
            "[]",
            "7",
            "{}",
            r#"{"v":2,"kind":"user","id":"42","session_version":7}"#,
            r#"{"kind":"user","id":"42"}"#,
            r#"{"v":1,"kind":"new","id":"42"}"#,
            r#"{"v":1,"kind":"user"}"#,
            r#"{"v":1,"kind":"user","id":42}"#,
            r#"{"v":1,"kind":"user","id":"42","session_version":"x"}"#,
            r#"{"v":1,"kind":"user","id":"42","session_version":1e99}"#,
            r#"{"v":1,"kind":"user","id":"42","session_version":-1}"#,
            r#"{"v":1,"kind":"user","id":"42","session_version":null}"#,
            r#"{"v":1,"kind":"user","id":"","session_version":1}"#,
            r#"{"v":1,"kind":"session","sid":7}"#,
        ] {
            assert_eq!(Event::parse(payload), Event::Flush, "{payload}");
        }
    }

    #[test]
    fn kinds_with_the_same_id_are_different_subjects() {
        let topics = Topics::default();
        let all = [
            Subject::User("1".into()),
            Subject::ApiKey("1".into()),
            Subject::Token("1".into()),
            Subject::Session("1".into()),
            Subject::Issuer("1".into()),
        ];
        let found: std::collections::HashSet<_> = all.iter().map(|s| topics.of(s)).collect();
        assert_eq!(found.len(), all.len());
    }
}
