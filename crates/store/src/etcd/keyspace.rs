//! Which document a key is.
//!
//! Answers: what does `/graygate/rules/x` stand for, and where does a document live in the store?
//! Owns: the prefix and the shape below it. Never: talks to etcd.

use crate::strays::stray;
use graygate_rules::documents::{DocumentId, Format, Kind};
use graygate_rules::vocab::{Problem, did_you_mean};

/// Below the prefix, but not documents: what each proxy tells about itself.
const RESERVED: &str = "fleet/";

/// The part of the store that belongs to graygate. Always ends in a slash, so that `/svc1` never reaches into
/// `/svc10`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Prefix(String);

/// A part of the prefix that is listed and watched by itself. Between the two lie the fleet's keys: each proxy writes its
/// own again and again, and a watch across them would send every write to every proxy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Behind the fleet's keys: every document but closures, so that a transaction over documents is one message of one
    /// watch.
    Documents,
    /// Before the fleet's keys: closures, and else nothing but strays. Where a transaction has a closure beside other
    /// documents the two watches report it one after the other, and each half of a rollback only makes an audience smaller.
    Strays,
}

impl Part {
    pub(crate) const ALL: [Part; 2] = [Part::Documents, Part::Strays];
}

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

    /// The first key of a part, and the first one behind it.
    pub fn range(&self, part: Part) -> (Vec<u8>, Vec<u8>) {
        let (first, end) = match part {
            Part::Documents => (behind(&self.fleet("")), behind(&self.0)),
            Part::Strays => (self.0.clone(), self.fleet("")),
        };
        (first.into_bytes(), end.into_bytes())
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

/// The first key behind all that begin with this path: `0` follows `/`.
fn behind(path: &str) -> String {
    format!("{}0", path.trim_end_matches('/'))
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
        Some(kind) => {
            let shapes: Vec<_> = kind.shapes().map(|shape| format!("`{folder}/{shape}`")).collect();
            format!("its key ends in {}, with names of A-Z, a-z, 0-9, `.`, `_`, `-`", shapes.join(" or "))
        }
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
            ("/graygate/instances/p", "stray: its key ends in `instances"),
            ("/graygate/lists/a/b/c", "stray: its key ends in `lists"),
        ] {
            let told = match prefix.slot(key.as_bytes()) {
                Slot::Document(id) => id.to_string(),
                Slot::Reserved => "reserved".to_owned(),
                Slot::Stray(problem) => {
                    assert_eq!(problem.document(), key);
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
        }
        let id = DocumentId::parse("rules/x").unwrap();
        assert_eq!(Prefix::new("/a").key(&id), "/a/rules/x");
    }

    #[test]
    fn every_key_but_the_fleets_is_in_one_part() {
        for text in ["/graygate", "/", "", "plain", "/a/b/fleet/"] {
            let prefix = Prefix::new(text);
            let part = |key: &str| {
                let holds = |part: &Part| {
                    let (first, end) = prefix.range(*part);
                    first.as_slice() <= key.as_bytes() && key.as_bytes() < end.as_slice()
                };
                let parts: Vec<_> = Part::ALL.into_iter().filter(holds).collect();
                assert!(parts.len() < 2, "{key}");
                parts.first().copied()
            };
            let at = |name: &str| format!("{}{name}", prefix.as_str());
            for kind in Kind::ALL {
                let expected = if kind == Kind::Closure { Part::Strays } else { Part::Documents };
                assert_eq!(part(&at(&format!("{}/x", kind.folder()))), Some(expected), "{kind:?}");
            }
            for name in ["", "Rules/x", "documents/rules/x", "fleet", "fleet-x", "fleet.x/y", "fleet\u{1}"] {
                assert_eq!(part(&at(name)), Some(Part::Strays), "{name}");
            }
            for name in ["fleet0", "fleets/x", "rule/x", "\u{10ffff}"] {
                assert_eq!(part(&at(name)), Some(Part::Documents), "{name}");
            }
            for name in ["fleet/", "fleet/x", "fleet/\u{10ffff}"] {
                assert_eq!(part(&at(name)), None, "{name}");
            }
            assert_eq!(part(&format!("{}0/rules/x", prefix.as_str().trim_end_matches('/'))), None);
        }
    }
}
