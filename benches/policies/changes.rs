//! Changes of one rule among many, or of a list that one asks, one after the other, as a source offers them and a proxy
//! puts them in force.

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

/// Members of one part of a list, and such parts.
const MEMBERS: usize = 250;
const PARTS: usize = 8;

/// What is another: of a rule, or of a list.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    Condition,
    Share,
    Member,
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
        let mut held = rule_documents(size, equality).set();
        if kind == Kind::Member {
            put(&mut held, "rules/pilots", Raw::yaml(PILOTS));
            (0..PARTS).for_each(|number| put(&mut held, &part(number), members(number, MEMBERS)));
        }
        Changes { held, kind, size, turn: 0 }
    }

    /// The set after one more change, as a source makes it from the state that it goes on to hold.
    pub fn next_set(&mut self) -> Arc<DocumentSet> {
        self.turn += 1;
        self.held.revision += 1;
        let number = self.turn % CHANGED * (self.size / CHANGED);
        let text = match self.kind {
            Kind::Member => {
                put(&mut self.held, &part(0), members(0, MEMBERS + self.turn));
                return Arc::new(self.held.clone());
            }
            Kind::Condition => equality(self.size + self.turn),
            Kind::Share => {
                let text = equality(number);
                let (when, _) = text.split_once('\n').unwrap();
                format!("{when}\nsplit: {{gray: {}}}", self.turn % 100)
            }
        };
        put(&mut self.held, &format!("rules/{number:05}"), Raw::yaml(text.as_str()));
        Arc::new(self.held.clone())
    }
}

const PILOTS: &str = "when: {attribute: header:x-pilot, in_list: pilots}\nversion: gray";

fn part(number: usize) -> String {
    format!("lists/pilots/{number}")
}

fn members(part: usize, count: usize) -> Raw {
    let members: Vec<String> = (0..count).map(|number| format!("pilot-{part}-{number}")).collect();
    Raw::list(members.join("\n").as_str())
}

fn put(set: &mut DocumentSet, id: &str, raw: Raw) {
    set.documents.insert(DocumentId::parse(id).unwrap(), Arc::new(raw));
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
