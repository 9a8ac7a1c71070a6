//! The record of a person.

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::roles::Grant;

/// How long someone who made or changed an account may not be approved for by it.
const HAND_KEPT: Duration = Duration::days(7);
/// Longest name.
const NAME_LIMIT: usize = 64;

/// A person, local or from the identity provider.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    pub name: String,
    /// argon2id; `None` for people of the identity provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    pub roles: Vec<Grant>,
    #[serde(with = "time::serde::rfc3339")]
    pub created: OffsetDateTime,
    /// Who made or changed this account, its password, roles or tokens of late.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hands: Vec<Hand>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oidc: Option<OidcPerson>,
}

/// Someone who changed an account, and when last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Hand {
    pub who: String,
    #[serde(with = "time::serde::rfc3339")]
    pub time: OffsetDateTime,
}

/// What the identity provider said at the last sign-in.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OidcPerson {
    #[serde(with = "time::serde::rfc3339")]
    pub signed_in: OffsetDateTime,
    /// For people to read; the name is what counts.
    pub shown: String,
}

impl User {
    /// Notes that someone changed the account.
    pub fn changed_by(&mut self, who: &str, now: OffsetDateTime) {
        self.hands.retain(|hand| hand.who != who && now - hand.time < HAND_KEPT);
        self.hands.push(Hand { who: who.to_owned(), time: now });
    }

    /// Whether `who` made or changed this account of late: such a person's proposals it must not approve.
    pub fn was_changed_by(&self, who: &str, now: OffsetDateTime) -> bool {
        self.hands.iter().any(|hand| hand.who == who && now - hand.time < HAND_KEPT)
    }
}

/// Whether a local account may have this name; `iss#sub` of the identity provider can never be one.
pub fn user_name_is_good(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    (1..=NAME_LIMIT).contains(&name.len()) && name.chars().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hand_is_remembered_for_seven_days() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::days(365);
        let mut user = User {
            name: "wang".into(),
            password: None,
            roles: Vec::new(),
            created: now,
            hands: Vec::new(),
            oidc: None,
        };
        user.changed_by("li", now);
        assert!(user.was_changed_by("li", now + Duration::days(6)));
        assert!(!user.was_changed_by("li", now + Duration::days(7)));
        assert!(!user.was_changed_by("zhao", now));
        user.changed_by("zhao", now + Duration::days(8));
        assert_eq!(user.hands.len(), 1, "old hands are forgotten");
    }

    #[test]
    fn names_of_accounts_are_plain() {
        for (name, good) in [
            ("li", true),
            ("li.wei@x", true),
            ("", false),
            ("a/b", false),
            ("https://i#1", false),
            ("李", false),
        ] {
            assert_eq!(user_name_is_good(name), good, "{name}");
        }
    }
}
