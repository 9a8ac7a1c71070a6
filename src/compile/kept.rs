//! What is remembered from one compile to the next: parsed documents, and the last good version of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lists::ListCache;
use super::problem;
use crate::decide::PatternSets;
use crate::documents::{self, Document, DocumentId, DocumentSet, Raw};
use crate::vocab::Problem;

/// The documents of the last compile: unchanged ones are not read again, broken ones keep their last good version.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    documents: BTreeMap<DocumentId, Kept>,
    pub(super) list_cache: ListCache,
    pub(super) pattern_sets: PatternSets,
}

#[derive(Clone, Debug)]
struct Kept {
    /// The text last seen, good or not.
    seen: Option<Arc<Raw>>,
    /// What is wrong with it; empty when it is good.
    problems: Arc<[Problem]>,
    /// The last good version, in force.
    good: Option<(Arc<Raw>, Arc<Document>)>,
}

impl Memory {
    /// Remembers the last good documents of an earlier life, so that a broken one is held back after a restart too.
    pub fn from_good(documents: impl IntoIterator<Item = (DocumentId, Arc<Raw>)>) -> Memory {
        let kept = documents.into_iter().filter_map(|(id, raw)| {
            let document = documents::parse(&id, &raw).ok()?;
            let good = Some((raw.clone(), Arc::new(document)));
            Some((id, Kept { seen: Some(raw), problems: Arc::new([]), good }))
        });
        Memory { documents: kept.collect(), ..Memory::default() }
    }

    /// The documents in force.
    pub fn good(&self) -> impl Iterator<Item = (&DocumentId, &Arc<Document>)> {
        self.documents.iter().filter_map(|(id, kept)| Some((id, &kept.good.as_ref()?.1)))
    }

    /// The text of every document in force: what a cache should hold.
    pub fn good_texts(&self) -> BTreeMap<DocumentId, Arc<Raw>> {
        let texts =
            self.documents.iter().filter_map(|(id, kept)| Some((id.clone(), kept.good.as_ref()?.0.clone())));
        texts.collect()
    }

    pub(super) fn take_in(set: &DocumentSet, previous: &Memory) -> (Memory, Vec<Problem>) {
        let mut memory = Memory::default();
        for (id, raw) in &set.documents {
            let before = previous.documents.get(id);
            memory.documents.insert(id.clone(), Kept::read(id, raw, before));
        }
        let mut problems = set.strays.clone();
        for (id, ambiguity) in &set.ambiguous {
            let good = previous.documents.get(id).and_then(|kept| kept.good.clone());
            let help = held_back(ambiguity.clone(), good.is_some());
            let kept = Kept { seen: None, problems: Arc::new([help]), good };
            memory.documents.insert(id.clone(), kept);
        }
        problems.extend(memory.documents.values().flat_map(|kept| kept.problems.iter().cloned()));
        (memory, problems)
    }
}

impl Kept {
    fn read(id: &DocumentId, raw: &Arc<Raw>, before: Option<&Kept>) -> Kept {
        if let Some(before) = before
            && before.seen.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, raw) || seen == raw)
        {
            return before.clone();
        }
        match documents::parse(id, raw) {
            Ok(document) => Kept {
                seen: Some(raw.clone()),
                problems: Arc::new([]),
                good: Some((raw.clone(), Arc::new(document))),
            },
            Err(problems) => {
                let good = before.and_then(|before| before.good.clone());
                let problems = match problems.is_empty() {
                    true => vec![problem(id, "", "the document could not be read", "")],
                    false => problems,
                };
                Kept { seen: Some(raw.clone()), problems: problems.into(), good }
            }
        }
    }
}

/// Says which version is in force while this one is not.
fn held_back(mut problem: Problem, has_good: bool) -> Problem {
    if problem.help.is_empty() && has_good {
        problem.help = "the last good version stays in force".into();
    }
    problem
}
