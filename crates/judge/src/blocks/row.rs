//! What did one proxy count in one second, and can it be true?
//!
//! Owns a row of `seconds` as `GET /observations` tells it, with the proxy's name beside it, read once into types. A line
//! that is no row cannot be read; a row whose figures contradict each other is impossible, which is another matter: it is
//! counted. Never: the order of rows, which [`super::Intake`] knows.

use std::fmt;

use serde::Deserialize;

use super::edges::Edges;
use super::figures::{ClientList, Count, CountList, Figure, FigureList};

/// What was counted, of whom, when.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: Key,
    pub counts: Counts,
    /// Edges other than the default ones.
    pub edges: Option<Box<Edges>>,
}

/// Who counted what: two rows of one run have different keys.
#[derive(Clone, Debug, PartialEq, PartialOrd)]
pub struct Key {
    pub second: u64,
    pub proxy: Box<str>,
    pub boot: Box<str>,
    pub service: Box<str>,
    pub route: Box<str>,
    /// What decided; none where no rule did.
    pub rule: Option<Box<str>>,
    /// What the rule gave the plan's version, in percent.
    pub share: f64,
    /// The decided version.
    pub version: Box<str>,
}

/// The figures of a row, none of which contradicts another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub requests: u64,
    pub timed: u64,
    pub errors: u64,
    pub fallbacks: u64,
    /// Hashes of the different clients with an error.
    pub error_clients: Box<[u64]>,
    /// How many of `timed` took longer than each edge; edges that nothing passed may be left out at the end.
    pub slower: Box<[u64]>,
}

impl Counts {
    /// Requests slower than an edge.
    pub fn slower_than(&self, edge: usize) -> u64 {
        self.slower.get(edge).copied().unwrap_or(0)
    }

    /// Whether the figures can be true together, for so many edges.
    pub fn possible(&self, edges: usize) -> bool {
        self.errors <= self.requests
            && self.timed <= self.requests
            && self.slower.len() <= edges
            && self.slower.first().is_none_or(|&slower| slower <= self.timed)
            && self.slower.is_sorted_by(|a, b| a >= b)
    }
}

/// Who told an entry.
#[derive(Clone, Copy, Debug)]
pub struct Teller<'a> {
    pub proxy: &'a str,
    pub boot: &'a str,
    /// Edges other than the default ones.
    pub edges: Option<&'a Edges>,
}

/// A line that is a row, whether or not it can be true.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    Row(Row),
    /// Its second, if that is one, and its service.
    Impossible {
        second: Option<u64>,
        service: Box<str>,
    },
}

/// Why a line is no row.
#[derive(Debug)]
pub struct Unreadable(serde_json::Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Unreadable {}

/// A row as it is written. Unknown fields are newer proxies'.
#[derive(Deserialize)]
struct Written {
    second: Count,
    proxy: Option<Box<str>>,
    boot: Option<Box<str>>,
    service: Box<str>,
    route: Box<str>,
    rule: Option<Box<str>>,
    #[serde(default)]
    share: Option<Figure>,
    version: Box<str>,
    requests: Count,
    #[serde(default = "Count::ZERO")]
    timed: Count,
    #[serde(default = "Count::ZERO")]
    undrawn: Count,
    #[serde(default = "Count::ZERO")]
    errors: Count,
    #[serde(default)]
    error_clients: Option<ClientList>,
    #[serde(default = "Count::ZERO")]
    sampled: Count,
    #[serde(default = "Count::ZERO")]
    fallbacks: Count,
    #[serde(default)]
    slower: Option<CountList>,
    #[serde(default)]
    edges_ms: Option<FigureList>,
}

/// A whole audience, in percent.
const EVERYBODY: f64 = 100.0;

impl Row {
    /// Reads a row from a line of JSON.
    pub fn read(line: &[u8]) -> Result<Reading, Unreadable> {
        let written: Written = serde_json::from_slice(line).map_err(Unreadable)?;
        if written.proxy.is_none() {
            return Err(Unreadable(serde::de::Error::missing_field("proxy")));
        }
        Ok(Row::of(written))
    }

    /// Reads an entry of a proxy's answer, which says beside its entries whose they are.
    pub fn read_entry(entry: &[u8], teller: &Teller<'_>) -> Result<Reading, Unreadable> {
        let mut written: Written = serde_json::from_slice(entry).map_err(Unreadable)?;
        written.proxy = Some(teller.proxy.into());
        written.boot = Some(teller.boot.into());
        let mut reading = Row::of(written);
        if let (Reading::Row(row), Some(edges)) = (&mut reading, teller.edges) {
            if !row.counts.possible(edges.len()) {
                let (second, service) = (Some(row.key.second), row.key.service.clone());
                return Ok(Reading::Impossible { second, service });
            }
            row.edges = Some(Box::new(edges.clone()));
        }
        Ok(reading)
    }

    fn of(written: Written) -> Reading {
        let (second, service) = (written.second.0, written.service.clone());
        match written.row() {
            Some(row) => Reading::Row(row),
            None => Reading::Impossible { second, service },
        }
    }
}

impl Written {
    fn row(self) -> Option<Row> {
        let share = self.share.map_or(Some(0.0), |share| share.0)?;
        let edges = self.edges_ms.map(|edges| edges.0.and_then(Edges::new));
        let edges = match edges {
            None => None,
            Some(edges) => Some(edges?),
        };
        // Kept only where they differ: a row of the usual edges costs nothing for naming them.
        let usual = Edges::usual();
        let edges = edges.filter(|edges| !edges.same_as(usual));
        self.undrawn.0?;
        self.sampled.0?;
        let counts = Counts {
            requests: self.requests.0?,
            timed: self.timed.0?,
            errors: self.errors.0?,
            fallbacks: self.fallbacks.0?,
            error_clients: self.error_clients.map_or(Some(Vec::new()), |clients| clients.0)?.into(),
            slower: self.slower.map_or(Some(Vec::new()), |slower| slower.0)?.into(),
        };
        if share > EVERYBODY || !counts.possible(edges.as_ref().unwrap_or(usual).len()) {
            return None;
        }
        let key = Key {
            second: self.second.0?,
            proxy: self.proxy.unwrap_or_default(),
            boot: self.boot.unwrap_or_default(),
            service: self.service,
            route: self.route,
            rule: self.rule,
            share,
            version: self.version,
        };
        Some(Row { key, counts, edges: edges.map(Box::new) })
    }
}
