//! The one loop in which a change of the documents comes to run.
//!
//! Answers: what happens between an update of the source and the next one? It is admitted, compiled and published beside
//! the requests, kept in the cache, and reported to the fleet. Never: what an update means; that is `live`'s.
//! Start at [`Follower::follow`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::beliefs::Beliefs;
use super::end::{End, exit};
use super::files::Files;
use graygate_messages::Gateway;
use graygate_proxy::live::{Admitted, Guard, Publisher, rfc3339};
use graygate_rules::compile::{Memory, Renewed};
use graygate_rules::documents::DocumentSet;
use graygate_rules::spec::MessageGroup;
use graygate_rules::vocab::{Counting, Revision};
use graygate_store::cache::{Cache, Good};
use graygate_store::fleet::Report;
use graygate_store::{Fingerprint, SourceStatus, Update, behind_requests};

/// How long a start waits for the source before it runs what the cache holds.
const CACHE_WAIT: Duration = Duration::from_millis(500);
/// How many times as long as a compile took the next one waits, so that a stream of changes takes a tenth of a processor:
/// changes that come meanwhile are taken up together.
const REST_SHARE: u32 = 9;
/// As long as that is no longer than this: a change is in force within 20 ms, of which a burst's end takes three.
const REST_NOTICED: Duration = Duration::from_millis(10);
/// Compiles that take longer rest for as long as they took, so that requests keep half of a processor, but no longer
/// than this.
const REST_LIMIT: Duration = Duration::from_millis(100);

/// Who this proxy is in its fleet.
#[derive(Clone, Debug)]
pub struct Member {
    pub host: String,
    pub address: SocketAddr,
    /// The URL of its admin address.
    pub admin: String,
    pub started: SystemTime,
}

impl Member {
    fn report(&self, done: &Published) -> Report {
        Report {
            host: self.host.clone(),
            address: self.address.to_string(),
            admin: Some(self.admin.clone()),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            running: done.running,
            offered: done.offered,
            documents: done.documents,
            problems: done.problems,
            started: rfc3339(self.started),
            updated: rfc3339(SystemTime::now()),
        }
    }
}

/// Where it is noted what runs: latest wins in both.
pub struct Outlets {
    /// To the cache.
    pub good: watch::Sender<Option<Good>>,
    /// To the fleet.
    pub reports: watch::Sender<Option<Report>>,
    /// To the gateway of messages.
    pub messages: Option<Arc<Gateway>>,
}

/// The one task that publishes.
pub struct Follower {
    job: PublishJob,
    outlets: Outlets,
    member: Member,
    status: Arc<SourceStatus>,
    cache: Option<Cache>,
    /// What many changes have made slow is built again beside them.
    renewing: Option<JoinHandle<Renewed>>,
}

impl Follower {
    pub fn new(
        publisher: (Publisher, Beliefs),
        counts: Counting,
        status: Arc<SourceStatus>,
        at: Place,
    ) -> Follower {
        let Place { member, cache, outlets } = at;
        let (publisher, beliefs) = publisher;
        let job = PublishJob {
            publisher,
            beliefs,
            guard: Guard::new(counts),
            is_kept: cache.is_some(),
            files: Files::default(),
        };
        Follower { job, outlets, member, status, cache, renewing: None }
    }

