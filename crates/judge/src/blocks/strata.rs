//! What is compared with what?
//!
//! Owns the three strata of a service: people whom the hash drew, people who were chosen by name, and versions that came
//! along with a call. They are never pooled, nor are seconds or routes: ramps, and another mix of routes, would then look
//! like regressions. A block is the smallest thing that is compared: a second of a route, on one proxy where the sides were
//! not drawn. Never: evidence.

use std::collections::{BTreeMap, HashMap};

use super::row::{Counts, Row};

/// The rule names that tell strata apart.
#[derive(Clone, Debug)]
pub struct Origins {
    version: Box<str>,
    share: String,
    who: String,
}

/// The version every user has without a reason for another one.
const RELEASE: &str = "release";
/// What stands as the rule where the version came along with the call.
const INHERITED: &str = "inherited";

/// Why a row's people got their version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Drawn,
    Chosen,
    Inherited,
    Other,
}

/// Which of the two versions a row counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Gray,
    Release,
}

/// One side's figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Total {
    pub requests: u64,
    pub timed: u64,
    pub errors: u64,
    pub fallbacks: u64,
    pub slower: Vec<u64>,
}

/// What is compared.
#[derive(Debug)]
pub struct Block<'r> {
    pub route: &'r str,
    /// The drawn share of gray, from 0 to 1; none where people were not drawn.
    pub drawn: Option<f64>,
    pub gray: Total,
    pub release: Total,
}

/// Clients with an error in one row, in the order in which a client counts.
#[derive(Debug)]
pub struct Failing<'r> {
    order: (Side, u64, &'r str, &'r str, Option<&'r str>),
    pub block: usize,
    pub clients: &'r [u64],
}

/// One stratum's blocks of a second.
#[derive(Debug, Default)]
pub struct Stratum<'r> {
    pub blocks: Vec<Block<'r>>,
    pub failing: Vec<Failing<'r>>,
}

/// What a service's rows say in one second.
#[derive(Debug, Default)]
pub struct Seen<'r> {
    pub drawn: Stratum<'r>,
    pub chosen: Stratum<'r>,
    pub inherited: Stratum<'r>,
    /// Gray of the plan's rules and inherited gray, all together.
    pub gray: Total,
    /// Release by route, whatever decided.
    pub release: HashMap<&'r str, Total>,
    /// All requests of either version, whatever decided.
    pub gray_requests: u64,
    pub release_requests: u64,
}

impl Origins {
    /// Of a plan that gives its audience `version`.
    pub fn new(plan: &str, version: &str) -> Self {
        Self {
            version: version.into(),
            share: format!("plan.{plan}.share"),
            who: format!("plan.{plan}.who-"),
        }
    }

    fn of(&self, row: &Row) -> Origin {
        match row.key.series.rule.as_deref() {
            Some(INHERITED) => Origin::Inherited,
            Some(rule) if rule == self.share => Origin::Drawn,
            Some(rule) if self.chose(rule) => Origin::Chosen,
            _ => Origin::Other,
        }
    }

    fn chose(&self, rule: &str) -> bool {
        let step = rule.strip_prefix(self.who.as_str()).unwrap_or_default();
        !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit())
    }

    fn side(&self, row: &Row) -> Option<Side> {
        match &*row.key.series.version {
            version if version == &*self.version => Some(Side::Gray),
            RELEASE => Some(Side::Release),
            _ => None,
        }
    }
}

