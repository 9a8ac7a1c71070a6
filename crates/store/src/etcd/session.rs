//! One connection's life: list the prefix, watch its parts from there, publish bursts.
//!
//! Answers: what happens between connecting to an endpoint and losing it?
//! Owns: timers, requests. Never: reconnects (see `mod.rs`), or says what was heard means (`mirror.rs`).

use super::client::{Connection, REQUEST_TIMEOUT, explain};
use super::held::{Change, Listing};
use super::keyspace::{Part, Prefix};
use super::liveness::{Liveness, SILENCE_LIMIT, Step};
use super::mirror::{Extent, Heard, Mirror, Stale};
use super::outlet::WatchOutlet;
use crate::update::SourceError;
use etcd_client::{WatchOptions, WatchResponse, WatchStream};
use std::future::pending;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout, timeout_at};

/// How often the server is asked for a sign of life. The answer counts as that and nothing else: in etcd before
/// 3.4.25 it may overtake events, so its revision says nothing about what arrived.
const PROGRESS: Duration = Duration::from_secs(1);
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

/// Something asked beside the watch, given up with the session.
struct Pending<T>(JoinHandle<Result<T, SourceError>>);

impl<T> Drop for Pending<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The watches of all parts, on one stream.
struct Watches {
    stream: WatchStream,
    /// The server's numbers for them.
    numbers: Vec<(i64, Part)>,
}

/// The number of an answer about the stream as a whole.
const NO_WATCH: i64 = -1;

impl Watches {
    fn part(&self, response: &WatchResponse) -> Option<Part> {
        let mut numbers = self.numbers.iter();
        numbers.find(|(number, _)| *number == response.watch_id()).map(|(_, part)| *part)
    }
}

/// A session's parts.
pub(super) struct Session<'a> {
    connection: Connection,
    prefix: Prefix,
    mirror: &'a mut Mirror,
    outlet: &'a mut WatchOutlet,
    liveness: Liveness,
    /// The listing of a comparison under way.
    comparison: Option<Pending<Listing>>,
    /// A read under way that shows whether the store lives: the revision it had to have, and the one it has.
    read: Option<Pending<(i64, i64)>>,
}

