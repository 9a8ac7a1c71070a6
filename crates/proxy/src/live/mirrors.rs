//! Where copies go in one generation: the mirrors of routes and rules, with the pools they lead to.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::metrics::Metrics;
use crate::mirror::{Mirrors, Origin, Shadow, ShadowPool, Told};
use crate::pools::{PeerTemplate, ServicePools};
use graygate_rules::decide::{
    Choice, RouteId, RuleId, ServiceId, ServicePlan, ServiceTarget, Snapshot, Target,
};
use graygate_rules::vocab::{DocumentId, Kind, Mirror, Name};

/// By what decided; a mirror that leads nowhere has none.
#[derive(Default)]
pub struct Shadows {
    /// Shared with the generation before where nothing but rules has changed.
    routes: Arc<HashMap<RouteId, Arc<Shadow>, FixedState>>,
    rules: HashMap<(ServiceId, RuleId), Arc<Shadow>, FixedState>,
}

/// How the instances of a service are reached.
pub(super) struct Reach {
    pub pools: Arc<ServicePools>,
    pub peers: Arc<PeerTemplate>,
}

/// What a generation is resolved with.
pub(super) struct Resolving<'r> {
    pub snapshot: &'r Snapshot,
    /// In the order of the snapshot's services.
    pub services: &'r [Reach],
    pub mirrors: &'r Mirrors,
    pub metrics: &'r Metrics,
}

impl Shadows {
    /// Where a copy of the request goes: as its rule says, or else as its route does.
    pub fn of(&self, route: RouteId, choice: &Choice) -> Option<&Arc<Shadow>> {
        let of_rule = choice.rule.and_then(|rule| self.rules.get(&(choice.service, rule)));
        of_rule.or_else(|| self.routes.get(&route))
    }

    /// All of them, by what the operator wrote them in.
    pub fn iter(&self) -> impl Iterator<Item = &Shadow> {
        self.routes.values().chain(self.rules.values()).map(|shadow| &**shadow)
    }
}

impl Resolving<'_> {
    /// `before` has the same routes and services, as far as there is one.
    pub fn shadows(&self, before: Option<&Shadows>) -> Shadows {
        let routes = before.map_or_else(|| Arc::new(self.of_routes()), |before| before.routes.clone());
        Shadows { routes, rules: self.of_rules() }
    }

    fn of_routes(&self) -> HashMap<RouteId, Arc<Shadow>, FixedState> {
        let mut shadows = HashMap::default();
        for (id, route) in self.snapshot.routes.routes.iter().enumerate() {
            let Some(mirror) = &route.mirror else { continue };
            let Target::Service { service: ServiceTarget::Known(service), .. } = route.target else {
                continue;
            };
            if let Some(shadow) = self.shadow((Kind::Route, &route.name), service, mirror) {
                shadows.insert(id, shadow);
            }
        }
        shadows
    }

    fn of_rules(&self) -> HashMap<(ServiceId, RuleId), Arc<Shadow>, FixedState> {
        let mut shadows = HashMap::default();
        for (service, plan) in self.snapshot.services.iter().enumerate() {
            for id in &plan.mirrors {
                let Some(rule) = plan.rules.get(*id) else { continue };
                let Some(mirror) = &rule.mirror else { continue };
                if let Some(shadow) = self.shadow((Kind::Rule, &rule.name), service, mirror) {
                    shadows.insert((service, *id), shadow);
                }
            }
        }
        shadows
    }

    fn shadow(
        &self,
        (kind, name): (Kind, &Name),
        service: ServiceId,
        mirror: &Mirror,
    ) -> Option<Arc<Shadow>> {
        let document = DocumentId::of(kind, name.as_str())?;
        let origin = Origin { document, service: self.snapshot.service(service)?.name.clone() };
        let at = self.snapshot.services.iter().position(|service| service.name == mirror.service)?;
        let (plan, reach) = (self.snapshot.service(at)?, self.services.get(at)?);
        let pool = ShadowPool {
            pools: reach.pools.clone(),
            peers: reach.peers.clone(),
            version: plan.find_version(mirror.version.as_str()),
            timeouts: plan.timeouts,
        };
        let told = told(plan, &mirror.version)?;
        Some(Arc::new(self.mirrors.shadow(origin, mirror, (pool, told), self.metrics)))
    }
}

fn told(plan: &ServicePlan, version: &Name) -> Option<Told> {
    let known = plan.find_version(version.as_str()).and_then(|id| plan.version(id));
    Some(Told {
        word: http::HeaderValue::from_str(version.as_str()).ok()?,
        headers: known.map(|version| version.request_headers.clone()).unwrap_or_default(),
    })
}
