//! Made-up people whose requests a plan's two versions answer, second by second, from a seed.
//!
//! Owns the ways in which healthy traffic looks ill: uneven people, heavy clients, waves, ramps, outages, stalls, people who
//! differ by nature. Every request is drawn by itself, so nothing here knows how it will be counted.

#![expect(clippy::indexing_slicing, reason = "tables of this file, walked by places of this file")]

use graygate_judge::blocks::{Counts, Key, Naming, Row, Series, Teller};

/// A generator of small, well-mixed numbers (SplitMix64): the same run for the same seed, on any machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Requests of a second; above fifty a rounded normal is as good.
    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }
}

/// What goes on, and what is wrong with gray, if anything.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    pub seconds: u64,
    /// Requests a second, of all people together.
    pub rate: f64,
    /// 0: each request is another client's.
    pub people: usize,
    /// Some ask a hundred times as often as others, one in a hundred fails half of the time, some are slow.
    pub uneven: bool,
    /// The part of all requests that one client without errors makes.
    pub heavy: f64,
    pub waves: bool,
    /// 1, 5, 20, 50 percent, a quarter of the time each; else 5 percent.
    pub ramp: bool,
    /// A minute in which both versions fail fifty times as often and take three times as long.
    pub outage: bool,
    /// Any instance stands still for two seconds, every ten minutes; gray has one of twenty.
    pub stalls: bool,
    /// 300 people are chosen, and are that many times as bad by nature, in errors and in latency. 0: no one is.
    pub pilots: f64,
    /// Services that see the same requests and the same errors.
    pub services: usize,
    /// Release's error share.
    pub errors: f64,
    pub fault: Fault,
}

/// What is wrong with gray.
#[derive(Clone, Copy)]
pub struct Fault {
    /// Seconds after the start.
    pub from: u64,
    /// Its error share, as a multiple.
    pub errors: f64,
    /// Its times, as a multiple.
    pub slower: f64,
    /// The part of requests that take a second longer.
    pub delayed: f64,
}

pub const HEALTHY: Fault = Fault { from: 0, errors: 1.0, slower: 1.0, delayed: 0.0 };

/// An hour of a thousand requests a second, each another client's, 5 percent drawn.
pub const PLAIN: Scenario = Scenario {
    name: "each request another client",
    seconds: 3600,
    rate: 1000.0,
    people: 0,
    uneven: false,
    heavy: 0.0,
    waves: false,
    ramp: false,
    outage: false,
    stalls: false,
    pilots: 0.0,
    services: 1,
    errors: 0.001,
    fault: HEALTHY,
};

/// `1.2^k` ms, as proxies count.
const EDGES: usize = 61;
/// Release's middle request takes 50 ms, its slowest in a hundred 322 ms.
const MIDDLE_MS: f64 = 50.0;
const SPREAD: f64 = 0.8;
/// How much the middle requests of people differ, where they are uneven.
const SPREAD_OF_PEOPLE: f64 = 0.2;
const PILOTS: usize = 300;
const INSTANCES: usize = 20;
const STALL_EVERY: f64 = 600.0;
const STALL_SECONDS: u64 = 2;

struct Person {
    hash: u64,
    /// Where in a hundred the hash put him.
    place: f64,
    pilot: bool,
    /// Multiples of what others have.
    fails: f64,
    slow: f64,
    /// The second he was timed in last, plus one.
    timed: u64,
}

/// The people of a run.
pub struct Traffic {
    scenario: Scenario,
    dice: Dice,
    people: Vec<Person>,
    /// Who asks next: a person, or another one from a place on (Walker's alias table).
    asks: Vec<(f64, usize)>,
    stalled_until: [u64; INSTANCES],
}

/// What one version answered in one second, of people with one reason to get it.
#[derive(Clone, Default)]
pub struct Answers {
    pub requests: u64,
    pub timed: u64,
    pub errors: u64,
    clients: Vec<u64>,
    pub slower: Vec<u64>,
}

