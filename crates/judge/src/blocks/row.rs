//! What did one proxy count in one second, and can it be true?
//!
//! Owns a row of `seconds` as `GET /observations` tells it, with the proxy's name beside it, read once into types. A line
//! that is no row cannot be read; a row whose figures contradict each other is impossible, which is another matter: it is
//! counted. Never: the order of rows, which [`super::Intake`] knows.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Error;

use super::edges::Edges;
use super::figures::{ClientList, Count, CountList, Figure, FigureList};
use super::names::{Names, Naming, Series, Teller};

/// What was counted, of whom, when.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub key: Key,
    pub counts: Counts,
    /// Edges other than the default ones.
    pub edges: Option<Arc<Edges>>,
}

/// Who counted what: two rows of one run have different keys. A leader holds a row of every proxy, plan and version at once,
/// so a row owns none of its names.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub second: u64,
    pub teller: Arc<Teller>,
    pub series: Arc<Series>,
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

impl Key {
    pub fn new(second: u64, teller: Teller, series: Series) -> Self {
        Self { second, teller: Arc::new(teller), series: Arc::new(series) }
    }
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
pub struct Unreadable(Error);

impl fmt::Display for Unreadable {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl std::error::Error for Unreadable {}

/// A name, borrowed where it has no escapes.
#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// A row as it is written. Unknown fields are newer proxies'.
#[derive(Deserialize)]
pub struct Entry<'a> {
    second: Count,
    #[serde(borrow)]
    proxy: Option<Text<'a>>,
    #[serde(borrow)]
    boot: Option<Text<'a>>,
    #[serde(borrow)]
    service: Text<'a>,
    #[serde(borrow)]
    route: Text<'a>,
    #[serde(borrow)]
    rule: Option<Text<'a>>,
    #[serde(default)]
    share: Option<Figure>,
    #[serde(borrow)]
    version: Text<'a>,
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
const ALL: f64 = 100.0;

impl Row {
    /// Reads a row from a line of JSON.
    pub fn read(line: &[u8]) -> Result<Reading, Unreadable> {
        Row::read_with(line, &mut Names::default())
    }

    /// The same, for lines that share their names.
    pub fn read_with(line: &[u8], names: &mut Names) -> Result<Reading, Unreadable> {
        let entry: Entry<'_> = serde_json::from_slice(line).map_err(Unreadable)?;
        let Some(proxy) = &entry.proxy else {
            return Err(Unreadable(serde::de::Error::missing_field("proxy")));
        };
        let boot = entry.boot.as_ref().map_or("", |boot| &boot.0);
        let teller = names.teller(&proxy.0, boot);
        Ok(entry.reading(teller, None, names))
    }
}

impl Entry<'_> {
    /// Reads an entry that stands by itself.
    pub fn read(text: &str) -> Result<Entry<'_>, Unreadable> {
        serde_json::from_str(text).map_err(Unreadable)
    }

    /// What an entry of a proxy's answer says; the answer says beside its entries whose they are, and which edges other than
    /// the usual ones they were counted against.
    pub fn told(self, teller: &Arc<Teller>, edges: Option<&Arc<Edges>>, names: &mut Names) -> Reading {
        self.reading(teller.clone(), edges, names)
    }

    fn reading(self, teller: Arc<Teller>, edges: Option<&Arc<Edges>>, names: &mut Names) -> Reading {
        let (second, service) = (self.second.0, self.service.0.clone());
        self.row(teller, edges, names)
            .map_or_else(|| Reading::Impossible { second, service: service.into() }, Reading::Row)
    }

    fn row(self, teller: Arc<Teller>, told: Option<&Arc<Edges>>, names: &mut Names) -> Option<Row> {
        let share = self.share.map_or(Some(0.0), |share| share.0)?;
        let own = match self.edges_ms {
            None => None,
            Some(edges) => Some(Edges::new(edges.0?)?),
        };
        // Kept only where they differ: a row of the usual edges costs nothing for naming them.
        let usual = Edges::usual();
        let own = own.filter(|edges| !edges.same_as(usual));
        self.undrawn.0?;
        self.sampled.0?;
        let counts = Counts {
            requests: self.requests.0?,
            timed: self.timed.0?,
            errors: self.errors.0?,
            fallbacks: self.fallbacks.0?,
            error_clients: self.error_clients.map_or(Some(Vec::new()), |clients| clients.0)?.into(),
            slower: self.slower.map_or_else(|| Some(Default::default()), |slower| slower.0)?,
        };
        let is_possible = |edges: Option<&Edges>| counts.possible(edges.unwrap_or(usual).len());
        if share > ALL || !is_possible(own.as_ref()) || !told.is_none_or(|told| is_possible(Some(told))) {
            return None;
        }
        let rule = self.rule.as_ref().map(|rule| &*rule.0);
        let naming =
            Naming { service: &self.service.0, route: &self.route.0, rule, share, version: &self.version.0 };
        let key = Key { second: self.second.0?, teller, series: names.series(naming) };
        let edges = told.cloned().or_else(|| own.map(Arc::new));
        Some(Row { key, counts, edges })
    }
}
