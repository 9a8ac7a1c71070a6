//! Changes of one rule among many, one after the other, as a source offers them and a proxy puts them in force.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use graygate_proxy::live::{Guard, Live, Publisher};
use graygate_proxy::metrics::Metrics;
use graygate_proxy::pools::Registry;
use graygate_rules::documents::{DocumentId, DocumentSet, Raw};
use graygate_rules::vocab::Counting;

use super::policies::{equality, rule_documents};

/// Rules that are changed in turn: as many as stand beside an index on average before it is built again.
const CHANGED: usize = 32;

pub fn no_file(_: &Path) -> std::io::Result<Vec<u8>> {
    Err(std::io::ErrorKind::NotFound.into())
}

/// What is another of a rule.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Condition,
    Share,
}

/// The documents of a source.
pub struct Changes {
    held: DocumentSet,
    kind: Kind,
    size: usize,
    turn: usize,
}

impl Changes {
    pub fn of(size: usize, kind: Kind) -> Changes {
        Changes { held: rule_documents(size, equality).set(), kind, size, turn: 0 }
    }

    /// The set after one more change, as a source makes it from the state that it goes on to hold.
    pub fn next_set(&mut self) -> Arc<DocumentSet> {
        self.turn += 1;
        let number = self.turn % CHANGED * (self.size / CHANGED);
        let text = match self.kind {
            Kind::Condition => equality(self.size + self.turn),
            Kind::Share => {
                let text = equality(number);
                let (when, _) = text.split_once('\n').unwrap();
                format!("{when}\nsplit: {{gray: {}}}", self.turn % 100)
            }
        };
        let id = DocumentId::parse(&format!("rules/{number:05}")).unwrap();
        self.held.documents.insert(id, Arc::new(Raw::yaml(text.as_str())));
        self.held.revision += 1;
        Arc::new(self.held.clone())
    }
}

/// What a proxy does with a set.
pub struct Running {
    guard: Guard,
    publisher: Publisher,
}

impl Default for Running {
    fn default() -> Running {
        let registry = Arc::new(Registry::new(0));
        let publisher = Publisher::new(Arc::new(Live::default()), registry, Metrics::default());
        Running { guard: Guard::new(Counting::Stored), publisher }
    }
}

impl Running {
    pub fn put_in_force(&mut self, set: Arc<DocumentSet>) {
        let admitted = self.guard.admit(set);
        self.publisher.publish(&admitted, SystemTime::now(), &no_file);
        self.publisher.applied(Duration::ZERO, Instant::now());
        drop(self.publisher.good_texts().clone());
    }
}