/// A second of traffic.
pub struct Second {
    pub rows: Vec<Row>,
    pub gray: Answers,
    pub release: Answers,
}

impl Traffic {
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let people = (0..scenario.people).map(|index| Person::new(&scenario, index, &mut dice)).collect();
        let asks = alias(&frequencies(&scenario, &mut dice));
        Self { scenario, dice, people, asks, stalled_until: [0; INSTANCES] }
    }

    /// The drawn share of a second, in percent; none while people are chosen alone.
    fn share(&self, t: u64) -> f64 {
        if self.scenario.ramp {
            return [1.0, 5.0, 20.0, 50.0][(t * 4 / self.scenario.seconds).min(3) as usize];
        }
        5.0
    }

    /// The second `t` of the run, from 0.
    pub fn second(&mut self, t: u64) -> Second {
        let share = self.share(t);
        let wave = if self.scenario.waves {
            1.0 + 0.5 * (t as f64 / 600.0 * std::f64::consts::TAU).sin()
        } else {
            1.0
        };
        let outage =
            self.scenario.outage && (self.scenario.seconds / 2..self.scenario.seconds / 2 + 60).contains(&t);
        self.stall(t);
        // Drawn gray and release, chosen gray.
        let mut answers = [Answers::default(), Answers::default(), Answers::default()];
        for _ in 0..self.dice.poisson(self.scenario.rate * wave) {
            self.request(
                t,
                share,
                (if outage { 50.0 } else { 1.0 }, if outage { 3.0 } else { wave.powf(0.3) }),
                &mut answers,
            );
        }
        let [gray, release, chosen] = answers;
        let rows = (0..self.scenario.services).flat_map(|service| {
            [
                ("gray", "plan.p.share", share, &gray),
                ("release", "plan.p.share", share, &release),
                ("gray", "plan.p.who-1", 100.0, &chosen),
            ]
            .map(|(version, rule, share, answers)| answers.row(t, service, (version, rule, share)))
        });
        let rows = rows.filter(|row| row.counts.requests > 0).collect();
        Second { rows, gray: gray.and(&chosen), release }
    }

    /// One request, with multiples of errors and of time that every user has at the moment.
    fn request(&mut self, t: u64, share: f64, (worse, longer): (f64, f64), answers: &mut [Answers; 3]) {
        let scenario = self.scenario;
        let person = self.who();
        let (place, pilot, fails, slow, hash) = match person.and_then(|person| self.people.get(person)) {
            Some(person) => (person.place, person.pilot, person.fails, person.slow, person.hash),
            None => (self.dice.unit() * 100.0, false, 1.0, 1.0, self.dice.next()),
        };
        let gray = pilot || place < share;
        let fault = if gray && t >= scenario.fault.from { scenario.fault } else { HEALTHY };
        let answer = &mut answers[if pilot { 2 } else { usize::from(!gray) }];
        answer.requests += 1;
        if self.dice.unit() < scenario.errors * worse * fails * fault.errors {
            answer.errors += 1;
            if !answer.clients.contains(&hash) {
                answer.clients.push(hash);
            }
        }
        if let Some(person) = person.and_then(|person| self.people.get_mut(person)) {
            if person.timed == t + 1 {
                return;
            }
            person.timed = t + 1;
        }
        let mut ms = MIDDLE_MS * (SPREAD * self.dice.normal()).exp() * longer * slow * fault.slower;
        if fault.delayed > 0.0 && self.dice.unit() < fault.delayed {
            ms += 1000.0;
        }
        let instance = if gray { 0 } else { 1 + self.dice.below(INSTANCES - 1) };
        if self.stalled_until[instance] > t {
            ms += 2000.0;
        }
        answer.time(ms);
    }

    fn stall(&mut self, t: u64) {
        if self.scenario.stalls {
            for until in &mut self.stalled_until {
                if self.dice.unit() < 1.0 / STALL_EVERY {
                    *until = t + STALL_SECONDS;
                }
            }
        }
    }

    /// Who asks, where there are people.
    fn who(&mut self) -> Option<usize> {
        if self.asks.is_empty() {
            return None;
        }
        let person = self.dice.below(self.asks.len());
        let (keep, other) = self.asks[person];
        Some(if self.dice.unit() < keep { person } else { other })
    }
}

