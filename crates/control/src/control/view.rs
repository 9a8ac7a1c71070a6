//! All documents as they are now, compiled, and as they would be with a change.
//!
//! Owns: the newest set in memory and the one place it is replaced. Never: the truth: what a write is compared with is
//! read from the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use graygate_rules::compile::{self, Compiled, Memory, Renewed};
use graygate_rules::documents::{Document, DocumentId, DocumentSet, Format, Kind, Raw};
use graygate_rules::vocab::Problem;
use parking_lot::Mutex;

use crate::error::Mistake;

/// Documents of one moment, and what they mean together.
#[derive(Debug)]
pub struct View {
    pub set: DocumentSet,
    pub compiled: Compiled,
    renewals: Arc<Renewals>,
}

/// Indexes that many changes have made stale, built again beside the changes; shared by a view and all that are made of it.
#[derive(Default, Debug)]
struct Renewals {
    newest: Mutex<Option<Arc<Renewed>>>,
    is_under_way: AtomicBool,
}

/// New texts by document; `None` takes one away.
pub type Changes = BTreeMap<DocumentId, Option<Bytes>>;

impl View {
    /// Compiles a whole set.
    pub fn of(set: DocumentSet, memory: Memory) -> View {
        let compiled = compile::compile_next(&set, memory, &|path| std::fs::read(path));
        View { set, compiled, renewals: Arc::default() }
    }

    pub fn empty() -> View {
        View::of(DocumentSet::default(), Memory::default())
    }

    /// As it would be with these changes. What does not change is not read again.
    pub fn with(&self, changes: &Changes) -> View {
        let mut set = self.set.clone();
        for (id, text) in changes {
            match text {
                Some(text) => {
                    let raw = Raw { body: text[..].into(), format: self.format(id) };
                    set.documents.insert(id.clone(), Arc::new(raw));
                    set.ambiguous.remove(id);
                }
                None => {
                    set.documents.remove(id);
                }
            }
        }
        View { renewals: self.renewals.clone(), ..View::of(set, self.memory()) }
    }

    /// What the next compile may reuse: with indexes that were built again meanwhile.
    pub fn memory(&self) -> Memory {
        let mut memory = self.compiled.memory.clone();
        if let Some(renewed) = &*self.renewals.newest.lock() {
            memory.renew(renewed);
        }
        memory
    }

    /// Builds indexes again that are stale, so that the next change need not, and drags nothing along.
    pub fn renew_beside(&self) {
        let Some(stale) = self.compiled.memory.stale() else { return };
        let renewals = self.renewals.clone();
        if renewals.is_under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        tokio::task::spawn_blocking(move || {
            let renewed = Arc::new(stale.renewed());
            *renewals.newest.lock() = Some(renewed);
            renewals.is_under_way.store(false, Ordering::Release);
        });
    }

    /// How the document is written; a new one is YAML.
    pub fn format(&self, id: &DocumentId) -> Format {
        match (id.kind, self.set.documents.get(id)) {
            (Kind::List, _) => Format::List,
            (_, Some(raw)) => raw.format,
            (_, None) => Format::Yaml,
        }
    }

    /// What is wrong with these documents; a list's parts are spoken of by the list.
    pub fn problems_of<'a>(&'a self, ids: impl Iterator<Item = &'a DocumentId>) -> Vec<Mistake> {
        let names: Vec<String> = ids.map(ToString::to_string).collect();
        let of_these = |problem: &&Problem| names.contains(&problem.document());
        self.compiled.problems.iter().filter(of_these).map(mistake).collect()
    }

    /// The good documents of a kind.
    pub fn good(&self, kind: Kind) -> impl Iterator<Item = (&DocumentId, &Document)> {
        self.compiled.memory.good(kind)
    }

    /// The parts of a list.
    pub fn parts(&self, list: &str) -> Vec<(DocumentId, Arc<Raw>)> {
        let Some(first) = DocumentId::of(Kind::List, list) else { return Vec::new() };
        let whole = self.set.documents.get(&first).map(|raw| (first.clone(), raw.clone()));
        let below = format!("{list}/");
        let from = DocumentId { kind: Kind::List, name: below.as_str().into() };
        let parts = self.set.documents.range(from..);
        let parts = parts.take_while(|(id, _)| id.kind == Kind::List && id.name.starts_with(&below));
        whole.into_iter().chain(parts.map(|(id, raw)| (id.clone(), raw.clone()))).collect()
    }
}

pub fn mistake(problem: &Problem) -> Mistake {
    problem.into()
}
