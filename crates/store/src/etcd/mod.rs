//! Documents from etcd.
//!
//! Answers: what does the prefix hold, now and after every change?
//! Owns: endpoints in turn, and when to try again. Never: judges bodies, or writes (see `push`).
//! Start at [`watch`]; a connection's life is in `session.rs`, what it means in `mirror.rs`.

mod backoff;
mod client;
mod held;
mod keyspace;
mod liveness;
pub mod mirror;
mod outlet;
mod session;
mod settings;

pub(crate) use backoff::Backoff;
pub(crate) use client::Connection;
pub use held::{Change, Listed, Listing};
pub use keyspace::Part;
pub(crate) use keyspace::{Prefix, Slot};
pub use settings::{DEFAULT_PREFIX, EtcdSettings, EtcdTls, Password};

use super::status::SourceStatus;
use super::update::{Shutdown, SourceError, UpdateSender, ended};
use graygate_rules::documents::DocumentSet;
use held::Held;
pub(crate) use mirror::Extent;
use mirror::Mirror;
use outlet::WatchOutlet;
use session::{End, Session};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session that lasted this long was a good one, and the next attempts start without delay again.
const GOOD_SESSION: Duration = Duration::from_secs(5);

/// Reads the prefix once, completely. The revision is the store's.
pub async fn load(settings: &EtcdSettings) -> Result<DocumentSet, SourceError> {
    let connection = Connection::any(settings).await?;
    let mut held = Held::new(settings.keys());
    held.replace(connection.list(&settings.keys(), Extent::KeysAndValues).await?);
    Ok(held.set())
}

/// Publishes the prefix now and after every change, until the shutdown.
///
/// While no endpoint answers the status is down and the last update stays. Has to run on the runtime that lives
/// as long as the watch: connections die with the runtime they were opened on.
pub async fn watch(
    settings: EtcdSettings,
    updates: UpdateSender,
    status: Arc<SourceStatus>,
    shutdown: Shutdown,
) {
    let outlet = WatchOutlet::new(updates, status);
    tokio::select! {
        () = follow(settings, outlet) => {}
        () = ended(shutdown) => {}
    }
}

async fn follow(settings: EtcdSettings, mut outlet: WatchOutlet) {
    let mut mirror = Mirror::new(&settings.prefix);
    let mut backoff = Backoff::default();
    // A fleet spreads over the members of a cluster by starting anywhere.
    let first = rand::random_range(0..settings.endpoints.len().max(1));
    let mut endpoints = settings.endpoints.iter().cycle().skip(first).peekable();
    loop {
        let Some(endpoint) = endpoints.peek() else {
            return outlet.lost("no endpoint to connect to");
        };
        let begun = Instant::now();
        let end = match Connection::open(&settings, endpoint).await {
            Ok(connection) => Session::new(connection, settings.keys(), &mut mirror, &mut outlet).run().await,
            Err(error) => End::Lost(error),
        };
        if begun.elapsed() > GOOD_SESSION {
            backoff.reset();
        }
        match end {
            End::Lost(error) => {
                outlet.lost(&error.to_string());
                endpoints.next();
            }
            End::Stale(stale) => {
                outlet.count_mismatches(stale.mismatches);
                tracing::warn!(stale.reason, "the held documents may be out of date; listing them again")
            }
        }
        tokio::time::sleep(backoff.next(rand::random())).await;
    }
}
