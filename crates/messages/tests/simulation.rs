//! A thousand fleets of gateways under crashes, cut cables and changing lanes: whose a message is stays certain.
//!
//! The board is a map, time is a number, and every choice comes from a seed that a failure names.

#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use graygate_messages::board::{
    LaneKey, Step, View, confirmed_key, count_key, drain_key, gateway_key, live_key, record_key,
};
use graygate_messages::state::{Action, Group, State};
use graygate_store::board::{Entries, Entry};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const GROUP: &str = "g";
const LANES: [&str; 2] = ["a", "b"];
const GATEWAYS: usize = 3;
const LEASE: Duration = Duration::from_secs(10);
const SAFE: Duration = Duration::from_secs(8);
const TICK: Duration = Duration::from_millis(100);
const TICKS: usize = 3_000;
const SEEDS: u64 = 300;
/// Ticks after which all has to be well again, and between two looks whether it is.
const SETTLED: usize = 900;
const LOOK_AGAIN: usize = 30;

/// What all gateways see.
#[derive(Default)]
struct Board {
    entries: Entries,
    owners: BTreeMap<String, String>,
    leases: BTreeMap<String, Instant>,
    revision: i64,
}

impl Board {
    fn put(&mut self, key: String, value: String, owner: Option<&str>) {
        self.revision += 1;
        let created = self.entries.get(&key).map_or(self.revision, |entry| entry.created);
        if let Some(owner) = owner {
            self.owners.insert(key.clone(), owner.to_owned());
        }
        self.entries.insert(key, Entry { value, created, modified: self.revision });
    }

    fn delete(&mut self, key: &str) {
        self.entries.remove(key);
        self.owners.remove(key);
    }

    fn expire(&mut self, now: Instant) {
        let over: BTreeSet<String> =
            self.leases.iter().filter(|(_, until)| now >= **until).map(|(id, _)| id.clone()).collect();
        let keys: Vec<String> =
            self.owners.iter().filter(|(_, id)| over.contains(*id)).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.delete(key));
        self.leases.retain(|id, _| !over.contains(id));
    }

    fn apply(&mut self, id: &str, action: Action) {
        let modified = |entries: &Entries, key: &str| entries.get(key).map_or(0, |entry| entry.modified);
        let text = |record| serde_json::to_string(&record).unwrap();
        match action {
            Action::Create(key, record) => {
                if !self.entries.contains_key(&record_key(&key)) {
                    self.put(record_key(&key), text(record), None);
                }
            }
            Action::Advance { key, modified: since, record } => {
                if modified(&self.entries, &record_key(&key)) == since {
                    self.put(record_key(&key), text(record), None);
                }
            }
            Action::Remove { key, modified: since } => {
                if modified(&self.entries, &record_key(&key)) == since {
                    self.delete(&record_key(&key));
                }
            }
            Action::Confirm(key, modified) => {
                self.put(confirmed_key(&key, id), modified.to_string(), Some(id));
            }
            Action::SetLive(key, clients) => self.put(live_key(&key, id), clients.to_string(), Some(id)),
            Action::DropLive(key) => self.delete(&live_key(&key, id)),
            Action::SetDrain(key) => self.put(drain_key(&key, id), String::new(), Some(id)),
            Action::DropDrain(key) => self.delete(&drain_key(&key, id)),
            Action::Count(key, _) => self.put(count_key(&key, id), "{}".into(), Some(id)),
            Action::Prime(..) => {}
        }
    }
}

struct Poll {
    number: u64,
    excluded: Vec<String>,
    /// Of one that was abandoned: until when the broker may still pop for it.
    until: Option<Instant>,
}

struct Gateway {
    id: String,
    state: State,
    has_lease: bool,
    is_cut: bool,
    polls: Vec<Poll>,
    priming: Vec<(LaneKey, BTreeSet<String>)>,
    lane_clients: BTreeMap<String, String>,
    base_clients: usize,
    births: usize,
}

struct Fleet {
    rng: StdRng,
    now: Instant,
    unix: u64,
    board: Board,
    gateways: Vec<Gateway>,
    lanes: BTreeSet<String>,
    topics: BTreeSet<String>,
    /// The topics and the lanes, by when they were made, whose groups have a beginning there.
    primed: BTreeSet<(String, i64)>,
    seed: u64,
    opened: bool,
}

fn group(lanes: &BTreeSet<String>, topics: &BTreeSet<String>) -> Group {
    Group {
        name: GROUP.into(),
        topics: topics.clone(),
        lanes: lanes.clone(),
        takeover: Duration::from_secs(3),
        addresses: BTreeMap::new(),
    }
}

impl Gateway {
    fn new(number: usize, births: usize) -> Gateway {
        let id = format!("gateway-{number}-{births}");
        Gateway {
            state: State::new(&id),
            id,
            has_lease: false,
            is_cut: false,
            polls: Vec::new(),
            priming: Vec::new(),
            lane_clients: BTreeMap::new(),
            base_clients: 0,
            births,
        }
    }
}

