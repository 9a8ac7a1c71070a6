//! Someone an identity provider answers for, or why it does not.

use crate::people::Grant;

/// Someone the provider answers for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// `iss#sub`, which no local account can be called.
    pub name: String,
    /// For people to read.
    pub shown: String,
    pub grants: Vec<Grant>,
}

/// Why no one is signed in. What the provider answered stands in the log of this process alone.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
pub enum OidcError {
    #[error("the identity provider cannot be used: {0}")]
    Away(String),
    #[error("this sign-in did not begin in this browser, took too long, or was used already; begin again")]
    Stranger,
    #[error("the identity provider's answer is not good: {0}")]
    Forged(&'static str),
    #[error("the identity provider did not let you in")]
    Refused,
    #[error("none of what the identity provider says of you gives a role here; ask an administrator")]
    NoRole(Box<Person>),
}
