//! The node: the proxy's rooms wired together, and the life of the process they run in.
//!
//! Answers: what does `graygate run` consist of, from top to bottom? Owns: the order of the start, the loop that puts
//! documents in force, the signals, the hand-over to a successor and the only end. Never: a decision of any room.
//! Start at [`run`].

mod background;
mod beliefs;
mod control;
mod end;
mod files;
mod follow;
mod handover;
mod lanes;
mod second_signal;
mod signals;
mod succession;
mod systemd;
mod views;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::proxy::http_proxy;
use pingora::server::configuration::{Opt, ServerConf};
use pingora::server::{RunArgs, Server};
use pingora::services::background::background_service;

pub use self::control::control;

use self::background::Background;
use self::beliefs::Beliefs;
use self::end::{AtEnd, Drain};
use self::follow::Member;
use self::handover::Successor;
use self::second_signal::SecondSignal;
use self::signals::Ending;
use self::succession::{Listeners, Succession, can_listen};
use self::views::FollowCertificates;
use crate::config::Config;
use graygate_proxy::admin::{self, Admin, ListenerHandoff};
use graygate_proxy::edge::{
    Accepting, CertificateSets, Edge, Listener, Refused, Serving, ServingThreads, Sockets,
};
use graygate_proxy::live::{Live, Publisher};
use graygate_proxy::metrics::Metrics;
use graygate_proxy::pools;
use graygate_proxy::request::{Gate, Settings, Short, Way};
use graygate_store::SourceStatus;
use graygate_store::cache::Cache;
use graygate_telemetry::{AccessLog, Registry, start_log};

/// Unused upstream connections kept for each thread.
const UPSTREAM_POOL: usize = 1_024;
/// Tries the framework allows one request; our own budget is always spent first.
const FRAMEWORK_TRIES: usize = 32;
/// How much longer than the grace period the framework waits, seconds: the last writes of `Background` come before its end.
const FRAMEWORK_GRACE: u64 = 10;
/// How long the last log lines may take where no drain ends the process.
const LOG_CLOSE: Duration = Duration::from_secs(1);

/// Whether another process serves already and is to be taken over from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    Fresh,
    Upgrade,
}

/// Runs until a signal ends the process. Where that is SIGINT, `clean` is the last that is done.
pub fn run(
    config: Config,
    certificates: CertificateSets,
    start: Start,
    clean: impl FnOnce() + Send + 'static,
) -> anyhow::Result<ExitCode> {
    start_log(&config.log)?;
    let parts = Parts::open(&config, start)?;
    let access_log = parts.access_log.clone();
    let at_end = AtEnd::new(move || {
        if let Some(log) = access_log {
            log.close(LOG_CLOSE);
        }
        clean();
    });
    let services = Services::assemble(config, certificates, parts, at_end.clone())?;
    services.run();
    at_end.run();
    Ok(ExitCode::SUCCESS)
}

/// What is opened before anything listens: whatever of it fails, the start fails, and no client has noticed yet.
struct Parts {
    registry: Registry,
    metrics: Metrics,
    access_log: Option<AccessLog>,
    cache: Option<Cache>,
    successor: Option<Successor>,
}

impl Parts {
    fn open(config: &Config, start: Start) -> anyhow::Result<Parts> {
        let cache = open_cache(config)?;
        let source = &config.documents;
        source.check().with_context(|| format!("documents.{} cannot be read", source.kind().word()))?;
        let successor = match start {
            Start::Upgrade => Some(wait_for_predecessor(config)?),
            Start::Fresh => None,
        };
        if successor.is_none() {
            let listen = config.proxy.listen.iter().map(|listener| &listener.address);
            let messages = config.messages.iter().flat_map(|messages| &messages.listen);
            let messages = messages.map(|listener| &listener.address);
            for address in listen.chain([&config.admin.address]).chain(messages) {
                can_listen(*address)?;
            }
        }
        let registry = Registry::default();
        let metrics = Metrics::new(&registry);
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
        Ok(Parts { registry, metrics, access_log, cache, successor })
    }
}

fn open_cache(config: &Config) -> anyhow::Result<Option<Cache>> {
    let Some(directory) = &config.cache else { return Ok(None) };
    let cache = Cache::new(directory, &config.documents.origin());
    cache.check().context("the cache directory cannot be used")?;
    Ok(Some(cache))
}

fn wait_for_predecessor(config: &Config) -> anyhow::Result<Successor> {
    let socket = config.upgrade_socket.as_deref();
    let socket = socket.context("where to meet the running process? set `upgrade_socket` or `cache`")?;
    Successor::wait_at(socket)
}

/// Everything that runs, in the framework's hands.
struct Services {
    server: Server,
    ending: Ending,
}

