//! The judge beside a slow, obvious one: random rows, every second walked, no logarithm of a sum, nothing kept that could be
//! worked out again from the rows.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says where")]

use std::collections::{BTreeMap, BTreeSet};

use graygate_judge::blocks::{Counts, Key, Naming, Row, Series, Teller};
use graygate_judge::guards::{Limit, SlowLimit, Switch};
use graygate_judge::{Guards, Judge, Run, Tick, Verdict};

const ERRORS: [f64; 9] = [1.25, 1.5, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 50.0];
const LATENCY: [f64; 7] = [1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0];
const RATES: [f64; 7] = [1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];
/// Of each stratum, and their parts but for drawn errors.
const STRATA: [&str; 3] = ["drawn", "chosen", "inherited"];

fn edge(k: usize) -> f64 {
    1.2f64.powi(k as i32)
}

fn first_edge(ms: f64) -> Option<usize> {
    (0..61).find(|k| edge(*k) >= ms * (1.0 - 1e-9))
}

/// The e-value of all seconds' evidence, each second walked again for each start.
fn mixture(seconds: &[Vec<f64>]) -> f64 {
    let h: f64 = 1.0 / 3600.0;
    let count = seconds.first().map_or(1, Vec::len) as f64;
    let (mut start, mut late1, mut late2) = (0.0, 0.0, 0.0);
    for k in 0..count as usize {
        let (mut product, mut r1, mut r2) = (1.0, 0.0, 0.0);
        for (before, second) in seconds.iter().enumerate() {
            let (factor, t) = (second[k].exp(), (before + 1) as f64);
            product *= factor;
            r1 = (r1 + h * (1.0 - h).powf(t - 1.0)) * factor;
            r2 = (r2 + 1.0 / (t * (t + 1.0))) * factor;
        }
        start += product / count;
        late1 += r1 / count;
        late2 += r2 / count;
    }
    let t = seconds.len() as f64;
    0.9 * start + 0.05 * ((1.0 - h).powf(t) + late1) + 0.05 * (1.0 / (t + 1.0) + late2)
}

fn ratio((gray, release): (f64, f64), rho: f64, psi: f64, psi0: f64) -> f64 {
    if rho <= 0.0 || rho >= 1.0 {
        return 0.0;
    }
    let theta = |psi: f64| rho * psi / (1.0 - rho + rho * psi);
    gray * (theta(psi) / theta(psi0)).ln() + release * ((1.0 - theta(psi)) / (1.0 - theta(psi0))).ln()
}

fn rate(x: f64, n: f64, q: f64, s: f64) -> f64 {
    x * (q / s).ln() + (n - x) * ((1.0 - q) / (1.0 - s)).ln()
}

fn capped(logs: Vec<f64>) -> Vec<f64> {
    logs.into_iter().map(|log| log.min(2f64.ln())).collect()
}

fn sum(rows: &[&Row], of: impl Fn(&Counts) -> u64) -> f64 {
    rows.iter().map(|row| of(&row.counts)).sum::<u64>() as f64
}

/// One service's rows, second by second, from the run's first.
struct Slow<'r>(Vec<Vec<&'r Row>>);

/// A block: its place, its gray rows and its release rows.
type Block<'r> = ((String, String, u64), Vec<&'r Row>, Vec<&'r Row>);

fn is_gray(row: &Row) -> bool {
    &*row.key.series.version == "gray"
}

fn is_chosen(row: &Row) -> bool {
    row.key.series.rule.as_deref().is_some_and(|rule| rule.starts_with("plan.p.who-"))
}

fn is_inherited(row: &Row) -> bool {
    row.key.series.rule.as_deref() == Some("inherited")
}

fn is_drawn(row: &Row) -> bool {
    row.key.series.rule.as_deref() == Some("plan.p.share")
}

