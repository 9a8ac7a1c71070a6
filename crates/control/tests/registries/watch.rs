//! A client that is watched: what it told last, and waiting for what it is to tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_control::registries::clients::client;
use graygate_control::registries::entry::{Answer, EntryState};
use graygate_control::registries::link::{Client, Query, Told, keep};
use graygate_control::registries::settings::RegistrySettings;
use tokio::sync::{mpsc, watch};

/// Far above what anything here takes: a slow machine is no failure.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Watch {
    pub client: Arc<dyn Client>,
    told: mpsc::Receiver<Told>,
    wanted: watch::Sender<Arc<BTreeSet<Query>>>,
    pub is_up: bool,
    pub shown: BTreeMap<String, Answer>,
    pub silent: BTreeMap<String, String>,
    /// Every word the client said about its link.
    pub links: Vec<String>,
}

pub fn query(name: &str) -> Query {
    Query { name: name.to_owned(), port: None }
}

impl Watch {
    pub fn new(settings: RegistrySettings, names: &[&str]) -> Watch {
        Watch::of(settings, names.iter().map(|name| query(name)).collect())
    }

    pub fn of(settings: RegistrySettings, queries: BTreeSet<Query>) -> Watch {
        let client = client(&settings);
        let (wanted, wants) = watch::channel(Arc::new(queries));
        let (tells, told) = mpsc::channel(64);
        tokio::spawn(keep(client.clone(), wants, tells, || 0.5));
        Watch {
            client,
            told,
            wanted,
            is_up: false,
            shown: BTreeMap::new(),
            silent: BTreeMap::new(),
            links: Vec::new(),
        }
    }

    pub fn want(&self, names: &[&str]) {
        self.wanted.send_replace(Arc::new(names.iter().map(|name| query(name)).collect()));
    }

    fn take(&mut self, told: Told) {
        match told {
            Told::Up { server } => {
                self.is_up = true;
                self.links.push(format!("up {server}"));
            }
            Told::Down { why } => {
                self.is_up = false;
                self.links.push(format!("down {why}"));
            }
            Told::Shows { query, answer } => {
                self.silent.remove(&query.name);
                self.shown.insert(query.name, answer);
            }
            Told::Silent { query, why } => {
                self.silent.insert(query.name, why);
            }
        }
    }

    /// Waits until what was told is like this, and says how long that took.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Watch) -> bool) -> Duration {
        let begun = Instant::now();
        while !holds(self) {
            let left = LIMIT.saturating_sub(begun.elapsed());
            match tokio::time::timeout(left, self.told.recv()).await {
                Ok(Some(told)) => self.take(told),
                _ => panic!(
                    "not within {LIMIT:?}: {what}; shown {:?}, silent {:?}, links {:?}",
                    self.shown, self.silent, self.links
                ),
            }
        }
        begun.elapsed()
    }

    /// Waits until exactly these addresses of a service are shown.
    pub async fn shows(&mut self, name: &str, addresses: &[&str]) -> Duration {
        let what = format!("{name} at {addresses:?}");
        self.until(&what, |watch| watch.addresses(name).is_some_and(|shown| shown == addresses)).await
    }

    /// What is shown of a service, in order; `None`: it was never shown.
    pub fn addresses(&self, name: &str) -> Option<Vec<String>> {
        let mut addresses: Vec<String> = self.entries(name)?.into_keys().collect();
        addresses.sort();
        Some(addresses)
    }

    fn entries(&self, name: &str) -> Option<BTreeMap<String, EntryState>> {
        let answer = self.shown.get(name)?;
        let named = |entry: &graygate_control::registries::entry::Entry| {
            (format!("{}:{}", entry.host, entry.port), entry.state)
        };
        Some(answer.entries.iter().map(named).collect())
    }

    pub fn metadata(&self, name: &str, key: &str) -> Vec<String> {
        let entries = self.shown.get(name).map(|answer| answer.entries.as_slice()).unwrap_or_default();
        entries.iter().filter_map(|entry| entry.metadata.get(key).cloned()).collect()
    }

    pub fn state(&self, name: &str, address: &str) -> Option<EntryState> {
        self.entries(name)?.get(address).copied()
    }
}
