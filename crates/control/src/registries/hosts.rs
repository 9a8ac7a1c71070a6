//! Addresses of entries that registries know by the name of a host.
//!
//! Owns: looking names up with the machine's resolver, for a while each, and keeping the last answer where a later one
//! fails. Never: connects.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::entry::Answer;
use super::mapping::Hosts;

/// How long an address counts.
const LIFE: Duration = Duration::from_secs(30);
/// All lookups of one answer together: a resolver that hangs must not keep back what needs none.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);
/// Most names that are kept.
const NAME_LIMIT: usize = 10_000;

#[derive(Default)]
pub struct Resolver {
    known: BTreeMap<String, (IpAddr, Instant)>,
}

impl Resolver {
    /// The addresses of an answer's hosts, as far as they are known.
    pub async fn hosts(&mut self, answer: &Answer) -> Hosts {
        let is_name = |host: &str| host.trim_matches(['[', ']']).parse::<IpAddr>().is_err();
        let names = answer.entries.iter().map(|entry| entry.host.as_str()).filter(|host| is_name(host));
        let names: Vec<&str> = names.collect();
        let _ = timeout(LOOKUP_LIMIT, self.look_up(&names)).await;
        let known = |name: &&str| Some(((*name).to_owned(), self.known.get(*name)?.0));
        names.iter().filter_map(known).collect()
    }

    async fn look_up(&mut self, names: &[&str]) {
        for name in names {
            let now = Instant::now();
            if self.known.get(*name).is_some_and(|(_, at)| now < *at + LIFE) {
                continue;
            }
            let Ok(found) = tokio::net::lookup_host((*name, 0)).await else { continue };
            let mut addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
            // The same answer in another order is no change.
            addresses.sort();
            if let Some(address) = addresses.first()
                && (self.known.len() < NAME_LIMIT || self.known.contains_key(*name))
            {
                self.known.insert((*name).to_owned(), (*address, now));
            }
        }
    }
}
