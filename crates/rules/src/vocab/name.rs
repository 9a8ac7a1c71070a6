//! Names of documents and versions, and the interned text that carries them.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest name the contract allows, in bytes.
const NAME_LIMIT: usize = 128;

/// A shared text without rules of its own: cheap to clone, compares by content.
pub type Label = Arc<str>;

/// A name of `[A-Za-z0-9._-]{1,128}`: documents, services and versions have one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Label);

impl Name {
    /// The baseline version of every service; every fallback ends here.
    pub const RELEASE: &str = "release";

    /// Reads a name; `None` when a character or the length is not allowed.
    pub fn parse(text: &str) -> Option<Name> {
        Name::is_name(text).then(|| Name(text.into()))
    }

    /// Whether the text could be a name, without making one.
    pub fn is_name(text: &str) -> bool {
        (1..=NAME_LIMIT).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
    }

    pub fn release() -> Name {
        Name(Name::RELEASE.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn label(&self) -> Label {
        self.0.clone()
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_contract() {
        for (text, expected) in [
            ("a", true),
            ("20-pilot.hospitals_B", true),
            ("", false),
            ("a b", false),
            ("a/b", false),
            ("用户", false),
            (&"x".repeat(128), true),
            (&"x".repeat(129), false),
        ] {
            assert_eq!(Name::parse(text).is_some(), expected, "{text}");
        }
    }
}
