//! Two gateways, a real RocketMQ, a real etcd and clients that come and go, and seven checks over all that was seen.
//!
//! With `GRAYGATE_MESSAGES` naming a file, the full run and its table are made (`make messages-proof`): as many messages
//! as `GRAYGATE_MESSAGES_COUNT` says, then one run for each mistake that the program can be asked to make, or for those
//! that `GRAYGATE_MESSAGES_MISTAKES` names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use graygate_store::board;
use graygate_testing::messages::{Client, RocketMq, Told};
use parking_lot::Mutex;
use serde_json::Value;

use super::checks::{Broken, CHECKS, Delivery, Fate, Living, Log, Time, Via, broken};
use crate::harness::ports::free_addresses;
use crate::harness::proxy::Proxy;
use crate::sources::relay::Relay;
use crate::support::etcd::Etcd;

const TOPIC: &str = "orders";
/// With the mistaken separator its retries would be those of the lane's group.
const NEIGHBOUR: &str = "feat1_orders";
const ROWS: &str = "rows";
const GROUP: &str = "provider";
const ORDERED: &str = "ordered";
const LANES: [&str; 2] = ["feat1", "feat2"];
/// Until a lane is open on a busy machine: groups are primed for 5 s, and old polls take up to 20 s to come back.
const OPENING: Duration = Duration::from_secs(120);
/// Until everything that was sent is handled: the last retry may wait for a minute.
const SETTLING: Duration = Duration::from_secs(150);
/// Between two looks at a board or a log.
const LOOK_EVERY: Duration = Duration::from_millis(50);

fn unix() -> Time {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// How much of it all.
#[derive(Clone, Copy)]
struct Extent {
    messages: usize,
    /// How long they are sent.
    lasting: Duration,
    acts: &'static [Act],
    mutation: Option<&'static str>,
    /// How long what was sent may take to be handled.
    settling: Duration,
    /// What one handler takes long for: 30 s.
    long: Option<usize>,
}

/// What happens while messages are on their way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Act {
    KillLaneConsumer,
    StopLaneConsumer,
    StartLaneConsumer,
    KillGateway,
    CutFromEtcd,
    Mend,
    RestartBroker,
    OpenLane,
    CloseLane,
    /// Nothing, for a while: base takes over after its time.
    Wait,
}

const SHORT: &[Act] =
    &[Act::KillLaneConsumer, Act::KillGateway, Act::Wait, Act::StartLaneConsumer, Act::CloseLane];
const FULL: &[Act] = &[
    Act::OpenLane,
    Act::KillLaneConsumer,
    Act::Wait,
    Act::StartLaneConsumer,
    Act::KillGateway,
    Act::Wait,
    Act::StopLaneConsumer,
    Act::CutFromEtcd,
    Act::Wait,
    Act::Mend,
    Act::StartLaneConsumer,
    Act::RestartBroker,
    Act::Wait,
    Act::CloseLane,
    Act::KillLaneConsumer,
    Act::Wait,
    Act::OpenLane,
    Act::StartLaneConsumer,
    Act::Wait,
    Act::CloseLane,
];
/// A lane opens under load, loses its consumer, and gets it back.
const FOR_MUTATIONS: &[Act] =
    &[Act::OpenLane, Act::KillLaneConsumer, Act::Wait, Act::StartLaneConsumer, Act::Wait];

struct Gateway {
    proxy: Option<Proxy>,
    base: SocketAddr,
    lanes: [SocketAddr; 2],
}

/// A consumer that runs, and those that did.
struct Consumer {
    name: String,
    gateway: usize,
    client: Client,
}

struct Scene {
    broker: RocketMq,
    etcd: Etcd,
    relay: Relay,
    gateways: Vec<Gateway>,
    base: Vec<Consumer>,
    lane: Vec<Option<Consumer>>,
    third: Consumer,
    rows: Vec<Consumer>,
    over: Vec<(String, Vec<Told>)>,
    cuts: BTreeMap<String, Vec<Time>>,
    restarts: Vec<Time>,
    open: BTreeSet<&'static str>,
    closed: BTreeSet<String>,
    living: Arc<Mutex<Vec<Living>>>,
    told: Vec<String>,
    begun: Instant,
}

