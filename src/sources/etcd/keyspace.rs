//! Which document a key is.
//!
//! Answers: what does `/graygate/rules/x` stand for, and where does a document live in the store?
//! Owns: the prefix and the shape below it. Never: talks to etcd.

use crate::documents::{DocumentId, Format, Kind};
use crate::sources::strays::stray;
use crate::vocab::{Problem, did_you_mean};

/// Below the prefix, but not documents: what each proxy tells about itself.
const RESERVED: &str = "fleet/";

/// The part of the store that belongs to graygate. Always ends in a slash, so that `/svc1` never reaches into
/// `/svc10`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prefix(String);

/// What a key stands for.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Slot {
    Document(DocumentId),
    /// Not a document by agreement.
    Reserved,
    Stray(Problem),
}

impl Prefix {
    /// The prefix as an operator writes it, with or without slashes at its end.
    pub fn new(text: &str) -> Prefix {
        Prefix(format!("{}/", text.trim_end_matches('/')))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first key behind all of the prefix: `/graygate0`, as `0` follows `/`.
    pub fn end(&self) -> Vec<u8> {
        format!("{}0", self.0.trim_end_matches('/')).into_bytes()
    }

    pub fn key(&self, id: &DocumentId) -> String {
        format!("{}{id}", self.0)
    }

    /// The key of a proxy in the fleet; with an empty name, the beginning of them all.
    pub fn fleet(&self, name: &str) -> String {
        format!("{}{RESERVED}{name}", self.0)
    }

    pub fn slot(&self, key: &[u8]) -> Slot {
        let shown = String::from_utf8_lossy(key);
        let Some(rest) = shown.strip_prefix(&self.0) else {
            return Slot::Reserved;
        };
        if rest.starts_with(RESERVED) {
            return Slot::Reserved;
        }
        // What is not UTF-8 shows replacement characters here, which no name has.
        match DocumentId::parse(rest) {
            Some(id) => Slot::Document(id),
            None => Slot::Stray(stray(&shown, "this key is no document", help(rest))),
        }
    }
}

/// How a document of this kind is read when it comes from a store, where names have no extension.
pub(crate) fn format(kind: Kind) -> Format {
    match kind {
        Kind::List => Format::List,
        _ => Format::Yaml,
    }
}

fn help(rest: &str) -> String {
    let folder = rest.split('/').next().unwrap_or_default();
    let folders = Kind::ALL.map(Kind::folder);
    match Kind::from_folder(folder) {
        Some(Kind::List) => "a list is `lists/<name>` or `lists/<name>/<part>`".to_owned(),
        Some(Kind::Instance) => "an instance is `instances/<service>/<id>`".to_owned(),
        Some(_) => format!("its key ends in `{folder}/<name>`, with a name of A-Z, a-z, 0-9, `.`, `_`, `-`"),
        None => match did_you_mean(folder, folders) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("behind the prefix comes one of {}", folders.join(", ")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_documents_strays_or_reserved() {
        let prefix = Prefix::new("/graygate");
        for (key, expected) in [
            ("/graygate/rules/x", "rules/x"),
            ("/graygate/lists/pilot", "lists/pilot"),
            ("/graygate/lists/pilot/p1", "lists/pilot/p1"),
            ("/graygate/instances/patient/p-1", "instances/patient/p-1"),
            ("/graygate/fleet/proxy-1", "reserved"),
            ("/graygate10/rules/x", "reserved"),
            ("/graygate/rules/x/y", "stray: its key ends in"),
            ("/graygate/rules/", "stray: its key ends in"),
            ("/graygate/rule/x", "stray: did you mean `rules`"),
            ("/graygate/x", "stray: behind the prefix"),
            ("/graygate/instances/p", "stray: an instance is"),
            ("/graygate/lists/a/b/c", "stray: a list is"),
        ] {
            let told = match prefix.slot(key.as_bytes()) {
                Slot::Document(id) => id.to_string(),
                Slot::Reserved => "reserved".to_owned(),
                Slot::Stray(problem) => {
                    assert_eq!(problem.document, key);
                    format!("stray: {}", problem.help)
                }
            };
            assert!(told.starts_with(expected), "{key}: {told}");
        }
        assert!(matches!(prefix.slot(b"/graygate/rules/\xff"), Slot::Stray(_)));
    }

    #[test]
    fn a_prefix_ends_in_one_slash_however_it_is_written() {
        for text in ["/graygate", "/graygate/", "/graygate//"] {
            assert_eq!(Prefix::new(text).as_str(), "/graygate/");
            assert_eq!(Prefix::new(text).end(), b"/graygate0");
        }
        let id = DocumentId::parse("rules/x").unwrap();
        assert_eq!(Prefix::new("/a").key(&id), "/a/rules/x");
    }
}
