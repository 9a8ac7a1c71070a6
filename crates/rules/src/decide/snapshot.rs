//! The compiled documents of one generation, and the decision made from them.
//!
//! Answers: which version of which service gets this request, and why? Owns [`Snapshot`], [`decide`](Snapshot::decide)
//! and its result. It allocates nothing, reads no clock and never looks at which instances are alive.

use std::sync::Arc;

use super::index::Scratch;
use super::request::Request;
use super::route::{Routed, Routes, ServiceTarget, Target};
use super::service::{Choice, Search, ServiceId, ServicePlan};
use crate::vocab::Name;

/// Cheap to clone: what a change leaves alone is shared with the snapshot before.
#[derive(Clone, Default, Debug)]
pub struct Snapshot {
    pub routes: Arc<Routes>,
    /// In the order of their names.
    pub services: Box<[Arc<ServicePlan>]>,
}

/// What was decided for a request.
#[derive(Clone, Copy, Debug)]
pub enum Decision<'s> {
    NoRoute,
    Redirect(Routed<'s>),
    /// The route leads to a service that does not exist.
    NoService(Routed<'s>, &'s Name),
    Version(Routed<'s>, Choice),
}

impl Snapshot {
    pub fn service(&self, id: ServiceId) -> Option<&ServicePlan> {
        self.services.get(id).map(|service| &**service)
    }

    /// Whether any service gives identities to clients, so that the caller need not draw one for nothing.
    pub fn issues_cookies(&self) -> bool {
        self.services.iter().any(|service| service.issue_cookie.is_some())
    }

    /// Decides a request: the route, then an inherited version, then the rules, then `release`.
    pub fn decide(&self, request: &Request<'_>, scratch: &mut Scratch) -> Decision<'_> {
        self.decide_by(Search::Indexed, request, scratch)
    }

    /// The same decision from asking one route and one rule after another: what the indexes are held against.
    pub fn decide_linear(&self, request: &Request<'_>, scratch: &mut Scratch) -> Decision<'_> {
        self.decide_by(Search::Linear, request, scratch)
    }

    /// What the rules of one service decide for a request, whatever leads there.
    pub fn decide_in(&self, service: &Name, request: &Request<'_>, scratch: &mut Scratch) -> Option<Choice> {
        let id = self.services.iter().position(|plan| plan.name == *service)?;
        Some(self.service(id)?.choose(id, Search::Indexed, request, scratch))
    }

    fn decide_by(&self, search: Search, request: &Request<'_>, scratch: &mut Scratch) -> Decision<'_> {
        let routed = match search {
            Search::Indexed => self.routes.find(request, scratch),
            Search::Linear => self.routes.find_linear(request, scratch),
        };
        let Some(routed) = routed else { return Decision::NoRoute };
        let id = match &routed.route.target {
            Target::Redirect(_) => return Decision::Redirect(routed),
            Target::Service { service: ServiceTarget::Missing(name), .. } => {
                return Decision::NoService(routed, name);
            }
            Target::Service { service: ServiceTarget::Known(id), .. } => *id,
        };
        match self.service(id) {
            Some(service) => Decision::Version(routed, service.choose(id, search, request, scratch)),
            None => Decision::NoRoute,
        }
    }
}
