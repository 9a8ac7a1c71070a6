//! `/status`: the whole state of the process as one JSON object.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::Admin;
use crate::live::{NoteReport, ProblemReport, RevisionReport, ServiceReport, rfc3339, service_reports};
use graygate_rules::documents::Kind;

/// How the source of documents is.
#[derive(Clone, Copy, Debug)]
pub struct SourceView {
    /// `directory` or `etcd`.
    pub kind: &'static str,
    pub up: bool,
    /// How long what runs may be out of date.
    pub stale: Duration,
    pub from_cache: bool,
}

#[derive(Serialize)]
pub struct Status {
    version: &'static str,
    started: String,
    source: SourceReport,
    revision: RevisionReport,
    problems: Vec<ProblemReport>,
    notes: Vec<NoteReport>,
    services: BTreeMap<String, ServiceReport>,
    documents: DocumentsReport,
}

#[derive(Serialize)]
struct SourceReport {
    kind: &'static str,
    up: bool,
    stale_seconds: u64,
    from_cache: bool,
}

#[derive(Serialize, Default)]
struct DocumentsReport {
    routes: usize,
    services: usize,
    rules: usize,
    lists: usize,
    list_members: u64,
    instances: usize,
}

impl Admin {
    pub(super) fn status(&self) -> Status {
        let source = (self.source)();
        let running = self.live.running();
        let generation = running.as_deref();
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(self.started),
            source: SourceReport {
                kind: source.kind,
                up: source.up,
                stale_seconds: source.stale.as_secs(),
                from_cache: source.from_cache,
            },
            revision: RevisionReport::of(&self.live),
            problems: generation
                .map(|g| g.problem_reports())
                .into_iter()
                .flatten()
                .chain((self.certificates)())
                .collect(),
            notes: generation.map(|g| g.note_reports(SystemTime::now())).unwrap_or_default(),
            services: generation.map(|g| service_reports(g, Instant::now())).unwrap_or_default(),
            documents: generation
                .map(|g| {
                    let count = |kind| g.counts.documents.get(&kind).copied().unwrap_or_default();
                    DocumentsReport {
                        routes: count(Kind::Route),
                        services: count(Kind::Service),
                        rules: count(Kind::Rule),
                        lists: count(Kind::List),
                        list_members: g.counts.list_members.iter().map(|(_, members)| members).sum(),
                        instances: count(Kind::Instance),
                    }
                })
                .unwrap_or_default(),
        }
    }
}