impl Services {
    fn assemble(
        config: Config,
        certificates: CertificateSets,
        parts: Parts,
        at_end: AtEnd,
    ) -> anyhow::Result<Services> {
        let Parts { registry, metrics, access_log, cache, successor } = parts;
        let settings = Arc::new(config.proxy);
        let mut server = Server::new_with_opt_and_conf(Opt::default(), server_conf(&settings));

        // What the parts share: the cell with what runs, the pools' memory, and what the process says about itself.
        let live = Arc::new(Live::default());
        let instances = Arc::new(pools::Registry::new(rand::random()));
        let status = Arc::new(SourceStatus::new(config.documents.kind(), Instant::now()));
        status.clone().register(&registry);
        registry.process();
        let (listening, ending) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let second = SecondSignal::default();
        let addresses = settings.listen.iter().map(|listener| listener.address);
        let handoff = ListenerHandoff::new(successor.is_some());
        let sockets = Sockets::default();
        let listeners = Listeners::new(addresses, sockets.clone(), (config.admin.address, handoff));
        let member = member(&settings.listen, &config.admin, config.admin_tls.is_some());
        let observer = Arc::new(views::observer(&member));
        let admin_tls = config.admin_tls.as_ref().map(|tls| certificates.config(tls)).transpose()?.flatten();
        let token = config.admin.token_file.as_deref().map(admin::Token::open).transpose();

        // Messages: a gateway of their own beside.
        let surroundings = lanes::Surroundings {
            source: &config.documents,
            cache: config.cache.as_deref(),
            member: &member,
            certificates: &certificates,
            registry: &registry,
        };
        let messages = lanes::gateway(config.messages.as_ref(), &surroundings)?;

        // Requests: connections at the edge, and the hooks of one request behind it.
        let gate = Gate {
            live: live.clone(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            access_log: access_log.clone(),
            observer: observer.clone(),
        };
        let is_short = settings.plain == Way::Short;
        let short = is_short.then(|| Arc::new(short_path(&server.configuration, gate.clone())));
        let serving = Serving {
            app: Arc::new(http_proxy(&server.configuration, gate)),
            short,
            limits: settings.limits,
            refused: Arc::new(Refused::new(metrics.clone(), access_log.clone())),
        };
        let edge = Edge::new(serving, certificates.bind(&settings.listen, &metrics)?);
        let open = edge.open_connections();
        let threads =
            ServingThreads::start(settings.threads).context("the threads that serve cannot be started")?;
        let proxy = Accepting::new(edge, sockets, threads);

        // Questions about the process.
        let admin = Admin {
            live: live.clone(),
            metrics: metrics.clone(),
            explain: views::explainer(&live, &settings),
            started: SystemTime::now(),
            source: views::source(&status),
            certificates: views::held_back_certificates(&certificates),
            listening: listening.clone(),
            ending: ending.clone(),
            token: token.context("`admin.token_file` cannot be read")?,
            observer: observer.clone(),
            messages: views::lanes(messages.as_ref()),
        };
        let admin = admin::Listener::new(admin, config.admin.address, admin_tls, listeners.admin.clone());

        // Changes: from the source to the cell, the cache and the fleet.
        let publisher = Publisher::new(live.clone(), instances.clone(), metrics.clone());
        let beliefs = Beliefs::new(settings.trust.clone(), config.believed);
        let background = Background {
            member,
            source: config.documents,
            status,
            publisher: parking_lot::Mutex::new(Some((publisher, beliefs))),
            registry: instances,
            cache,
            access_log,
            messages,
            drain: Drain { open, grace: settings.grace, second: second.clone() },
        };

        server.bootstrap();
        server.add_service(background_service("background", background));
        server.add_service(background_service("admin", admin));
        server.add_service(background_service("certificates", FollowCertificates { certificates, metrics }));
        // Nothing listens before there is something to serve with, or a predecessor handed its listeners over.
        let succession = Succession { successor, listeners: listeners.clone(), live, listening };
        let succession = server.add_boxed_service(Box::new(succession));
        server.add_service(proxy).add_dependency(&succession);
        let ending = Ending { is_ending: ending, listeners, socket: config.upgrade_socket, second, at_end };
        Ok(Services { server, ending })
    }

    fn run(self) {
        self.server.run(RunArgs { shutdown_signal: Box::new(self.ending) });
    }
}

/// What serves plain requests, over connections as the framework makes them.
fn short_path(conf: &ServerConf, gate: Gate) -> Short {
    let options = ConnectorOptions::from_server_conf(conf);
    Short::new(gate, TransportConnector::new(Some(options)))
}

fn server_conf(settings: &Settings) -> ServerConf {
    ServerConf {
        threads: settings.threads,
        // `Background` ends the process before.
        grace_period_seconds: Some(settings.grace.as_secs() + FRAMEWORK_GRACE),
        graceful_shutdown_timeout_seconds: Some(1),
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        max_retries: FRAMEWORK_TRIES,
        // What the framework itself runs stays on its thread; connections are on threads of our own.
        work_stealing: false,
        ..ServerConf::default()
    }
}

/// Who this process is in its fleet.
fn member(listen: &[Listener], admin: &admin::Settings, has_tls: bool) -> Member {
    let scheme = if has_tls { "https" } else { "http" };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let unspecified = SocketAddr::from(([0, 0, 0, 0], 0));
    Member {
        host: host.trim().to_owned(),
        address: listen.first().map_or(unspecified, |listener| listener.address),
        admin: admin.advertise.clone().unwrap_or_else(|| format!("{scheme}://{}", admin.address)),
        started: SystemTime::now(),
    }
}
