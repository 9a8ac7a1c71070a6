//! The kinds of documents, and the identity of one.
//!
//! Owns: everything that differs from kind to kind before its text is read, in one table.

use std::fmt;

use super::name::{Label, Name};

/// What a document describes; the folder it lives in says which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    Route,
    Service,
    Rule,
    List,
    Instance,
    /// How a version's audience grows; acted on by the control plane alone.
    Plan,
    /// A version that takes no requests of a service.
    Closure,
    /// A consumer group whose messages have lanes.
    Messages,
}

/// What is true of all documents of a kind.
struct Facts {
    /// In `?kind=` and in metrics.
    word: &'static str,
    /// The folder of a directory, and the segment behind the prefix in etcd.
    folder: &'static str,
    /// How its names are made, each with the number of names divided by slashes.
    names: &'static [(&'static str, usize)],
    /// When it is written beside others: what is referred to comes before what refers to it, and leaves after it.
    turn: u8,
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Route,
        Kind::Service,
        Kind::Rule,
        Kind::List,
        Kind::Instance,
        Kind::Plan,
        Kind::Closure,
        Kind::Messages,
    ];

    const fn facts(self) -> Facts {
        const NAME: &[(&str, usize)] = &[("<name>", 1)];
        match self {
            Kind::Route => Facts { word: "route", folder: "routes", names: NAME, turn: 4 },
            Kind::Service => Facts { word: "service", folder: "services", names: NAME, turn: 0 },
            Kind::Rule => Facts { word: "rule", folder: "rules", names: NAME, turn: 3 },
            Kind::List => Facts {
                word: "list",
                folder: "lists",
                names: &[("<name>", 1), ("<name>/<part>", 2)],
                turn: 1,
            },
            Kind::Instance => {
                Facts { word: "instance", folder: "instances", names: &[("<service>/<id>", 2)], turn: 2 }
            }
            Kind::Plan => Facts { word: "plan", folder: "plans", names: NAME, turn: 5 },
            Kind::Closure => {
                Facts { word: "closure", folder: "closures", names: &[("<service>.<version>", 1)], turn: 2 }
            }
            Kind::Messages => Facts { word: "messages", folder: "messages", names: NAME, turn: 5 },
        }
    }

    /// One document of the kind, as a word.
    pub const fn word(self) -> &'static str {
        self.facts().word
    }

    /// The folder of a directory, and the segment behind the prefix in etcd.
    pub const fn folder(self) -> &'static str {
        self.facts().folder
    }

    /// What stands behind the folder, one spelling for each way to name a document of the kind.
    pub fn shapes(self) -> impl Iterator<Item = &'static str> {
        self.facts().names.iter().map(|(shape, _)| *shape)
    }

    /// When it is written beside others, from 0; deletions go the other way round, from [`Kind::LAST_TURN`].
    pub const fn turn(self) -> u8 {
        self.facts().turn
    }

    pub const LAST_TURN: u8 = 5;

    pub fn from_folder(folder: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.folder() == folder)
    }
}

/// The identity of a document: `rules/x`, `lists/pilot`, `lists/pilot/part-1`, `instances/patient/p-7f9c`.
///
/// Cheap to clone. Orders by kind, then by name, so a set has the same order on every proxy.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentId {
    pub kind: Kind,
    /// Without the folder; lists and instances may have two names, divided by a slash.
    pub name: Label,
}

impl DocumentId {
    /// The identity of a kind and a name; `None` when the name is not allowed for this kind.
    pub fn of(kind: Kind, name: &str) -> Option<DocumentId> {
        let depth = name.split('/').count();
        let fits = kind.facts().names.iter().any(|(_, names)| *names == depth);
        (fits && name.split('/').all(Name::is_name)).then(|| DocumentId { kind, name: name.into() })
    }

    /// Reads what [`Display`](fmt::Display) prints.
    pub fn parse(text: &str) -> Option<DocumentId> {
        let (folder, name) = text.split_once('/')?;
        DocumentId::of(Kind::from_folder(folder)?, name)
    }

    /// The list a part belongs to, the service of an instance; everywhere else the whole name.
    pub fn head(&self) -> &str {
        match self.name.split_once('/') {
            Some((head, _)) => head,
            None => &self.name,
        }
    }

    /// The part of a list, the id of an instance.
    pub fn tail(&self) -> Option<&str> {
        self.name.split_once('/').map(|(_, tail)| tail)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.folder(), self.name)
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_read_what_they_print() {
        for (text, good) in [
            ("rules/x", true),
            ("routes/a.b-c_D", true),
            ("lists/pilot", true),
            ("lists/pilot/part-1", true),
            ("instances/patient/patient-7f9c", true),
            ("instances/patient", false),
            ("rules/x/y", false),
            ("lists/a/b/c", false),
            ("lists/a/", false),
            ("lists//a", false),
            ("rule/x", false),
            ("rules/", false),
            ("rules/用户", false),
            ("rules", false),
        ] {
            let read = DocumentId::parse(text).map(|id| id.to_string());
            assert_eq!(read.as_deref(), good.then_some(text), "{text}");
        }
    }

    #[test]
    fn names_of_two_parts_are_taken_apart() {
        let part = DocumentId::parse("lists/pilot/part-1").unwrap();
        assert_eq!((part.head(), part.tail()), ("pilot", Some("part-1")));
        let whole = DocumentId::parse("lists/pilot").unwrap();
        assert_eq!((whole.head(), whole.tail()), ("pilot", None));
    }
}
