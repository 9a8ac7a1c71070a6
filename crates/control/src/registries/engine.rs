//! All registries of one control process: what their clients tell, what is believed of it, and that it is written.
//!
//! Owns: the beliefs, one a service and registry, and the loop over what happens. Every control process has the links
//! and the beliefs; only the one that leads gets its writes through, so a new leader knows what steady links have shown.
//! Never: what a registry means, what is believed, what is written: `mapping`, `belief` and `reconcile` say that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use graygate_rules::documents::Discover;
use graygate_rules::vocab::Name;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::belief::Belief;
use super::clients::client;
use super::config::Registries;
use super::entry::Answer;
use super::hosts::Resolver;
use super::link::{Client, LinkError, Query, Told, Wanted, keep};
use super::mapping::{EntryProblem, Found, Hosts, map};
use super::reconcile::{Change, Desired, plan};
use super::status::{DiscoveredShown, HeldBack, InstanceShown, RegistryProblem, RegistryShown, Status};
use super::store::{Documents, InstanceStore, StoreError};

/// How often time passes, documents are looked at, and a failed write is tried again.
const TICK: Duration = Duration::from_millis(200);
/// How often every service is compared with its documents, whatever happened.
const SWEEP: Duration = Duration::from_secs(5);
/// How long a `discover` or a registry has to be missing before its documents go: a directory that is being replaced
/// shows less for a moment.
const STRAY_PATIENCE: Duration = Duration::from_secs(3);
/// Things told that wait to be taken; a client that tells more waits itself.
const TOLD: usize = 256;

/// What the wall clock says, as it is shown.
pub type WallClock = fn() -> String;

/// The registries of a process.
pub struct Engine {
    store: Arc<dyn InstanceStore>,
    wall_clock: WallClock,
    registries: BTreeMap<Name, Registry>,
    tracked: BTreeMap<Key, Tracked>,
    documents: Arc<Documents>,
    /// Services whose documents may differ from what is believed.
    dirty: BTreeSet<Name>,
    /// Since when documents of a registry have had no `discover`.
    strays: BTreeMap<Key, Instant>,
    happened: mpsc::Receiver<Happened>,
    happens: mpsc::Sender<Happened>,
    tasks: JoinSet<()>,
    began: String,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Key {
    service: Name,
    registry: Name,
}

struct Registry {
    kind: &'static str,
    patience: Duration,
    client: Arc<dyn Client>,
    wanted: watch::Sender<Wanted>,
    is_up: bool,
    since: String,
    server: Option<String>,
    why: Option<String>,
}

/// One service in one registry.
struct Tracked {
    discover: Discover,
    belief: Belief<Found>,
    /// The registry has answered on the present link.
    answered: bool,
    /// It has answered since the process, or this `discover`, began.
    ever_answered: bool,
    silent: Option<String>,
    /// What was shown last, to be read again when `discover` changes.
    last: Option<(Answer, Hosts)>,
    problems: Vec<EntryProblem>,
}

enum Happened {
    Told { registry: Name, told: Told, hosts: Hosts },
    Looked { registry: Name, query: Query, answer: Result<(Answer, Hosts), LinkError> },
}

trait Queried {
    fn query(&self) -> Query;
}

impl Queried for Discover {
    fn query(&self) -> Query {
        Query { name: self.name.to_string(), port: self.port }
    }
}

/// Runs until it is dropped.
pub async fn run(
    settings: Registries,
    store: Arc<dyn InstanceStore>,
    shown: watch::Sender<Arc<Status>>,
    wall_clock: WallClock,
) {
    let mut engine = Engine::new(&settings, store, wall_clock);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Instant::now();
    loop {
        tokio::select! {
            happened = engine.happened.recv() => match happened {
                Some(happened) => engine.take_all(happened),
                None => return,
            },
            _ = tick.tick() => {
                engine.look_at_documents();
                engine.pass_time(Instant::now());
                if swept.elapsed() >= SWEEP {
                    swept = Instant::now();
                    engine.sweep();
                }
            }
        }
        engine.write().await;
        shown.send_if_modified(|held| {
            let status = engine.status(Instant::now());
            let is_new = **held != status;
            if is_new {
                *held = Arc::new(status);
            }
            is_new
        });
    }
}

impl Engine {
    fn new(settings: &Registries, store: Arc<dyn InstanceStore>, wall_clock: WallClock) -> Engine {
        let (happens, happened) = mpsc::channel(TOLD);
        let mut tasks = JoinSet::new();
        let mut registries = BTreeMap::new();
        for (name, settings) in settings {
            let client = client(settings);
            let (wanted, wants) = watch::channel(Wanted::default());
            let (tells, told) = mpsc::channel(TOLD);
            tasks.spawn(keep(client.clone(), wants, tells, rand::random::<f64>));
            tasks.spawn(forward(name.clone(), told, happens.clone()));
            let (kind, patience, since) = (settings.kind(), settings.patience(), wall_clock());
            let registry =
                Registry { kind, patience, client, wanted, is_up: false, since, server: None, why: None };
            registries.insert(name.clone(), registry);
        }
        Engine {
            store,
            wall_clock,
            registries,
            tracked: BTreeMap::new(),
            documents: Arc::default(),
            dirty: BTreeSet::new(),
            strays: BTreeMap::new(),
            happened,
            happens,
            tasks,
            began: wall_clock(),
        }
    }

