//! Whether this process leads.
//!
//! Owns: what the others ask before they move anything, and standing aside for a while. The election itself is the store's.

use std::time::Duration;

use graygate_store::etcd::EtcdSettings;
use graygate_store::leader::{Election, LEASE, Term};
use tokio::sync::watch;
use tokio::time::Instant;

/// A process that is alone always leads; beside others it does so for a term.
#[derive(Clone)]
pub struct Leadership {
    heard: Option<watch::Receiver<Option<Term>>>,
    /// Until when it stands aside.
    aside: Option<watch::Sender<Option<Instant>>>,
}

impl Leadership {
    pub fn alone() -> Leadership {
        Leadership { heard: None, aside: None }
    }

    /// Leads while another one says so.
    pub fn told(heard: watch::Receiver<Option<Term>>) -> Leadership {
        Leadership { heard: Some(heard), aside: None }
    }

    /// Leads, and tells until when it was asked to stand aside.
    #[cfg(test)]
    pub fn watched() -> (Leadership, watch::Receiver<Option<Instant>>) {
        let (aside, asked) = watch::channel(None);
        (Leadership { heard: None, aside: Some(aside) }, asked)
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
        let (aside, asked) = watch::channel(None);
        let election = Election::Etcd { settings, key, name, lease: LEASE };
        tokio::spawn(stand(election, told, asked, shutdown));
        Leadership { heard: Some(heard), aside: Some(aside) }
    }

    pub fn leads(&self) -> bool {
        self.heard.as_ref().is_none_or(|heard| heard.borrow().is_some())
    }

    /// What a leader's writes are bound to; none where one process is all there is.
    pub fn term(&self) -> Option<Term> {
        self.heard.as_ref().and_then(|heard| heard.borrow().clone())
    }

    /// Gives the lead up, and does not stand for a while; one process that is alone has no one to give it to.
    pub fn stand_aside(&self, time: Duration) {
        if let Some(aside) = &self.aside {
            aside.send_replace(Some(Instant::now() + time));
        }
    }

    /// Waits until it may have changed.
    pub async fn changed(&mut self) {
        let changed = match &mut self.heard {
            None => false,
            Some(heard) => heard.changed().await.is_ok(),
        };
        if !changed {
            std::future::pending::<()>().await;
        }
    }
}

/// Stands again and again, but for the times it was asked to stand aside.
async fn stand(
    election: Election,
    told: watch::Sender<Option<Term>>,
    mut aside: watch::Receiver<Option<Instant>>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        let (end, ended) = watch::channel(false);
        // Its own channel: a stand that ends gives the lease back before another begins.
        let (own, mut heard) = watch::channel(None);
        let standing = tokio::spawn(election.clone().stand(own, ended));
        let is_over = loop {
            tokio::select! {
                changed = heard.changed() => match changed {
                    Ok(()) => drop(told.send_replace(heard.borrow_and_update().clone())),
                    Err(_) => break true,
                },
                changed = aside.changed() => break changed.is_err(),
                _ = shutdown.wait_for(|end| *end) => break true,
            }
        };
        told.send_replace(None);
        end.send_replace(true);
        // It gives the lease back, or that ends by itself.
        let _ = standing.await;
        if is_over {
            return;
        }
        let until = *aside.borrow_and_update();
        if let Some(until) = until {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                _ = shutdown.wait_for(|end| *end) => return,
            }
        }
    }
}
