//! The first stage: texts become documents, and the last good version of each stays in force.
//!
//! Answers: which documents are in force, and which are held back? Owns what was read, so that a change of one among ten
//! thousand costs one. Keeps beside each rule what the next stage made of it, where the walk comes by anyway. Never:
//! looks from one document at another.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::findings::Findings;
use super::resolved::Resolved;
use crate::documents::{self, Document, DocumentId, DocumentSet, Documents, Kind, Raw};
use crate::vocab::Problem;

/// The documents of the last compile: unchanged ones are not read again, broken ones keep their last good version.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    documents: BTreeMap<DocumentId, Entry>,
    /// The text of every document in force.
    good: Documents,
}

/// One document before and after its text was another.
pub struct Taken {
    pub before: Option<Arc<Document>>,
    pub now: Option<Arc<Document>>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// The text last seen, good or not.
    seen: Option<Arc<Raw>>,
    /// What is wrong with it; empty when it is good.
    problems: Arc<[Problem]>,
    /// The last good version.
    in_force: Option<Parsed>,
}

/// A document in force.
#[derive(Clone, Debug)]
pub struct Parsed {
    raw: Arc<Raw>,
    pub document: Arc<Document>,
    /// Of a rule: what its place among the others follows from.
    pub order: Option<Order>,
    /// What a rule was resolved into, as long as that stays.
    pub resolved: OnceLock<Arc<Resolved>>,
    /// What the rule was resolved into before, so that a condition which says the same stays the same one in memory.
    pub before: Option<Arc<Resolved>>,
}

/// What is asked of every rule at every compile, kept where the walk comes by: a look into ten thousand documents, all
/// over memory, costs more than everything else.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub priority: i32,
    pub names_services: bool,
    pub has_mirror: bool,
    pub names_lists: bool,
}

impl Memory {
    /// Remembers the last good documents of an earlier life, so that a broken one is held back after a restart too.
    pub fn from_good(documents: impl IntoIterator<Item = (DocumentId, Arc<Raw>)>) -> Memory {
        let entries = documents.into_iter().filter_map(|(id, raw)| {
            let document = documents::parse(&id, &raw).ok()?;
            let in_force = Some(Parsed::of(&raw, document, None));
            Some((id, Entry { seen: Some(raw), problems: Arc::new([]), in_force }))
        });
        let mut memory = Memory { documents: entries.collect(), good: Documents::default() };
        memory.gather_good();
        memory
    }

    /// The documents of a kind that are in force.
    pub fn in_force(&self, kind: Kind) -> impl Iterator<Item = (&DocumentId, &Parsed)> {
        let first = DocumentId { kind, name: "".into() };
        let of_kind = self.documents.range(first..).take_while(move |(id, _)| id.kind == kind);
        of_kind.filter_map(|(id, entry)| Some((id, entry.in_force.as_ref()?)))
    }

    /// The rules in force.
    pub fn rules_mut(&mut self) -> impl Iterator<Item = (&DocumentId, &mut Parsed)> {
        let first = DocumentId { kind: Kind::Rule, name: "".into() };
        let rules = self.documents.range_mut(first..).take_while(|(id, _)| id.kind == Kind::Rule);
        rules.filter_map(|(id, entry)| Some((id, entry.in_force.as_mut()?)))
    }

    /// A document in force.
    pub fn get(&self, id: &DocumentId) -> Option<&Parsed> {
        self.documents.get(id)?.in_force.as_ref()
    }

    /// What is wrong with the text that was last seen of a document.
    pub fn problems_of(&self, id: &DocumentId) -> &[Problem] {
        self.documents.get(id).map_or(&[], |entry| &entry.problems)
    }

    /// The text of every document in force: what a cache should hold.
    pub fn good_texts(&self) -> &Documents {
        &self.good
    }

    fn gather_good(&mut self) {
        let texts = self.documents.iter();
        let texts = texts.filter_map(|(id, entry)| Some((id.clone(), entry.in_force.as_ref()?.raw.clone())));
        self.good = texts.collect();
    }

