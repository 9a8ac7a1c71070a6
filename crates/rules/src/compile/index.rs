//! Indexes over the rules of services, carried from compile to compile, and renewed beside the changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::{PatternSets, RuleEdit, RuleIndex, RulePlan, index_edited, index_from, is_closed};
use crate::vocab::{Chunks, Name};

/// The indexes of the last compile, and the sets of patterns that they and the routes are built of.
#[derive(Clone, Default, Debug)]
pub struct Memory {
    by_service: BTreeMap<Name, Arc<RuleIndex>>,
    pub patterns: PatternSets,
}

/// The indexes of one compile.
pub struct Indexes {
    before: BTreeMap<Name, Arc<RuleIndex>>,
    now: BTreeMap<Name, Arc<RuleIndex>>,
    /// That of the service before.
    last: Option<Arc<RuleIndex>>,
    pub patterns: PatternSets,
}

impl Indexes {
    pub fn after(mut memory: Memory) -> Indexes {
        memory.patterns.begin();
        Indexes { before: memory.by_service, now: BTreeMap::new(), last: None, patterns: memory.patterns }
    }

    /// The index of a service's rules: from its own of before, or from that of a service which has the same rules.
    pub fn of(&mut self, service: &Name, rules: &Chunks<Arc<RulePlan>>) -> Arc<RuleIndex> {
        let known = self.before.get(service).into_iter().chain(&self.last);
        let index = index_from(known, rules, &mut self.patterns);
        self.now.insert(service.clone(), index.clone());
        self.last = Some(index.clone());
        index
    }

    /// Forgets what this compile did not use.
    pub fn into_memory(mut self) -> Memory {
        self.patterns.turn();
        Memory { by_service: self.now, patterns: self.patterns }
    }
}

/// Indexes of which single rules are others now.
pub struct Edited<'m> {
    memory: &'m mut Memory,
    /// Edits of the service before: services with the same rules share an index.
    last: Option<Edits>,
    /// That of the service before.
    latest: Option<Arc<RuleIndex>>,
}

/// Edits of an index, and what came of them.
struct Edits {
    of: Arc<RuleIndex>,
    is_closed: bool,
    edits: Vec<RuleEdit>,
    into: Arc<RuleIndex>,
}

/// The rules of a service with edits among them.
pub struct EditedRules {
    pub before: Chunks<Arc<RulePlan>>,
    pub edits: Vec<RuleEdit>,
    pub now: Chunks<Arc<RulePlan>>,
}

impl<'m> Edited<'m> {
    pub fn after(memory: &'m mut Memory) -> Edited<'m> {
        Edited { memory, last: None, latest: None }
    }

    /// The index of a service's rules, from the one that decides.
    pub fn of(&mut self, service: &Name, deciding: &Arc<RuleIndex>, rules: EditedRules) -> Arc<RuleIndex> {
        let of = self.memory.by_service.get(service).unwrap_or(deciding).clone();
        // One that was built again beside the changes is of the rules of then.
        let edited = if Arc::ptr_eq(&of, deciding) { self.edit(&of, &rules) } else { None };
        let into = edited.unwrap_or_else(|| {
            let known = [&of].into_iter().chain(&self.latest);
            index_from(known, &rules.now, &mut self.memory.patterns)
        });
        self.memory.by_service.insert(service.clone(), into.clone());
        self.latest = Some(into.clone());
        into
    }

    fn edit(&mut self, of: &Arc<RuleIndex>, rules: &EditedRules) -> Option<Arc<RuleIndex>> {
        let EditedRules { before, edits, .. } = rules;
        // What stands behind the last rule of an index is in no index, and need not be the same.
        let is_closed = is_closed(of, before);
        let is_alike = |last: &&Edits| {
            Arc::ptr_eq(&last.of, of)
                && last.is_closed == is_closed
                && last.edits.len() == edits.len()
                && last.edits.iter().zip(edits).all(|(last, edit)| last.looks_like(edit))
        };
        if let Some(last) = self.last.as_ref().filter(is_alike) {
            return Some(last.into.clone());
        }
        let into = index_edited(of, before, edits, &mut self.memory.patterns)?;
        self.last = Some(Edits { of: of.clone(), is_closed, edits: edits.clone(), into: into.clone() });
        Some(into)
    }
}

/// Indexes that many changes have made slow, to be built again where no change waits for it.
pub struct Stale {
    indexes: Vec<Arc<RuleIndex>>,
    patterns: PatternSets,
}

/// Each index that was stale, with what it was built into.
#[derive(Debug)]
pub struct Renewed(Vec<(Arc<RuleIndex>, Arc<RuleIndex>)>);

impl Stale {
    pub fn renewed(mut self) -> Renewed {
        let pairs = self.indexes.into_iter().map(|index| {
            let renewed = Arc::new(index.renewed(&mut self.patterns));
            (index, renewed)
        });
        Renewed(pairs.collect())
    }
}

impl Memory {
    pub fn stale(&self) -> Option<Stale> {
        let mut indexes: Vec<Arc<RuleIndex>> = Vec::new();
        for index in self.by_service.values() {
            // Services with the same rules share an index.
            if index.is_stale() && !indexes.iter().any(|known| known.shares_base(index)) {
                indexes.push(index.clone());
            }
        }
        (!indexes.is_empty()).then(|| Stale { indexes, patterns: self.patterns.clone() })
    }

    pub fn renew(&mut self, renewed: &Renewed) {
        for index in self.by_service.values_mut() {
            if let Some((_, new)) = renewed.0.iter().find(|(old, _)| old.shares_base(index)) {
                *index = new.clone();
            }
        }
    }
}
