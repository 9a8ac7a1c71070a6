//! Whether this process leads.
//!
//! Owns: what the others ask before they move anything. The election itself is the store's.

use graygate_store::etcd::EtcdSettings;
use graygate_store::leader::{Election, LEASE, Term};
use tokio::sync::watch;

/// A process that is alone always leads; beside others it does so for a term.
#[derive(Clone)]
pub struct Leadership(Option<watch::Receiver<Option<Term>>>);

impl Leadership {
    pub fn alone() -> Leadership {
        Leadership(None)
    }

    /// Stands for election below a prefix, until the shutdown.
    pub fn among(
        settings: EtcdSettings,
        prefix: &str,
        name: String,
        shutdown: watch::Receiver<bool>,
    ) -> Leadership {
        let key = format!("{}/leader", prefix.trim_end_matches('/'));
        let (told, heard) = watch::channel(None);
        tokio::spawn(Election::Etcd { settings, key, name, lease: LEASE }.stand(told, shutdown));
        Leadership(Some(heard))
    }

    pub fn leads(&self) -> bool {
        self.0.as_ref().is_none_or(|heard| heard.borrow().is_some())
    }

    /// What a leader's writes are bound to; none where one process is all there is.
    pub fn term(&self) -> Option<Term> {
        self.0.as_ref().and_then(|heard| heard.borrow().clone())
    }

    /// Waits until it may have changed.
    pub async fn changed(&mut self) {
        let changed = match &mut self.0 {
            None => false,
            Some(heard) => heard.changed().await.is_ok(),
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}
