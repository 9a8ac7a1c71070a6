//! What runs beside the proxy for as long as the process does.
//!
//! Owns: the tasks and the order in which they end. The source, the checks and the fleet go on while requests drain;
//! then the cache, the fleet's key and the log get a moment each. Never: what any of them does.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::server::ShutdownWatch;
use pingora::services::background::BackgroundService;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::beliefs::Beliefs;
use super::end::{Drain, exit};
use super::follow::{Follower, Member, Outlets, Place};
use super::signals::{note_reload_signals, reopen_log_on_signal};
use graygate_messages::Gateway;
use graygate_proxy::live::Publisher;
use graygate_proxy::pools::{Registry, run_checks};
use graygate_store::cache::{self, Cache};
use graygate_store::{Source, SourceStatus};
use graygate_telemetry::AccessLog;

/// How long the cache's last write and leaving the fleet may take, each.
const TASK_CLOSE: Duration = Duration::from_millis(1_500);
/// How long the last log lines may take.
const LOG_CLOSE: Duration = Duration::from_secs(1);

/// What runs beside the proxy.
pub struct Background {
    pub source: Source,
    pub status: Arc<SourceStatus>,
    /// Taken by the one task that publishes.
    pub publisher: Mutex<Option<(Publisher, Beliefs)>>,
    pub registry: Arc<Registry>,
    pub cache: Option<Cache>,
    pub access_log: Option<AccessLog>,
    pub member: Member,
    pub drain: Drain,
    /// `None`: this process is no gateway of messages.
    pub messages: Option<Arc<Gateway>>,
}

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, shutdown: ShutdownWatch) {
        reopen_log_on_signal(self.access_log.clone());
        note_reload_signals();
        // The source goes on while requests drain: only the end of the process ends it.
        let (end, ended) = watch::channel(false);
        let last_writes = self.spawn(&ended);
        let how = self.drain.finished(shutdown).await;
        end.send_replace(true);
        for task in last_writes {
            let _ = tokio::time::timeout(TASK_CLOSE, task).await;
        }
        if let Some(log) = &self.access_log {
            log.close(LOG_CLOSE);
        }
        exit(how)
    }
}

impl Background {
    /// Starts everything; returns what still has to write once it is over.
    fn spawn(&self, ended: &watch::Receiver<bool>) -> Vec<JoinHandle<()>> {
        let (updates, incoming) = watch::channel(None);
        tokio::spawn(self.source.clone().watch(updates, self.status.clone(), ended.clone()));
        let mut checks_end = ended.clone();
        tokio::spawn(run_checks(self.registry.clone(), async move {
            let _ = checks_end.wait_for(|end| *end).await;
        }));
        let (good, to_keep) = watch::channel(None);
        let (reports, to_tell) = watch::channel(None);
        if let Some(publisher) = self.publisher.lock().take() {
            let (member, cache) = (self.member.clone(), self.cache.clone());
            let at =
                Place { member, cache, outlets: Outlets { good, reports, messages: self.messages.clone() } };
            let follower = Follower::new(publisher, self.source.counts(), self.status.clone(), at);
            tokio::spawn(follower.follow(incoming));
        }
        let keeper = self.cache.clone().map(|cache| tokio::spawn(cache::keep(cache, to_keep, ended.clone())));
        let membership = tokio::spawn(self.source.clone().fleet(to_tell, ended.clone()));
        let gateway = self.messages.clone().map(|gateway| tokio::spawn(gateway.run(ended.clone())));
        keeper.into_iter().chain([membership]).chain(gateway).collect()
    }
}