impl<'r> Slow<'r> {
    fn rows(&self, second: usize, stratum: &str) -> Vec<&'r Row> {
        let belongs = |row: &&&Row| match stratum {
            "drawn" => is_drawn(row),
            "inherited" => is_inherited(row),
            _ if is_gray(row) => is_chosen(row),
            _ => !is_chosen(row) && !is_inherited(row),
        };
        let sides = |row: &&&Row| is_gray(row) || &*row.key.series.version == "release";
        self.0[second].iter().filter(sides).filter(belongs).copied().collect()
    }

    fn blocks(&self, second: usize, stratum: &str) -> Vec<Block<'r>> {
        let mut blocks: BTreeMap<_, [Vec<&Row>; 2]> = BTreeMap::new();
        for row in self.rows(second, stratum) {
            let key = &row.key;
            let place = match stratum {
                "drawn" => (String::new(), key.series.route.to_string(), key.series.share.to_bits()),
                _ => (key.teller.proxy.to_string(), key.series.route.to_string(), 0),
            };
            blocks.entry(place).or_default()[usize::from(!is_gray(row))].push(row);
        }
        let both =
            |sides: &[Vec<&Row>; 2]| sides.iter().all(|rows| sum(rows, |counts| counts.requests) > 0.0);
        let blocks = blocks.into_iter().filter(|(_, sides)| stratum == "drawn" || both(sides));
        blocks.map(|(place, [gray, release])| (place, gray, release)).collect()
    }

    /// Rows of blocks in the order in which a client counts.
    fn in_order(&self, second: usize, stratum: &str) -> Vec<((String, String, u64), &'r Row)> {
        let blocks = self.blocks(second, stratum).into_iter();
        let mut rows: Vec<_> = blocks
            .flat_map(|(place, gray, release)| {
                gray.into_iter().chain(release).map(move |row| (place.clone(), row)).collect::<Vec<_>>()
            })
            .collect();
        rows.sort_by(|(_, a), (_, b)| {
            let order = |row: &Row| {
                let key = &row.key;
                let rule = key.series.rule.as_deref().unwrap_or("").to_owned();
                (
                    !is_gray(row),
                    key.series.share as u64,
                    key.teller.proxy.to_string(),
                    key.series.route.to_string(),
                    rule,
                )
            };
            order(a).cmp(&order(b))
        });
        rows
    }

    fn drawn_errors(&self) -> f64 {
        let first = (self.0.len() - 1) / 3600 * 3600;
        let mut seen = BTreeSet::new();
        let mut seconds = Vec::new();
        for second in first..self.0.len() {
            let mut logs = vec![0.0; 9];
            for (_, row) in self.in_order(second, "drawn") {
                let new =
                    row.counts.error_clients.iter().filter(|client| seen.insert(**client)).count() as f64;
                let events = if is_gray(row) { (new, 0.0) } else { (0.0, new) };
                logs.iter_mut()
                    .zip(ERRORS)
                    .for_each(|(log, psi)| *log += ratio(events, row.key.series.share / 100.0, psi, 1.0));
            }
            seconds.push(logs);
        }
        mixture(&seconds)
    }

    fn errors_beside(&self, stratum: &str) -> f64 {
        let mut failed: BTreeMap<u64, u64> = BTreeMap::new();
        let mut seconds = Vec::new();
        for second in 0..self.0.len() {
            let (mut met, mut now) = (BTreeSet::new(), Vec::new());
            let mut events: BTreeMap<_, (f64, f64)> = BTreeMap::new();
            for (place, row) in self.in_order(second, stratum) {
                for client in &row.counts.error_clients {
                    if !met.insert(*client) {
                        continue;
                    }
                    let events = events.entry(place.clone()).or_default();
                    let own = failed.get(client).copied().unwrap_or(0).max(1);
                    let others =
                        failed.iter().filter(|(other, times)| *other != client && **times >= own).count();
                    match is_gray(row) {
                        true if others >= 2 && failed.len() >= 3 => events.0 += 1.0,
                        false if failed.len() >= 3 => events.1 += 1.0,
                        _ => {}
                    }
                    if is_gray(row) {
                        now.push(*client);
                    }
                }
            }
            now.into_iter().for_each(|client| *failed.entry(client).or_default() += 1);
            let mut logs = vec![0.0; 9];
            for (place, gray, release) in self.blocks(second, stratum) {
                let part = |of: fn(&Counts) -> u64| {
                    let (gray, release) = (sum(&gray, of), sum(&release, of));
                    if gray + release > 0.0 { gray / (gray + release) } else { 0.0 }
                };
                let rho = part(|counts| counts.requests).max(part(|counts| counts.timed));
                let events = events.get(&place).copied().unwrap_or_default();
                logs.iter_mut().zip(ERRORS).for_each(|(log, psi)| *log += ratio(events, rho, 3.0 * psi, 3.0));
            }
            seconds.push(capped(logs));
        }
        mixture(&seconds)
    }

    /// The smallest edge that few enough of a route's earlier release requests were slower than.
    fn tau(&self, second: usize, route: &str, allowed: u64) -> Option<usize> {
        let earlier = self.0[..second].iter().flatten();
        let release: Vec<&Row> = earlier
            .filter(|row| &*row.key.series.version == "release" && &*row.key.series.route == route)
            .copied()
            .collect();
        let timed = sum(&release, |counts| counts.timed);
        let few =
            |k: &usize| sum(&release, |counts| counts.slower_than(*k)) * 1000.0 <= timed * allowed as f64;
        if timed < 200.0 { None } else { (0..61).find(few) }
    }

    fn latency(&self, stratum: &str) -> f64 {
        let tolerate = if stratum == "drawn" { 1.2 } else { 3.0 };
        let quantile = |allowed: u64| {
            let second = |second: usize| {
                let mut logs = vec![0.0; 7];
                for ((_, route, _), gray, release) in self.blocks(second, stratum) {
                    let Some(tau) = self.tau(second, &route, allowed) else { continue };
                    let Some(tolerated) = first_edge(tolerate * edge(tau)) else { continue };
                    let timed = (sum(&gray, |counts| counts.timed), sum(&release, |counts| counts.timed));
                    if timed.0 + timed.1 == 0.0 {
                        continue;
                    }
                    let rho = timed.0 / (timed.0 + timed.1);
                    let slow = (
                        sum(&gray, |counts| counts.slower_than(tolerated)),
                        sum(&release, |counts| counts.slower_than(tau)),
                    );
                    logs.iter_mut().zip(LATENCY).for_each(|(log, psi)| *log += ratio(slow, rho, psi, 1.0));
                }
                capped(logs)
            };
            mixture(&(0..self.0.len()).map(second).collect::<Vec<_>>())
        };
        [500, 100, 50, 10, 1].into_iter().map(quantile).sum::<f64>() / 5.0
    }

    fn limit(&self, s: f64, of: impl Fn(&[&Row]) -> (f64, f64)) -> f64 {
        let second = |rows: &Vec<&Row>| {
            let gray: Vec<&Row> = rows
                .iter()
                .filter(|row| is_gray(row) && (is_drawn(row) || is_chosen(row) || is_inherited(row)))
                .copied()
                .collect();
            let (x, n) = of(&gray);
            capped(
                RATES
                    .into_iter()
                    .filter(|ratio| ratio * s < 0.95)
                    .map(|ratio| rate(x, n, ratio * s, s))
                    .collect(),
            )
        };
        mixture(&self.0.iter().map(second).collect::<Vec<_>>())
    }

    /// Each guard's strata, and the e of the guard, for so many services.
    fn guards(&self) -> Vec<(&'static str, Vec<f64>, f64)> {
        let reckoning = ((self.0.len() - 1) / 3600 + 1) as f64;
        let drawn = if reckoning == 1.0 { 0.81 } else { 0.09 / (reckoning * (reckoning - 1.0)) };
        let errors = vec![self.drawn_errors(), self.errors_beside("chosen"), self.errors_beside("inherited")];
        let latency: Vec<f64> = STRATA.iter().map(|stratum| self.latency(stratum)).collect();
        let largest =
            |strata: &[f64], drawn: f64| (drawn * strata[0]).max(0.05 * strata[1]).max(0.05 * strata[2]);
        let rate = self.limit(0.05, |rows| (sum(rows, |c| c.errors), sum(rows, |c| c.requests)));
        let slow = first_edge(300.0).unwrap();
        let slow = self.limit(0.01, |rows| (sum(rows, |c| c.slower_than(slow)), sum(rows, |c| c.timed)));
        let fallback = self.limit(0.2, |rows| {
            let fallbacks = sum(rows, |c| c.fallbacks);
            (fallbacks, fallbacks + sum(rows, |c| c.requests))
        });
        vec![
            ("errors", errors.clone(), largest(&errors, drawn)),
            ("latency", latency.clone(), largest(&latency, 0.9)),
            ("error_rate", vec![], rate),
            ("latency_p99", vec![], slow),
            ("fallback", vec![], fallback),
        ]
    }
}

