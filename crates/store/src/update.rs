//! What a source tells, and why it cannot.
//!
//! Owns the newest complete set on its way to the publisher. Never: how it was read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use graygate_rules::documents::DocumentSet;
use tokio::sync::watch;

use super::fingerprint::Fingerprint;

/// The newest complete set of a source. A later update replaces an earlier one; no reader has to see them all.
///
/// Revisions usually grow, but an etcd whose data was wiped starts again from 1: the order of arrival counts,
/// never the number.
#[derive(Clone, Debug)]
pub struct Update {
    pub set: Arc<DocumentSet>,
    /// Tells this state of a shared store from others, on every proxy alike; `None` where nothing is shared.
    pub fingerprint: Option<Fingerprint>,
    /// When the first change in it was seen, so that `graygate_apply_seconds` includes the wait for a burst's end.
    pub seen_at: Instant,
}

/// Carries the newest update; starts with `None`, and latest wins.
pub type UpdateSender = watch::Sender<Option<Update>>;

/// Turns `true` (or is dropped) when the program ends; the type Pingora hands to its services.
pub type Shutdown = watch::Receiver<bool>;

/// Why a source could not be read. Texts are for operators; none contains a password.
#[derive(thiserror::Error, Debug)]
pub enum SourceError {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{}: more than {limit} files", path.display())]
    TooManyFiles { path: PathBuf, limit: usize },
    #[error("etcd settings: {0}")]
    Settings(String),
    #[error("etcd at {endpoint}: {message}")]
    Etcd { endpoint: String, message: String },
    /// The reader itself died; only a defect can do that.
    #[error("internal: {0}")]
    Internal(String),
}

/// Resolves when the program is to end.
pub(crate) async fn ended(mut shutdown: Shutdown) {
    // A dropped sender means that no end can be asked for any more, which is an end as well.
    let _ = shutdown.wait_for(|end| *end).await;
}
