//! The background of a running proxy: documents become generations, instances are checked, and the end is watched for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::compile::Memory;
use crate::config::DocumentsFrom;
use crate::documents::DocumentSet;
use crate::live::Publisher;
use crate::pools::{Registry, run_checks};
use crate::sources::cache::{self, Cache, Good};
use crate::sources::{SourceStatus, Update, directory, etcd};
use crate::telemetry::AccessLog;

/// How long a start waits for the source before it runs what the cache holds.
const CACHE_WAIT: Duration = Duration::from_millis(500);
/// Between two looks at whether the last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
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
    /// Connections of clients.
    pub open: Arc<AtomicUsize>,
    pub grace: Duration,
}

#[async_trait]
impl BackgroundService for Control {
    async fn start(&self, shutdown: ShutdownWatch) {
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
        let keeper = self.cache.clone().map(|cache| tokio::spawn(cache::keep(cache, to_keep, ended.clone())));
        if let Some(publisher) = self.publisher.lock().take() {
            let follower = Follower {
                publisher,
                good,
                status: self.status.clone(),
                cache: self.cache.clone(),
                from_directory: matches!(self.documents, DocumentsFrom::Directory(_)),
            };
            tokio::spawn(follower.follow(incoming));
        }
        self.spawn_log_reopening();
        self.drain(shutdown).await;
        end.send_replace(true);
        if let Some(keeper) = keeper {
            let _ = tokio::time::timeout(LOG_CLOSE, keeper).await;
        }
        if let Some(log) = &self.access_log {
            log.close(LOG_CLOSE);
        }
        tracing::info!("every connection has ended, and so does the process");
        // The framework would sleep for the whole grace period, however idle it is.
        std::process::exit(0);
    }
}

impl Control {
    /// Returns once the process is to end and no client is connected any more, or the grace period is over.
    async fn drain(&self, mut shutdown: ShutdownWatch) {
        let _ = shutdown.wait_for(|end| *end).await;
        let deadline = Instant::now() + self.grace;
        let mut idle_looks = 0;
        // Twice idle: a connection may have been accepted just before the listeners closed.
        while idle_looks < 2 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_LOOK).await;
            idle_looks = if self.open.load(Ordering::Relaxed) == 0 { idle_looks + 1 } else { 0 };
        }
    }

    /// SIGUSR1 opens the access log anew, for those who rotate it.
    fn spawn_log_reopening(&self) {
        let Some(log) = self.access_log.clone() else { return };
        let Ok(mut rotated) = signal(SignalKind::user_defined1()) else { return };
        tokio::spawn(async move {
            while rotated.recv().await.is_some() {
                if let Err(error) = log.reopen() {
                    tracing::error!(%error, "the access log cannot be opened anew");
                }
            }
        });
    }
}

/// The one task that publishes.
struct Follower {
    publisher: Publisher,
    good: watch::Sender<Option<Good>>,
    status: Arc<SourceStatus>,
    cache: Option<Cache>,
    from_directory: bool,
}

impl Follower {
    async fn follow(mut self, mut incoming: watch::Receiver<Option<Update>>) {
        let cached = self.recall().await;
        let arrived = tokio::time::timeout(CACHE_WAIT, incoming.wait_for(Option::is_some)).await.is_ok();
        if let (false, Some(set)) = (arrived, cached) {
            tracing::warn!(
                revision = set.revision,
                "the source does not answer: running what the cache holds"
            );
            self.status.set_from_cache(true);
            self = self.publish(Arc::new(set), Instant::now()).await;
        } else if !arrived {
            tracing::warn!("the source does not answer, and there is no cache: waiting");
        }
        let mut running_revision = 0;
        let mut running_documents = 0;
        while incoming.wait_for(Option::is_some).await.is_ok() {
            let Some(update) = incoming.borrow_and_update().clone() else { continue };
            let emptied = update.set.documents.is_empty() && running_documents > 0;
            let suspicious = emptied && (self.from_directory || update.set.revision < running_revision);
            if suspicious {
                tracing::error!(
                    "every document is gone at once: what runs goes on until there are documents again"
                );
            } else {
                running_revision = update.set.revision;
                running_documents = update.set.documents.len();
                self = self.publish(update.set, update.seen_at).await;
            }
            if incoming.changed().await.is_err() {
                return;
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
                self.publisher.remember(Memory::from_good(set.documents.clone()));
                Some(set)
            }
            Err(error) => {
                tracing::error!(%error, "the cache cannot be read");
                None
            }
        }
    }

    /// Compiles and publishes off the threads that wait for sockets.
    async fn publish(self, set: Arc<DocumentSet>, seen_at: Instant) -> Follower {
        let Follower { mut publisher, good, status, cache, from_directory } = self;
        let work = tokio::task::spawn_blocking(move || {
            let read_file = |path: &std::path::Path| std::fs::read(path);
            let published = publisher.publish(&set, SystemTime::now(), &read_file);
            publisher.applied(seen_at.elapsed());
            (publisher, Good { revision: set.revision, documents: Arc::new(published.good_texts) })
        });
        match work.await {
            Ok((publisher, texts)) => {
                good.send_replace(Some(texts));
                Follower { publisher, good, status, cache, from_directory }
            }
            Err(error) => {
                // Serving what runs with nobody left to follow changes would hide the defect until it hurts.
                tracing::error!(%error, "publishing panicked");
                std::process::exit(1);
            }
        }
    }
}
