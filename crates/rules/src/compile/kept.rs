//! What is remembered from one compile to the next: parsed documents, and the last good version of each.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use super::lists::{ListCache, Lists};
use super::planned::Planned;
use super::problem;
use super::rule::Prepared;
use super::tls::LastGood;
use crate::decide::{PatternSets, RuleIndex};
use crate::documents::{self, Document, DocumentId, DocumentSet, Kind, Raw};
use crate::vocab::{Name, Problem};

/// The documents of the last compile: unchanged ones are not read again, broken ones keep their last good version.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    documents: BTreeMap<DocumentId, Kept>,
    pub(super) list_cache: ListCache,
    pub(super) pattern_sets: PatternSets,
    pub(super) tls_files: LastGood,
    /// What was made of the rules of each service.
    pub(super) planned: BTreeMap<Name, Planned>,
}

#[derive(Clone, Debug)]
struct Kept {
    /// The text last seen, good or not.
    seen: Option<Arc<Raw>>,
    /// What is wrong with it; empty when it is good.
    problems: Arc<[Problem]>,
    /// The last good version, in force.
    good: Option<Good>,
}

/// A document in force.
#[derive(Clone, Debug)]
pub struct Good {
    raw: Arc<Raw>,
    pub document: Arc<Document>,
    /// Of a rule: what its place among the others follows from.
    pub order: Option<Order>,
    /// What a rule was made into; see [`Memory::forget_outdated`].
    pub prepared: OnceLock<Arc<Prepared>>,
    /// What the rule was made into before, so that a condition which says the same stays the same one in memory.
    pub before: Option<Arc<Prepared>>,
}

/// What is asked of every rule at every compile, kept where the walk comes by: a look into ten thousand documents, all
/// over memory, costs more than everything else.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub priority: i32,
    pub names_services: bool,
}

/// Indexes that many changes have worn, to be built anew where no change waits for it.
pub struct Worn {
    indexes: Vec<Arc<RuleIndex>>,
    sets: PatternSets,
}

/// Each index that was worn, with what it was built into.
pub struct Renewed(Vec<(Arc<RuleIndex>, Arc<RuleIndex>)>);

impl Worn {
    pub fn renewed(mut self) -> Renewed {
        let pairs = self.indexes.into_iter().map(|index| {
            let renewed = Arc::new(index.renewed(&mut self.sets));
            (index, renewed)
        });
        Renewed(pairs.collect())
    }
}

impl Memory {
    /// What is worth being built anew; [`Memory::renew`] takes it up, now or after further changes.
    pub fn worn(&self) -> Option<Worn> {
        let mut indexes: Vec<Arc<RuleIndex>> = Vec::new();
        for index in self.planned.values().filter_map(|planned| planned.index.as_ref()) {
            // Services with the same rules share an index.
            if index.is_worn() && !indexes.iter().any(|known| known.shares_base(index)) {
                indexes.push(index.clone());
            }
        }
        (!indexes.is_empty()).then(|| Worn { indexes, sets: self.pattern_sets.clone() })
    }

    /// The next compile compares the rules of then with these.
    pub fn renew(&mut self, renewed: &Renewed) {
        for index in self.planned.values_mut().filter_map(|planned| planned.index.as_mut()) {
            if let Some((_, new)) = renewed.0.iter().find(|(old, _)| old.shares_base(index)) {
                *index = new.clone();
            }
        }
    }

    /// Remembers the last good documents of an earlier life, so that a broken one is held back after a restart too.
    pub fn from_good(documents: impl IntoIterator<Item = (DocumentId, Arc<Raw>)>) -> Memory {
        let kept = documents.into_iter().filter_map(|(id, raw)| {
            let document = documents::parse(&id, &raw).ok()?;
            let good = Some(Good::of(&raw, document, None));
            Some((id, Kept { seen: Some(raw), problems: Arc::new([]), good }))
        });
        Memory { documents: kept.collect(), ..Memory::default() }
    }

    /// The documents of a kind that are in force.
    pub fn good(&self, kind: Kind) -> impl Iterator<Item = (&DocumentId, &Good)> {
        let first = DocumentId { kind, name: "".into() };
        let of_kind = self.documents.range(first..).take_while(move |(id, _)| id.kind == kind);
        of_kind.filter_map(|(id, kept)| Some((id, kept.good.as_ref()?)))
    }

