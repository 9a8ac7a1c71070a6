//! One connection's life: list the prefix, watch from there, publish bursts.
//!
//! Answers: what happens between connecting to an endpoint and losing it?
//! Owns: liveness, gathering a burst into one update, the periodic comparison. Never: reconnects (see `mod.rs`).
//!
//! A session always begins with a listing instead of resuming the watch where the last one broke: a store whose
//! data was replaced may stand at the very revision one resumes from, and no event would ever tell.

use super::client::{Connection, Extent, REQUEST_TIMEOUT, explain};
use super::held::{Change, Held, Listing};
use super::keyspace::Prefix;
use super::publisher::Publisher;
use crate::sources::SourceError;
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use std::collections::BTreeSet;
use std::future::pending;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

/// A burst has ended when nothing came for this long. Short, because every change waits for it.
const BURST_IDLE: Duration = Duration::from_millis(3);
/// A burst is published after this long even if it goes on: less than half of the 50 ms a change may take in all.
const BURST_LIMIT: Duration = Duration::from_millis(20);
/// How often the server is asked for a sign of life. The answer counts as that and nothing else: in etcd before
/// 3.4.25 it may overtake events, so its revision says nothing about what arrived.
const PROGRESS: Duration = Duration::from_secs(1);
/// A watch without any answer for this long is dead, whatever the connection looks like.
const SILENCE_LIMIT: Duration = Duration::from_secs(4);
/// How often the held state is compared with a fresh listing. Nothing is known that would make them differ; this
/// is what heals the unknown.
const COMPARE_EVERY: Duration = Duration::from_secs(300);
/// After the comparison's listing: events on their way when it was made have arrived by then.
const COMPARE_SETTLE: Duration = Duration::from_secs(2);
/// Above so many bytes of documents, listings compare keys and revisions and fetch only what differs.
const BULK: usize = 64 << 20;

/// Why a session is over.
pub(super) enum End {
    /// The endpoint is gone or refuses.
    Lost(SourceError),
    /// The endpoint is fine, but the held state may not be; list again.
    Stale(String),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> End {
        End::Lost(error)
    }
}

/// A burst that is not published yet.
#[derive(Clone, Copy)]
struct Burst {
    began: Instant,
    latest: Instant,
}

impl Burst {
    fn due(self) -> Instant {
        (self.latest + BURST_IDLE).min(self.began + BURST_LIMIT)
    }
}

/// A comparison under way, and the keys that events touched since it began.
struct Comparison {
    listing: JoinHandle<Result<Listing, SourceError>>,
    touched: BTreeSet<Vec<u8>>,
}

impl Drop for Comparison {
    fn drop(&mut self) {
        self.listing.abort();
    }
}

/// A session's parts.
pub(super) struct Session<'a> {
    connection: Connection,
    prefix: Prefix,
    held: &'a mut Held,
    publisher: &'a mut Publisher,
    burst: Option<Burst>,
    comparison: Option<Comparison>,
}

