//! Which proxies run: each keeps a key under a lease, and any client can read them all.
//!
//! Answers: which proxies of this prefix are alive, what do they run, and who lags behind the store?
//! Owns: the key's place and text, registering and registering again. Never in the way of anything: a proxy that
//! cannot register serves as well as any other. Start at [`keep`] and [`look`].

use super::etcd::{Backoff, Connection, EtcdSettings, Extent, Prefix};
use super::fingerprint::Fingerprint;
use super::update::{Shutdown, SourceError, ended};
use etcd_client::{GetOptions, LeaseKeepAliveStream, LeaseKeeper, PutOptions};
use graygate_rules::vocab::Revision;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

/// How long a proxy that died without a word is still counted.
const LEASE: Duration = Duration::from_secs(10);
/// Two renewals may be lost before the lease is.
const RENEW: Duration = Duration::from_secs(3);
/// Between two writes: with a hundred changes a second the fleet must not become one more load on the store.
const WRITE_EVERY: Duration = Duration::from_secs(2);
/// What follows a change at once, such as the end of a burst, is written with it.
const WRITE_DELAY: Duration = Duration::from_millis(100);
/// How often the key is looked for; an operator may clear the whole prefix while the lease lives on.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long leaving may take at the end of the process; the lease ends by itself afterwards.
const LEAVE_LIMIT: Duration = Duration::from_secs(1);
/// Registering is tried so many times more rarely than reading documents: nothing waits for it.
const PATIENCE: u32 = 4;
/// Different complaints that are logged in one process.
const COMPLAINT_LIMIT: usize = 8;
/// Most proxies that are listed.
const FLEET_LIMIT: i64 = 10_000;

/// What a proxy tells about itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Report {
    pub host: String,
    /// Where it listens for requests.
    pub address: String,
    /// Where questions about it are answered, as a URL; `None` from a program that did not say so yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    pub pid: u32,
    /// Of the program.
    pub version: String,
    pub running: Revision,
    pub offered: Revision,
    /// Which state of the store runs; `None` for one that came from the cache.
    pub documents: Option<Fingerprint>,
    pub problems: usize,
    /// RFC 3339.
    pub started: String,
    /// RFC 3339; when this was last different.
    pub updated: String,
}

impl Report {
    /// The last part of its key.
    fn id(&self) -> String {
        id(&self.host, &self.address, self.pid)
    }
}

/// How the fleet calls a proxy that listens at an address of a host: like a document's name, so that it is easy to type.
pub fn id(host: &str, address: &str, pid: u32) -> String {
    let text = format!("{host}-{address}-{pid}");
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    text.chars().map(plain).collect()
}

/// One proxy as the store has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Proxy {
    pub id: String,
    #[serde(flatten)]
    pub report: Report,
    /// Whether the store has other documents than the ones it was offered last.
    pub lags: bool,
}

/// All proxies that run the documents of a prefix.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Fleet {
    /// The store's.
    pub revision: Revision,
    /// By id.
    pub proxies: Vec<Proxy>,
    /// Keys that no proxy of this program's kind wrote.
    pub unreadable: Vec<String>,
}

/// Keeps the newest report in the store until the shutdown, and takes it away then.
pub async fn keep(settings: EtcdSettings, reports: watch::Receiver<Option<Report>>, shutdown: Shutdown) {
    let mut place = Place { settings, reports, lease: None };
    tokio::select! {
        () = place.stay() => {}
        () = ended(shutdown) => {}
    }
    if let Some((mut connection, lease)) = place.lease.take() {
        // With the lease the key goes.
        let _ = timeout(LEAVE_LIMIT, connection.lease.revoke(lease)).await;
    }
}

/// Reads who is there, and compares them with the store.
pub async fn look(settings: &EtcdSettings) -> Result<Fleet, SourceError> {
    let prefix = settings.keys();
    let connection = Connection::any(settings).await?;
    let listing = connection.list(&prefix, Extent::Keys).await?;
    let documents = listing.keys.iter().map(|listed| (listed.key.as_slice(), listed.mod_revision));
    let documents = Fingerprint::of(documents);
    let options = GetOptions::new().with_prefix().with_revision(listing.revision).with_limit(FLEET_LIMIT);
    let mut kv = connection.kv.clone();
    let mut found = connection.request(kv.get(prefix.fleet(""), Some(options))).await?;
    let revision = Revision::try_from(listing.revision).unwrap_or(0);
    let mut fleet = Fleet { revision, proxies: Vec::new(), unreadable: Vec::new() };
    for pair in found.take_kvs() {
        let key = String::from_utf8_lossy(pair.key()).into_owned();
        match serde_json::from_slice::<Report>(pair.value()) {
            Ok(report) => fleet.proxies.push(Proxy {
                id: key.trim_start_matches(&prefix.fleet("")).to_owned(),
                lags: report.documents != Some(documents),
                report,
            }),
            Err(_) => fleet.unreadable.push(key),
        }
    }
    Ok(fleet)
}

