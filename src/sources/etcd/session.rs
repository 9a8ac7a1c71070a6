//! One connection's life: list the prefix, watch from there, publish bursts.
//!
//! Answers: what happens between connecting to an endpoint and losing it?
//! Owns: liveness, timers, requests. Never: reconnects (see `mod.rs`), or says what was heard means (`mirror.rs`).

use super::client::{Connection, REQUEST_TIMEOUT, explain};
use super::held::{Change, Listing};
use super::keyspace::Prefix;
use super::mirror::{Extent, Heard, Mirror, Stale};
use super::publisher::Publisher;
use crate::sources::SourceError;
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use std::future::pending;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

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
/// Why a session is over.
pub(super) enum End {
    /// The endpoint is gone or refuses.
    Lost(SourceError),
    /// The endpoint is fine, but the held state may not be; list again.
    Stale(Stale),
}

impl From<SourceError> for End {
    fn from(error: SourceError) -> End {
        End::Lost(error)
    }
}

impl From<Stale> for End {
    fn from(stale: Stale) -> End {
        End::Stale(stale)
    }
}

/// The listing of a comparison under way.
struct Comparison(JoinHandle<Result<Listing, SourceError>>);

impl Drop for Comparison {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A session's parts.
pub(super) struct Session<'a> {
    connection: Connection,
    prefix: Prefix,
    mirror: &'a mut Mirror,
    publisher: &'a mut Publisher,
    comparison: Option<Comparison>,
}

impl<'a> Session<'a> {
    pub fn new(
        connection: Connection,
        prefix: Prefix,
        mirror: &'a mut Mirror,
        publisher: &'a mut Publisher,
    ) -> Session<'a> {
        Session { connection, prefix, mirror, publisher, comparison: None }
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
        let start = self.mirror.listed(listing);
        let mut stream = self.watch(start).await?;
        self.publisher.publish(self.mirror.update(begun));
        self.publisher.reached(self.connection.endpoint(), self.mirror.revision());
        let mut progress = interval(PROGRESS);
        progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare = interval(COMPARE_EVERY);
        compare.reset();
        let mut heard = Instant::now();
        loop {
            let due = self.mirror.due();
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
        if self.mirror.extent() == Extent::KeysAndValues {
            return self.connection.list(&self.prefix, Extent::KeysAndValues).await;
        }
        let mut listing = self.connection.list(&self.prefix, Extent::Keys).await?;
        if listing.revision < self.mirror.revision() {
            return self.connection.list(&self.prefix, Extent::KeysAndValues).await;
        }
        self.connection.complete(&mut listing, self.mirror).await?;
        Ok(listing)
    }

    /// Opens the watch right behind the listing, and waits until the server says it stands.
    ///
    /// Without fragments: a transaction then arrives in one message, however large, and is never seen in halves.
    async fn watch(&mut self, start: i64) -> Result<WatchStream, End> {
        let options = WatchOptions::new()
            .with_range(self.prefix.end())
            .with_start_revision(start)
            .with_progress_notify();
        let mut watch = self.connection.watch.clone();
        let key = self.prefix.as_str().to_owned();
        let mut stream = self.connection.request(watch.watch(key, Some(options))).await?;
        let first = timeout(REQUEST_TIMEOUT, stream.message()).await;
        match first {
            Ok(Ok(Some(first))) if first.created() && !first.canceled() => {
                self.mirror.heard(&heard(&first), Instant::now())?;
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
        self.publisher.touch(now);
        if let Some(update) = self.mirror.heard(&heard(&response), now)? {
            self.publisher.publish(update);
        }
        Ok(())
    }

    fn canceled(&self, response: &WatchResponse) -> End {
        match response.compact_revision() {
            0 => {
                let reason = response.cancel_reason();
                self.connection.failed(format!("the watch was refused: {reason}")).into()
            }
            compacted => Stale::because(format!("revisions before {compacted} were compacted")).into(),
        }
    }

    fn flush(&mut self) {
        if let Some(update) = self.mirror.flush() {
            self.publisher.publish(update);
        }
    }

    fn compare(&mut self) {
        let extent = self.mirror.begin_comparison();
        let (connection, prefix) = (self.connection.clone(), self.prefix.clone());
        let listing = tokio::spawn(async move {
            let listing = connection.list(&prefix, extent).await?;
            tokio::time::sleep(COMPARE_SETTLE).await;
            Ok(listing)
        });
        self.comparison = Some(Comparison(listing));
    }

    fn judge(&mut self, listing: Option<Listing>) -> Result<(), End> {
        self.comparison = None;
        Ok(self.mirror.judge(listing.as_ref())?)
    }
}

fn heard(response: &WatchResponse) -> Heard<'_> {
    let changes = response.events().iter().filter_map(|event| event.kv()).map(|pair| Change {
        key: pair.key(),
        mod_revision: pair.mod_revision(),
        // The key's own count of versions tells a deletion; the event's type is not read because the client panics
        // on one it does not know.
        value: (pair.version() > 0).then(|| pair.value()),
    });
    Heard {
        revision: response.header().map_or(i64::MAX, |header| header.revision()),
        changes: changes.collect(),
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
        Some(Comparison(listing)) => listing.await.ok().and_then(Result::ok),
        None => pending().await,
    }
}
