//! `/status`: the whole state of the process as one JSON object.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use crate::limits::KEYS_LIMIT;
use crate::live::{
    Live, MirrorReport, NoteReport, ProblemReport, RevisionReport, ServiceReport, mirror_reports, rfc3339,
    service_reports,
};
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
    /// Only where there are keys of testers' words.
    #[serde(skip_serializing_if = "Option::is_none")]
    overrides: Option<OverridesReport>,
    /// Only where there is a database of places.
    #[serde(skip_serializing_if = "Option::is_none")]
    geo: Option<GeoReport>,
    /// Only where anything is limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    limits: Option<LimitsReport>,
    /// Only where anything is mirrored.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mirrors: Vec<MirrorReport>,
    /// Only where there is a gateway of messages.
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<serde_json::Value>,
}

/// The keys that testers' words may be signed with.
#[derive(Serialize)]
struct OverridesReport {
    keys: usize,
}

/// The database that says where clients are.
#[derive(Serialize)]
struct GeoReport {
    /// What it calls itself.
    database: String,
    built: String,
}

/// What limits have to remember.
#[derive(Serialize)]
struct LimitsReport {
    keys: usize,
    most_keys: usize,
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

impl Status {
    /// What is now; `held_back`: problems of certificates, which no document has.
    pub fn of(live: &Live, started: SystemTime, source: SourceView, held_back: Vec<ProblemReport>) -> Status {
        let running = live.running();
        let generation = running.as_deref();
        let trust = generation.and_then(|generation| generation.trust.as_deref());
        Status {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(started),
            source: SourceReport {
                kind: source.kind,
                up: source.up,
                stale_seconds: source.stale.as_secs(),
                from_cache: source.from_cache,
            },
            revision: RevisionReport::of(live),
            problems: generation
                .map(|g| g.problem_reports())
                .into_iter()
                .flatten()
                .chain(held_back)
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
            overrides: trust
                .map(|trust| trust.overrides.keys())
                .filter(|keys| *keys > 0)
                .map(|keys| OverridesReport { keys }),
            geo: trust.and_then(|trust| trust.places.as_deref()).map(|places| GeoReport {
                database: places.kind().to_owned(),
                built: SystemTime::UNIX_EPOCH
                    .checked_add(Duration::from_secs(places.built()))
                    .map(rfc3339)
                    .unwrap_or_default(),
            }),
            limits: generation
                .and_then(|g| g.limited_keys(Instant::now()))
                .map(|keys| LimitsReport { keys, most_keys: KEYS_LIMIT }),
            mirrors: generation.map(mirror_reports).unwrap_or_default(),
            messages: None,
        }
    }

    /// With the lanes of messages, as their gateway tells them.
    pub fn with_lanes(mut self, lanes: Option<serde_json::Value>) -> Status {
        self.messages = lanes;
        self
    }
}