impl<'a> Session<'a> {
    pub fn new(
        connection: Connection,
        prefix: Prefix,
        held: &'a mut Held,
        publisher: &'a mut Publisher,
    ) -> Session<'a> {
        Session { connection, prefix, held, publisher, burst: None, comparison: None }
    }

    /// Lists, publishes, then follows the watch until something ends it.
    pub async fn run(mut self) -> End {
        match self.follow().await {
            Err(end) => {
                // Events that arrived before the end are true all the same.
                self.flush();
                end
            }
            Ok(never) => match never {},
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, End> {
        let begun = Instant::now();
        let listing = self.list().await?;
        if listing.revision < self.held.revision() {
            tracing::warn!(
                held = self.held.revision(),
                store = listing.revision,
                "the store's revision went back, its data was replaced; taking what it holds now"
            );
        }
        self.held.replace(listing);
        let mut stream = self.watch().await?;
        self.publisher.publish(self.held, begun);
        self.publisher.reached(self.connection.endpoint(), self.held);
        let mut progress = interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare = interval(COMPARE_EVERY);
        compare.reset();
        let mut heard = Instant::now();
        loop {
            let due = self.burst.map(Burst::due);
            tokio::select! {
                // Messages first: whoever was slow himself must not take the other side for dead.
                biased;
                message = stream.message() => {
                    heard = Instant::now();
                    self.message(message, heard)?;
                }
                () = until(due) => self.flush(),
                listing = compared(&mut self.comparison) => self.judge(listing)?,
                _ = progress.tick() => {
                    if heard.elapsed() > SILENCE_LIMIT {
                        let message = format!("silent for {} seconds", SILENCE_LIMIT.as_secs());
                        return Err(self.connection.failed(message).into());
                    }
                    self.ask_progress(&mut stream).await?;
                }
                _ = compare.tick(), if self.comparison.is_none() => self.compare(),
            }
        }
    }

    async fn list(&self) -> Result<Listing, SourceError> {
        if self.held.bytes() < BULK {
            return self.connection.list(&self.prefix, Extent::KeysAndValues).await;
        }
        let mut listing = self.connection.list(&self.prefix, Extent::Keys).await?;
        if listing.revision < self.held.revision() {
            return self.connection.list(&self.prefix, Extent::KeysAndValues).await;
        }
        self.connection.complete(&mut listing, self.held).await?;
        Ok(listing)
    }

    /// Opens the watch right behind the listing, and waits until the server says it stands.
    ///
    /// Without fragments: a transaction then arrives in one message, however large, and is never seen in halves.
    async fn watch(&mut self) -> Result<WatchStream, End> {
        let revision = self.held.revision();
        let options = WatchOptions::new()
            .with_range(self.prefix.end())
            .with_start_revision(revision + 1)
            .with_progress_notify();
        let mut watch = self.connection.watch.clone();
        let key = self.prefix.as_str().to_owned();
        let mut stream = self.connection.request(watch.watch(key, Some(options))).await?;
        let first = timeout(REQUEST_TIMEOUT, stream.message()).await;
        match first {
            Ok(Ok(Some(first))) if first.created() && !first.canceled() => {
                self.check(&first)?;
                Ok(stream)
            }
            Ok(Ok(Some(first))) => Err(self.canceled(&first)),
            Ok(Ok(None)) => Err(self.connection.failed("the watch ended before it began").into()),
            Ok(Err(error)) => Err(self.connection.failed(explain(&error)).into()),
            Err(_) => Err(self.connection.failed("the watch was not answered").into()),
        }
    }

    async fn ask_progress(&self, stream: &mut WatchStream) -> Result<(), End> {
        match timeout(PROGRESS, stream.request_progress()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.connection.failed(explain(&error)).into()),
            Err(_) => Err(self.connection.failed("the connection takes no requests").into()),
        }
    }

    fn message(
        &mut self,
        message: Result<Option<WatchResponse>, etcd_client::Error>,
        now: Instant,
    ) -> Result<(), End> {
        let response = match message {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.connection.failed("the watch ended").into()),
            Err(error) => return Err(self.connection.failed(explain(&error)).into()),
        };
        if response.canceled() {
            return Err(self.canceled(&response));
        }
        self.check(&response)?;
        self.publisher.touch(now);
        let mut ours = false;
        for event in response.events() {
            let Some(pair) = event.kv() else { continue };
            // The key's own count of versions tells a deletion; the event's type is not read because the client
            // panics on one it does not know.
            let change = Change {
                key: pair.key(),
                mod_revision: pair.mod_revision(),
                value: (pair.version() > 0).then(|| pair.value()),
            };
            ours |= self.held.apply(&change);
            if let Some(comparison) = &mut self.comparison {
                comparison.touched.insert(pair.key().to_vec());
            }
        }
        if ours {
            let began = self.burst.map_or(now, |burst| burst.began);
            let burst = Burst { began, latest: now };
            self.burst = Some(burst);
            // Messages are preferred to timers, so a stream that never rests has to be cut here.
            if now >= began + BURST_LIMIT {
                self.flush();
            }
        }
        Ok(())
    }

    /// A revision below the held one can only come from a store whose data was replaced.
    fn check(&self, response: &WatchResponse) -> Result<(), End> {
        let store = response.header().map_or(i64::MAX, |header| header.revision());
        match store < self.held.revision() {
            true => {
                Err(End::Stale(format!("its revision {store} is below the held {}", self.held.revision())))
            }
            false => Ok(()),
        }
    }

    fn canceled(&self, response: &WatchResponse) -> End {
        match response.compact_revision() {
            0 => {
                let reason = response.cancel_reason();
                self.connection.failed(format!("the watch was refused: {reason}")).into()
            }
            compacted => End::Stale(format!("revisions before {compacted} were compacted")),
        }
    }

    fn flush(&mut self) {
        if let Some(burst) = self.burst.take() {
            self.publisher.publish(self.held, burst.began);
        }
    }

    fn compare(&mut self) {
        let extent = match self.held.bytes() < BULK {
            true => Extent::KeysAndValues,
            false => Extent::Keys,
        };
        let (connection, prefix) = (self.connection.another(), self.prefix.clone());
        let listing = tokio::spawn(async move {
            let listing = connection.list(&prefix, extent).await?;
            tokio::time::sleep(COMPARE_SETTLE).await;
            Ok(listing)
        });
        self.comparison = Some(Comparison { listing, touched: BTreeSet::new() });
    }

    fn judge(&mut self, listing: Option<Listing>) -> Result<(), End> {
        let touched = self.comparison.take().map(|mut one| std::mem::take(&mut one.touched));
        // A comparison that failed says nothing; whether the store lives is the watch's to tell.
        let (Some(listing), Some(touched)) = (listing, touched) else {
            return Ok(());
        };
        let wrong = self.held.mismatches(&listing, &touched);
        let Some(first) = wrong.first() else {
            return Ok(());
        };
        self.publisher.count_mismatches(wrong.len());
        let first = String::from_utf8_lossy(first);
        Err(End::Stale(format!("{} keys differ from the store's, the first is `{first}`", wrong.len())))
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

async fn compared(comparison: &mut Option<Comparison>) -> Option<Listing> {
    match comparison {
        Some(comparison) => (&mut comparison.listing).await.ok().and_then(Result::ok),
        None => pending().await,
    }
}
