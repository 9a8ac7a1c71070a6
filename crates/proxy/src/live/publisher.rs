//! The single writer: a complete set of documents becomes the running generation.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::generation::{Generation, Live, ServiceRuntime};
use super::guard::Admitted;
use super::limits;
use super::mirrors::{Reach, Resolving};
use crate::limits::Limits;
use crate::metrics::{Metrics, OTHER_PROBLEMS};
use crate::mirror::Mirrors;
use crate::pools::Registry;
use graygate_rules::compile::{Compiled, CompiledService, Memory, ReadFile, Renewed, Stale, compile_next};
use graygate_rules::decide::{ServicePlan, Trust};
use graygate_rules::documents::{Documents, Kind};
use graygate_rules::vocab::{Name, Place, Problem};

/// Between two looks for series that nothing holds any more: each is a walk over all of them, and every rule has one.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// Compiles and publishes. There is one of it, and nothing else writes the cell.
pub struct Publisher {
    live: Arc<Live>,
    registry: Arc<Registry>,
    metrics: Metrics,
    memory: Memory,
    trust: Option<Arc<Trust>>,
    /// Of files that the process file names.
    of_files: Vec<Problem>,
    limits: Arc<Limits>,
    mirrors: Mirrors,
    problems: BTreeMap<Problem, SystemTime>,
    /// Generations that ran before. A request may hold one longer than this does; as long as it does, this holds it
    /// too, so that taking ten thousand rules apart is never left to a request.
    retired: Vec<Arc<Generation>>,
    /// When series were last looked through.
    swept: Option<Instant>,
}

impl Publisher {
    pub fn new(live: Arc<Live>, registry: Arc<Registry>, metrics: Metrics) -> Publisher {
        Publisher {
            live,
            registry,
            metrics,
            memory: Memory::default(),
            trust: None,
            of_files: Vec::new(),
            limits: Arc::new(Limits::new(Instant::now())),
            mirrors: Mirrors::default(),
            problems: BTreeMap::new(),
            retired: Vec::new(),
            swept: None,
        }
    }

    /// Starts from the last good documents of an earlier life, so that a broken one is held back now too.
    pub fn remember(&mut self, memory: Memory) {
        self.memory = memory;
    }

    /// What is believed of requests from the next generation on, where that is not what the process began with, and what
    /// is wrong with the files it comes from.
    pub fn believe(&mut self, trust: Arc<Trust>, problems: Vec<Problem>) {
        self.trust = Some(trust);
        self.of_files = problems;
    }

    /// Puts what was admitted in force.
    pub fn publish(
        &mut self,
        admitted: &Admitted,
        now: SystemTime,
        read_file: ReadFile<'_>,
    ) -> Arc<Generation> {
        let set = &*admitted.set;
        self.live.offer(admitted.offered);
        self.metrics.set_offered(admitted.offered);
        let compiled = compile_next(set, std::mem::take(&mut self.memory), read_file);
        let problems = [&compiled.problems[..], &self.of_files].concat();
        self.note_problems(&problems, now);
        let running = self.live.running();
        // Where nothing but rules has changed, all that does not follow from rules stays.
        let before = running.as_deref().filter(|before| Arc::ptr_eq(&before.made_from, &compiled.services));
        let services = match before {
            Some(before) => self.with_rules(before, &compiled.snapshot.services),
            None => self.resolve(running.as_deref(), &compiled),
        };
        let snapshot = &compiled.snapshot;
        let route_limits = match before {
            Some(before) => before.route_limits.clone(),
            None => Arc::new(limits::resolve(snapshot, &self.limits, &self.metrics)),
        };
        let (mirrors, metrics) = (&self.mirrors, &self.metrics);
        let reach = |service: &Arc<ServiceRuntime>| Reach {
            pools: service.pools.clone(),
            peers: service.peers.clone(),
        };
        let reach: Vec<Reach> = services.iter().map(reach).collect();
        let shadows = Resolving { snapshot, services: &reach, mirrors, metrics }
            .shadows(before.map(|before| &before.shadows));
        let generation = Arc::new(Generation {
            revision: set.revision,
            since: now,
            snapshot: compiled.snapshot,
            services,
            made_from: compiled.services,
            trust: self.trust.clone(),
            route_limits,
            limits: self.limits.clone(),
            shadows,
            problems: self.problems.iter().map(|(problem, since)| (problem.clone(), *since)).collect(),
            counts: compiled.counts,
            messages: compiled.messages,
        });
        self.memory = compiled.memory;
        self.retired.extend(running);
        self.live.replace(generation.clone());
        self.metrics.set_running(set.revision);
        self.metrics.set_problems(documents_with_problems(&problems));
        self.metrics.set_list_members(&generation.counts.list_members);
        tracing::info!(
            revision = set.revision,
            documents = set.documents.len(),
            problems = generation.problems.len(),
            "generation is running"
        );
        generation
    }

