//! Indexes over the rules of services, carried from compile to compile, and renewed beside the changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::{PatternSets, RuleIndex, RulePlan, index_from};
use crate::vocab::Name;

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
    pub fn after(memory: Memory) -> Indexes {
        Indexes { before: memory.by_service, now: BTreeMap::new(), last: None, patterns: memory.patterns }
    }

    /// The index of a service's rules: from its own of before, or from that of a service which has the same rules.
    pub fn of(&mut self, service: &Name, rules: &[Arc<RulePlan>]) -> Arc<RuleIndex> {
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
