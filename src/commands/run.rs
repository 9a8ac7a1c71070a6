//! `graygate run`: the rooms wired together, in the order a change and a request meet them.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use async_trait::async_trait;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::http_proxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;

use super::control::{Control, Member};
use super::handover::Successor;
use super::lifecycle::{Again, Ending, Listeners, Succession};
use super::print_problems;
use crate::admin::{self, Admin, Desk, Explain, SourceView};
use crate::config::{Config, DocumentsFrom};
use crate::live::{self, Live, ProblemReport, Publisher};
use crate::pools::Registry;
use crate::proxy::{CertificateSets, Edge, Gate, HeldBack, Listener};
use crate::sources::cache::Cache;
use crate::sources::{SourceKind, SourceStatus};
use crate::telemetry::{AccessLog, Metrics, start_log};

/// Unused upstream connections kept for each thread.
const UPSTREAM_POOL: usize = 1_024;
/// Tries the framework allows one request; our own budget is always spent first.
const FRAMEWORK_TRIES: usize = 32;

/// How much longer than the grace period the framework waits, seconds: the last writes of `Control` come before its end.
const FRAMEWORK_GRACE: u64 = 10;

pub fn run(file: &Path, upgrade: bool) -> anyhow::Result<ExitCode> {
    match Config::load_to_run(file) {
        Ok((config, certificates)) => start(config, certificates, upgrade),
        Err(problems) => {
            print_problems(&problems);
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Runs until a signal ends the process.
pub fn start(config: Config, certificates: CertificateSets, upgrade: bool) -> anyhow::Result<ExitCode> {
    start_log(&config.log)?;
    let cache = config.cache.as_ref().map(|directory| Cache::new(directory, &origin(&config.documents)));
    if let Some(cache) = &cache {
        cache.check().context("the cache directory cannot be used")?;
    }
    if let DocumentsFrom::Directory(settings) = &config.documents {
        std::fs::read_dir(&settings.path)
            .with_context(|| format!("documents.directory: {} cannot be read", settings.path.display()))?;
    }
    let successor = match upgrade {
        true => {
            let socket = config.upgrade_socket.as_deref();
            let socket =
                socket.context("where to meet the running process? set `upgrade_socket` or `cache`")?;
            Some(Successor::wait_at(socket)?)
        }
        false => None,
    };
    if successor.is_none() {
        for address in
            config.proxy.listen.iter().map(|listener| &listener.address).chain([&config.admin.address])
        {
            can_listen(*address)?;
        }
    }
    let metrics = Metrics::new();
    let access_log = config
        .access_log
        .clone()
        .map(|settings| AccessLog::open(settings, metrics.access_log_dropped()))
        .transpose()
        .context("the access log cannot be opened")?;
    // Connections are files; the shell's first limit is meant for others.
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
    serve(config, Parts { metrics, access_log, cache, certificates, successor })
}

/// What was opened before anything listens.
struct Parts {
    metrics: Metrics,
    access_log: Option<AccessLog>,
    cache: Option<Cache>,
    certificates: CertificateSets,
    successor: Option<Successor>,
}

fn serve(config: Config, parts: Parts) -> anyhow::Result<ExitCode> {
    let Parts { metrics, access_log, cache, certificates, successor } = parts;
    let live = Arc::new(Live::default());
    let registry = Arc::new(Registry::new(rand::random()));
    let kind = match &config.documents {
        DocumentsFrom::Directory(_) => SourceKind::Directory,
        DocumentsFrom::Etcd(_) => SourceKind::Etcd,
    };
    let status = Arc::new(SourceStatus::new(kind, Instant::now()));
    let (listening, ending) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
    let settings = Arc::new(config.proxy);
    let mut server = Server::new_with_opt_and_conf(Opt::default(), server_conf(&settings));
    let listeners = Listeners::new(
        settings.listen.iter().map(|listener| listener.address),
        Desk::new(successor.is_some()),
    );

    let gate = Gate {
        live: live.clone(),
        settings: settings.clone(),
        metrics: metrics.clone(),
        access_log: access_log.clone(),
    };
    let edge = Edge::new(
        http_proxy(&server.configuration, gate),
        settings.clone(),
        certificates.doors(&settings.listen, &metrics)?,
        metrics.clone(),
        access_log.clone(),
    );
    let (open, again) = (edge.open_connections(), Again::default());
    let mut proxy = Service::new("proxy".into(), edge);
    for Listener { address, .. } in &settings.listen {
        // Heads and bodies are read straight into their own buffers; another one before them would only be copied from.
        let buffer = L4BufferSettings::default().read(0);
        proxy.add_listener(ListenerConfig::tcp(address.to_string()).l4_buffer(buffer));
    }
    let admin = Admin {
        live: live.clone(),
        metrics: metrics.clone(),
        explain: explainer(&live, &settings),
        started: SystemTime::now(),
        source: source_view(&status),
        certificates: certificate_problems(&certificates),
        listening: listening.clone(),
        ending: ending.clone(),
    };
    let control = Control {
        documents: config.documents,
        status,
        publisher: parking_lot::Mutex::new(Some(Publisher::new(
            live.clone(),
            registry.clone(),
            metrics.clone(),
        ))),
        registry,
        cache,
        access_log: access_log.clone(),
        member: member(&settings.listen),
        open,
        grace: settings.grace,
        again: again.clone(),
    };

    server.bootstrap();
    server.add_service(background_service("control", control));
    let desk = listeners.desk.clone();
    server.add_service(background_service("admin", admin::Listener::new(admin, config.admin, desk)));
    server.add_service(background_service("certificates", Follow { certificates, metrics }));
    let succession = Succession { successor, listeners: listeners.clone(), live, listening };
    let succession = server.add_boxed_service(Box::new(succession));
    server.add_service(proxy).add_dependency(&succession);
    let ending = Ending { is_ending: ending, listeners, socket: config.upgrade_socket, again };
    server.run(RunArgs { shutdown_signal: Box::new(ending) });
    if let Some(log) = access_log {
        log.close(Duration::from_secs(1));
    }
    Ok(ExitCode::SUCCESS)
}

fn server_conf(settings: &crate::proxy::Settings) -> ServerConf {
    ServerConf {
        threads: settings.threads,
        // `Control` ends the process before.
        grace_period_seconds: Some(settings.grace.as_secs() + FRAMEWORK_GRACE),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        max_retries: FRAMEWORK_TRIES,
        // A connection stays on one thread: no other is woken to take its requests over (`loadtest/results/settings.md`).
        work_stealing: false,
        ..ServerConf::default()
    }
}

/// Who this process is in its fleet.
fn member(listen: &[Listener]) -> Member {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    Member {
        host: host.trim().to_owned(),
        address: listen.first().map_or(unspecified, |listener| listener.address),
        started: SystemTime::now(),
    }
}

/// What a cache is of: a cache of other documents is not loaded.
fn origin(documents: &DocumentsFrom) -> String {
    match documents {
        DocumentsFrom::Directory(settings) => format!("directory {}", settings.path.display()),
        DocumentsFrom::Etcd(settings) => format!("etcd {}", settings.prefix.trim_end_matches('/')),
    }
}

/// Binds and lets go: an address that is taken is said before anything runs.
pub fn can_listen(address: SocketAddr) -> anyhow::Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| format!("cannot listen on {address}"))
}

fn explainer(live: &Arc<Live>, settings: &Arc<crate::proxy::Settings>) -> Box<Explain> {
    let (live, settings) = (live.clone(), settings.clone());
    Box::new(move |asked| {
        let generation = live.running()?;
        Some(live::explain(&generation, &settings.trust, asked, SystemTime::now()))
    })
}

/// Takes changed certificates while the process runs.
struct Follow {
    certificates: CertificateSets,
    metrics: Metrics,
}

#[async_trait]
impl BackgroundService for Follow {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        tokio::select! {
            () = self.certificates.follow(&self.metrics) => {}
            // A dropped sender is an end as well.
            _ = shutdown.wait_for(|end| *end) => {}
        }
    }
}

/// Certificates that are held back, in the words of `/status`.
fn certificate_problems(sets: &CertificateSets) -> Box<dyn Fn() -> Vec<ProblemReport> + Send + Sync> {
    let sets = sets.clone();
    Box::new(move || {
        let report = |(directory, pair): (String, HeldBack)| ProblemReport {
            document: format!("certificates/{}", pair.name),
            field: directory,
            message: pair.message,
            held_back_since: live::rfc3339(pair.since),
        };
        sets.held_back().into_iter().map(report).collect()
    })
}

fn source_view(status: &Arc<SourceStatus>) -> Box<dyn Fn() -> SourceView + Send + Sync> {
    let status = status.clone();
    Box::new(move || SourceView {
        kind: match status.kind() {
            SourceKind::Directory => "directory",
            SourceKind::Etcd => "etcd",
        },
        up: status.up(),
        stale: status.stale_for(Instant::now()),
        from_cache: status.from_cache(),
        mismatches: status.mismatches(),
    })
}
