//! What the proof plays with: a broker, an etcd, two gateways and their consumers, and what happens to them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use graygate_store::board;
use graygate_testing::messages::{Client, Group, Layout, RocketMq, Told};
use parking_lot::Mutex;
use serde_json::Value;

use super::checks::{Cut, Delivery, Living, Log, Time, Via};
use super::producers::Sent;
use crate::harness::ports::free_addresses;
use crate::harness::proxy::Proxy;
use crate::sources::relay::Relay;
use crate::support::etcd::Etcd;

pub const TOPIC: &str = "orders";
/// With the mistaken separator its retries would be those of a lane's group. The filters by mark keep them apart even then.
const NEIGHBOUR: &str = "feat1_orders";
/// A group without lanes. With the mistaken separator it would be a lane's: underscores are usual in the names of groups.
const THIRD: &str = "provider_feat2";
/// Another without lanes, whose consumer is connected to RocketMQ itself.
const STRAIGHT: &str = "straight";
pub const ROWS: &str = "rows";
pub const GROUP: &str = "provider";
pub const ORDERED: &str = "ordered";
const LANES: [&str; 2] = ["feat1", "feat2"];
/// Until a lane is open on a busy machine: groups are primed for 5 s, and old polls take up to 20 s to come back.
const OPENING: Duration = Duration::from_secs(120);
/// Until brokers have nothing more: the third attempt comes a minute after the second.
const RETRYING: Duration = Duration::from_secs(120);
/// Between two looks at a board or a log.
pub const LOOK_EVERY: Duration = Duration::from_millis(50);

pub fn unix() -> Time {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// What happens while messages are on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    KillLaneConsumer,
    StopLaneConsumer,
    StartLaneConsumer,
    /// Consumers of base are replaced one by one, as a deployment does.
    ReplaceBase,
    KillGateway,
    CutFromEtcd,
    Mend,
    /// Another one each time, and also the proxy of a cluster.
    RestartBroker,
    OpenLane,
    CloseLane,
    /// Nothing, for a while: base takes over after its time.
    Wait,
}

pub struct Gateway {
    proxy: Option<Proxy>,
    pub base: SocketAddr,
    pub lanes: [SocketAddr; 2],
}

/// A consumer that runs, and those that did.
struct Consumer {
    name: String,
    gateway: usize,
    kind: &'static str,
    client: Client,
}

pub struct Scene {
    broker: RocketMq,
    pub etcd: Etcd,
    pub relay: Relay,
    pub gateways: Vec<Gateway>,
    base: Vec<Consumer>,
    lane: Vec<Option<Consumer>>,
    third: Consumer,
    straight: Consumer,
    rows: Vec<Consumer>,
    over: Vec<(String, Vec<Told>)>,
    cuts: BTreeMap<String, Vec<Cut>>,
    kills: Vec<Cut>,
    /// How many gateways were.
    killed: usize,
    /// How many brokers and proxies were.
    restarted: usize,
    open: BTreeSet<&'static str>,
    closed: BTreeSet<String>,
    living: Arc<Mutex<Vec<Living>>>,
    told: Vec<String>,
    begun: Instant,
}

/// Bytes of memory that a process has.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
}

/// Seconds that processors spent on a process.
pub fn processor_seconds(process: u32) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS
}

fn both() -> String {
    format!("{TOPIC},{NEIGHBOUR}")
}

fn document(topics: &str, group: &str, lanes: &BTreeSet<&str>) -> String {
    let lanes: Vec<&str> = lanes.iter().copied().collect();
    format!(
        "topics: [{topics}]\ngroup: {group}\nservice: provider\nlanes: [{}]\ntakeover: 3s\n",
        lanes.join(", ")
    )
}

pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

