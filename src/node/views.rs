//! What the admin address is shown of the rooms it does not know.
//!
//! Owns: the translation into `/status`'s words, and nothing that is translated.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;

use super::follow::Member;
use graygate_messages::Gateway;
use graygate_proxy::admin::{Explain, Lanes, SourceView};
use graygate_proxy::edge::{CertificateSets, HeldBack};
use graygate_proxy::live::{self, Live, ProblemReport};
use graygate_proxy::metrics::Metrics;
use graygate_proxy::observe::{Epoch, Identity, Observer};
use graygate_proxy::request::Settings;
use graygate_rules::explain::Explainer;
use graygate_store::{SourceStatus, fleet};

/// Counts requests while a caller asks, under the name that the fleet's keys have.
pub fn observer(member: &Member) -> Observer {
    let proxy = fleet::id(&member.host, &member.address.to_string(), std::process::id());
    let boot = format!("{:016x}", rand::random::<u64>());
    let now = Instant::now();
    Observer::new(Identity { proxy, boot }, Epoch::new(now, SystemTime::now()), now)
}

/// Explains a request with what runs at that moment.
pub fn explainer(live: &Arc<Live>, settings: &Arc<Settings>) -> Box<Explain> {
    let (live, settings) = (live.clone(), settings.clone());
    Box::new(move |asked| {
        let generation = live.running()?;
        let has_instances = |service, version| generation.has_instances(service, version);
        let snapshot = &generation.snapshot;
        let trust = generation.trust.as_deref().unwrap_or(&settings.trust);
        let explainer = Explainer { snapshot, trust, has_instances: &has_instances };
        Some(explainer.explain(asked, SystemTime::now().into()))
    })
}

/// Certificates that are held back, in the words of `/status`.
pub fn held_back_certificates(sets: &CertificateSets) -> Box<dyn Fn() -> Vec<ProblemReport> + Send + Sync> {
    let sets = sets.clone();
    Box::new(move || {
        let report = |(directory, pair): (String, HeldBack)| ProblemReport {
            document: format!("certificates/{}", pair.name),
            line: None,
            field: directory,
            message: pair.message,
            held_back_since: live::rfc3339(pair.since),
        };
        sets.held_back().into_iter().map(report).collect()
    })
}

/// How the source of documents is.
pub fn source(status: &Arc<SourceStatus>) -> Box<dyn Fn() -> SourceView + Send + Sync> {
    let status = status.clone();
    Box::new(move || SourceView {
        kind: status.kind().word(),
        up: status.up(),
        stale: status.stale_for(Instant::now()),
        from_cache: status.from_cache(),
    })
}

/// Lanes of messages; `None` where the process is no gateway.
pub fn lanes(gateway: Option<&Arc<Gateway>>) -> Option<Box<Lanes>> {
    let gateway = gateway?.clone();
    Some(Box::new(move || serde_json::to_value(gateway.reports()).unwrap_or_default()))
}

/// Takes changed certificates while the process runs.
pub struct FollowCertificates {
    pub certificates: CertificateSets,
    pub metrics: Metrics,
}

#[async_trait]
impl BackgroundService for FollowCertificates {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.certificates.follow(&self.metrics) => {}
            // A dropped sender is an end as well.
            _ = shutdown.wait_for(|end| *end) => {}
        }
    }
}