impl Fleet {
    fn new(seed: u64) -> Fleet {
        let gateways = (0..GATEWAYS).map(|number| Gateway::new(number, 0)).collect();
        Fleet {
            rng: StdRng::seed_from_u64(seed),
            now: Instant::now(),
            unix: 1_000,
            board: Board::default(),
            gateways,
            lanes: LANES.map(str::to_owned).into(),
            topics: ["t".to_owned()].into(),
            primed: BTreeSet::new(),
            seed,
            opened: false,
        }
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn tick(&mut self, is_wild: bool) {
        self.now += TICK;
        self.board.expire(self.now);
        for at in 0..GATEWAYS {
            if is_wild {
                self.wild(at);
            } else {
                self.gateways[at].is_cut = false;
            }
            if !self.gateways[at].is_cut && self.chance(2) {
                self.look(at, is_wild);
            }
            let heard: Vec<String> = self.gateways[at].lane_clients.keys().cloned().collect();
            for client in heard {
                self.gateways[at].state.heard(&client, self.now);
            }
            self.prime(at);
            self.check(at);
        }
        if is_wild && self.chance(300) && !self.topics.remove("u") {
            self.topics.insert("u".to_owned());
        }
        if is_wild && self.chance(600) {
            let lane = LANES[self.rng.random_range(0..LANES.len())].to_owned();
            if !self.lanes.remove(&lane) {
                self.lanes.insert(lane);
            }
        }
    }

    /// What a gateway's clients, its cable and its machine do.
    fn wild(&mut self, at: usize) {
        if self.chance(1_000) {
            let births = self.gateways[at].births + 1;
            // What was on its way at the broker dies with its connection.
            self.gateways[at] = Gateway::new(at, births);
            return;
        }
        if self.chance(400) {
            self.gateways[at].is_cut = !self.gateways[at].is_cut;
        }
        let now = self.now;
        if self.chance(60) {
            let lane = LANES[self.rng.random_range(0..LANES.len())].to_owned();
            let client = format!("{at}-{lane}");
            let gateway = &mut self.gateways[at];
            match gateway.lane_clients.remove(&client) {
                Some(_) => gateway.state.closed(&client),
                None => {
                    gateway.state.opened(&client, GROUP, Some(lane.clone()), now);
                    gateway.lane_clients.insert(client, lane);
                }
            }
        }
        if self.chance(60) {
            let gateway = &mut self.gateways[at];
            let client = format!("{at}-base");
            match gateway.base_clients {
                0 => {
                    gateway.state.opened(&client, GROUP, None, now);
                    gateway.base_clients = 1;
                }
                _ => {
                    gateway.state.closed(&client);
                    gateway.base_clients = 0;
                }
            }
        }
        if self.chance(5) {
            let gateway = &mut self.gateways[at];
            let excluded = gateway.state.excluded(GROUP);
            let number = gateway.state.poll_begins(GROUP, &excluded);
            gateway.polls.push(Poll { number, excluded, until: None });
        }
        if self.chance(8) && !self.gateways[at].polls.is_empty() {
            let last = self.gateways[at].polls.len();
            let number = self.rng.random_range(0..last);
            let is_whole = self.chance(2);
            let gateway = &mut self.gateways[at];
            let poll = &mut gateway.polls[number];
            if poll.until.is_none() {
                match is_whole {
                    true => {
                        let poll = gateway.polls.remove(number);
                        gateway.state.poll_ended(poll.number);
                    }
                    false => {
                        poll.until = Some(now + Duration::from_secs(20));
                        gateway.state.poll_abandoned(poll.number, now);
                    }
                }
            }
        }
        self.gateways[at].polls.retain(|poll| poll.until.is_none_or(|until| now < until));
    }

    /// One turn of the keeper, which may break off anywhere.
    fn look(&mut self, at: usize, is_wild: bool) {
        let now = self.now;
        let id = self.gateways[at].id.clone();
        let lives = self.board.leases.contains_key(&id);
        if !lives {
            self.board.leases.insert(id.clone(), now + LEASE);
            self.board.put(gateway_key(&id), String::new(), Some(&id));
        }
        self.board.leases.insert(id.clone(), now + LEASE);
        let (lanes, unix) = (group(&self.lanes, &self.topics), self.unix);
        let view = View::read(&self.board.entries);
        let gateway = &mut self.gateways[at];
        gateway.has_lease = true;
        gateway.state.declare(vec![lanes]);
        gateway.state.look(view, now + SAFE, now);
        let actions = gateway.state.next(now, unix);
        for action in actions {
            if is_wild && self.chance(20) {
                return;
            }
            if let Action::Prime(key, topics) = &action {
                self.gateways[at].state.priming(key, topics);
                self.gateways[at].priming.push((key.clone(), topics.clone()));
            }
            self.board.apply(&id, action);
        }
    }

    fn prime(&mut self, at: usize) {
        if !self.chance(10) {
            return;
        }
        if let Some((key, topics)) = self.gateways[at].priming.pop() {
            let is_done = !self.chance(4);
            self.gateways[at].state.primed(&key, &topics, is_done);
            let record = View::read(&self.board.entries).records.get(&key).cloned();
            if let Some(record) = record.filter(|_| is_done) {
                self.primed.extend(topics.into_iter().map(|topic| (topic, record.created)));
            }
        }
    }

    fn check(&mut self, at: usize) {
        let (now, seed) = (self.now, self.seed);
        for lane in LANES {
            let key = LaneKey::new(GROUP, lane);
            let drainers: Vec<&str> = self
                .gateways
                .iter()
                .filter(|gateway| gateway.state.base_may_drain(&key, now))
                .map(|gateway| gateway.id.as_str())
                .collect();
            let own: Vec<&str> = self
                .gateways
                .iter()
                .filter(|gateway| {
                    let has_clients = gateway.state.live_clients(&key, now) > 0;
                    gateway.state.is_current(now) && has_clients && gateway.state.lane_may_receive(&key)
                })
                .map(|gateway| gateway.id.as_str())
                .collect();
            assert!(
                drainers.is_empty() || own.is_empty(),
                "seed {seed}: `{lane}` is drained by {drainers:?} while {own:?} have it"
            );
            let marks = |topic| self.gateways[at].state.mark(topic, lane).map(|(_, mark)| mark);
            for topic in ["t", "u"] {
                let Some(mark) = marks(topic) else { continue };
                let created = mark.split('.').next_back().unwrap().parse().unwrap();
                let is_primed = self.primed.contains(&(topic.to_owned(), created));
                assert!(is_primed, "seed {seed}: `{mark}` has no beginning on `{topic}`");
            }
            let Some(mark) = marks("t") else { continue };
            self.opened = true;
            // Sent now: every poll on its way may bring it, and what it brings may be handed out.
            for other in &self.gateways {
                let would_hand_out = other.polls.iter().any(|poll| !poll.excluded.contains(&mark))
                    && !other.state.leaves_to_lane(GROUP, &mark, now);
                assert!(!would_hand_out, "seed {seed}: `{mark}` would be handled twice, by {}", other.id);
            }
            let record = View::read(&self.board.entries).records.get(&key).cloned();
            let record = record.unwrap_or_else(|| panic!("seed {seed}: `{mark}` belongs to no lane"));
            assert_eq!(format!("{lane}.{}", record.created), mark, "seed {seed}");
        }
    }

    /// What has to come, once all is well again.
    fn settle(&mut self) {
        self.lanes = LANES.map(str::to_owned).into();
        for gateway in &mut self.gateways {
            for poll in std::mem::take(&mut gateway.polls) {
                gateway.state.poll_ended(poll.number);
            }
        }
        for _ in 0..SETTLED / LOOK_AGAIN {
            for _ in 0..LOOK_AGAIN {
                self.tick(false);
            }
            if self.unsettled().is_none() {
                return;
            }
        }
        let why = self.unsettled();
        assert!(why.is_none(), "seed {}: {}", self.seed, why.unwrap_or_default());
    }

    /// What has not come yet.
    fn unsettled(&self) -> Option<String> {
        let now = self.now;
        let view = View::read(&self.board.entries);
        for lane in LANES {
            let key = LaneKey::new(GROUP, lane);
            let record = view.records.get(&key).map(|kept| &kept.record);
            if record.is_some_and(|record| !record.topics.is_superset(&self.topics)) {
                return Some(format!("`{lane}` is not marked on {:?}", self.topics));
            }
            if view.step(&key) != Some(Step::Open) {
                return Some(format!("`{lane}` does not open"));
            }
            let mut with_clients =
                self.gateways.iter().filter(|one| one.state.live_clients(&key, now) > 0).peekable();
            let is_left = with_clients.peek().is_none();
            if let Some(waits) = with_clients.find(|one| !one.state.lane_may_receive(&key)) {
                return Some(format!("{} waits for `{lane}` for ever", waits.id));
            }
            let has_base = self.gateways.iter().any(|one| one.base_clients > 0);
            if is_left && has_base && !self.gateways.iter().any(|one| one.state.base_may_drain(&key, now)) {
                return Some(format!("no client takes the messages of `{lane}`"));
            }
        }
        None
    }
}

#[test]
fn many_fleets_hand_lanes_over_safely() {
    let mut opened = 0u64;
    for seed in 0..SEEDS {
        let mut fleet = Fleet::new(seed);
        for _ in 0..TICKS / 10 {
            fleet.tick(true);
        }
        fleet.settle();
        opened += u64::from(fleet.opened);
    }
    assert!(opened > SEEDS / 10 * 9, "only {opened} of {SEEDS} fleets ever opened a lane");
}

/// Fewer and longer: abandoned polls, silences and leases run out again and again.
#[test]
fn long_lives_as_well() {
    for seed in 0..15 {
        let mut fleet = Fleet::new(1_000_000 + seed);
        for _ in 0..TICKS {
            fleet.tick(true);
        }
        fleet.settle();
    }
}
