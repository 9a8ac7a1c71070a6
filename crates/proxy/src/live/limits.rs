//! The limits that apply on each route of one generation.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::FixedState;

use crate::limits::{Limiter, Limits, Refusal};
use crate::metrics::Metrics;
use graygate_rules::decide::first_value;
use graygate_rules::decide::{
    RouteId, RoutePlan, Scratch, Seen, ServicePlan, ServiceTarget, Snapshot, Target,
};
use graygate_rules::vocab::{DocumentId, Kind, Limit, Name};
use graygate_telemetry::Counter;

/// Of the routes on which anything is limited; all others are asked for nothing.
pub type RouteLimits = HashMap<RouteId, RouteLimit, FixedState>;

/// What a request of one route has to pass: the route's own limit, and its service's.
pub struct RouteLimit {
    route: Option<Limiter>,
    service: Option<Arc<Limiter>>,
    limited: Arc<Counter>,
}

impl RouteLimit {
    /// Whether a request passes at this moment. What its route refuses does not count for its service.
    pub fn pass(&self, seen: Seen<'_>, scratch: &mut Scratch, now: Instant) -> Result<(), Refusal> {
        let limiters = self.route.iter().chain(self.service.as_deref());
        for limiter in limiters {
            let passed = match limiter.by() {
                None => limiter.pass(None, now),
                Some(by) => {
                    first_value(by, seen, scratch, |key| limiter.pass(Some(key), now)).unwrap_or(Ok(()))
                }
            };
            passed.inspect_err(|_| self.limited.increment())?;
        }
        Ok(())
    }
}

pub(super) fn resolve(snapshot: &Snapshot, limits: &Limits, metrics: &Metrics) -> RouteLimits {
    let limiter = |kind, name: &Name, limit: &Limit| {
        DocumentId::of(kind, name.as_str()).map(|document| limits.limiter(&document, limit))
    };
    let of_service =
        |service: &ServicePlan| limiter(Kind::Service, &service.name, service.limit.as_ref()?).map(Arc::new);
    let services: Vec<Option<Arc<Limiter>>> =
        snapshot.services.iter().map(|service| of_service(service)).collect();
    let mut resolved = RouteLimits::default();
    for (id, route) in snapshot.routes.routes.iter().enumerate() {
        let at = service_of(route);
        let service = at.and_then(|at| services.get(at)?.clone());
        let own = route.limit.as_ref().and_then(|limit| limiter(Kind::Route, &route.name, limit));
        if own.is_none() && service.is_none() {
            continue;
        }
        let name = at.and_then(|at| snapshot.service(at)).map_or("", |service| service.name.as_str());
        let limited = metrics.limited(name, route.name.as_str());
        resolved.insert(id, RouteLimit { route: own, service, limited });
    }
    resolved
}

fn service_of(route: &RoutePlan) -> Option<usize> {
    match &route.target {
        Target::Service { service: ServiceTarget::Known(id), .. } => Some(*id),
        Target::Service { .. } | Target::Redirect(_) => None,
    }
}