impl Person {
    fn new(scenario: &Scenario, index: usize, dice: &mut Dice) -> Self {
        let heavy = scenario.heavy > 0.0 && index == 0;
        let pilot = scenario.pilots > 0.0 && !heavy && index <= PILOTS;
        let uneven = scenario.uneven;
        let breaks = if uneven && dice.unit() < 0.01 { 0.5 / scenario.errors } else { 1.0 };
        let slow = if uneven { (SPREAD_OF_PEOPLE * dice.normal()).exp() } else { 1.0 };
        let nature = if pilot { scenario.pilots } else { 1.0 };
        Self {
            hash: dice.next(),
            place: dice.unit() * 100.0,
            pilot,
            fails: if heavy { 0.0 } else { breaks * nature },
            slow: slow * nature,
            timed: 0,
        }
    }
}

/// How often each person asks.
fn frequencies(scenario: &Scenario, dice: &mut Dice) -> Vec<f64> {
    let mut often: Vec<f64> = (0..scenario.people)
        .map(|_| if scenario.uneven { (1.0 - dice.unit()).powf(-0.8).min(100.0) } else { 1.0 })
        .collect();
    let others: f64 = often.iter().skip(1).sum();
    if let Some(first) = often.first_mut().filter(|_| scenario.heavy > 0.0) {
        *first = others * scenario.heavy / (1.0 - scenario.heavy);
    }
    often
}

/// Walker's table: each place is its own person's up to a part of it, and another's from there.
fn alias(weights: &[f64]) -> Vec<(f64, usize)> {
    let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
    let mut left: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
    let mut table: Vec<(f64, usize)> = (0..weights.len()).map(|person| (1.0, person)).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..weights.len()).partition(|person| left[*person] < 1.0);
    while let (Some(taker), Some(giver)) = (poor.pop(), rich.pop()) {
        table[taker] = (left[taker], giver);
        left[giver] -= 1.0 - left[taker];
        if left[giver] < 1.0 { poor.push(giver) } else { rich.push(giver) }
    }
    table
}

impl Answers {
    fn time(&mut self, ms: f64) {
        self.timed += 1;
        // Slower than the edges 1.2^0 to 1.2^(k - 1).
        let edges = (ms.ln() / 1.2f64.ln()).ceil().clamp(0.0, EDGES as f64) as usize;
        if self.slower.len() < edges {
            self.slower.resize(edges, 0);
        }
        self.slower[..edges].iter_mut().for_each(|slower| *slower += 1);
    }

    fn row(&self, t: u64, service: usize, (version, rule, share): (&str, &str, f64)) -> Row {
        let service = ["patient", "orders"][service];
        let naming = Naming { service, route: "portal", rule: Some(rule), share, version };
        let key = Key::new(1_764_125_000 + t, Teller::new("edge-1", "b"), Series::new(naming));
        let counts = Counts {
            requests: self.requests,
            timed: self.timed,
            errors: self.errors,
            fallbacks: 0,
            error_clients: self.clients.clone().into(),
            slower: self.slower.clone().into(),
        };
        Row { key, counts, edges: None }
    }

    pub fn and(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.timed += other.timed;
        self.errors += other.errors;
        if self.slower.len() < other.slower.len() {
            self.slower.resize(other.slower.len(), 0);
        }
        self.slower.iter_mut().zip(&other.slower).for_each(|(sum, slower)| *sum += slower);
        self
    }
}