impl<'r> Seen<'r> {
    /// Of the rows of one service that enter.
    pub fn new(rows: &[&'r Row], origins: &Origins) -> Self {
        let mut seen = Self::default();
        let sided: Vec<_> =
            rows.iter().filter_map(|row| Some((*row, origins.side(row)?, origins.of(row)))).collect();
        for &(row, side, origin) in &sided {
            seen.count(row, side, origin);
        }
        let of = |keep: fn(Origin, Side) -> bool| {
            sided
                .iter()
                .filter(move |(_, side, origin)| keep(*origin, *side))
                .map(|(row, side, _)| (*row, *side))
        };
        seen.drawn = Stratum::drawn(of(|origin, _| origin == Origin::Drawn));
        seen.chosen = Stratum::beside(of(|origin, side| match side {
            Side::Gray => origin == Origin::Chosen,
            Side::Release => !matches!(origin, Origin::Chosen | Origin::Inherited),
        }));
        seen.inherited = Stratum::beside(of(|origin, _| origin == Origin::Inherited));
        seen
    }

    fn count(&mut self, row: &'r Row, side: Side, origin: Origin) {
        let requests = row.counts.requests;
        match side {
            Side::Gray => {
                self.gray_requests = self.gray_requests.saturating_add(requests);
                if origin != Origin::Other {
                    self.gray.add(&row.counts);
                }
            }
            Side::Release => {
                self.release_requests = self.release_requests.saturating_add(requests);
                self.release.entry(&*row.key.series.route).or_default().add(&row.counts);
            }
        }
    }
}

impl<'r> Stratum<'r> {
    /// Over all proxies, by share: who is on which side was drawn, so one side alone says something.
    fn drawn(rows: impl Iterator<Item = (&'r Row, Side)>) -> Self {
        let mut stratum = Self::default();
        let mut places = BTreeMap::new();
        for (row, side) in rows {
            let place = (row.key.second, &*row.key.series.route, row.key.series.share.to_bits());
            let block = *places
                .entry(place)
                .or_insert_with(|| stratum.block(row, Some(row.key.series.share / 100.0)));
            stratum.add(block, row, side);
        }
        stratum.failing.sort_unstable_by_key(|failing| failing.order);
        stratum
    }

    /// On each proxy by itself, and only where both sides are.
    fn beside(rows: impl Iterator<Item = (&'r Row, Side)> + Clone) -> Self {
        let mut stratum = Self::default();
        let mut places = BTreeMap::new();
        let sides = |wanted: Side| {
            rows.clone()
                .filter(move |(row, side)| *side == wanted && row.counts.requests > 0)
                .map(|(row, _)| row)
        };
        let place = |row: &'r Row| (&*row.key.teller.proxy, row.key.second, &*row.key.series.route);
        let mut gray = BTreeMap::new();
        for row in sides(Side::Gray) {
            gray.entry(place(row)).or_insert_with(Vec::new).push(row);
        }
        for row in sides(Side::Release) {
            if let Some(rows) = gray.remove(&place(row)) {
                let block = stratum.block(row, None);
                places.insert(place(row), block);
                rows.into_iter().for_each(|row| stratum.add(block, row, Side::Gray));
            }
            if let Some(&block) = places.get(&place(row)) {
                stratum.add(block, row, Side::Release);
            }
        }
        stratum.failing.sort_unstable_by_key(|failing| failing.order);
        stratum
    }

    fn block(&mut self, row: &'r Row, drawn: Option<f64>) -> usize {
        let (gray, release) = (Total::default(), Total::default());
        self.blocks.push(Block { route: &row.key.series.route, drawn, gray, release });
        self.blocks.len() - 1
    }

    fn add(&mut self, block: usize, row: &'r Row, side: Side) {
        let Some(sides) = self.blocks.get_mut(block) else { return };
        match side {
            Side::Gray => sides.gray.add(&row.counts),
            Side::Release => sides.release.add(&row.counts),
        }
        if !row.counts.error_clients.is_empty() {
            let (series, proxy) = (&row.key.series, &*row.key.teller.proxy);
            let order = (side, series.share.to_bits(), proxy, &*series.route, series.rule.as_deref());
            self.failing.push(Failing { order, block, clients: &row.counts.error_clients });
        }
    }
}

impl Failing<'_> {
    pub fn side(&self) -> Side {
        self.order.0
    }
}

impl Total {
    pub fn add(&mut self, counts: &Counts) {
        self.requests = self.requests.saturating_add(counts.requests);
        self.timed = self.timed.saturating_add(counts.timed);
        self.errors = self.errors.saturating_add(counts.errors);
        self.fallbacks = self.fallbacks.saturating_add(counts.fallbacks);
        if self.slower.len() < counts.slower.len() {
            self.slower.resize(counts.slower.len(), 0);
        }
        for (sum, slower) in self.slower.iter_mut().zip(&counts.slower) {
            *sum = sum.saturating_add(*slower);
        }
    }

    pub fn slower_than(&self, edge: usize) -> u64 {
        self.slower.get(edge).copied().unwrap_or(0)
    }
}

impl Block<'_> {
    /// Gray's part of the people whose errors are counted. Warm-up is in `requests` alone, so the larger part is taken: an
    /// instance that warms up must not make gray look rarer than it is.
    pub fn error_part(&self) -> f64 {
        self.drawn.unwrap_or_else(|| part(self.gray.requests, self.release.requests).max(self.timed_part()))
    }

    /// Gray's part of the requests that were timed.
    pub fn timed_part(&self) -> f64 {
        part(self.gray.timed, self.release.timed)
    }

    pub fn has_both(&self) -> bool {
        self.gray.requests > 0 && self.release.requests > 0
    }
}

fn part(gray: u64, release: u64) -> f64 {
    match gray.saturating_add(release) {
        0 => 0.0,
        all => gray as f64 / all as f64,
    }
}