    /// The text of every document in force: what a cache should hold.
    pub fn good_texts(&self) -> BTreeMap<DocumentId, Arc<Raw>> {
        let texts = self
            .documents
            .iter()
            .filter_map(|(id, kept)| Some((id.clone(), kept.good.as_ref()?.raw.clone())));
        texts.collect()
    }

    /// Goes on with a new set; what did not change is neither read nor copied, so that a change of one among ten
    /// thousand costs one. Returns what is wrong with documents by themselves, and how many are in force.
    pub(super) fn take_in(&mut self, set: &DocumentSet) -> (Vec<Problem>, BTreeMap<Kind, usize>) {
        self.follow(set);
        for (id, ambiguity) in &set.ambiguous {
            let good = self.documents.remove(id).and_then(|kept| kept.good);
            let problem = held_back(ambiguity.clone(), good.is_some());
            self.documents.insert(id.clone(), Kept { seen: None, problems: Arc::new([problem]), good });
        }
        let mut problems = set.strays.clone();
        let mut counts = Kind::ALL.map(|kind| (kind, 0));
        for (id, kept) in &self.documents {
            problems.extend_from_slice(&kept.problems);
            if kept.good.is_some() {
                counts.iter_mut().filter(|(kind, _)| *kind == id.kind).for_each(|(_, count)| *count += 1);
            }
        }
        (problems, counts.into())
    }

    /// Forgets what rules were made into from lists that have changed.
    pub(super) fn forget_outdated(&mut self, lists: &Lists) {
        if lists.are_as_before() {
            return;
        }
        let first = DocumentId { kind: Kind::Rule, name: "".into() };
        let rules = self.documents.range_mut(first..).take_while(|(id, _)| id.kind == Kind::Rule);
        for good in rules.filter_map(|(_, kept)| kept.good.as_mut()) {
            if good.prepared.get().is_some_and(|prepared| !prepared.is_current(lists)) {
                good.prepared.take();
            }
            good.before = good.before.take().filter(|before| before.is_current(lists));
        }
    }

    /// Walks both sorted maps side by side.
    fn follow(&mut self, set: &DocumentSet) {
        let (mut added, mut gone) = (Vec::new(), Vec::new());
        let mut offered = set.documents.iter().peekable();
        for (id, kept) in &mut self.documents {
            while let Some((new, raw)) = offered.next_if(|(new, _)| !is_same(new, id) && *new < id) {
                added.push((new.clone(), Kept::read(new, raw, None)));
            }
            match offered.next_if(|(new, _)| is_same(new, id)) {
                Some((_, raw)) if kept.is_of(raw) => {}
                Some((_, raw)) => *kept = Kept::read(id, raw, kept.good.take()),
                None if set.ambiguous.contains_key(id) => {}
                None => gone.push(id.clone()),
            }
        }
        added.extend(offered.map(|(id, raw)| (id.clone(), Kept::read(id, raw, None))));
        for id in gone {
            self.documents.remove(&id);
        }
        self.documents.extend(added);
    }
}

impl Good {
    fn of(raw: &Arc<Raw>, document: Document, last: Option<Good>) -> Good {
        let before = last.and_then(|last| last.prepared.into_inner().or(last.before));
        let order = match &document {
            Document::Rule(rule) => {
                Some(Order { priority: rule.priority, names_services: rule.services.is_some() })
            }
            _ => None,
        };
        Good { raw: raw.clone(), document: Arc::new(document), order, prepared: OnceLock::new(), before }
    }
}

impl Kept {
    fn is_of(&self, raw: &Arc<Raw>) -> bool {
        self.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, raw) || seen == raw)
    }

    /// Reads a text; where it is broken, `good` stays.
    fn read(id: &DocumentId, raw: &Arc<Raw>, good: Option<Good>) -> Kept {
        let seen = Some(raw.clone());
        match documents::parse(id, raw) {
            Ok(document) => Kept { seen, problems: Arc::new([]), good: Some(Good::of(raw, document, good)) },
            Err(problems) => {
                let problems = match problems.is_empty() {
                    true => vec![problem(id, "", "the document could not be read", "")],
                    false => problems,
                };
                Kept { seen, problems: problems.into(), good }
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
