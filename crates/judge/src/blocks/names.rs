//! Who counts, and what is counted, second after second?
//!
//! Owns the names that many rows share: a leader holds a row of every proxy, plan and version at once, and each name stands
//! in memory once. Two rows are compared by hashes that are taken once as well. Never: figures.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// Different series of one reading that are known by name: a plan, route and version each, for many thousands of plans.
/// What comes beyond owns its names.
const MOST_SERIES: usize = 1 << 16;

/// A process that counts.
#[derive(Debug, PartialEq)]
pub struct Teller {
    pub proxy: Box<str>,
    pub boot: Box<str>,
    proxy_hash: u64,
    whole_hash: u64,
}

/// What it counts under one name each second.
#[derive(Debug, PartialEq)]
pub struct Series {
    pub service: Box<str>,
    pub route: Box<str>,
    /// What decided; none where no rule did.
    pub rule: Option<Box<str>>,
    /// What the rule gave the plan's version, in percent.
    pub share: f64,
    /// The decided version.
    pub version: Box<str>,
    place_hash: u64,
    whole_hash: u64,
}

/// The names of a series, as they are written.
#[derive(Clone, Copy, Debug)]
pub struct Naming<'a> {
    pub service: &'a str,
    pub route: &'a str,
    pub rule: Option<&'a str>,
    pub share: f64,
    pub version: &'a str,
}

/// Names that were read already.
#[derive(Debug, Default)]
pub struct Names {
    /// In the order of their coming, which is that of every proxy's rows.
    series: Vec<Arc<Series>>,
    places: HashMap<u64, usize>,
    last: usize,
    teller: Option<Arc<Teller>>,
}

impl Teller {
    pub fn new(proxy: &str, boot: &str) -> Self {
        let (proxy_hash, whole_hash) = (hash(&proxy), hash(&(proxy, boot)));
        Self { proxy: proxy.into(), boot: boot.into(), proxy_hash, whole_hash }
    }
}

impl Series {
    pub fn new(naming: Naming<'_>) -> Self {
        Self::hashed(naming, naming.whole_hash())
    }

    fn hashed(naming: Naming<'_>, whole_hash: u64) -> Self {
        Self {
            service: naming.service.into(),
            route: naming.route.into(),
            rule: naming.rule.map(Into::into),
            share: naming.share,
            version: naming.version.into(),
            place_hash: hash(&naming.place()),
            whole_hash,
        }
    }

    fn is(&self, naming: &Naming<'_>) -> bool {
        (&*self.service, &*self.route, self.rule.as_deref()) == naming.place()
            && self.share.to_bits() == naming.share.to_bits()
            && &*self.version == naming.version
    }
}

impl<'a> Naming<'a> {
    /// What is compared as a whole.
    fn place(&self) -> (&'a str, &'a str, Option<&'a str>) {
        (self.service, self.route, self.rule)
    }

    fn whole_hash(&self) -> u64 {
        hash(&(self.place(), self.share.to_bits(), self.version))
    }
}

impl Names {
    pub fn series(&mut self, naming: Naming<'_>) -> Arc<Series> {
        // Proxies count the same: after one row mostly comes the one that came after it before.
        let next = if self.last + 1 < self.series.len() { self.last + 1 } else { 0 };
        if let Some(known) = self.series.get(next).filter(|known| known.is(&naming)) {
            self.last = next;
            return known.clone();
        }
        let whole_hash = naming.whole_hash();
        let place = self.places.get(&whole_hash).copied();
        let known = place.and_then(|place| self.series.get(place)).filter(|known| known.is(&naming));
        if let (Some(known), Some(place)) = (known, place) {
            self.last = place;
            return known.clone();
        }
        let series = Arc::new(Series::hashed(naming, whole_hash));
        // Of two names with one hash the second owns its own.
        if self.series.len() < MOST_SERIES && place.is_none() {
            self.last = self.series.len();
            self.places.insert(whole_hash, self.last);
            self.series.push(series.clone());
        }
        series
    }

    /// A teller's lines mostly follow one another.
    pub fn teller(&mut self, proxy: &str, boot: &str) -> Arc<Teller> {
        let known = self.teller.as_ref().filter(|known| &*known.proxy == proxy && &*known.boot == boot);
        let teller = known.cloned().unwrap_or_else(|| Arc::new(Teller::new(proxy, boot)));
        self.teller = Some(teller.clone());
        teller
    }
}

/// Where a second is compared as a whole.
pub(super) fn stream_hash(teller: &Teller, series: &Series) -> u64 {
    hash(&(teller.proxy_hash, series.place_hash))
}

/// Everything that tells one row from another.
pub(super) fn row_hash(second: u64, teller: &Teller, series: &Series) -> u64 {
    hash(&(second, teller.whole_hash, series.whole_hash))
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_in_memory_once() {
        let naming = Naming { service: "s", route: "r", rule: None, share: 5.0, version: "gray" };
        let mut names = Names::default();
        let first = names.series(naming);
        assert!(Arc::ptr_eq(&first, &names.series(naming)));
        for other in [
            Naming { service: "t", ..naming },
            Naming { route: "s", ..naming },
            Naming { rule: Some("r"), ..naming },
            Naming { share: 25.0, ..naming },
            Naming { version: "release", ..naming },
        ] {
            assert_ne!(*names.series(other), *first, "{other:?}");
        }
        assert!(Arc::ptr_eq(&first, &names.series(naming)), "whatever came before");
        let teller = names.teller("p", "1");
        assert!(Arc::ptr_eq(&teller, &names.teller("p", "1")));
        assert_ne!(names.teller("p", "2"), teller);
    }

    #[test]
    fn what_one_number_stands_for_is_known_by_name_all_the_same() {
        let naming = |service| Naming { service, route: "r", rule: None, share: 5.0, version: "gray" };
        let (one, two) = (naming("s"), naming("t"));
        let mut names = Names::default();
        names.series(one);
        names.places.insert(two.whole_hash(), 0);
        assert_eq!(&*names.series(two).service, "t");
        assert_eq!(&*names.series(one).service, "s");
    }
}