    /// Follows the documents: what is discovered, and what is there.
    fn look_at_documents(&mut self) {
        let Some(documents) = self.store.read() else { return };
        if Arc::ptr_eq(&documents, &self.documents) {
            return;
        }
        self.documents = documents.clone();
        let mut wanted: BTreeMap<Name, BTreeSet<Query>> = BTreeMap::new();
        let mut known = BTreeSet::new();
        for (service, discover) in &documents.discover {
            for one in discover {
                if !self.registries.contains_key(&one.registry) {
                    continue; // a problem, which changes nothing
                }
                let key = Key { service: service.clone(), registry: one.registry.clone() };
                wanted.entry(one.registry.clone()).or_default().insert(one.query());
                self.track(&key, one);
                known.insert(key);
            }
        }
        self.tracked.retain(|key, _| known.contains(key));
        for (name, registry) in &self.registries {
            let wanted = wanted.remove(name).unwrap_or_default();
            registry.wanted.send_if_modified(|held| {
                let is_new = **held != wanted;
                if is_new {
                    *held = Arc::new(wanted);
                }
                is_new
            });
        }
        self.sweep();
    }

    fn track(&mut self, key: &Key, discover: &Discover) {
        let now = Instant::now();
        if let Some(tracked) = self.tracked.get_mut(key)
            && tracked.discover.query() == discover.query()
        {
            if tracked.discover != *discover {
                // The same entries, read otherwise.
                tracked.discover = discover.clone();
                if let Some((answer, hosts)) = tracked.last.clone()
                    && tracked.answered
                {
                    tracked.shows(answer, hosts, now);
                }
            }
            return;
        }
        let Some(registry) = self.registries.get(&key.registry) else { return };
        let written = self.documents.instances.get(&key.service).into_iter().flatten();
        let before = written.filter_map(|one| one.of.as_ref()).filter(|of| of.registry == key.registry);
        let before = before.map(|of| (of.address, of.found.clone())).collect();
        let tracked = Tracked {
            discover: discover.clone(),
            belief: Belief::new(registry.patience, before),
            answered: false,
            ever_answered: false,
            silent: None,
            last: None,
            problems: Vec::new(),
        };
        self.tracked.insert(key.clone(), tracked);
    }

    fn sweep(&mut self) {
        self.dirty.extend(self.documents.instances.keys().cloned());
        self.dirty.extend(self.tracked.keys().map(|key| key.service.clone()));
    }

    /// Takes what happened, and all that happened behind it: one write for a burst.
    fn take_all(&mut self, first: Happened) {
        self.take(first);
        while let Ok(next) = self.happened.try_recv() {
            self.take(next);
        }
    }

    fn take(&mut self, happened: Happened) {
        let now = Instant::now();
        match happened {
            Happened::Told { registry, told, hosts } => self.take_told(&registry, told, hosts),
            Happened::Looked { registry, query, answer } => {
                for tracked in self.of_query(&registry, &query) {
                    match &answer {
                        Ok((answer, hosts)) => {
                            let mapped = map(answer, &tracked.discover, hosts);
                            tracked.belief.second_look(&mapped.shown, now);
                        }
                        Err(_) => tracked.belief.second_look_failed(now),
                    }
                }
            }
        }
    }

    fn take_told(&mut self, registry: &Name, told: Told, hosts: Hosts) {
        let now = Instant::now();
        let since = (self.wall_clock)();
        let Some(held) = self.registries.get_mut(registry) else { return };
        match told {
            Told::Up { server } => {
                tracing::info!(%registry, server, "linked");
                (held.is_up, held.since, held.server, held.why) = (true, since, Some(server), None);
            }
            Told::Down { why } => {
                if held.is_up {
                    tracing::warn!(%registry, why, "the link is lost; what was written stays");
                    (held.is_up, held.since) = (false, since);
                }
                held.why = Some(why);
                let of_registry = self.tracked.iter_mut().filter(|(key, _)| key.registry == *registry);
                of_registry.for_each(|(_, tracked)| tracked.falls_silent(None));
            }
            Told::Shows { query, answer } => {
                for tracked in self.of_query(registry, &query) {
                    tracked.shows(answer.clone(), hosts.clone(), now);
                }
            }
            Told::Silent { query, why } => {
                self.of_query(registry, &query).for_each(|tracked| tracked.falls_silent(Some(why.clone())));
            }
        }
    }

