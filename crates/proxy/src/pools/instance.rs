//! One address of a service, as one generation sees it.
//!
//! Answers: where is it, what is its label, how is it doing, and how many requests does it carry?
//! Owns: the generation's words about an instance (weight, tags, draining) beside the lasting state.
//! Never: chooses; that is `pool`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::candidate::scatter;
use super::vitals::{EJECTION_STANDS, Standing, Vitals};
use graygate_rules::spec::{InstanceSpec, OutlierSpec};
use graygate_rules::vocab::{InstanceState, Label, Name, StatusClass, TryOutcome};

/// An instance of a service. Two generations' instances of one (service, version, address) share
/// their state.
pub struct Instance {
    pub(super) spec: InstanceSpec,
    pub(super) vitals: Arc<Vitals>,
    pub(super) ejection_group: Arc<EjectionGroup>,
    /// What hashing knows it by: made from the address alone, so that every proxy hashes alike.
    pub(super) key: u64,
    /// Its address as it is written.
    address: Box<str>,
}

/// The instances of one version of a service, as far as ejection goes: a group that must not be emptied.
pub(super) struct EjectionGroup {
    pub service: Name,
    pub outlier: Option<OutlierSpec>,
    /// Those that take requests; the others are no loss and no help.
    pub residents: Vec<Arc<Vitals>>,
    /// Whether a sole resident may be ejected: only where no chain ends at this version.
    pub sole_may_go: bool,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.spec.version, self.spec.address)
    }
}

impl Instance {
    pub(super) fn of(
        spec: InstanceSpec,
        vitals: Arc<Vitals>,
        ejection_group: Arc<EjectionGroup>,
    ) -> Instance {
        let address = spec.address.to_string().into();
        Instance { key: address_key(spec.address), spec, vitals, ejection_group, address }
    }

    pub fn address(&self) -> SocketAddr {
        self.spec.address
    }

    /// The same, written: each of its requests that is logged says it.
    pub fn written_address(&self) -> &str {
        &self.address
    }

    /// Its version label.
    pub fn version(&self) -> &Name {
        &self.spec.version
    }

    pub fn weight(&self) -> u32 {
        self.spec.weight
    }

    pub fn tags(&self) -> &BTreeMap<Label, Label> {
        &self.spec.tags
    }

    /// Whether its first request was so long ago.
    pub fn has_served_for(&self, duration: Duration, now: Instant) -> bool {
        self.vitals.served_for(now).is_some_and(|served| served >= duration)
    }

    /// Requests it carries now, of all generations.
    pub fn in_flight(&self) -> usize {
        self.vitals.in_flight.load(Ordering::Relaxed)
    }

    /// The word for `/status` and metrics. An instance that was never checked counts as unhealthy.
    pub fn state(&self, now: Instant) -> InstanceState {
        match self.vitals.outlook(now).standing {
            _ if self.spec.draining => InstanceState::Draining,
            Standing::Healthy => InstanceState::Healthy,
            Standing::Unknown | Standing::Unhealthy => InstanceState::Unhealthy,
            Standing::Ejected => InstanceState::Ejected,
        }
    }

    /// Counts how a try ended towards passive ejection. `status` belongs to
    /// [`TryOutcome::Response`] and is ignored with any other outcome.
    ///
    /// Errors are 5xx answers, failed or broken connections, timeouts and answers that cannot be understood.
    /// Any other answer breaks the row; a client that left says nothing about the instance, and neither does a
    /// connection that was kept too long. True when this error ejected the instance.
    pub fn report(&self, outcome: TryOutcome, status: Option<StatusClass>, now: Instant) -> bool {
        let Some(outlier) = &self.ejection_group.outlier else {
            return false;
        };
        let bad = match outcome {
            TryOutcome::Response => status == Some(StatusClass::ServerError),
            TryOutcome::ConnectFailed
            | TryOutcome::ConnectTimeout
            | TryOutcome::Reset
            | TryOutcome::Timeout
            | TryOutcome::RequestTimeout
            | TryOutcome::Invalid => true,
            TryOutcome::ClientGone | TryOutcome::Stale => return false,
        };
        if !bad {
            self.vitals.good();
            return false;
        }
        let is_ejected = self.vitals.bad(outlier) && self.ejection_group.eject(&self.vitals, now);
        if is_ejected {
            let (service, version, address) = (&self.ejection_group.service, self.version(), self.address());
            tracing::warn!(%service, %version, %address, "instance is ejected");
        }
        is_ejected
    }

