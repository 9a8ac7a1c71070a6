//! Sessions of the console: a cookie that says nothing, and a record that says everything.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// How long sessions last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionSettings {
    /// Without a request.
    pub idle: Duration,
    /// In all.
    pub lifetime: Duration,
}

impl Default for SessionSettings {
    fn default() -> SessionSettings {
        SessionSettings { idle: Duration::from_secs(30 * 60), lifetime: Duration::from_secs(12 * 60 * 60) }
    }
}

/// Between two notes that a session is in use: reading must not become writing.
const NOTE_EVERY: time::Duration = time::Duration::minutes(1);

/// What is kept of a session, under the hash of its cookie.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    pub user: String,
    /// What its writes have to repeat in a header.
    pub csrf: String,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub seen: OffsetDateTime,
}

impl Session {
    pub fn begin(user: &str, now: OffsetDateTime) -> Session {
        Session { user: user.to_owned(), csrf: super::secrets::secret(), created: now, seen: now }
    }

    pub fn is_alive(&self, settings: &SessionSettings, now: OffsetDateTime) -> bool {
        now - self.seen < settings.idle && now - self.created < settings.lifetime
    }

    /// Whether it is time to note that it is in use.
    pub fn is_due(&self, now: OffsetDateTime) -> bool {
        now - self.seen >= NOTE_EVERY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_unused_and_at_the_end_of_its_life() {
        let settings = SessionSettings::default();
        let begun = OffsetDateTime::UNIX_EPOCH;
        let mut session = Session::begin("li", begun);
        assert!(session.is_alive(&settings, begun + time::Duration::minutes(29)));
        assert!(!session.is_alive(&settings, begun + time::Duration::minutes(30)));
        session.seen = begun + time::Duration::hours(12);
        assert!(!session.is_alive(&settings, begun + time::Duration::hours(12)));
    }
}