/// A generator like any other (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % count
    }

    fn row(&mut self, second: u64, service: &str) -> Row {
        let rules = [
            Some("plan.p.share"),
            Some("plan.p.share"),
            Some("plan.p.who-1"),
            Some("plan.p.who-2"),
            Some("hand"),
            None,
            Some("inherited"),
        ];
        let rule = rules[self.below(7) as usize];
        let share = if rule == Some("plan.p.share") { [5.0, 25.0][self.below(2) as usize] } else { 100.0 };
        let version = ["gray", "release", "gray", "release", "beta"][self.below(5) as usize];
        let requests = self.below(40);
        let timed = self.below(requests + 1);
        let mut slower: Vec<u64> = (0..self.below(40)).map(|_| self.below(timed + 1)).collect();
        slower.sort_unstable_by(|a, b| b.cmp(a));
        let clients: BTreeSet<u64> = (0..self.below(4).min(requests)).map(|_| self.below(12)).collect();
        Row {
            key: Key::new(
                second,
                Teller::new(["edge-1", "edge-2"][self.below(2) as usize], "b"),
                Series::new(Naming {
                    service,
                    route: ["portal", "search"][self.below(2) as usize],
                    rule,
                    share,
                    version,
                }),
            ),
            counts: Counts {
                requests,
                timed,
                errors: clients.len() as u64,
                fallbacks: self.below(20),
                error_clients: clients.into_iter().collect(),
                slower: slower.into(),
            },
            edges: None,
        }
    }
}