impl<'a> Session<'a> {
    pub fn new(
        connection: Connection,
        prefix: Prefix,
        mirror: &'a mut Mirror,
        outlet: &'a mut WatchOutlet,
    ) -> Session<'a> {
        let liveness = Liveness::new(Instant::now());
        Session { connection, prefix, mirror, outlet, liveness, comparison: None, read: None }
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
        let mut watches = self.watch(start).await?;
        self.outlet.publish(self.mirror.update(begun));
        self.outlet.reached(self.connection.endpoint(), self.mirror.seen());
        self.liveness = Liveness::new(Instant::now());
        let mut look = interval(PROGRESS);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare = interval(COMPARE_EVERY);
        compare.reset();
        loop {
            let due = self.mirror.due();
            tokio::select! {
                // Messages first: a side that was slow itself must not take the other one for dead.
                biased;
                message = watches.stream.message() => self.message(&watches, message)?,
                () = until(due) => self.flush(),
                listing = answer(&mut self.comparison) => self.judge(listing)?,
                read = answer(&mut self.read) => self.take_read(read)?,
                _ = look.tick() => self.look(&mut watches.stream).await?,
                _ = compare.tick(), if self.comparison.is_none() => self.compare(),
            }
        }
    }

    async fn list(&self) -> Result<Listing, SourceError> {
        if self.mirror.extent() == Extent::KeysAndValues {
            return self.connection.list(&self.prefix, Extent::KeysAndValues).await;
        }
        let mut listing = self.connection.list(&self.prefix, Extent::Keys).await?;
        if listing.revision < self.mirror.seen() {
            return self.connection.list(&self.prefix, Extent::KeysAndValues).await;
        }
        self.connection.complete(&mut listing, self.mirror).await?;
        Ok(listing)
    }

    /// Opens the watches right behind the listing, and waits until the server says that they stand.
    ///
    /// Without fragments: a transaction then arrives in one message, however large, and is never seen in halves.
    async fn watch(&mut self, start: i64) -> Result<Watches, End> {
        let (key, options) = self.options(Part::Documents, start);
        let mut client = self.connection.watch.clone();
        let stream = self.connection.request(client.watch(key, Some(options))).await?;
        let mut watches = Watches { stream, numbers: Vec::new() };
        self.stands(&mut watches, Part::Documents).await?;
        // One after the other, or it would be unknown which number belongs to which.
        let (key, options) = self.options(Part::Strays, start);
        self.connection.request(watches.stream.watch(key, Some(options))).await?;
        self.stands(&mut watches, Part::Strays).await?;
        Ok(watches)
    }

    fn options(&self, part: Part, start: i64) -> (Vec<u8>, WatchOptions) {
        let (first, end) = self.prefix.range(part);
        let options = WatchOptions::new().with_range(end).with_start_revision(start).with_progress_notify();
        (first, options)
    }

    /// Waits until the watch of this part stands; those before it are heard meanwhile.
    async fn stands(&mut self, watches: &mut Watches, part: Part) -> Result<(), End> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        loop {
            let Ok(message) = timeout_at(deadline.into(), watches.stream.message()).await else {
                return Err(self.connection.failed("the watch was not answered").into());
            };
            let is_new = matches!(&message, Ok(Some(response)) if response.created());
            if let (true, Ok(Some(response))) = (is_new, &message) {
                watches.numbers.push((response.watch_id(), part));
            }
            self.message(watches, message)?;
            if is_new {
                return Ok(());
            }
        }
    }

    /// Asks for a sign of life, where that is due.
    async fn look(&mut self, stream: &mut WatchStream) -> Result<(), End> {
        match self.liveness.step(Instant::now()) {
            Step::Ask => self.ask_progress(stream).await,
            Step::Read if self.read.is_none() => {
                let (connection, prefix, seen) =
                    (self.connection.clone(), self.prefix.clone(), self.mirror.seen());
                let read = async move { Ok((seen, connection.revision(&prefix).await?)) };
                self.read = Some(Pending(tokio::spawn(read)));
                Ok(())
            }
            Step::Read | Step::Rest => Ok(()),
            Step::GiveUp => {
                let message = format!("silent for {} seconds", SILENCE_LIMIT.as_secs());
                Err(self.connection.failed(message).into())
            }
        }
    }

    /// A read that fails says nothing: silence ends the session soon enough.
    fn take_read(&mut self, read: Option<(i64, i64)>) -> Result<(), End> {
        self.read = None;
        let Some((seen, revision)) = read else { return Ok(()) };
        if revision < seen {
            // Behind a proxy the watch outlives its store, and waits for a revision that may be far away.
            return Err(Stale::because(format!("its revision went back from {seen} to {revision}")).into());
        }
        let now = Instant::now();
        if self.liveness.read(now) {
            let endpoint = self.connection.endpoint();
            tracing::info!(
                endpoint,
                "this etcd answers no requests for progress, as its grpc-proxy does; it is read instead"
            );
        }
        self.outlet.touch(now);
        self.mirror.heard(&Heard { part: None, revision, changes: Vec::new() }, now)?;
        Ok(())
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
        watches: &Watches,
        message: Result<Option<WatchResponse>, etcd_client::Error>,
    ) -> Result<(), End> {
        let response = match message {
            Ok(Some(response)) => response,
            Ok(None) => return Err(self.connection.failed("the watch ended").into()),
            Err(error) => return Err(self.connection.failed(explain(&error)).into()),
        };
        if response.canceled() {
            return Err(self.canceled(&response));
        }
        let now = Instant::now();
        self.liveness.heard(now, response.watch_id() == NO_WATCH);
        self.outlet.touch(now);
        if let Some(update) =
            self.mirror.heard(&heard(&response, watches.part(&response), self.mirror.seen()), now)?
        {
            self.outlet.publish(update);
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
            self.outlet.publish(update);
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
        self.comparison = Some(Pending(listing));
    }

    fn judge(&mut self, listing: Option<Listing>) -> Result<(), End> {
        self.comparison = None;
        Ok(self.mirror.judge(listing.as_ref())?)
    }
}

/// `seen` stands for the revision of a response that tells none.
fn heard(response: &WatchResponse, part: Option<Part>, seen: i64) -> Heard<'_> {
    let changes = response.events().iter().filter_map(|event| event.kv()).map(|pair| Change {
        key: pair.key(),
        mod_revision: pair.mod_revision(),
        // The key's own count of versions tells a deletion; the event's type is not read because the client panics
        // on one it does not know.
        value: (pair.version() > 0).then(|| pair.value()),
    });
    Heard {
        part,
        revision: response.header().map_or(seen, |header| header.revision()),
        changes: changes.collect(),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => pending().await,
    }
}

/// What came of it, once that is known; `None`: it failed.
async fn answer<T>(asked: &mut Option<Pending<T>>) -> Option<T> {
    match asked {
        Some(Pending(task)) => task.await.ok().and_then(Result::ok),
        None => pending().await,
    }
}