    /// Whether it takes new requests at all, whatever its health.
    pub(super) fn takes_requests(&self) -> bool {
        self.spec.weight > 0 && !self.spec.draining
    }
}

fn address_key(address: SocketAddr) -> u64 {
    let ip = match address.ip() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    let parts = [(ip >> 64) as u64, ip as u64, u64::from(address.port())];
    parts.iter().fold(0, |key, part| scatter(key ^ part))
}

impl EjectionGroup {
    pub fn is_like(&self, other: &EjectionGroup) -> bool {
        let same = |(a, b): (&Arc<Vitals>, &Arc<Vitals>)| Arc::ptr_eq(a, b);
        self.outlier == other.outlier
            && self.sole_may_go == other.sole_may_go
            && self.residents.len() == other.residents.len()
            && self.residents.iter().zip(&other.residents).all(same)
    }

    /// How many residents may be out at once.
    fn limit(&self, outlier: &OutlierSpec) -> usize {
        match self.residents.len() {
            _ if outlier.max_ejected.hundredths() == 0 => 0,
            // A gray version of one instance that fails every request is better left: its users
            // then get the next version of their chain. Where a chain ends, the pool fails open
            // anyway, and saying `ejected` would only hide that it still serves.
            1 => usize::from(self.sole_may_go),
            residents => outlier.max_ejected.of(residents).max(1),
        }
    }

    /// Takes a resident out; true when it went.
    ///
    /// Are as many out as may be, the longest ejected comes back for it: that one may have recovered long ago, and if
    /// it has not, it returns with little of its weight, where the newest failure would go on with all of its own.
    fn eject(&self, vitals: &Arc<Vitals>, now: Instant) -> bool {
        let Some(outlier) = &self.outlier else {
            return false;
        };
        let _one_at_a_time = vitals.service.ejecting.lock();
        let limit = self.limit(outlier);
        let is_resident = self.residents.iter().any(|one| Arc::ptr_eq(one, vitals));
        if limit == 0 || !is_resident || vitals.ejected_at(now).is_some() {
            return false;
        }
        let out = || self.residents.iter().filter_map(|one| Some((one.ejected_at(now)?, one)));
        if out().count() >= limit {
            let stood = |(since, _): &(Instant, _)| now.saturating_duration_since(*since) >= EJECTION_STANDS;
            let Some((_, oldest)) = out().min_by_key(|(since, _)| *since).filter(stood) else {
                return false;
            };
            oldest.take_back(now);
        }
        vitals.eject(outlier, now)
    }
}

/// One request's place at an instance, from the pick until it is dropped.
///
/// Drop it before the next pick of the same request: while it lives it counts, also towards
/// `max_connections`.
#[derive(Debug)]
pub struct InFlight {
    instance: Arc<Instance>,
    /// Whether it counts for the service: only services with a limit pay for a counter that every
    /// request of every thread touches.
    is_limited: bool,
}

impl InFlight {
    /// Takes a place, unless the service has `limit` requests in flight already.
    pub(super) fn take(instance: &Arc<Instance>, limit: Option<usize>) -> Option<InFlight> {
        if let Some(limit) = limit {
            let limited = &instance.vitals.service.limited_in_flight;
            if limited.fetch_add(1, Ordering::Relaxed) >= limit {
                limited.fetch_sub(1, Ordering::Relaxed);
                return None;
            }
        }
        instance.vitals.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { instance: instance.clone(), is_limited: limit.is_some() })
    }

    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let vitals = &self.instance.vitals;
        vitals.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_limited {
            let limited = &vitals.service.limited_in_flight;
            limited.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
