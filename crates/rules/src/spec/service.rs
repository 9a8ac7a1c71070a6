//! A service as one generation wants it: versions, instances, checks, after aliases and fallbacks were resolved.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::transport::Transport;
use crate::vocab::{Label, Name, Share};

/// One service as one generation wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServiceSpec {
    pub name: Name,
    /// Every word rules may say; one of them is `release`.
    pub versions: Vec<VersionSpec>,
    pub instances: Vec<InstanceSpec>,
    pub balance: Balance,
    /// Active checks; `None`: every instance counts as healthy.
    pub health: Option<HealthSpec>,
    /// Passive ejection; `None`: off.
    pub outlier: Option<OutlierSpec>,
    /// Requests in flight to all instances of the service together; `None`: no limit.
    pub max_connections: Option<usize>,
    /// Indices into [`ServiceSpec::versions`] of those that take no requests but pinned ones, as if they had no instance.
    pub closed: Vec<usize>,
    /// The tag that reserves an instance for pinned requests.
    pub pin_tag: Option<Label>,
}

impl ServiceSpec {
    /// Where a request without a pin is served: the version's chain without closed ones; of a closed version `release`
    /// alone, also where its fallback says none.
    pub fn open_chain(&self, version: usize) -> Vec<usize> {
        let is_open = |version: &usize| !self.closed.contains(version);
        let release = || self.versions.iter().position(|one| one.word.as_str() == Name::RELEASE);
        if !is_open(&version) {
            return release().into_iter().collect();
        }
        let chain = self.versions.get(version).map_or(&[][..], |one| &one.chain);
        chain.iter().copied().filter(is_open).collect()
    }

    /// Whether any instance stands in the chain of that version, in whatever state.
    pub fn has_instances(&self, version: usize) -> bool {
        let chain = self.open_chain(version);
        let mut labels = chain.iter().filter_map(|link| self.versions.get(*link)).map(|link| &link.label);
        labels.any(|label| self.instances.iter().any(|instance| instance.version == *label))
    }
}

/// A version a rule can decide for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionSpec {
    /// What rules say.
    pub word: Name,
    /// The label instances carry, after aliases.
    pub label: Name,
    /// Indices into [`ServiceSpec::versions`]: itself first, then its fallbacks in order.
    pub chain: Vec<usize>,
}

/// One address of a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InstanceSpec {
    pub address: SocketAddr,
    /// Its version label.
    pub version: Name,
    /// Its share of the pool's requests, relative to the others; 0: no requests.
    pub weight: u32,
    pub tags: BTreeMap<Label, Label>,
    /// No new requests; running ones finish.
    pub draining: bool,
}

/// How a pool chooses among its available instances.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Balance {
    /// Smooth weighted round robin: no instance is chosen in bursts.
    #[default]
    RoundRobin,
    /// The better of two candidates by requests in flight, relative to weight.
    LeastRequests,
    /// By the request's key in Maglev's table, by weight; round robin where there is no key.
    Hash,
}

/// How instances are checked from the outside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthSpec {
    pub check: Check,
    /// From one check's end to the next one's start, before jitter.
    pub interval: Duration,
    /// For one whole check: connecting, TLS, answer.
    pub timeout: Duration,
    /// Good answers in a row that make an unhealthy instance healthy; 0 counts as 1.
    pub healthy_after: u32,
    /// Bad answers in a row that make a healthy instance unhealthy; 0 counts as 1.
    pub unhealthy_after: u32,
    /// How the service's own connections speak; a check speaks the same way.
    pub transport: Transport,
}

/// What is asked in a check.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Check {
    /// A GET whose status has to be one of `statuses`.
    Http {
        /// Origin form, query included.
        path: String,
        /// The Host; `None`: the instance's address.
        host: Option<String>,
        statuses: Vec<u16>,
        headers: Vec<(String, String)>,
    },
    /// The connection is accepted (and the TLS handshake succeeds).
    Tcp,
    /// `grpc.health.v1.Health/Check` of this service answers SERVING; empty: the whole server.
    Grpc { service: String },
}

/// When an instance is taken out because of the answers it gives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutlierSpec {
    /// Errors in a row that eject; 0 counts as 1.
    pub consecutive_errors: u32,
    /// The first ejection's length; the n-th lasts n times as long, up to the limit of the pools.
    pub eject_for: Duration,
    /// Of a version's instances, how many may be out at once. Zero: none is ever ejected.
    pub max_ejected: Share,
}

impl Default for OutlierSpec {
    /// The contract's default: 5 errors, 30 s, half of the pool.
    fn default() -> Self {
        OutlierSpec {
            consecutive_errors: 5,
            eject_for: Duration::from_secs(30),
            max_ejected: Share::parse("50").unwrap_or(Share::ALL),
        }
    }
}
