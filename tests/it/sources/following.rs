//! A source that is followed, and what a test asks of it.

use crate::support::eventually;
use graygate_rules::documents::DocumentId;
use graygate_store::directory::{self, DirectorySettings};
use graygate_store::etcd::{self, EtcdSettings};
use graygate_store::{SourceKind, SourceStatus, Update};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Far above what anything here takes, so that only a defect reaches it.
pub const SOON: Duration = Duration::from_secs(20);

pub struct Following {
    pub updates: watch::Receiver<Option<Update>>,
    pub status: Arc<SourceStatus>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Following {
    pub fn etcd(settings: EtcdSettings) -> Following {
        Following::start(SourceKind::Etcd, |updates, status, shutdown| {
            tokio::spawn(etcd::watch(settings, updates, status, shutdown))
        })
    }

    pub fn directory(path: &Path) -> Following {
        let path = path.to_owned();
        Following::start(SourceKind::Directory, |updates, status, shutdown| {
            tokio::spawn(directory::watch(DirectorySettings { path }, updates, status, shutdown))
        })
    }

    fn start(
        kind: SourceKind,
        spawn: impl FnOnce(
            watch::Sender<Option<Update>>,
            Arc<SourceStatus>,
            watch::Receiver<bool>,
        ) -> tokio::task::JoinHandle<()>,
    ) -> Following {
        let (sender, updates) = watch::channel(None);
        let (stop, shutdown) = watch::channel(false);
        let status = Arc::new(SourceStatus::new(kind, Instant::now()));
        let task = spawn(sender, status.clone(), shutdown);
        Following { updates, status, stop, task }
    }

    pub fn revision(&self) -> u64 {
        self.updates.borrow().as_ref().map_or(0, |update| update.set.revision)
    }

    pub fn text(&self, name: &str) -> Option<String> {
        let update = self.updates.borrow();
        let raw = update.as_ref()?.set.documents.get(&DocumentId::parse(name).unwrap())?;
        Some(String::from_utf8(raw.body.to_vec()).unwrap())
    }

    pub fn names(&self) -> Vec<String> {
        let update = self.updates.borrow();
        let set = update.as_ref().map(|update| update.set.clone()).unwrap_or_default();
        set.documents.keys().map(ToString::to_string).collect()
    }

    pub async fn reaches(&self, revision: u64) {
        eventually(SOON, || self.revision() >= revision).await;
    }

    pub async fn says(&self, name: &str, text: &str) {
        eventually(SOON, || self.text(name).as_deref() == Some(text)).await;
    }

    pub async fn lacks(&self, name: &str) {
        eventually(SOON, || self.revision() > 0 && self.text(name).is_none()).await;
    }

    pub async fn is_up(&self, up: bool) {
        eventually(SOON, || self.status.up() == up).await;
    }

    /// The source ends when it is told to, and never disagreed with itself.
    pub async fn stop(self) {
        assert_eq!(self.status.mismatches(), 0);
        self.stop.send_replace(true);
        tokio::time::timeout(SOON, self.task).await.unwrap().unwrap();
    }
}
