//! The background of a running proxy: documents become generations, instances are checked, and the end is watched for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use rustix::process::setpriority_process;
use rustix::thread::gettid;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::files::Files;
use super::lifecycle::Again;
use crate::compile::{Memory, Renewed};
use crate::config::DocumentsFrom;
use crate::documents::DocumentSet;
use crate::live::{Admitted, Count, Guard, Publisher, rfc3339};
use crate::pools::{Registry, run_checks};
use crate::sources::cache::{self, Cache, Good};
use crate::sources::etcd::Fingerprint;
use crate::sources::fleet::Report;
use crate::sources::{SourceStatus, Update, directory, etcd, fleet};
use crate::telemetry::AccessLog;
use crate::vocab::Revision;

/// How long a start waits for the source before it runs what the cache holds.
const CACHE_WAIT: Duration = Duration::from_millis(500);
/// Between two looks at whether the last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long the cache's last write and leaving the fleet may take, each.
const TASK_CLOSE: Duration = Duration::from_millis(1_500);
/// Longest rest between two compiles. Under a stream of changes each rests for as long as it took: changes that come
/// meanwhile are taken up together, and requests keep half of the processor that compiles would fill.
const REST_LIMIT: Duration = Duration::from_millis(100);
/// How far behind requests compiles stand, as `nice` counts: where both want one processor, requests get nine tenths of it.
const NICENESS: i32 = 10;
/// How long the last log lines may take.
const LOG_CLOSE: Duration = Duration::from_secs(1);

/// What runs beside the proxy.
pub struct Control {
    pub documents: DocumentsFrom,
    pub status: Arc<SourceStatus>,
    /// Taken by the one task that publishes.
    pub publisher: parking_lot::Mutex<Option<Publisher>>,
    pub registry: Arc<Registry>,
    pub cache: Option<Cache>,
    pub access_log: Option<AccessLog>,
    /// Who this proxy is in its fleet.
    pub member: Member,
    /// Connections of clients.
    pub open: Arc<AtomicUsize>,
    pub grace: Duration,
    pub again: Again,
}

#[async_trait]
impl BackgroundService for Control {
    async fn start(&self, shutdown: ShutdownWatch) {
        self.spawn_log_reopening();
        // The source goes on while requests drain: only the end of the process ends it.
        let (end, ended) = watch::channel(false);
        let (updates, incoming) = watch::channel(None);
        match self.documents.clone() {
            DocumentsFrom::Directory(settings) => {
                tokio::spawn(directory::watch(settings, updates, self.status.clone(), ended.clone()));
            }
            DocumentsFrom::Etcd(settings) => {
                tokio::spawn(etcd::watch(settings, updates, self.status.clone(), ended.clone()));
            }
        }
        let mut checks_end = ended.clone();
        tokio::spawn(run_checks(self.registry.clone(), async move {
            let _ = checks_end.wait_for(|end| *end).await;
        }));
        let (good, to_keep) = watch::channel(None);
        let (reports, to_tell) = watch::channel(None);
        let membership = match self.documents.clone() {
            DocumentsFrom::Etcd(settings) => {
                Some(tokio::spawn(fleet::keep(settings, to_tell, ended.clone())))
            }
            DocumentsFrom::Directory(_) => None,
        };
        let keeper = self.cache.clone().map(|cache| tokio::spawn(cache::keep(cache, to_keep, ended.clone())));
        if let Some(publisher) = self.publisher.lock().take() {
            let count = match self.documents {
                DocumentsFrom::Directory(_) => Count::Own,
                DocumentsFrom::Etcd(_) => Count::Stored,
            };
            let follower = Follower {
                works: Works {
                    publisher,
                    guard: Guard::new(count),
                    is_kept: self.cache.is_some(),
                    files: Files::default(),
                },
                good,
                reports,
                member: self.member.clone(),
                status: self.status.clone(),
                cache: self.cache.clone(),
                renewing: None,
            };
            tokio::spawn(follower.follow(incoming));
        }
        let is_idle = self.drain(shutdown).await;
        end.send_replace(true);
        for task in [keeper, membership].into_iter().flatten() {
            let _ = tokio::time::timeout(TASK_CLOSE, task).await;
        }
        if let Some(log) = &self.access_log {
            log.close(LOG_CLOSE);
        }
        match is_idle {
            true => tracing::info!("every connection has ended, and so does the process"),
            false => tracing::warn!(
                connections = self.open.load(Ordering::Relaxed),
                "the process ends although clients are connected"
            ),
        }
        // The framework would sleep for the whole grace period, however idle it is.
        std::process::exit(0);
    }
}

