//! One source of documents, whichever it is.
//!
//! Answers: everything that depends on where documents come from. Another source is one more variant here, and nothing
//! outside of this room matches on it. Never: how a source is read; that is `directory`'s and `etcd`'s.

use std::sync::Arc;

use tokio::sync::watch;

use super::directory::{self, DirectorySettings};
use super::etcd::{self, EtcdSettings};
use super::fleet::{self, Report};
use super::status::{SourceKind, SourceStatus};
use super::update::{Shutdown, SourceError, UpdateSender};
use graygate_rules::documents::DocumentSet;
use graygate_rules::vocab::Counting;

/// Where documents come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    Directory(DirectorySettings),
    Etcd(EtcdSettings),
}

impl Source {
    pub fn kind(&self) -> SourceKind {
        match self {
            Source::Directory(_) => SourceKind::Directory,
            Source::Etcd(_) => SourceKind::Etcd,
        }
    }

    /// What a cache is of: a cache of other documents is not loaded.
    pub fn origin(&self) -> String {
        match self {
            Source::Directory(settings) => format!("directory {}", settings.path.display()),
            Source::Etcd(settings) => format!("etcd {}", settings.prefix.trim_end_matches('/')),
        }
    }

    pub fn counts(&self) -> Counting {
        match self {
            Source::Directory(_) => Counting::Own,
            Source::Etcd(_) => Counting::Stored,
        }
    }

    /// What can be told of it before anything starts. A directory has to be there: a path that was mistyped would
    /// otherwise look like a volume that is mounted late. A store may be away; the cache is for that.
    pub fn check(&self) -> Result<(), SourceError> {
        match self {
            Source::Directory(DirectorySettings { path }) => match std::fs::read_dir(path) {
                Ok(_) => Ok(()),
                Err(error) => Err(SourceError::Io { path: path.clone(), error }),
            },
            Source::Etcd(_) => Ok(()),
        }
    }

    /// Reads all documents once.
    pub async fn load(&self) -> Result<DocumentSet, SourceError> {
        match self {
            Source::Directory(DirectorySettings { path }) => {
                let path = path.clone();
                let read = tokio::task::spawn_blocking(move || directory::load(&path)).await;
                read.map_err(|error| SourceError::Internal(error.to_string()))?
            }
            Source::Etcd(settings) => etcd::load(settings).await,
        }
    }

    /// Publishes all documents now and after every change, until the shutdown.
    pub async fn watch(self, updates: UpdateSender, status: Arc<SourceStatus>, shutdown: Shutdown) {
        match self {
            Source::Directory(settings) => directory::watch(settings, updates, status, shutdown).await,
            Source::Etcd(settings) => etcd::watch(settings, updates, status, shutdown).await,
        }
    }

    /// Keeps this proxy's newest report where its fleet looks for it, until the shutdown. A directory has no fleet.
    pub async fn fleet(self, reports: watch::Receiver<Option<Report>>, shutdown: Shutdown) {
        match self {
            Source::Directory(_) => {}
            Source::Etcd(settings) => fleet::keep(settings, reports, shutdown).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_belongs_to_one_place() {
        let directory = Source::Directory(DirectorySettings { path: "/etc/graygate/documents".into() });
        assert_eq!(directory.origin(), "directory /etc/graygate/documents");
        for prefix in ["/graygate", "/graygate/"] {
            let endpoints = vec!["http://127.0.0.1:2379".to_owned()];
            let etcd = Source::Etcd(EtcdSettings::new(endpoints, prefix));
            assert_eq!(etcd.origin(), "etcd /graygate", "{prefix}");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_told_before_the_start() {
        let gone = Source::Directory(DirectorySettings { path: "/nowhere/at/all".into() });
        assert!(gone.check().unwrap_err().to_string().starts_with("/nowhere/at/all: "));
    }
}