impl Scene {
    pub async fn start(layout: Layout, mutation: Option<&str>) -> Scene {
        let begun = Instant::now();
        let broker = blocking(move || {
            let ordered = |name| Group { name, in_order: true, retries: None };
            let topics = [(TOPIC, "MIXED"), (NEIGHBOUR, "NORMAL"), (ROWS, "FIFO")];
            // The last is the second's name with the mistaken separator.
            let groups = [ORDERED, "ordered--feat1", "ordered_feat1"].map(ordered);
            RocketMq::start(layout, &topics, &groups)
        });
        let (broker, etcd) = tokio::join!(broker, Etcd::start());
        let open = BTreeSet::from(["feat1"]);
        etcd.put("services/provider", "instances: []\n").await;
        etcd.put("messages/orders", document(&format!("{TOPIC}, {NEIGHBOUR}"), GROUP, &open)).await;
        // The group of the second lane is not made, and so would hand out in any order.
        etcd.put("messages/rows", document(ROWS, ORDERED, &BTreeSet::from(LANES))).await;
        let relay = Relay::before(&etcd.endpoint()).await;
        let endpoints = [etcd.endpoint(), relay.endpoint.clone()];
        let mut gateways = Vec::new();
        for endpoint in &endpoints {
            gateways.push(Gateway::start(endpoint, &broker.address(), mutation).await);
        }
        // Before any client has a long poll, a lane opens within seconds.
        let settings = etcd.settings();
        all_open(&settings, &[(GROUP, "feat1"), (ORDERED, "feat1")]).await;
        let living = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(watch_living(settings, living.clone()));
        let named = |name: &str,
                     gateway: usize,
                     kind: &'static str,
                     at: SocketAddr,
                     topic: String,
                     group: &'static str| {
            let name = name.to_owned();
            blocking(move || Consumer {
                name,
                gateway,
                kind,
                client: Client::start(kind, &[&at.to_string(), &topic, group]),
            })
        };
        // Java takes seconds for its start.
        let kind = if layout == Layout::Cluster { "java-push" } else { "push" };
        let (zero, one) = (&gateways[0], &gateways[1]);
        let broker_itself = broker.address().parse().unwrap();
        let (first, second, simple, third, straight, lane, rows, row_lane) = tokio::join!(
            named("base-0", 0, kind, zero.base, both(), GROUP),
            named("base-1", 1, "node-push", one.base, both(), GROUP),
            named("base-simple", 0, "simple", zero.base, TOPIC.into(), GROUP),
            named("third", 0, "push", zero.base, TOPIC.into(), THIRD),
            named("straight", 0, "push", broker_itself, TOPIC.into(), STRAIGHT),
            named("lane-0", 1, "push", one.lanes[0], TOPIC.into(), GROUP),
            named("rows", 0, "push", zero.base, ROWS.into(), ORDERED),
            named("rows-lane", 0, "push", zero.lanes[0], ROWS.into(), ORDERED),
        );
        Scene {
            broker,
            etcd,
            relay,
            gateways,
            base: vec![first, second, simple],
            lane: vec![Some(lane), None],
            third,
            straight,
            rows: vec![rows, row_lane],
            over: Vec::new(),
            cuts: BTreeMap::new(),
            kills: Vec::new(),
            killed: 0,
            restarted: 0,
            open,
            closed: BTreeSet::new(),
            living,
            told: Vec::new(),
            begun,
        }
    }

    pub fn tell(&mut self, what: &str) {
        let line = format!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
        eprintln!("{line}");
        self.told.push(line);
    }

    fn cut(&mut self, is_meant: impl Fn(&Consumer) -> bool, cut: Cut) {
        let lanes = self.lane.iter().flatten();
        for one in self.base.iter().chain(lanes).chain(&self.rows).filter(|one| is_meant(one)) {
            self.cuts.entry(one.name.clone()).or_default().push(cut);
        }
    }

    pub async fn act(&mut self, act: Act, turn: usize) {
        self.tell(&format!("{act:?}"));
        match act {
            Act::Wait => tokio::time::sleep(Duration::from_secs(4)).await,
            Act::KillLaneConsumer | Act::StopLaneConsumer => {
                for at in 0..self.lane.len() {
                    let Some(Consumer { name, client, .. }) = self.lane[at].take() else { continue };
                    self.cuts.entry(name.clone()).or_default().push(Cut::at(unix()));
                    let is_kill = act == Act::KillLaneConsumer;
                    let told = blocking(move || if is_kill { client.kill() } else { client.stop() }).await;
                    self.over.push((name, told));
                }
            }
            Act::StartLaneConsumer => {
                for (at, lane) in LANES.iter().enumerate() {
                    if self.lane[at].is_some() || !self.open.contains(lane) {
                        continue;
                    }
                    let address = self.gateways[turn % 2].lanes[at].to_string();
                    let kind = if turn.is_multiple_of(2) { "push" } else { "node-push" };
                    let client = blocking(move || Client::start(kind, &[&address, TOPIC, GROUP])).await;
                    let name = format!("lane-{at}-{turn}");
                    self.lane[at] = Some(Consumer { name, gateway: turn % 2, kind, client });
                }
            }
            Act::ReplaceBase => self.replace_base(turn).await,
            Act::KillGateway => {
                let victim = self.killed % 2;
                self.killed += 1;
                let mut proxy = self.gateways[victim].proxy.take().unwrap();
                let from = unix();
                proxy.signal("-KILL");
                proxy.ended().await;
                self.gateways[victim].proxy = Some(proxy.again());
                // Its clients come back one after another, for as long as it took them to see it.
                self.cut(|one| one.gateway == victim, Cut { from, to: unix() + 1.0 });
            }
            Act::CutFromEtcd => self.relay.hold(),
            Act::Mend => self.relay.release(),
            Act::RestartBroker => {
                let (from, node) = (unix(), self.restarted % self.broker.nodes());
                self.restarted += 1;
                tokio::task::block_in_place(|| {
                    self.broker.kill(node);
                    self.broker.begin(node);
                });
                self.kills.push(Cut { from, to: unix() });
            }
            Act::OpenLane => {
                self.open.insert("feat2");
                self.closed.remove("feat2");
                self.declare().await;
                all_open(&self.etcd.settings(), &[(GROUP, "feat2")]).await;
                self.tell("the lane is open");
            }
            Act::CloseLane => {
                let lane = if self.open.contains("feat2") { "feat2" } else { "feat1" };
                self.open.remove(lane);
                self.closed.insert(lane.to_owned());
                self.declare().await;
            }
        }
    }

    async fn replace_base(&mut self, turn: usize) {
        for at in 0..self.base.len() {
            let (kind, gateway) = (self.base[at].kind, self.base[at].gateway);
            let address = self.gateways[gateway].base.to_string();
            let topics = if kind == "simple" { TOPIC.to_owned() } else { both() };
            let client = blocking(move || Client::start(kind, &[&address, &topics, GROUP])).await;
            let name = format!("base-{at}-{turn}");
            let before = std::mem::replace(&mut self.base[at], Consumer { name, gateway, kind, client });
            self.cuts.entry(before.name.clone()).or_default().push(Cut::at(unix()));
            self.over.push((before.name, blocking(move || before.client.stop()).await));
        }
    }

    /// The processes of both gateways.
    pub fn processes(&self) -> [u32; 2] {
        [0, 1].map(|at: usize| self.gateways[at].proxy.as_ref().unwrap().id())
    }

    /// How many consumers there are and were.
    pub fn clients(&self) -> usize {
        self.all_told().len() + 2
    }

    /// Leaves out the consumer of base that sets an end to its handlers.
    pub async fn without_simple(&mut self) {
        if let Some(at) = self.base.iter().position(|one| one.kind == "simple") {
            let one = self.base.remove(at);
            self.over.push((one.name, blocking(move || one.client.stop()).await));
        }
    }

    async fn declare(&self) {
        let text = document(&format!("{TOPIC}, {NEIGHBOUR}"), GROUP, &self.open);
        self.etcd.put("messages/orders", text).await;
    }

    /// Waits until consumers have acknowledged all of these, or no longer.
    pub async fn settle(&self, committed: &BTreeSet<String>, limit: Duration) {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            let mut missing = committed.clone();
            for (_, told) in self.all_told() {
                told.iter().filter(|told| told.word == "done").for_each(|told| _ = missing.remove(&told.id));
            }
            if missing.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn all_told(&self) -> Vec<(String, Vec<Told>)> {
        let running = self.base.iter().chain(self.lane.iter().flatten()).chain(&self.rows);
        let running = running.map(|one| (one.name.clone(), one.client.told()));
        running.chain(self.over.iter().cloned()).collect()
    }

    /// Groups and topics of which brokers still have something; asked until there is nothing, or for as long as the last
    /// retry of a message may take whose fate its producer does not know, and which was not waited for.
    async fn behind(&self) -> Vec<String> {
        let until = Instant::now() + RETRYING;
        let groups = [GROUP.to_owned(), format!("{GROUP}--feat1"), format!("{GROUP}--feat2")];
        let pair = |group: &String| {
            [TOPIC.to_owned(), format!("%RETRY%{group}_{TOPIC}")].map(|topic| (topic, group.clone()))
        };
        let mut left: Vec<(String, String)> = groups.iter().flat_map(pair).collect();
        loop {
            let mut found = Vec::new();
            left.retain(|(topic, group)| {
                let behind = self.broker.behind(topic, group);
                found.push(format!("{behind} messages of {topic} wait for {group}"));
                behind != 0
            });
            if left.is_empty() || Instant::now() > until {
                found.retain(|text| !text.starts_with("0 "));
                return found;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    pub async fn log(self, sent: Sent) -> (Log, Vec<String>) {
        let behind = self.behind().await;
        let mut log = Log {
            sent: sent.fates,
            cuts: self.cuts.clone(),
            kills: self.kills.clone(),
            stored: sent.stored,
            closed: self.closed.clone(),
            behind,
            ..Log::default()
        };
        log.living = self.living.lock().clone();
        for (name, told) in self.all_told() {
            log.deliveries.extend(deliveries(&name, &told));
        }
        log.straight = deliveries(&self.straight.name, &self.straight.client.told());
        for told in self.third.client.told() {
            match told.word.as_str() {
                "got" => {
                    let mark = told.more.get(3).filter(|mark| *mark != "-").cloned();
                    log.third.insert(told.id, mark);
                }
                "done" => _ = log.third_done.insert(told.id),
                _ => {}
            }
        }
        (log, self.told)
    }
}

fn deliveries(consumer: &str, told: &[Told]) -> Vec<Delivery> {
    let mut found: Vec<Delivery> = Vec::new();
    for one in told {
        match one.word.as_str() {
            "got" => found.push(Delivery {
                id: one.id.clone(),
                consumer: consumer.to_owned(),
                via: match one.more[2].as_str() {
                    "lane" => Via::Lane,
                    "drained" => Via::Drained,
                    _ => Via::Base,
                },
                mark: (one.more[3] != "-").then(|| one.more[3].clone()),
                begin: one.more[1].parse().unwrap(),
                end: None,
                acknowledged: false,
            }),
            "done" | "failed" => {
                let own = found.iter_mut().rev().find(|own| own.id == one.id && own.end.is_none()).unwrap();
                own.end = Some(one.more[0].parse().unwrap());
                own.acknowledged = one.word == "done";
            }
            _ => {}
        }
    }
    found
}

impl Gateway {
    async fn start(etcd: &str, broker: &str, mutation: Option<&str>) -> Gateway {
        let [base, feat1, feat2] = free_addresses();
        let cache = tempfile::tempdir().unwrap().keep();
        let config = format!(
            "cache: {}\ndocuments: {{etcd: {{endpoints: ['{etcd}']}}}}\nmessages:\n  listen:\n    - {{address: '{base}'}}\n    \
             - {{address: '{feat1}', version: feat1}}\n    - {{address: '{feat2}', version: feat2}}\n  \
             proxies: ['{broker}']\n",
            cache.display()
        );
        let variables: Vec<(&str, &str)> =
            mutation.map(|name| ("GRAYGATE_MUTATION", name)).into_iter().collect();
        let proxy = Proxy::start_in(&variables, &config).await;
        Gateway { proxy: Some(proxy), base, lanes: [feat1, feat2] }
    }
}

/// How far a lane is.
pub fn step(entries: &board::Entries, group: &str, lane: &str) -> Option<String> {
    let entry = entries.get(&format!("record/{group}/{lane}"))?;
    serde_json::from_str::<Value>(&entry.value).ok()?["step"].as_str().map(str::to_owned)
}

async fn all_open(settings: &graygate_store::etcd::EtcdSettings, lanes: &[(&str, &str)]) {
    let until = Instant::now() + OPENING;
    loop {
        let entries = board::look(settings).await.unwrap_or_default();
        let is_open = |(group, lane): &(&str, &str)| step(&entries, group, lane).as_deref() == Some("open");
        if lanes.iter().all(is_open) {
            return;
        }
        assert!(Instant::now() < until, "no lane within {OPENING:?}: {entries:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Notes when lanes live that no gateway drains. Late at the beginning and early at the end, never the other way round.
async fn watch_living(settings: graygate_store::etcd::EtcdSettings, living: Arc<Mutex<Vec<Living>>>) {
    let mut since: BTreeMap<String, (Time, usize)> = BTreeMap::new();
    loop {
        let asked = unix();
        if let Ok(entries) = board::look(&settings).await {
            let of = |kind: &str, lane: &str| {
                let prefix = format!("{kind}/{GROUP}/{lane}/");
                entries.keys().any(|key| key.starts_with(&prefix))
            };
            for lane in LANES {
                let lives = of("live", lane) && (since.contains_key(lane) || !of("drain", lane));
                let mut living = living.lock();
                match since.get(lane).copied() {
                    None if lives => {
                        living.push(Living { lane: lane.to_owned(), from: unix(), to: unix() });
                        since.insert(lane.to_owned(), (unix(), living.len() - 1));
                    }
                    Some((_, at)) if lives => living[at].to = asked,
                    Some(_) => drop(since.remove(lane)),
                    None => {}
                }
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