impl Control {
    /// Returns once the process is to end and no client is connected any more, or nobody waits any longer: the grace
    /// period is over, or a second signal came. Whether no client is connected.
    async fn drain(&self, mut shutdown: ShutdownWatch) -> bool {
        let _ = shutdown.wait_for(|end| *end).await;
        let idle = async {
            let mut idle_looks = 0;
            // Twice idle: a connection may have been accepted just before the listeners closed.
            while idle_looks < 2 {
                tokio::time::sleep(DRAIN_LOOK).await;
                idle_looks = if self.open.load(Ordering::Relaxed) == 0 { idle_looks + 1 } else { 0 };
            }
        };
        tokio::select! {
            () = idle => true,
            () = tokio::time::sleep(self.grace) => false,
            () = self.again.comes() => false,
        }
    }

    /// SIGUSR1 opens the access log anew, for those who rotate it. It is heard where there is no log as well: unheard, it
    /// would end the process.
    fn spawn_log_reopening(&self) {
        let log = self.access_log.clone();
        let Ok(mut rotated) = signal(SignalKind::user_defined1()) else { return };
        tokio::spawn(async move {
            while rotated.recv().await.is_some() {
                if let Some(Err(error)) = log.as_ref().map(AccessLog::reopen) {
                    tracing::error!(%error, "the access log cannot be opened anew");
                }
            }
        });
    }
}

/// The one task that publishes.
struct Follower {
    works: Works,
    good: watch::Sender<Option<Good>>,
    reports: watch::Sender<Option<Report>>,
    member: Member,
    status: Arc<SourceStatus>,
    cache: Option<Cache>,
    /// What many changes have worn is built anew beside them.
    renewing: Option<JoinHandle<Renewed>>,
}

/// Who this proxy is.
#[derive(Clone, Debug)]
pub struct Member {
    pub host: String,
    pub address: SocketAddr,
    pub started: SystemTime,
}

