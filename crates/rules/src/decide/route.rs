//! Routes at run time: candidates in the order the contract gives them; the first that fits wins.

use std::sync::Arc;

use regex::bytes::Regex;

use super::candidate::{Candidate, PathMatch, RouteId};
use super::condition::Condition;
use super::index::{PatternSets, RouteIndex, Scratch};
use super::request::{Request, Seen, Values};
use super::service::ServiceId;
use crate::vocab::{Attribute, HeaderEdits, Limit, Mirror, Name, Template, Timeouts};

/// All routes of a generation.
#[derive(Default, Debug)]
pub struct Routes {
    pub routes: Box<[RoutePlan]>,
    /// Each route once for every pair of its hosts and paths, best first.
    pub candidates: Box<[Candidate]>,
    index: RouteIndex,
}

/// What a route does with a request it wins.
#[derive(Debug)]
pub struct RoutePlan {
    pub name: Name,
    pub methods: Option<Box<[String]>>,
    pub when: Option<Arc<Condition>>,
    pub target: Target,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
    /// The service's, as far as the route does not overrule them.
    pub timeouts: Timeouts,
    /// Bytes; overrules the process's limit.
    pub max_body: Option<u64>,
    /// Rare, and so behind a pointer, as is the next.
    pub limit: Option<Box<Limit>>,
    pub mirror: Option<Box<Mirror>>,
    /// Attributes of pins that conditions must not see from untrusted clients: the target service's.
    pub pin: Option<Attribute>,
}

#[derive(Debug)]
pub enum Target {
    Service { service: ServiceTarget, path: Option<PathRewrite>, host: Option<Template> },
    Redirect(Redirect),
}

#[derive(Debug)]
pub enum ServiceTarget {
    Known(ServiceId),
    /// The name of a service that does not exist.
    Missing(Name),
}

#[derive(Debug)]
pub enum PathRewrite {
    Prefix(Template),
    Fixed(Template),
    Regex(Regex, Template),
}

#[derive(Debug)]
pub struct Redirect {
    pub status: u16,
    pub scheme: Option<&'static str>,
    pub host: Option<Template>,
    pub port: Option<u16>,
    pub path: Option<PathRewrite>,
}

/// The route a request takes, and how it was reached.
#[derive(Clone, Copy, Debug)]
pub struct Routed<'s> {
    pub id: RouteId,
    pub route: &'s RoutePlan,
    pub path: &'s PathMatch,
}

impl Routes {
    /// Candidates come best first.
    pub fn new(routes: Box<[RoutePlan]>, candidates: Box<[Candidate]>, sets: &mut PatternSets) -> Routes {
        let index = RouteIndex::build(&candidates, sets);
        Routes { routes, candidates, index }
    }

    /// The best route that fits.
    pub fn find(&self, request: &Request<'_>, scratch: &mut Scratch) -> Option<Routed<'_>> {
        self.index.first(request, scratch, |reached, values| {
            let candidate = self.candidates.get(reached.candidate)?;
            let route = self.routes.get(candidate.route)?;
            let path_fits = reached.path_known || candidate.path.accepts(request.path.view);
            (path_fits && route.accepts(request, values)).then_some(Routed {
                id: candidate.route,
                route,
                path: &candidate.path,
            })
        })
    }

    /// The same from asking one candidate after another.
    pub fn find_linear(&self, request: &Request<'_>, scratch: &mut Scratch) -> Option<Routed<'_>> {
        self.candidates.iter().find_map(|candidate| {
            let route = self.routes.get(candidate.route)?;
            (candidate.host.accepts(request.host)
                && candidate.path.accepts(request.path.view)
                && route.accepts(request, &mut scratch.values))
            .then_some(Routed { id: candidate.route, route, path: &candidate.path })
        })
    }
}

impl RoutePlan {
    fn accepts(&self, request: &Request<'_>, values: &mut Values) -> bool {
        let method_fits =
            self.methods.as_ref().is_none_or(|methods| methods.iter().any(|m| m == request.method));
        let hidden = self.pin.as_ref().filter(|_| !request.pins_trusted);
        let seen = Seen { request, hidden };
        method_fits && self.when.as_ref().is_none_or(|when| when.holds(seen, values))
    }
}