    /// The text of every document in force: what is worth keeping for a start without the source.
    pub fn good_texts(&self) -> &Documents {
        self.memory.good_texts()
    }

    /// Indexes that many changes have made slow, to be built again on another thread.
    pub fn stale(&self) -> Option<Stale> {
        self.memory.stale()
    }

    pub fn renew(&mut self, renewed: &Renewed) {
        self.memory.renew(renewed);
    }

    /// After a change runs: how long it took from being seen. Clears away what is not used any more.
    pub fn applied(&mut self, took: Duration, now: Instant) {
        self.metrics.applied(took);
        if self.swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP_EVERY) {
            self.metrics.sweep(now);
            self.swept = Some(now);
        }
        self.limits.sweep();
        self.mirrors.sweep();
        // A handle that nothing else holds cannot be taken up again.
        self.retired.retain(|generation| Arc::strong_count(generation) > 1);
    }

    /// Logs each problem once when it appears and once when it is gone.
    fn note_problems(&mut self, problems: &[Problem], now: SystemTime) {
        let before = std::mem::take(&mut self.problems);
        for problem in problems {
            let since = before.get(problem).copied().unwrap_or_else(|| {
                tracing::warn!(
                    document = %problem.place,
                    line = problem.line,
                    field = problem.field,
                    "{}: held back or inert",
                    problem.sentence()
                );
                now
            });
            self.problems.insert(problem.clone(), since);
        }
        for (problem, _) in before.iter().filter(|(problem, _)| !self.problems.contains_key(problem)) {
            tracing::info!(document = %problem.place, field = problem.field, "mended: {}", problem.message);
        }
    }

    /// The services of before, each with the rules it has now.
    fn with_rules(&self, before: &Generation, plans: &[Arc<ServicePlan>]) -> Box<[Arc<ServiceRuntime>]> {
        let known = before.snapshot.services.iter().zip(&before.services);
        let services = plans.iter().zip(known).map(|(plan, (old, runtime))| match Arc::ptr_eq(plan, old) {
            true => runtime.clone(),
            false => Arc::new(runtime.with_rules(old, plan, &self.metrics)),
        });
        services.collect()
    }

    fn resolve(&self, before: Option<&Generation>, compiled: &Compiled) -> Box<[Arc<ServiceRuntime>]> {
        let before: HashMap<&Name, (&ServicePlan, &ServiceRuntime)> = before
            .iter()
            .flat_map(|generation| generation.snapshot.services.iter().zip(&generation.services))
            .map(|(plan, runtime)| (&plan.name, (&**plan, &**runtime)))
            .collect();
        let pools = self.registry.build(compiled.services.iter().map(|service| &service.spec));
        let services = compiled.snapshot.services.iter().zip(pools).zip(compiled.services.iter());
        let services = services.map(|((plan, pools), CompiledService { transport, .. })| {
            let old = before.get(&plan.name).copied();
            Arc::new(ServiceRuntime::resolve(plan, pools, transport, &self.metrics, old))
        });
        services.collect()
    }
}

/// How many documents of each kind have a problem, each counted once however many it has.
fn documents_with_problems(problems: &[Problem]) -> BTreeMap<&'static str, usize> {
    let places: BTreeSet<&Place> = problems.iter().map(|problem| &problem.place).collect();
    let mut counts: BTreeMap<&str, usize> = Kind::ALL.iter().map(|kind| (kind.word(), 0)).collect();
    counts.insert(OTHER_PROBLEMS, 0);
    for place in places {
        let kind = match place {
            Place::Document(id) => id.kind.word(),
            Place::Stray(_) | Place::Settings(_) | Place::Source(_) => OTHER_PROBLEMS,
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use graygate_rules::documents::DocumentId;

    use super::*;

    #[test]
    fn a_document_counts_once_under_its_kind() {
        let problem = |document: &str, field: &str| {
            let id = DocumentId::parse(document);
            let place = id.map_or(Place::Stray(document.into()), Place::Document);
            Problem::at(place, field, "wrong", "")
        };
        let counts = documents_with_problems(&[
            problem("rules/a", "when"),
            problem("rules/a", "split"),
            problem("rules/b", ""),
            problem("stray.txt", ""),
        ]);
        let of = |kind: &str| counts.get(kind).copied();
        assert_eq!((of("rule"), of("other"), of("route")), (Some(2), Some(1), Some(0)));
    }
}
