//! The single writer: a complete set of documents becomes the running generation.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::generation::{Generation, Live, ServiceRuntime};
use crate::compile::{CompiledService, Memory, ReadFile, compile};
use crate::decide::ServicePlan;
use crate::documents::{DocumentId, DocumentSet, Raw};
use crate::pools::{Registry, ServiceSpec};
use crate::telemetry::Metrics;
use crate::vocab::{Name, Problem};

/// Compiles and publishes. There is one of it, and nobody else writes the cell.
pub struct Publisher {
    live: Arc<Live>,
    registry: Arc<Registry>,
    metrics: Metrics,
    memory: Memory,
    problems: BTreeMap<Problem, SystemTime>,
}

/// What a publication put in force.
pub struct Published {
    pub generation: Arc<Generation>,
    /// The text of every document in force: what is worth keeping for a start without the source.
    pub good_texts: BTreeMap<DocumentId, Arc<Raw>>,
}

impl Publisher {
    pub fn new(live: Arc<Live>, registry: Arc<Registry>, metrics: Metrics) -> Publisher {
        Publisher { live, registry, metrics, memory: Memory::default(), problems: BTreeMap::new() }
    }

    /// Starts from the last good documents of an earlier life, so that a broken one is held back now too.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// Puts a set in force. `waited` is how long ago its first change was seen.
    pub fn publish(&mut self, set: &DocumentSet, now: SystemTime, read_file: ReadFile<'_>) -> Published {
        self.live.offer(set.revision);
        self.metrics.set_offered(set.revision);
        let compiled = compile(set, &self.memory, read_file);
        self.note_problems(&compiled.problems, now);
        let services = self.resolve(&compiled.snapshot.services, compiled.services);
        let generation = Arc::new(Generation {
            revision: set.revision,
            since: now,
            snapshot: compiled.snapshot,
            services,
            problems: self.problems.iter().map(|(problem, since)| (problem.clone(), *since)).collect(),
            counts: compiled.counts,
        });
        self.memory = compiled.memory;
        self.live.replace(generation.clone());
        self.metrics.set_running(set.revision);
        self.metrics.set_problems(&compiled.problems);
        self.metrics.set_list_members(generation.counts.list_members.clone());
        tracing::info!(
            revision = set.revision,
            documents = set.documents.len(),
            problems = generation.problems.len(),
            "generation is running"
        );
        Published { generation, good_texts: self.memory.good_texts() }
    }

    /// How long a change took from being seen to running.
    pub fn applied(&self, took: Duration) {
        self.metrics.applied(took);
    }

    /// Logs each problem once when it appears and once when it is gone.
    fn note_problems(&mut self, problems: &[Problem], now: SystemTime) {
        let before = std::mem::take(&mut self.problems);
        for problem in problems {
            let since = before.get(problem).copied().unwrap_or_else(|| {
                tracing::warn!(
                    document = problem.document,
                    field = problem.field,
                    "{}: held back or inert",
                    problem.sentence()
                );
                now
            });
            self.problems.insert(problem.clone(), since);
        }
        for (problem, _) in before.iter().filter(|(problem, _)| !self.problems.contains_key(problem)) {
            tracing::info!(document = problem.document, field = problem.field, "mended: {}", problem.message);
        }
    }

    fn resolve(&self, plans: &[ServicePlan], compiled: Vec<CompiledService>) -> Box<[Arc<ServiceRuntime>]> {
        let before = self.live.running();
        let before: HashMap<&Name, (&ServicePlan, &ServiceRuntime)> = before
            .iter()
            .flat_map(|generation| generation.snapshot.services.iter().zip(generation.services.iter()))
            .map(|(plan, runtime)| (&plan.name, (plan, &**runtime)))
            .collect();
        let (specs, transports): (Vec<ServiceSpec>, Vec<_>) =
            compiled.into_iter().map(|service| (service.spec, service.transport)).unzip();
        let pools = self.registry.build(&specs);
        plans
            .iter()
            .zip(pools)
            .zip(transports)
            .map(|((plan, pools), transport)| {
                let old = before.get(&plan.name).copied();
                Arc::new(ServiceRuntime::resolve(plan, pools, transport, &self.metrics, old))
            })
            .collect()
    }
}
