//! From documents to what runs: the one validator and the one compile path of `run`, `check` and `explain`.
//!
//! Answers: what do these documents mean together, and what is wrong with them? A pipeline, each stage with a memory of
//! its own: texts are parsed (`parse`), lists united (`lists`), references followed (`services`, `resolve`, `rollouts`), rules planned
//! (`plan`), indexed (`index`) and put together (`service`, `route`). A broken document is held back alone, with its last
//! good version in force; what refers to something missing is inert as a whole. Pure: no IO, no clock. Start at
//! [`compile_next`].

mod assets;
mod condition;
mod difference;
mod findings;
mod index;
mod last;
mod lists;
mod memory;
mod messages;
mod notes;
mod parse;
mod plan;
mod resolve;
mod resolved;
mod rollouts;
mod route;
mod service;
mod services;
mod tls;
mod versions;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decide::{ServiceId, Snapshot, VersionId};
use crate::documents::{DocumentSet, Kind};
use crate::spec::MessageGroup;
use crate::vocab::{Name, Problem};

use findings::Findings;
use index::Indexes;
use last::Last;
use lists::Lists;
use resolve::Resolver;
use route::Referred;
use service::Carried;
use services::Services;
use tls::TlsFiles;

pub use index::{Renewed, Stale};
pub use last::Counts;
pub use memory::Memory;
pub use notes::{notes, notes_on};
pub use service::CompiledService;
pub use tls::ReadFile;

/// What a set of documents becomes.
#[derive(Debug)]
pub struct Compiled {
    /// What a change leaves alone is the same in memory as before.
    pub snapshot: Snapshot,
    /// In the order of the snapshot's services, versions in the order of the service's versions. The same in memory as
    /// before where nothing but rules has changed.
    pub services: Arc<[CompiledService]>,
    /// Consumer groups whose messages have lanes.
    pub messages: Arc<[MessageGroup]>,
    /// Sorted; those of documents held back and those of references that lead nowhere.
    pub problems: Vec<Problem>,
    pub counts: Counts,
    /// What the next compile may reuse and fall back to.
    pub memory: Memory,
}

impl Compiled {
    fn of(last: Last, memory: Memory) -> Compiled {
        let Last { snapshot, services, messages, problems, counts, .. } = last;
        Compiled { snapshot, services, messages, problems, counts, memory }
    }

    /// Whether any instance stands in the chain of that version, in whatever state.
    pub fn has_instances(&self, service: ServiceId, version: VersionId) -> bool {
        self.services.get(service).is_some_and(|service| service.spec.has_instances(version))
    }
}

/// Compiles a complete set; `previous` is what the compile before this one remembered.
pub fn compile(set: &DocumentSet, previous: &Memory, read_file: ReadFile<'_>) -> Compiled {
    compile_next(set, previous.clone(), read_file)
}

/// Compiles a complete set and uses up what the compile before this one remembered.
pub fn compile_next(set: &DocumentSet, mut previous: Memory, read_file: ReadFile<'_>) -> Compiled {
    match difference::follow(set, &mut previous, read_file).and_then(|()| previous.last.clone()) {
        Some(last) => Compiled::of(last, previous),
        None => compile_whole(set, previous, read_file),
    }
}

/// The same by way of all documents: what a compile of differences is held against.
pub fn compile_whole(set: &DocumentSet, previous: Memory, read_file: ReadFile<'_>) -> Compiled {
    let Memory { mut parsed, lists, plans, indexes, files, last: _ } = previous;
    let mut findings = Findings::default();
    let documents = parsed.take_in(set, &mut findings);
    let lists = Lists::unite(&parsed, lists);
    resolve::forget_outdated(&mut parsed, &lists);
    let services = Services::gather(&parsed, &mut findings);
    rollouts::check(&parsed, &services, &lists, &mut findings);
    let messages = messages::groups(&parsed, &services, &mut findings);
    let has_service = |name: &Name| services.has(name);
    let resolver = Resolver { has_service: &has_service, lists: &lists, findings: &mut findings };
    let rules = resolve::rules(&parsed, resolver);
    let mut indexes = Indexes::after(indexes);
    let mut files = TlsFiles::new(read_file, files);
    let plans =
        service::build(&services, &rules, Carried { plans, indexes: &mut indexes, files: &mut files });
    findings.join(files.findings.clone());
    let referred = Referred { services: &plans.snapshot, lists: &lists };
    let routes = route::build(&parsed, &referred, &mut indexes.patterns, &mut findings);
    let last = Last {
        set: set.clone(),
        snapshot: Snapshot { routes: Arc::new(routes), services: plans.snapshot.into() },
        services: plans.services.into(),
        messages: messages.into(),
        problems: findings.into_problems(),
        of_files: files.findings.into_problems(),
        counts: count(documents, &lists),
    };
    let memory = Memory {
        lists: lists.into_memory(),
        plans: plans.planned,
        indexes: indexes.into_memory(),
        files: files.good,
        last: Some(last.clone()),
        parsed,
    };
    Compiled::of(last, memory)
}

fn count(documents: BTreeMap<Kind, usize>, lists: &Lists) -> Counts {
    let mut counts = Counts { documents, list_members: Vec::new() };
    counts.set_lists(lists.sizes().unwrap_or_default());
    counts
}

#[cfg(test)]
mod tests;