    /// What services make of this query; their documents may have to change.
    fn of_query(&mut self, registry: &Name, query: &Query) -> impl Iterator<Item = &mut Tracked> {
        let dirty = &mut self.dirty;
        self.tracked.iter_mut().filter_map(move |(key, tracked)| {
            let is_it = key.registry == *registry && tracked.discover.query() == *query;
            if is_it {
                dirty.insert(key.service.clone());
            }
            is_it.then_some(tracked)
        })
    }

    fn pass_time(&mut self, now: Instant) {
        let mut asked = BTreeSet::new();
        for (key, tracked) in &mut self.tracked {
            if tracked.belief.wakes_at().is_some_and(|at| at <= now) {
                if tracked.belief.passes(now) {
                    asked.insert((key.registry.clone(), tracked.discover.query()));
                }
                self.dirty.insert(key.service.clone());
            }
        }
        for (registry, query) in asked {
            self.ask_again(&registry, query);
        }
        while self.tasks.try_join_next().is_some() {}
    }

    /// Asks once more, another server where there is one.
    fn ask_again(&mut self, registry: &Name, query: Query) {
        let Some(held) = self.registries.get(registry) else { return };
        let (client, happens, registry) = (held.client.clone(), self.happens.clone(), registry.clone());
        let linked = held.server.clone();
        self.tasks.spawn(async move {
            let (own, mut order): (Vec<usize>, Vec<usize>) =
                (0..client.servers().len()).partition(|i| client.servers().get(*i) == linked.as_ref());
            order.extend(own);
            let mut answer = Err(LinkError::Lost("there is no server".to_owned()));
            for server in order {
                answer = client.ask(server, &query).await;
                if answer.is_ok() {
                    break;
                }
            }
            let answer = match answer {
                Ok(answer) => {
                    let hosts = Resolver::default().hosts(&answer).await;
                    Ok((answer, hosts))
                }
                Err(error) => Err(error),
            };
            let _ = happens.send(Happened::Looked { registry, query, answer }).await;
        });
    }

    /// Writes the differences of the services that may have some.
    async fn write(&mut self) {
        let mut changes = Vec::new();
        for service in std::mem::take(&mut self.dirty) {
            changes.extend(self.plan(&service));
        }
        if changes.is_empty() {
            return;
        }
        match self.store.apply(&changes).await {
            Ok(()) => {}
            // The next tick, or sweep, tries again.
            Err(StoreError::NotLeading) => {}
            Err(error) => {
                tracing::warn!(%error, "instances of registries are not written yet");
                let services = changes.iter().filter_map(|change| Name::parse(change.id().head()));
                self.dirty.extend(services);
                tokio::time::sleep(TICK).await;
            }
        }
    }

    fn plan(&mut self, service: &Name) -> Vec<Change> {
        let of_service: Vec<(&Key, &Tracked)> =
            self.tracked.iter().filter(|(key, _)| key.service == *service).collect();
        let desired: Vec<Desired> = of_service
            .iter()
            .map(|(key, tracked)| Desired {
                registry: key.registry.clone(),
                instances: tracked.belief.believed().map(|one| (one.address, one.values.clone())).collect(),
            })
            .collect();
        // A service that moves to another registry keeps what it has until that one has answered. And a registry that
        // the settings do not name may be one of another control process that is being replaced.
        let is_settled = of_service.iter().all(|(_, tracked)| tracked.ever_answered);
        let unknown = self.unknown_registries(service);
        let written = self.documents.instances.get(service).map(Vec::as_slice).unwrap_or_default();
        let now = Instant::now();
        let owners = written.iter().filter_map(|one| one.of.as_ref()).map(|of| &of.registry);
        let stray: BTreeSet<&Name> =
            owners.filter(|owner| !desired.iter().any(|one| one.registry == **owner)).collect();
        self.strays.retain(|key, _| key.service != *service || stray.contains(&key.registry));
        for registry in &stray {
            let key = Key { service: service.clone(), registry: (*registry).clone() };
            self.strays.entry(key).or_insert(now);
        }
        let strays = &self.strays;
        let may_go = |registry: &Name| {
            let key = Key { service: service.clone(), registry: registry.clone() };
            let since = strays.get(&key);
            let for_long = since.is_some_and(|since| now.duration_since(*since) >= STRAY_PATIENCE);
            for_long && is_settled && !unknown.contains(registry)
        };
        plan(service, &desired, written, &may_go)
    }

