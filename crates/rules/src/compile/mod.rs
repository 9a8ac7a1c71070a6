//! From documents to what runs: the one validator and the one compile path of `run`, `check` and `explain`.
//!
//! Answers: what do these documents mean together, and what is wrong with them? A broken document is held back alone,
//! with its last good version in force; what refers to something missing is inert as a whole. Pure: no IO, no clock.
//! Start at [`compile`].

mod condition;
mod kept;
mod lists;
mod notes;
mod planned;
mod route;
mod rule;
mod service;
mod tls;

use std::collections::BTreeMap;
use std::path::Path;

use crate::decide::{ServiceId, Snapshot, VersionId};
use crate::documents::{DocumentId, DocumentSet, Kind};
use crate::spec::{ServiceSpec, Transport};
use crate::vocab::{Label, Problem};

pub use kept::{Memory, Renewed, Worn};
pub use notes::notes;

/// What a set of documents becomes.
#[derive(Debug)]
pub struct Compiled {
    pub snapshot: Snapshot,
    /// In the order of the snapshot's services, versions in the order of the service's versions.
    pub services: Vec<CompiledService>,
    /// Sorted; those of documents held back and those of references that lead nowhere.
    pub problems: Vec<Problem>,
    pub counts: Counts,
    /// What the next compile may reuse and fall back to.
    pub memory: Memory,
}

impl Compiled {
    /// Whether any instance stands in the chain of that version, in whatever state.
    pub fn has_instances(&self, service: ServiceId, version: VersionId) -> bool {
        self.services.get(service).is_some_and(|service| service.spec.has_instances(version))
    }
}

#[derive(Debug)]
pub struct CompiledService {
    pub spec: ServiceSpec,
    pub transport: Transport,
}

/// How many documents are in force, and the members of each list.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    pub documents: BTreeMap<Kind, usize>,
    pub list_members: Vec<(Label, u64)>,
}

/// Reads a file that a document names, such as the authorities of an upstream: IO comes in from the edge.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> std::io::Result<Vec<u8>>;

/// Compiles a complete set; `previous` is what the compile before this one remembered.
pub fn compile(set: &DocumentSet, previous: &Memory, read_file: ReadFile<'_>) -> Compiled {
    compile_next(set, previous.clone(), read_file)
}

/// Compiles a complete set and uses up what the compile before this one remembered.
pub fn compile_next(set: &DocumentSet, mut memory: Memory, read_file: ReadFile<'_>) -> Compiled {
    let (mut problems, documents) = memory.take_in(set);
    let known_lists = std::mem::take(&mut memory.list_cache);
    let mut sets = std::mem::take(&mut memory.pattern_sets);
    let last_read = std::mem::take(&mut memory.tls_files);
    let planned = std::mem::take(&mut memory.planned);
    let lists = lists::Lists::build(&memory, known_lists);
    memory.forget_outdated(&lists);
    let services = service::Services::gather(&memory, &mut problems);
    let rules = rule::gather(&memory, &services, &lists, &mut problems);
    let mut files = tls::TlsFiles::new(read_file, last_read);
    let plans = service::build(&services, &rules, &mut files, (planned, &mut sets), &mut problems);
    let routes = route::build(&memory, &plans.snapshot, &lists, (&mut sets, &mut problems));
    sets.turn();
    problems.sort();
    problems.dedup();
    let counts = count(documents, &lists);
    memory.list_cache = lists.into_cache();
    memory.pattern_sets = sets;
    memory.tls_files = files.good;
    memory.planned = plans.planned;
    Compiled {
        snapshot: Snapshot { routes, services: plans.snapshot.into() },
        services: plans.services,
        problems,
        counts,
        memory,
    }
}

fn count(documents: BTreeMap<Kind, usize>, lists: &lists::Lists) -> Counts {
    let mut counts = Counts { documents, list_members: lists.sizes() };
    // A list is one thing to its operator, however many parts it has.
    counts.documents.insert(Kind::List, counts.list_members.len());
    counts
}

fn problem(id: &DocumentId, field: &str, message: impl Into<String>, help: impl Into<String>) -> Problem {
    Problem::at(id, field, message, help)
}

#[cfg(test)]
mod tests;