    /// Publishes every update, until the source has ended.
    pub async fn follow(mut self, mut incoming: watch::Receiver<Option<Update>>) {
        self = self.begin(&mut incoming).await;
        let mut rested = Instant::now();
        while incoming.wait_for(Option::is_some).await.is_ok() {
            tokio::time::sleep_until(rested.into()).await;
            let Some(mut update) = incoming.borrow_and_update().clone() else { continue };
            loop {
                let began = Instant::now();
                self = self.publish(Offer::Fresh(update.clone())).await;
                rested = Instant::now() + rest(began.elapsed());
                self.renew().await;
                tokio::select! {
                    more = incoming.changed() => match more {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = self.job.files.changed() => {
                        tracing::info!("a file that was read has changed: reading it again");
                        update.seen_at = Instant::now();
                    }
                }
            }
        }
    }

    /// Runs what the cache holds where the source does not answer soon.
    async fn begin(mut self, incoming: &mut watch::Receiver<Option<Update>>) -> Follower {
        let cached = self.recall().await;
        let arrived = tokio::time::timeout(CACHE_WAIT, incoming.wait_for(Option::is_some)).await.is_ok();
        // What the cache holds is what an emptied source is measured by, whether or not it has to run.
        let admitted = cached.map(|set| self.job.guard.admit(Arc::new(set)));
        match admitted {
            _ if arrived => self,
            Some(admitted) => {
                let revision = admitted.offered;
                tracing::warn!(revision, "the source does not answer: running what the cache holds");
                self.status.set_from_cache(true);
                self.publish(Offer::Cached(admitted)).await
            }
            None => {
                tracing::warn!("the source does not answer, and there is no cache: waiting");
                self
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
                self.job.publisher.remember(Memory::from_good(set.documents.clone()));
                Some(set)
            }
            Err(error) => {
                tracing::error!(%error, "the cache cannot be read");
                None
            }
        }
    }

    /// Takes up what was built again meanwhile, and has built what changes have made slow since.
    async fn renew(&mut self) {
        if let Some(renewed) = self.renewing.take_if(|renewing| renewing.is_finished()) {
            match renewed.await {
                Ok(renewed) => self.job.publisher.renew(&renewed),
                Err(error) => tracing::error!(%error, "rebuilding an index panicked"),
            }
        }
        if self.renewing.is_none() {
            let stale = self.job.publisher.stale();
            self.renewing = stale.map(|stale| behind_requests(move || stale.renewed()));
        }
    }

    /// Compiles and publishes off the threads that wait for sockets.
    async fn publish(self, offer: Offer) -> Follower {
        let Follower { job, outlets, member, status, cache, renewing } = self;
        match behind_requests(move || job.publish(offer)).await {
            Ok((job, mut done)) => {
                if let Some(gateway) = &outlets.messages {
                    gateway.declare(&done.messages);
                }
                outlets.reports.send_replace(Some(member.report(&done)));
                if let Some(texts) = done.good.take() {
                    outlets.good.send_replace(Some(texts));
                }
                Follower { job, outlets, member, status, cache, renewing }
            }
            Err(error) => {
                // Serving what runs with no task left to follow changes would hide the defect until it hurts.
                tracing::error!(%error, "publishing panicked");
                exit(End::Failed)
            }
        }
    }
}

/// How long the next compile waits after one that took so long.
fn rest(took: Duration) -> Duration {
    (took * REST_SHARE).min(REST_NOTICED).max(took.min(REST_LIMIT))
}

/// Where a follower stands: who it reports as, what it begins with, and where it reports to.
pub struct Place {
    pub member: Member,
    pub cache: Option<Cache>,
    pub outlets: Outlets,
}

/// What publishing needs, moved to where it may block and back.
struct PublishJob {
    publisher: Publisher,
    beliefs: Beliefs,
    guard: Guard,
    /// Whether there is a cache to keep what runs in.
    is_kept: bool,
    files: Files,
}

/// What is to be put in force.
enum Offer {
    Cached(Admitted),
    Fresh(Update),
}

/// What came of an offer.
struct Published {
    running: Revision,
    offered: Revision,
    problems: usize,
    /// Which state of the store runs; `None` where it is not the offered one, or no store's.
    documents: Option<Fingerprint>,
    /// What is worth keeping; `None` where nothing new runs.
    good: Option<Good>,
    messages: Arc<[MessageGroup]>,
}

impl PublishJob {
    fn publish(mut self, offer: Offer) -> (PublishJob, Published) {
        self.files = Files::default();
        let (trust, problems) = self.beliefs.read(&self.files);
        self.publisher.believe(trust, problems);
        let is_fresh = matches!(offer, Offer::Fresh(_));
        let (admitted, fingerprint, seen_at) = match offer {
            Offer::Cached(admitted) => (admitted, None, Instant::now()),
            Offer::Fresh(update) => (self.guard.admit(update.set), update.fingerprint, update.seen_at),
        };
        let generation = self.publisher.publish(&admitted, SystemTime::now(), &|path| self.files.read(path));
        self.publisher.applied(seen_at.elapsed(), Instant::now());
        let is_new = is_fresh && !admitted.is_held_back;
        let running = admitted.set.revision;
        let done = Published {
            running,
            offered: admitted.offered,
            messages: generation.messages.clone(),
            problems: generation.problems.len(),
            documents: fingerprint.filter(|_| is_new),
            good: (is_new && self.is_kept)
                .then(|| Good { revision: running, documents: self.publisher.good_texts().clone() }),
        };
        (self, done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiles_take_a_tenth_of_a_processor_where_no_change_waits_long() {
        for (took, rests) in
            [(0, 0), (200, 1_800), (1_000, 9_000), (4_000, 10_000), (30_000, 30_000), (400_000, 100_000)]
        {
            assert_eq!(rest(Duration::from_micros(took)), Duration::from_micros(rests), "{took}");
        }
    }
}