    /// Registries that a service names and the settings do not: a problem, which takes nothing away.
    fn unknown_registries(&self, service: &Name) -> BTreeSet<Name> {
        let discover = self.documents.discover.get(service).into_iter().flatten();
        let names = discover.map(|one| &one.registry).filter(|name| !self.registries.contains_key(*name));
        names.cloned().collect()
    }

    fn status(&self, now: Instant) -> Status {
        let mut status = Status::default();
        for (name, registry) in &self.registries {
            let mut services = BTreeMap::new();
            let mut problems = Vec::new();
            let problem = |service: Option<&Name>, entry: Option<&str>, message: &str| RegistryProblem {
                kind: "registry".to_owned(),
                registry: name.to_string(),
                service: service.map(ToString::to_string),
                entry: entry.map(str::to_owned),
                message: message.to_owned(),
            };
            if let (false, Some(why)) = (registry.is_up, &registry.why) {
                problems.push(problem(None, None, why));
            }
            for (key, tracked) in self.tracked.iter().filter(|(key, _)| key.registry == *name) {
                services.insert(key.service.to_string(), tracked.shown(now));
                let silent = tracked.silent.iter().map(|why| problem(Some(&key.service), None, why));
                problems.extend(silent);
                let of_entry =
                    |one: &EntryProblem| problem(Some(&key.service), Some(&one.entry), &one.message);
                problems.extend(tracked.problems.iter().map(of_entry));
            }
            status.registries.push(RegistryShown {
                name: name.to_string(),
                kind: registry.kind.to_owned(),
                up: registry.is_up,
                since: registry.since.clone(),
                server: registry.server.clone(),
                why: registry.why.clone(),
                services,
                problems,
            });
        }
        status.registries.extend(self.unknown());
        status
    }
}

impl Engine {
    /// Registries that services name and the settings do not.
    fn unknown(&self) -> impl Iterator<Item = RegistryShown> {
        let mut unknown: BTreeMap<Name, RegistryShown> = BTreeMap::new();
        for (service, discover) in &self.documents.discover {
            for one in discover.iter().filter(|one| !self.registries.contains_key(&one.registry)) {
                let why =
                    format!("the registry `{}` is not in the settings; nothing is changed", one.registry);
                let shown = unknown.entry(one.registry.clone()).or_insert_with(|| RegistryShown {
                    name: one.registry.to_string(),
                    kind: "unknown".to_owned(),
                    up: false,
                    since: self.began.clone(),
                    server: None,
                    why: Some(why.clone()),
                    services: BTreeMap::new(),
                    problems: Vec::new(),
                });
                let discovered = DiscoveredShown { name: one.name.to_string(), ..DiscoveredShown::default() };
                shown.services.insert(service.to_string(), discovered);
                shown.problems.push(RegistryProblem {
                    kind: "registry".to_owned(),
                    registry: one.registry.to_string(),
                    service: Some(service.to_string()),
                    entry: None,
                    message: why,
                });
            }
        }
        unknown.into_values()
    }
}

impl Tracked {
    fn shows(&mut self, answer: Answer, hosts: Hosts, now: Instant) {
        if !self.answered {
            self.belief.up(now);
        }
        (self.answered, self.ever_answered, self.silent) = (true, true, None);
        let mapped = map(&answer, &self.discover, &hosts);
        self.belief.shows(&mapped.shown, now);
        self.problems = mapped.problems;
        self.last = Some((answer, hosts));
    }

    fn falls_silent(&mut self, why: Option<String>) {
        self.belief.down();
        self.answered = false;
        self.silent = why;
    }

    fn shown(&self, now: Instant) -> DiscoveredShown {
        let mut shown = DiscoveredShown {
            name: self.discover.name.to_string(),
            answered: self.answered,
            ..DiscoveredShown::default()
        };
        for one in self.belief.believed() {
            let address = one.address.to_string();
            if let Some(missing) = one.missing {
                shown.held_back.push(HeldBack {
                    address: address.clone(),
                    why: missing.why.sentence().to_owned(),
                    seconds: now.saturating_duration_since(missing.since).as_secs(),
                });
            }
            shown.instances.push(InstanceShown {
                address,
                version: one.values.version.to_string(),
                weight: one.values.weight,
                draining: one.values.draining,
            });
        }
        shown
    }
}

/// Passes on what a client tells, with the addresses of hosts it names.
async fn forward(registry: Name, mut told: mpsc::Receiver<Told>, happens: mpsc::Sender<Happened>) {
    let mut resolver = Resolver::default();
    while let Some(told) = told.recv().await {
        let hosts = match &told {
            Told::Shows { answer, .. } => resolver.hosts(answer).await,
            _ => Hosts::new(),
        };
        if happens.send(Happened::Told { registry: registry.clone(), told, hosts }).await.is_err() {
            return;
        }
    }
}