/// Who is there, by id, and where each answers questions: the fleet's keys alone, for callers that ask often.
pub async fn members(settings: &EtcdSettings) -> Result<Vec<(String, Option<String>)>, SourceError> {
    let prefix = settings.keys();
    let connection = Connection::any(settings).await?;
    let options = GetOptions::new().with_prefix().with_limit(FLEET_LIMIT);
    let mut kv = connection.kv.clone();
    let mut found = connection.request(kv.get(prefix.fleet(""), Some(options))).await?;
    let member = |pair: etcd_client::KeyValue| {
        let key = String::from_utf8_lossy(pair.key()).into_owned();
        let report = serde_json::from_slice::<Report>(pair.value()).ok()?;
        Some((key.trim_start_matches(&prefix.fleet("")).to_owned(), report.admin))
    };
    Ok(found.take_kvs().into_iter().filter_map(member).collect())
}

/// A proxy's place in the fleet.
struct Place {
    settings: EtcdSettings,
    reports: watch::Receiver<Option<Report>>,
    /// What has to be given back.
    lease: Option<(Connection, i64)>,
}

impl Place {
    async fn stay(&mut self) {
        let mut backoff = Backoff::default();
        let mut complaints = BTreeSet::new();
        loop {
            let begun = Instant::now();
            let Err(error) = self.register().await else {
                // No report will come any more.
                return;
            };
            if begun.elapsed() > LEASE {
                backoff.reset();
            }
            let error = error.to_string();
            if complaints.len() < COMPLAINT_LIMIT && complaints.insert(error.clone()) {
                tracing::info!(
                    error,
                    "the fleet does not show this proxy for now, which changes nothing else"
                );
            }
            sleep(backoff.next(rand::random()) * PATIENCE).await;
        }
    }

    /// Registers and stays registered; an end without an error is one of the reports.
    async fn register(&mut self) -> Result<(), SourceError> {
        if self.reports.wait_for(Option::is_some).await.is_err() {
            return Ok(());
        }
        let connection = Connection::any(&self.settings).await?;
        let mut client = connection.lease.clone();
        let seconds = i64::try_from(LEASE.as_secs()).unwrap_or(i64::MAX);
        let lease = connection.request(client.grant(seconds, None)).await?.id();
        self.lease = Some((connection.clone(), lease));
        let keeping = connection.request(client.keep_alive(lease)).await?;
        HeldLease { connection, lease, keeping, prefix: self.settings.keys() }.hold(&mut self.reports).await
    }
}

/// A lease that is held, and the key under it.
struct HeldLease {
    connection: Connection,
    lease: i64,
    keeping: (LeaseKeeper, LeaseKeepAliveStream),
    prefix: Prefix,
}

impl HeldLease {
    async fn hold(mut self, reports: &mut watch::Receiver<Option<Report>>) -> Result<(), SourceError> {
        let mut renew = interval(RENEW);
        renew.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK_EVERY);
        look.reset();
        let mut written = self.write(reports).await?;
        let mut due = None;
        loop {
            tokio::select! {
                _ = renew.tick() => self.renew().await?,
                _ = look.tick() => if !self.is_there(reports).await? {
                    written = self.write(reports).await?;
                },
                () = sleep_until(due.unwrap_or(written)), if due.is_some() => {
                    written = self.write(reports).await?;
                    due = None;
                }
                changed = reports.changed(), if due.is_none() => match changed {
                    Ok(()) => due = Some((Instant::now() + WRITE_DELAY).max(written + WRITE_EVERY)),
                    Err(_) => return Ok(()),
                },
            }
        }
    }

    async fn renew(&mut self) -> Result<(), SourceError> {
        let (keeper, answers) = &mut self.keeping;
        self.connection.request(keeper.keep_alive()).await?;
        let answer = self.connection.request(answers.message()).await?;
        match answer.is_some_and(|answer| answer.ttl() > 0) {
            true => Ok(()),
            false => Err(self.connection.failed("the lease was lost")),
        }
    }

    /// Writes the newest report; returns when.
    async fn write(&self, reports: &mut watch::Receiver<Option<Report>>) -> Result<Instant, SourceError> {
        let newest = reports.borrow_and_update().clone();
        if let Some((key, text)) = newest.and_then(|report| self.entry(&report)) {
            let options = PutOptions::new().with_lease(self.lease);
            let mut kv = self.connection.kv.clone();
            self.connection.request(kv.put(key, text, Some(options))).await?;
        }
        Ok(Instant::now())
    }

    async fn is_there(&self, reports: &watch::Receiver<Option<Report>>) -> Result<bool, SourceError> {
        let Some((key, _)) = reports.borrow().as_ref().and_then(|report| self.entry(report)) else {
            return Ok(true);
        };
        let mut kv = self.connection.kv.clone();
        let found = self.connection.request(kv.get(key, Some(GetOptions::new().with_count_only()))).await?;
        Ok(found.count() > 0)
    }

    fn entry(&self, report: &Report) -> Option<(String, Vec<u8>)> {
        Some((self.prefix.fleet(&report.id()), serde_json::to_vec(report).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_the_fleet_is_named_like_a_document() {
        let report = Report {
            host: "edge 1.example".to_owned(),
            address: "[::1]:8080".to_owned(),
            admin: Some("http://127.0.0.1:9090".to_owned()),
            pid: 7,
            version: "0.1.0".to_owned(),
            running: 812,
            offered: 812,
            documents: Some(Fingerprint::of([(b"/graygate/rules/a".as_slice(), 812)])),
            problems: 0,
            started: String::new(),
            updated: String::new(),
        };
        assert_eq!(report.id(), "edge-1.example----1--8080-7");
        let text = serde_json::to_vec(&report).unwrap();
        assert_eq!(serde_json::from_slice::<Report>(&text).unwrap(), report);
    }
}