    /// Goes on with another text of one document, or without it.
    pub fn take(&mut self, id: &DocumentId, raw: Option<&Arc<Raw>>) -> Taken {
        let document = |entry: &Entry| Some(entry.in_force.as_ref()?.document.clone());
        let before = self.documents.get(id).and_then(document);
        let Some(raw) = raw else {
            self.documents.remove(id);
            self.good.remove(id);
            return Taken { before, now: None };
        };
        match self.documents.get_mut(id) {
            Some(entry) if entry.is_of(raw) => return Taken { now: before.clone(), before },
            Some(entry) => *entry = Entry::read(id, raw, entry.in_force.take()),
            None => drop(self.documents.insert(id.clone(), Entry::read(id, raw, None))),
        }
        let entry = self.documents.get(id);
        if let Some(in_force) = entry.and_then(|entry| entry.in_force.as_ref()) {
            self.good.insert(id.clone(), in_force.raw.clone());
        }
        Taken { before, now: entry.and_then(document) }
    }

    /// Goes on with a new set; what did not change is neither read nor copied. Returns how many are in force.
    pub fn take_in(&mut self, set: &DocumentSet, findings: &mut Findings) -> BTreeMap<Kind, usize> {
        self.follow(set);
        for (id, ambiguity) in &set.ambiguous {
            let in_force = self.documents.remove(id).and_then(|entry| entry.in_force);
            let problem = held_back(ambiguity.clone(), in_force.is_some());
            self.documents.insert(id.clone(), Entry { seen: None, problems: Arc::new([problem]), in_force });
        }
        self.gather_good();
        findings.extend(set.strays.iter().cloned());
        let mut counts = Kind::ALL.map(|kind| (kind, 0));
        for (id, entry) in &self.documents {
            findings.extend(entry.problems.iter().cloned());
            if entry.in_force.is_some() {
                counts.iter_mut().filter(|(kind, _)| *kind == id.kind).for_each(|(_, count)| *count += 1);
            }
        }
        counts.into()
    }

    /// Walks both sorted maps side by side.
    fn follow(&mut self, set: &DocumentSet) {
        let (mut added, mut gone) = (Vec::new(), Vec::new());
        let mut offered = set.documents.iter().peekable();
        for (id, entry) in &mut self.documents {
            while let Some((new, raw)) = offered.next_if(|(new, _)| !is_same(new, id) && *new < id) {
                added.push((new.clone(), Entry::read(new, raw, None)));
            }
            match offered.next_if(|(new, _)| is_same(new, id)) {
                Some((_, raw)) if entry.is_of(raw) => {}
                Some((_, raw)) => *entry = Entry::read(id, raw, entry.in_force.take()),
                None if set.ambiguous.contains_key(id) => {}
                None => gone.push(id.clone()),
            }
        }
        added.extend(offered.map(|(id, raw)| (id.clone(), Entry::read(id, raw, None))));
        for id in gone {
            self.documents.remove(&id);
        }
        self.documents.extend(added);
    }
}

impl Parsed {
    fn of(raw: &Arc<Raw>, document: Document, last: Option<Parsed>) -> Parsed {
        let before = last.and_then(|last| last.resolved.into_inner().or(last.before));
        let order = match &document {
            Document::Rule(rule) => Some(Order {
                priority: rule.priority,
                names_services: rule.services.is_some(),
                has_mirror: rule.mirror.is_some(),
                names_lists: rule.when.as_ref().is_some_and(|when| !when.lists().is_empty()),
            }),
            _ => None,
        };
        Parsed { raw: raw.clone(), document: Arc::new(document), order, resolved: OnceLock::new(), before }
    }
}

impl Entry {
    fn is_of(&self, raw: &Arc<Raw>) -> bool {
        self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, raw) || seen == raw)
    }

    /// Reads a text; where it is broken, what was in force stays.
    fn read(id: &DocumentId, raw: &Arc<Raw>, in_force: Option<Parsed>) -> Entry {
        let seen = Some(raw.clone());
        match documents::parse(id, raw) {
            Ok(document) => {
                let in_force = Some(Parsed::of(raw, document, in_force));
                Entry { seen, problems: Arc::new([]), in_force }
            }
            Err(mut problems) => {
                if problems.is_empty() {
                    problems.push(Problem::at(id, "", "the document could not be read", ""));
                }
                Entry { seen, problems: problems.into(), in_force }
            }
        }
    }
}

/// Names that are the same in memory need not be read, and almost all of them are.
fn is_same(a: &DocumentId, b: &DocumentId) -> bool {
    a.kind == b.kind && (Arc::ptr_eq(&a.name, &b.name) || a.name == b.name)
}

/// Says which version is in force while this one is not.
fn held_back(mut problem: Problem, has_good: bool) -> Problem {
    if problem.help.is_empty() && has_good {
        problem.help = "the last good version stays in force".into();
    }
    problem
}