fn document(topics: &str, group: &str, lanes: &BTreeSet<&str>) -> String {
    let lanes: Vec<&str> = lanes.iter().copied().collect();
    format!(
        "topics: [{topics}]\ngroup: {group}\nservice: provider\nlanes: [{}]\ntakeover: 3s\n",
        lanes.join(", ")
    )
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

impl Scene {
    async fn start(mutation: Option<&str>) -> Scene {
        let begun = Instant::now();
        let broker = blocking(|| {
            let broker = RocketMq::start();
            std::thread::scope(|scope| {
                scope.spawn(|| broker.create_topic(TOPIC, &["-a", "+message.type=MIXED"]));
                scope.spawn(|| broker.create_topic(NEIGHBOUR, &[]));
                scope.spawn(|| broker.create_topic(ROWS, &["-a", "+message.type=FIFO"]));
                scope.spawn(|| broker.create_ordered_group(ORDERED));
                scope.spawn(|| broker.create_ordered_group(&format!("{ORDERED}--feat1")));
            });
            broker
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
                client: Client::start(kind, &[&at.to_string(), &topic, group]),
            })
        };
        let both = format!("{TOPIC},{NEIGHBOUR}");
        let (zero, one) = (&gateways[0], &gateways[1]);
        let (first, second, simple, third, lane, rows, row_lane) = tokio::join!(
            named("base-0", 0, "push", zero.base, both.clone(), GROUP),
            named("base-1", 1, "push", one.base, both.clone(), GROUP),
            named("base-simple", 0, "simple", zero.base, TOPIC.into(), GROUP),
            named("third", 0, "push", zero.base, TOPIC.into(), "audit"),
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
            rows: vec![rows, row_lane],
            over: Vec::new(),
            cuts: BTreeMap::new(),
            restarts: Vec::new(),
            open,
            closed: BTreeSet::new(),
            living,
            told: Vec::new(),
            begun,
        }
    }

    fn tell(&mut self, what: &str) {
        let line = format!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
        eprintln!("{line}");
        self.told.push(line);
    }

    fn cut(&mut self, is_meant: impl Fn(&Consumer) -> bool, at: Time) {
        let lanes = self.lane.iter().flatten();
        for one in self.base.iter().chain(lanes).chain(&self.rows).filter(|one| is_meant(one)) {
            self.cuts.entry(one.name.clone()).or_default().push(at);
        }
    }

    async fn act(&mut self, act: Act, turn: usize) {
        self.tell(&format!("{act:?}"));
        match act {
            Act::Wait => tokio::time::sleep(Duration::from_secs(4)).await,
            Act::KillLaneConsumer | Act::StopLaneConsumer => {
                for at in 0..self.lane.len() {
                    let Some(Consumer { name, client, .. }) = self.lane[at].take() else { continue };
                    self.cuts.entry(name.clone()).or_default().push(unix());
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
                    let client = blocking(move || Client::start("push", &[&address, TOPIC, GROUP])).await;
                    let name = format!("lane-{at}-{turn}");
                    self.lane[at] = Some(Consumer { name, gateway: turn % 2, client });
                }
            }
            Act::KillGateway => {
                let victim = (turn + 1) % 2;
                let mut proxy = self.gateways[victim].proxy.take().unwrap();
                self.cut(|one| one.gateway == victim, unix());
                proxy.signal("-KILL");
                proxy.ended().await;
                self.gateways[victim].proxy = Some(proxy.again());
                // Its clients come back one after another, for as long as it took them to see it.
                self.cut(|one| one.gateway == victim, unix() + 1.0);
            }
            Act::CutFromEtcd => self.relay.hold(),
            Act::Mend => self.relay.release(),
            Act::RestartBroker => {
                self.cut(|_| true, unix());
                self.restarts.push(unix());
                tokio::task::block_in_place(|| {
                    self.broker.kill_broker();
                    self.broker.start_broker();
                });
                self.cut(|_| true, unix());
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

    async fn declare(&self) {
        let text = document(&format!("{TOPIC}, {NEIGHBOUR}"), GROUP, &self.open);
        self.etcd.put("messages/orders", text).await;
    }

    /// Waits until consumers have acknowledged all of these, or no longer.
    async fn settle(&self, committed: &BTreeSet<String>, limit: Duration) {
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

    /// What the broker still has for the groups; asked until there is nothing, or for a while.
    async fn behind(&self) -> i64 {
        let until = Instant::now() + Duration::from_secs(15);
        loop {
            let mut behind = 0;
            for group in [GROUP.to_owned(), format!("{GROUP}--feat1"), format!("{GROUP}--feat2")] {
                let retries = format!("%RETRY%{group}_{TOPIC}");
                for topic in [TOPIC, &retries] {
                    let positions = self.broker.positions(topic, &group);
                    if positions.is_empty() {
                        continue;
                    }
                    let ends = self.broker.ends(topic);
                    let each = ends.iter().enumerate().map(|(at, end)| end - positions.get(at).unwrap_or(&0));
                    behind += each.sum::<i64>();
                }
            }
            if behind == 0 || Instant::now() > until {
                return behind;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    async fn log(self, sent: BTreeMap<String, Fate>) -> (Log, Vec<String>) {
        let behind = self.behind().await;
        let mut log = Log {
            sent,
            cuts: self.cuts.clone(),
            restarts: self.restarts.clone(),
            closed: self.closed.clone(),
            behind,
            ..Log::default()
        };
        log.living = self.living.lock().clone();
        for (name, told) in self.all_told() {
            log.deliveries.extend(deliveries(&name, &told));
        }
        for told in self.third.client.told().into_iter().filter(|told| told.word == "got") {
            log.third.insert(told.id, told.more.get(3).filter(|mark| *mark != "-").cloned());
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
fn step(entries: &board::Entries, group: &str, lane: &str) -> Option<String> {
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

/// Producers of base and of both lanes at both gateways, and of rows.
struct Producers {
    all: Vec<Client>,
    asked: Vec<String>,
}

impl Producers {
    async fn start(scene: &Scene) -> Producers {
        let (zero, one) = (&scene.gateways[0], &scene.gateways[1]);
        let places = [
            (zero.base, TOPIC),
            (one.base, TOPIC),
            (zero.lanes[0], TOPIC),
            (one.lanes[1], TOPIC),
            (one.base, ROWS),
            (zero.lanes[0], ROWS),
        ];
        let starting = places.map(|(at, topic)| {
            blocking(move || Client::start("producer", &[&at.to_string(), topic, "once"]))
        });
        let mut all = Vec::new();
        for one in starting {
            all.push(one.await);
        }
        Producers { all, asked: Vec::new() }
    }

    /// One message: in twenty, one fails once; in a hundred, one is delayed and one ends a transaction.
    fn send(&mut self, number: usize) {
        let (line, by) = match number % 100 {
            7 => (format!("later late-{number} 5"), number / 100 % 3),
            13 if number % 200 < 100 => (format!("half half-{number}"), number / 100 % 3),
            13 => (format!("half back-{number}"), number / 100 % 3),
            31 => (format!("ordered row-{}-{number} group{}", number % 3, number % 3), 4 + number / 100 % 2),
            32..40 => (format!("ordered row-{}-{number} group{}", number % 3, number % 3), 4 + number % 2),
            // Some of base name a lane by themselves.
            17 => (format!("send plain-{number} feat1"), 0),
            rest if rest % 20 == 3 => (format!("send once-{number}"), number % 4),
            _ => (format!("send plain-{number}"), number / 3 % 4),
        };
        self.asked.push(line.split(' ').nth(1).unwrap().to_owned());
        self.all[by].say(&line);
    }

    /// One of a lane whose handler takes long.
    fn long(&mut self, number: usize) {
        self.asked.push(format!("long-{number}"));
        self.all[2].say(&format!("send long-{number}"));
    }

    /// What became of each, once all producers have said so.
    async fn fates(&self) -> BTreeMap<String, Fate> {
        let until = Instant::now() + SETTLING;
        loop {
            let mut fates = BTreeMap::new();
            for told in self.all.iter().flat_map(Client::told) {
                match told.word.as_str() {
                    "sent" if told.id.starts_with("back") => fates.insert(told.id, Fate::RolledBack),
                    "sent" => fates.insert(told.id, Fate::Committed),
                    "lost" => fates.insert(told.id, Fate::Unknown),
                    _ => None,
                };
            }
            if fates.len() == self.asked.len() || Instant::now() > until {
                return fates;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// What a run showed.
struct Shown {
    log: Log,
    broken: Broken,
    told: Vec<String>,
    lasted: Duration,
}

async fn run(extent: Extent) -> Shown {
    let begun = Instant::now();
    let mut scene = Scene::start(extent.mutation).await;
    let mut producers = Producers::start(&scene).await;
    scene.tell("all clients are there");
    let sending = Instant::now();
    let every = extent.lasting / u32::try_from(extent.messages).unwrap();
    let messages = extent.messages;
    let sender = tokio::spawn(async move {
        for number in 1..=messages {
            match extent.long == Some(number) {
                true => producers.long(number),
                false => producers.send(number),
            }
            let due = sending + every * u32::try_from(number).unwrap();
            tokio::time::sleep_until(due.into()).await;
        }
        producers
    });
    for (turn, act) in extent.acts.iter().enumerate() {
        let due =
            extent.lasting * u32::try_from(turn + 1).unwrap() / u32::try_from(extent.acts.len() + 1).unwrap();
        tokio::time::sleep_until((sending + due).into()).await;
        scene.act(*act, turn).await;
    }
    let producers = sender.await.unwrap();
    scene.relay.release();
    let fates = producers.fates().await;
    if extent.mutation.is_none() {
        let entries = board::look(&scene.etcd.settings()).await.unwrap();
        assert_eq!(
            step(&entries, ORDERED, "feat2").as_deref(),
            Some("priming"),
            "its group is not like that of base"
        );
    }
    let of = |fate: Fate| fates.iter().filter(|(_, of)| **of == fate).map(|(id, _)| id.clone()).collect();
    let committed: BTreeSet<String> = of(Fate::Committed);
    scene.tell(&format!(
        "{} messages are committed, {} of unknown fate",
        committed.len(),
        of(Fate::Unknown).len()
    ));
    scene.settle(&committed, extent.settling).await;
    if extent.long.is_some() {
        tokio::time::sleep(Duration::from_secs(40)).await;
    }
    scene.tell("all that arrives has arrived");
    let (log, told) = scene.log(fates).await;
    Shown { broken: broken(&log), log, told, lasted: begun.elapsed() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_message_is_lost_or_handled_by_two_groups_whatever_happens_to_clients_and_gateways() {
    let file = std::env::var_os("GRAYGATE_MESSAGES");
    let Some(file) = file else {
        let extent = Extent {
            messages: 300,
            lasting: Duration::from_secs(15),
            acts: SHORT,
            mutation: None,
            settling: SETTLING,
            long: None,
        };
        let shown = run(extent).await;
        assert!(shown.broken.is_empty(), "{:#?}\n{:#?}", shown.broken, shown.told);
        return;
    };
    let count = std::env::var("GRAYGATE_MESSAGES_COUNT").map_or(20_000, |count| count.parse().unwrap());
    let table = full(count).await;
    std::fs::write(file, table).unwrap();
}

const MUTATIONS: [(&str, &str); 5] = [
    ("liveness", "base leaves out what lanes take that live, not what is theirs"),
    ("priming", "producers mark before the lane has a group"),
    ("polls", "producers mark while receives with the old filter are on their way"),
    ("separator", "one underscore between group and lane"),
    ("session", "base acknowledges in its own name what it drained"),
];

async fn full(count: usize) -> String {
    // Slower than producers can, so that everything happens to messages on their way.
    let lasting = Duration::from_secs(150).max(Duration::from_millis(count as u64 * 15));
    let shown =
        run(Extent { messages: count, lasting, acts: FULL, mutation: None, settling: SETTLING, long: None })
            .await;
    let mut table = String::new();
    let log = &shown.log;
    let fate = |fate: Fate| log.sent.values().filter(|of| **of == fate).count();
    let via = |via: Via| log.deliveries.iter().filter(|one| one.via == via).count();
    writeln!(
        table,
        "{count} messages in {} s: {} committed, {} rolled back, {} of unknown fate. {} deliveries in the group of base, {} to a \
         lane's own consumers, {} of lanes to consumers of base. {} faults and changes meanwhile.\n",
        shown.lasted.as_secs(),
        fate(Fate::Committed),
        fate(Fate::RolledBack),
        fate(Fate::Unknown),
        via(Via::Base),
        via(Via::Lane),
        via(Via::Drained),
        FULL.iter().filter(|act| **act != Act::Wait).count()
    )
    .unwrap();
    table.push_str("| check | broken |\n|---|---|\n");
    for (letter, what, _) in CHECKS {
        let found = shown.broken.get(&letter).map_or(0, Vec::len);
        writeln!(table, "| ({letter}) {what} | {found} |").unwrap();
    }
    table.push_str("\n| mistake made on purpose | messages | checks that are broken |\n|---|---|---|\n");
    println!("{table}\n{:#?}\n{:#?}", shown.told, first_few(&shown.broken));
    let mut unseen = Vec::new();
    let chosen = std::env::var("GRAYGATE_MESSAGES_MISTAKES").ok();
    let is_chosen =
        |name: &str| chosen.as_deref().is_none_or(|chosen| chosen.split(' ').any(|one| one == name));
    for (name, what) in MUTATIONS.into_iter().filter(|(name, _)| is_chosen(name)) {
        let extent = mutated(name);
        let shown = run(extent).await;
        let seen: Vec<String> =
            shown.broken.iter().map(|(letter, found)| format!("({letter}) {}", found.len())).collect();
        let line = format!("| {what} | {} | {} |", extent.messages, seen.join(", "));
        println!("{line}\n{:#?}", first_few(&shown.broken));
        writeln!(table, "{line}").unwrap();
        if seen.is_empty() {
            unseen.push(name);
        }
    }
    assert!(shown.broken.is_empty(), "{table}");
    assert!(
        unseen.is_empty(),
        "not noticed: {unseen:?}; was the program built with the feature `mutations`?\n{table}"
    );
    table
}

fn mutated(name: &'static str) -> Extent {
    // What is lost never comes: there is no use in waiting for it as long as for what is late.
    let settling = Duration::from_secs(30);
    let usual = Extent {
        messages: 400,
        lasting: Duration::from_secs(25),
        acts: FOR_MUTATIONS,
        mutation: Some(name),
        settling,
        long: None,
    };
    match name {
        // A handle is renewed after 10 s, and an acknowledgement with the old one is none.
        "session" => Extent {
            messages: 100,
            acts: &[Act::KillLaneConsumer],
            settling: Duration::from_secs(90),
            long: Some(60),
            ..usual
        },
        _ => usual,
    }
}

fn first_few(broken: &Broken) -> BTreeMap<char, Vec<String>> {
    broken.iter().map(|(letter, found)| (*letter, found.iter().take(3).cloned().collect())).collect()
}