fn guards() -> Guards {
    Guards {
        error_rate: Switch::On(Limit::new(0.05, 0.005).unwrap()),
        latency_p99: Switch::On(SlowLimit::new(300.0, 0.005).unwrap()),
        ..Guards::default()
    }
}

/// So many seconds with rows, each some seconds after the one before, for these services.
fn compare(seed: u64, with_rows: usize, apart: u64, services: &[&str]) {
    let mut dice = Dice(seed);
    let mut judge = Judge::new(Run {
        plan: "p".into(),
        version: "gray".into(),
        services: services.iter().map(ToString::to_string).collect(),
        guards: guards(),
        start: None,
    });
    let (mut seconds, mut rows): (Vec<u64>, Vec<Vec<Row>>) = Default::default();
    let mut now = 0;
    for _ in 0..with_rows {
        let passed = if seconds.is_empty() { 1 } else { 1 + dice.below(apart) };
        now += passed;
        let mut keys = BTreeSet::new();
        let mut told: Vec<Row> = services
            .iter()
            .flat_map(|service| (0..12).map(|_| dice.row(now, service)).collect::<Vec<_>>())
            .collect();
        told.retain(|row| keys.insert(format!("{:?}", row.key)));
        judge.advance(Tick { passed, now: None, rows: told.clone() });
        seconds.push(now);
        rows.push(told);
    }
    let slow: Vec<_> = services.iter().map(|service| slow_guards(service, &seconds, &rows)).collect();
    for (place, told) in judge.guards().iter().enumerate() {
        let (name, strata, _) = &slow[0][place];
        assert_eq!(told.name().as_str(), *name);
        let largest = slow.iter().map(|guards| guards[place].2).fold(0.0, f64::max) / services.len() as f64;
        near(told.log10_e(), largest, name, seed);
        if let Some(fast) = told.log10_strata() {
            for (stratum, fast) in [fast.drawn, fast.chosen, fast.inherited].into_iter().enumerate() {
                let e = slow.iter().map(|guards| guards[place].1[stratum]).fold(0.0, f64::max);
                near(fast, e, STRATA[stratum], seed);
            }
        }
        assert_eq!(strata.is_empty(), told.log10_strata().is_none());
        let reached = largest.log10() >= told.log10_threshold();
        assert!(!reached || told.verdict() == Verdict::Regression);
    }
}

fn slow_guards(service: &str, seconds: &[u64], rows: &[Vec<Row>]) -> Vec<(&'static str, Vec<f64>, f64)> {
    let mut all = vec![Vec::new(); (seconds.last().unwrap() - seconds[0] + 1) as usize];
    for (second, rows) in seconds.iter().zip(rows) {
        all[(second - seconds[0]) as usize] =
            rows.iter().filter(|row| &*row.key.series.service == service).collect();
    }
    Slow(all).guards()
}

fn near(fast: f64, slow: f64, name: &str, seed: u64) {
    let slow = slow.log10();
    assert!(
        (fast - slow).abs() <= 1e-6 * (1.0 + slow.abs()),
        "{name} with seed {seed}: {fast} instead of {slow}"
    );
}

#[test]
fn both_judges_agree_on_random_rows() {
    for seed in 1..=12 {
        compare(seed, 25, 3, &["patient"]);
    }
    for seed in 13..=16 {
        compare(seed, 15, 2, &["patient", "orders"]);
    }
}

#[test]
fn both_judges_agree_over_hours_with_little_to_say() {
    compare(17, 12, 1500, &["patient"]);
}