impl Member {
    fn report(&self, done: &Done, documents: Option<Fingerprint>) -> Report {
        Report {
            host: self.host.clone(),
            address: self.address.to_string(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: done.running,
            offered: done.offered,
            documents,
            problems: done.problems,
            started: rfc3339(self.started),
            updated: rfc3339(SystemTime::now()),
        }
    }
}

/// What publishing needs, moved to where it may block and back.
struct Works {
    publisher: Publisher,
    guard: Guard,
    /// Whether there is a cache to keep what runs in.
    is_kept: bool,
    files: Files,
}

impl Follower {
    async fn follow(mut self, mut incoming: watch::Receiver<Option<Update>>) {
        let cached = self.recall().await;
        let arrived = tokio::time::timeout(CACHE_WAIT, incoming.wait_for(Option::is_some)).await.is_ok();
        if let Some(set) = cached {
            let set = Arc::new(set);
            let admitted = self.works.guard.admit(set);
            if !arrived {
                tracing::warn!(
                    revision = admitted.offered,
                    "the source does not answer: running what the cache holds"
                );
                self.status.set_from_cache(true);
                self = self.publish(Offer::Cached(admitted)).await;
            }
        } else if !arrived {
            tracing::warn!("the source does not answer, and there is no cache: waiting");
        }
        let mut rested = Instant::now();
        while incoming.wait_for(Option::is_some).await.is_ok() {
            tokio::time::sleep_until(rested.into()).await;
            let Some(mut update) = incoming.borrow_and_update().clone() else { continue };
            loop {
                let began = Instant::now();
                self = self.publish(Offer::Fresh(update.clone())).await;
                rested = Instant::now() + began.elapsed().min(REST_LIMIT);
                self.renew().await;
                tokio::select! {
                    more = incoming.changed() => match more {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = self.works.files.changed() => {
                        tracing::info!("a file that documents name has changed: reading it again");
                        update.seen_at = Instant::now();
                    }
                }
            }
        }
    }

    /// What the cache holds, which is also what is held back to.
    async fn recall(&mut self) -> Option<DocumentSet> {
        let cache = self.cache.clone()?;
        let loaded = tokio::task::spawn_blocking(move || cache.load()).await.ok()?;
        match loaded {
            Ok(set) => {
                let set = set?;
                self.works.publisher.remember(Memory::from_good(set.documents.clone()));
                Some(set)
            }
            Err(error) => {
                tracing::error!(%error, "the cache cannot be read");
                None
            }
        }
    }

    /// Takes up what was built anew meanwhile, and has built what changes have worn since.
    async fn renew(&mut self) {
        if let Some(renewed) = self.renewing.take_if(|renewing| renewing.is_finished()) {
            match renewed.await {
                Ok(renewed) => self.works.publisher.renew(&renewed),
                Err(error) => tracing::error!(%error, "building an index anew panicked"),
            }
        }
        if self.renewing.is_none() {
            let worn = self.works.publisher.worn();
            self.renewing = worn.map(|worn| behind_requests(move || worn.renewed()));
        }
    }

    /// Compiles and publishes off the threads that wait for sockets.
    async fn publish(self, offer: Offer) -> Follower {
        let Follower { works, good, reports, member, status, cache, renewing } = self;
        match behind_requests(move || works.publish(offer)).await {
            Ok((works, mut done)) => {
                reports.send_replace(Some(member.report(&done, done.documents)));
                if let Some(texts) = done.good.take() {
                    good.send_replace(Some(texts));
                }
                Follower { works, good, reports, member, status, cache, renewing }
            }
            Err(error) => {
                // Serving what runs with nobody left to follow changes would hide the defect until it hurts.
                tracing::error!(%error, "publishing panicked");
                std::process::exit(1);
            }
        }
    }
}

/// Computes on a thread that waits for no sockets, and that gives way to those which do where processors are short: a
/// change may take a few milliseconds more, a request may not.
fn behind_requests<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    tokio::task::spawn_blocking(|| {
        // On Linux the priority is the thread's own. Where it stays as it was, so does everything.
        let _ = setpriority_process(Some(gettid()), NICENESS);
        work()
    })
}

/// What is to be put in force.
enum Offer {
    Cached(Admitted),
    Fresh(Update),
}

/// What came of an update.
struct Done {
    running: Revision,
    offered: Revision,
    problems: usize,
    /// Which state of the store runs; `None` where it is not the offered one.
    documents: Option<Fingerprint>,
    /// What is worth keeping; `None` where nothing new runs.
    good: Option<Good>,
}

impl Works {
    fn publish(mut self, offer: Offer) -> (Works, Done) {
        self.files = Files::default();
        let (admitted, fingerprint, seen_at) = match offer {
            Offer::Cached(admitted) => (admitted, None, Instant::now()),
            Offer::Fresh(update) => (self.guard.admit(update.set), Some(update.fingerprint), update.seen_at),
        };
        let generation = self.publisher.publish(&admitted, SystemTime::now(), &|path| self.files.read(path));
        self.publisher.applied(seen_at.elapsed(), Instant::now());
        let is_new = fingerprint.is_some() && !admitted.is_held_back;
        let running = admitted.set.revision;
        let done = Done {
            running,
            offered: admitted.offered,
            problems: generation.problems.len(),
            documents: fingerprint.filter(|_| is_new),
            good: (is_new && self.is_kept)
                .then(|| Good { revision: running, documents: Arc::new(self.publisher.good_texts()) }),
        };
        (self, done)
    }
}
