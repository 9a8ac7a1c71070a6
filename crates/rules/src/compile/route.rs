//! Routes: each expanded into its hosts and paths, and all of them in the contract's order.

use std::cmp::Reverse;
use std::sync::Arc;

use super::condition;
use super::findings::{DocumentFindings, Findings};
use super::lists::Lists;
use super::parse;
use crate::decide::{
    self, Candidate, HostMatch, PathMatch, PatternSets, RoutePlan, Routes, ServicePlan, ServiceTarget,
};
use crate::documents::{
    self, Condition, Document, HostPattern, Kind, PathPattern, Route, Target, TimeoutOverrides,
};
use crate::vocab::{Mirror, Name, Timeouts};

/// What follows from a mirror that leads nowhere.
pub(super) const NO_SHADOW: &str = "nothing is copied until then";

/// What routes refer to.
pub struct Referred<'a> {
    pub services: &'a [Arc<ServicePlan>],
    pub lists: &'a Lists,
}

pub fn build(
    parsed: &parse::Memory,
    referred: &Referred<'_>,
    patterns: &mut PatternSets,
    findings: &mut Findings,
) -> Routes {
    let mut routes = Vec::new();
    let mut candidates = Vec::new();
    for (id, found) in parsed.in_force(Kind::Route) {
        let Document::Route(route) = &*found.document else { continue };
        let Some(name) = Name::parse(&id.name) else { continue };
        let Some(plan) = referred.plan(name, route, findings.of(id)) else { continue };
        let expanded = expand(route, routes.len());
        candidates.extend(expanded.map(|candidate| (rank(route, &plan.name, &candidate), candidate)));
        routes.push(plan);
    }
    // Stable: of two patterns of one route, the one written first is asked first.
    candidates.sort_by(|(a, _), (b, _)| a.cmp(b));
    let candidates = candidates.into_iter().map(|(_, candidate)| candidate).collect();
    Routes::new(routes.into(), candidates, patterns)
}

type Rank = (Reverse<i32>, Reverse<(u8, usize)>, Reverse<(u8, usize)>, Reverse<bool>, Reverse<usize>, Name);

/// Smaller is asked earlier: priority, host, path, method, number of conditions, name.
fn rank(route: &Route, name: &Name, candidate: &Candidate) -> Rank {
    (
        Reverse(route.priority),
        Reverse(candidate.host.rank()),
        Reverse(candidate.path.rank()),
        Reverse(route.methods.is_some()),
        Reverse(route.when.as_ref().map_or(0, Condition::size)),
        name.clone(),
    )
}

fn expand(route: &Route, id: usize) -> impl Iterator<Item = Candidate> {
    let hosts: Vec<HostMatch> = match &route.hosts {
        None => vec![HostMatch::Any],
        Some(hosts) => hosts
            .iter()
            .map(|host| match host {
                HostPattern::Exact(name) => HostMatch::Exact(name.clone()),
                HostPattern::Wildcard(suffix) => HostMatch::Suffix(suffix.clone()),
            })
            .collect(),
    };
    let paths: Vec<PathMatch> = match &route.paths {
        None => vec![PathMatch::Any],
        Some(paths) => paths.iter().map(path_match).collect(),
    };
    hosts.into_iter().flat_map(move |host| {
        paths.clone().into_iter().map(move |path| Candidate { route: id, host: host.clone(), path })
    })
}

pub(super) fn path_match(path: &PathPattern) -> PathMatch {
    match path {
        PathPattern::Exact(path) => PathMatch::Exact(path.clone()),
        PathPattern::Prefix(prefix) => PathMatch::Prefix(prefix.clone()),
        PathPattern::Regex(pattern) => PathMatch::Regex(pattern.regex.clone()),
    }
}

impl Referred<'_> {
    /// Where copies go. A shadow that is not there changes nothing for its users: the route stays.
    fn mirror(&self, route: &Route, findings: &mut DocumentFindings<'_>) -> Option<Box<Mirror>> {
        let mirror = route.mirror.as_ref()?;
        if !self.services.iter().any(|service| service.name == mirror.service) {
            let message = format!("the service `{}` does not exist", mirror.service);
            findings.add("mirror.service", message, NO_SHADOW);
        }
        Some(Box::new(mirror.clone()))
    }

    /// The route, unless it is inert: then it is a problem and never matches.
    fn plan(&self, name: Name, route: &Route, mut findings: DocumentFindings<'_>) -> Option<RoutePlan> {
        let service = match &route.target {
            Target::Service { name, .. } => self.services.iter().position(|service| service.name == *name),
            Target::Redirect(_) => None,
        };
        if let (Target::Service { name, .. }, None) = (&route.target, service) {
            let message = format!("the service `{name}` does not exist");
            findings.add("service", message, "its requests are answered 503 until then");
        }
        let when = match route.when.as_ref().map(|when| condition::compile(when, "when", self.lists)) {
            None => None,
            Some(Ok(when)) => Some(Arc::new(when)),
            Some(Err(dangling)) => {
                for found in dangling {
                    findings.add(&found.field, found.message, "the route is inert until then");
                }
                return None;
            }
        };
        let service = service.and_then(|at| Some((at, &**self.services.get(at)?)));
        Some(RoutePlan {
            name,
            methods: route.methods.clone().map(Into::into),
            when,
            target: target(&route.target, service.map(|(at, _)| at)),
            request_headers: route.request_headers.clone(),
            response_headers: route.response_headers.clone(),
            timeouts: timeouts(route.timeouts, service.map(|(_, service)| service)),
            max_body: route.max_body.map(|size| size.0),
            limit: route.limit.clone().map(Box::new),
            mirror: self.mirror(route, &mut findings),
            pin: service.and_then(|(_, service)| service.pin.as_ref()).map(|pin| pin.attribute.clone()),
        })
    }
}

fn timeouts(overrides: TimeoutOverrides, service: Option<&ServicePlan>) -> Timeouts {
    overrides.over(service.map_or_else(Timeouts::default, |service| service.timeouts))
}

fn target(target: &Target, service: Option<usize>) -> decide::Target {
    match target {
        Target::Service { name, rewrite } => decide::Target::Service {
            service: match service {
                Some(id) => ServiceTarget::Known(id),
                None => ServiceTarget::Missing(name.clone()),
            },
            path: rewrite.path.as_ref().map(path_rewrite),
            host: rewrite.host.clone(),
        },
        Target::Redirect(redirect) => decide::Target::Redirect(decide::Redirect {
            status: redirect.status,
            scheme: redirect.scheme,
            host: redirect.host.clone(),
            port: redirect.port,
            path: redirect.path.as_ref().map(path_rewrite),
        }),
    }
}

fn path_rewrite(rewrite: &documents::PathRewrite) -> decide::PathRewrite {
    match rewrite {
        documents::PathRewrite::Prefix(template) => decide::PathRewrite::Prefix(template.clone()),
        documents::PathRewrite::Fixed(template) => decide::PathRewrite::Fixed(template.clone()),
        documents::PathRewrite::Regex(pattern, template) => {
            decide::PathRewrite::Regex(pattern.regex.clone(), template.clone())
        }
    }
}
