//! Where the instances of registries are written, as far as registries have to know.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use graygate_rules::documents::Discover;
use graygate_rules::vocab::Name;

use super::reconcile::{Change, Written};

/// The documents that matter here, as they are now.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Documents {
    /// What each service discovers; a service that discovers nothing may be left out.
    pub discover: BTreeMap<Name, Vec<Discover>>,
    /// The instance documents of each service.
    pub instances: BTreeMap<Name, Vec<Written>>,
}

/// Why nothing was written.
#[derive(thiserror::Error, Clone, Debug)]
pub enum StoreError {
    /// Another control process writes.
    #[error("another control process leads")]
    NotLeading,
    #[error("documents changed meanwhile: {0}")]
    Conflict(String),
    #[error("the documents cannot be written: {0}")]
    Away(String),
}

/// Reads and writes instance documents.
#[async_trait]
pub trait InstanceStore: Send + Sync + 'static {
    /// What is there, own writes included; the same `Arc` as long as nothing changed. `None`: not known yet.
    fn read(&self) -> Option<Arc<Documents>>;

    /// Writes these, each if its document is still as it was read. A part may have been written before an error.
    async fn apply(&self, changes: &[Change]) -> Result<(), StoreError>;
}
